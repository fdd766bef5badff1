//! The checks of `dib-lint`, a broken file for each, against compat/CONTRACT.md 3.5.

use dibw_compat::lint::{Exclusions, LintFile, Room, check, is_python_script};

const GOOD: &str =
    "#!/bin/bash\nif [ ${DIB_DEBUG_TRACE:-0} -gt 0 ]; then\n    set -x\nfi\nset -eu\nset -o pipefail\n";

fn file(path: &str, content: &str, executable: bool) -> LintFile {
    let room = if path.starts_with("lib/") { Room::Library } else { Room::Element };
    LintFile { path: path.to_owned(), room, executable, link: false, content: content.as_bytes().to_vec() }
}

/// `line: message`, messages cut at the first colon or backtick.
fn found(file: &LintFile, tox: &str) -> Vec<String> {
    let findings = check(file, &Exclusions::of_tox(tox));
    assert!(findings.iter().all(|finding| finding.path == file.path && !finding.hint.is_empty()));
    findings.iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
}

fn script(path: &str, more: &str) -> Vec<String> {
    found(&file(path, &format!("{GOOD}{more}"), true), "")
}

#[test]
fn scripts() {
    assert_eq!(script("e/install.d/10-x", "echo\n"), Vec::<String>::new());
    assert_eq!(found(&file("e/install.d/10-x", GOOD, false), ""), ["1: a script that is not executable"]);
    for (from, to, expected) in [
        ("set -eu", "set -u", vec!["0: no `set -e` at the beginning of a line"]),
        ("set -eu", "set -e", vec!["0: no `set -u` at the beginning of a line"]),
        ("set -eu", "set -eEu", vec![]),
        ("set -eu", "set -e;set -u", vec!["0: no `set -u` at the beginning of a line"]),
        (
            "set -eu",
            "# set -eu",
            vec!["0: no `set -e` at the beginning of a line", "0: no `set -u` at the beginning of a line"],
        ),
        (
            "set -eu\nset -o pipefail",
            "set -euo pipefail",
            vec!["0: no `set -o pipefail` at the beginning of a line"],
        ),
        ("DIB_DEBUG_TRACE", "X", vec!["0: DIB_DEBUG_TRACE is not followed"]),
        ("#!/bin/bash", "#!/bin/sh", vec![]),
        (
            "#!/bin/bash",
            "#!/bin/bash -e",
            vec!["1: `#!/bin/bash -e`: bash scripts begin with `#!/bin/bash` alone"],
        ),
        (
            "#!/bin/bash",
            "#!/usr/bin/env bash",
            vec!["1: `#!/usr/bin/env bash`: bash scripts begin with `#!/bin/bash` alone"],
        ),
    ] {
        let text = GOOD.replace(from, to);
        assert_eq!(found(&file("e/bin/x", &text, true), ""), expected, "{to}");
    }
}

#[test]
fn indentation_is_by_four() {
    for (line, expected) in [
        ("   x", vec!["7: indented by 3, which is no multiple of 4"]),
        ("      x", vec!["7: indented by 6, which is no multiple of 4"]),
        ("        x", vec![]),
        ("   ", vec![]),
        ("\tx", vec!["7: indented with a tab"]),
        ("    \tx", vec!["7: indented with a tab"]),
        ("a\tb", vec![]),
    ] {
        assert_eq!(script("e/install.d/10-x", &format!("{line}\n")), expected, "{line:?}");
    }
    // What is no script is not looked at.
    assert_eq!(found(&file("e/environment.d/10-x", "   export A=b\n", false), ""), Vec::<String>::new());
}

#[test]
fn sudo_on_the_host_names_the_build() {
    for (line, unsafe_at) in [
        ("sudo rm x", Some(7)),
        ("if sudo rm x; then true; fi", Some(7)),
        ("echo\nsudo \\\n    rm x", Some(8)),
        ("sudo \\\n    rm $TARGET_ROOT/x", None),
        ("sudo rm ${TMP_MOUNT_PATH}/x", None),
        ("sudo install-packages x", None),
        ("    # sudo rm x", None),
        ("sudo rm x # dib-lint: safe_sudo", None),
        ("x | sudo", None),
        ("sudo rm x\n# dib-lint: disable=safe_sudo", None),
    ] {
        let expected: Vec<String> = unsafe_at.into_iter().map(|line| format!("{line}: sudo on")).collect();
        let cut = |found: Vec<String>| -> Vec<String> {
            found.iter().map(|text| text.split(" the host").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(cut(script("e/root.d/10-x", &format!("{line}\n"))), expected, "{line}");
    }
    for (directory, host) in [
        ("root", true),
        ("extra-data", true),
        ("pre-install", false),
        ("install", false),
        ("post-install", false),
        ("post-root", true),
        ("block-device", true),
        ("pre-finalise", true),
        ("finalise", true),
        ("cleanup", true),
    ] {
        let found = found(&file(&format!("e/{directory}.d/10-x"), "sudo rm x\n", false), "");
        assert_eq!(!found.is_empty(), host, "{directory}");
    }
}

#[test]
fn pitfalls_of_the_shell() {
    for (path, line, expected) in [
        ("e/install.d/x", "x=$(which ls)", vec!["1: use of which: `x=$(which ls)`"]),
        ("e/data.txt", "which ls", vec!["1: use of which: `which ls`"]),
        ("e/install.d/x", "# which ls", vec![]),
        ("e/README.rst", "files which are", vec![]),
        (
            "e/environment.d/x",
            "export A=\"$(ls)\"",
            vec!["1: export and $(...) in one line: a failure of the command is lost"],
        ),
        ("e/environment.d/x", "A=$(ls)\nexport A", vec![]),
        ("e/environment.d/x", "set -x", vec!["1: tracing is set in environment.d"]),
        ("e/environment.d/x", "set -e", vec![]),
        ("lib/x", "which ls", vec![]),
    ] {
        assert_eq!(found(&file(path, &format!("{line}\n"), false), ""), expected, "{path}: {line}");
    }
    let executable = found(&file("e/environment.d/x", "A=b\n", true), "");
    assert_eq!(executable, ["0: files of environment.d are read, not run: not executable"]);
}

#[test]
fn documents() {
    for (path, text, expected) in [
        ("e/element-deps", "a\n\nb\nb\n", None),
        ("e/element-deps", "pkg-map\npkg\n", Some("2: not sorted: `pkg` comes after `pkg-map`")),
        ("e/element-provides", "b\na\n", None),
        ("e/source-repository-x", "x git /y z", Some("1: no newline at the end; the last line is not read")),
        ("e/x.yaml", "a: b\n", None),
        ("e/x.yaml", "a: [\n", Some("2: not YAML")),
        ("e/x.yaml", "a: 1\n---\nb: 2\n", Some("3: not YAML")),
        ("e/x.yml", "a: [\n", None),
        ("e/pkg-map", "{\"a\": {}}\n", None),
        ("e/pkg-map", "{\"a\": {},}\n", Some("1: not JSON")),
        ("e/static/x.md", "x\n", Some("0: documentation in Markdown")),
        ("e/README.rst", "a\n\tb\n", Some("2: indented with a tab")),
        ("e/README.rst", "a", Some("1: no newline at the end of the file")),
        ("e/data", "\ta", None),
        ("lib/x", "\ta\n", Some("1: indented with a tab")),
        ("lib/x", "a", Some("1: no newline at the end of the file")),
        ("lib/x.md", "a\n", None),
    ] {
        let found = found(&file(path, text, false), "");
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{path}: {text}"),
            Some(start) => {
                assert!(found.len() == 1 && found[0].starts_with(start), "{path}: {text}: {found:?}");
            }
        }
    }
}

#[test]
fn checks_are_switched_off_by_name() {
    let bare = "#!/bin/bash\n";
    let all = "sete setu setpipefail dibdebugtrace";
    assert_eq!(found(&file("e/bin/x", bare, true), "").len(), 4);
    for (line, left) in [
        (format!("# dib-lint: disable={all}\n"), 0),
        ("# dib-lint: disable=sete setu\n# dib-lint: disable=setpipefail dibdebugtrace\n".to_owned(), 0),
        ("# dib-lint: disable=set setpipefail dibdebugtrace\n".to_owned(), 2),
        ("# dib-lint: disable=sete,setu\n".to_owned(), 4),
        (format!("x # dib-lint: disable={all}\n"), 4),
    ] {
        assert_eq!(found(&file("e/bin/x", &format!("{bare}{line}"), true), "").len(), left, "{line}");
    }
    for (tox, left) in [
        (format!("[tox]\nignore=x\n[dib-lint]\nignore = {all}\n"), 0),
        ("[dib-lint]\nignore=sete setu\n  setpipefail dibdebugtrace\n".to_owned(), 0),
        ("[dib-lint]\nignore=sete\n[other]\nignore=setu\n".to_owned(), 3),
        (format!("[dib-lint]\nother={all}\n"), 4),
    ] {
        assert_eq!(found(&file("e/bin/x", bare, true), &tox).len(), left, "{tox}");
    }
}

#[test]
fn python_scripts_are_known_by_their_interpreter() {
    for (path, line, expected) in [
        ("e/bin/x", "#!/usr/bin/env python3", true),
        ("e/bin/x", "#!/usr/local/bin/dib-python", true),
        ("e/bin/x.py", "#!/usr/bin/env python3", false),
        ("e/bin/x", "#!/bin/bash", false),
        ("e/bin/x", "import os", false),
    ] {
        assert_eq!(is_python_script(&file(path, &format!("{line}\n"), true)), expected, "{path}: {line}");
    }
}
