//! diskimage-builder's small commands as a user sees them: `element-info`, `diskimage-builder`, `dib-lint`, and `dibw element lint|test`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use dibw_tests::dibw::{Dibw, program};

/// What a run under another name gave: exit code, standard output, standard error.
fn called(name: &str, dibw: &Dibw, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(program());
    command.arg0(name).args(arguments).current_dir(dibw.dir()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("DIBW_ELEMENTS", dibw.dir().join("shipped"));
    let output = command.envs(variables.iter().copied()).output().expect("the program can be started");
    let text = |bytes: &[u8]| dibw.normalise(&String::from_utf8_lossy(bytes));
    (output.status.code().expect("it exits"), text(&output.stdout), text(&output.stderr))
}

/// Elements in three directories: `one`, `two`, `shipped`.
fn elements() -> Dibw {
    let dibw = Dibw::new();
    for (path, text) in [
        ("shipped/os/element-provides", "operating-system\n"),
        ("shipped/base/README.rst", "Base.\n"),
        ("two/os/element-provides", "operating-system\n"),
        ("two/requires-foo/element-deps", "foo\n"),
        ("two/foo/README.rst", "Foo.\n"),
        ("two/self/element-deps", "self\n"),
        ("two/virtual-os/element-provides", "operating-system\nvirtual\n"),
        ("two/needs-virtual/element-deps", "virtual\n"),
        ("one/foo/element-deps", "a b's\n"),
        ("one/real/README.rst", "Real.\n"),
        ("one/spaced name/README.rst", "Spaced.\n"),
    ] {
        dibw.file(path, text);
    }
    dibw.file("one/foo/element-deps", "real\n");
    std::os::unix::fs::symlink("real", dibw.dir().join("one/linked")).expect("links can be made");
    dibw
}

#[test]
fn element_info_expands() {
    let dibw = elements();
    for (path, arguments, code, out, said) in [
        ("two", &["os", "requires-foo"][..], 0, "foo os requires-foo\n", ""),
        ("two", &["self", "os"], 0, "os self\n", ""),
        ("", &["os", "base"], 0, "base os\n", ""),
        ("two", &["virtual-os", "needs-virtual"], 0, "virtual-os needs-virtual\n", ""),
        // The first directory on the path wins: its `foo` needs `real`.
        (
            "one:two",
            &["os", "requires-foo"],
            0,
            "os real foo requires-foo\n",
            "WARNING element-info [-] Element <[DIR]/one/foo> overrides <[DIR]/two/foo>\n",
        ),
        // A link is an element under the name of what it leads to.
        ("one", &["os", "linked"], 1, "", "error: Element 'linked' not found\n"),
        ("two", &["fake", "os"], 1, "", "error: Element 'fake' not found\n"),
        ("two", &["os", "os"], 1, "", "error: operating-system: already provided by ['os']\n"),
        ("two", &["foo"], 1, "", "error: Please include an operating system element\n"),
        ("/not/a/dir", &["os"], 1, "", "error: ELEMENTS_PATH entry '/not/a/dir' is not a directory \n"),
    ] {
        let (got, stdout, stderr) = called("element-info", &dibw, arguments, &[("ELEMENTS_PATH", path)]);
        assert_eq!((got, stdout.as_str()), (code, out), "{path} {arguments:?}: {stderr}");
        let own = stderr
            .replace("WARNING element-info [-] Element <[DIR]/two/os> overrides <[DIR]/shipped/os>\n", "");
        assert!(own.starts_with(said), "{path} {arguments:?}: {own}");
        assert!(!said.is_empty() || own.is_empty(), "{path} {arguments:?}: {own}");
    }
    assert_eq!(called("element-info", &dibw, &[], &[]).0, 2);
    let (code, help, said) = called("element-info", &dibw, &["--help"], &[]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(help.contains("--env"), "{help}");
}

#[test]
fn what_element_info_says_for_bash_is_read_by_bash() {
    let dibw = elements();
    let arguments = ["--env", "os", "foo", "spaced name"];
    let (code, text, _) = called("element-info", &dibw, &arguments, &[("ELEMENTS_PATH", "one")]);
    assert_eq!(code, 0);
    assert!(text.starts_with("export IMAGE_ELEMENT='os real foo spaced name'\n"), "{text}");
    dibw.file("exports", &text);
    let script = "set -euo pipefail; . ./exports; eval declare -A all=($(bash -c get_image_element_array)); \
                  for name in \"${!all[@]}\"; do echo \"$name=${all[$name]}\"; done | sort; echo -n \"$IMAGE_ELEMENT_YAML\"";
    let output =
        Command::new("bash").args(["-c", script]).current_dir(dibw.dir()).output().expect("bash is there");
    let expected = "foo=[DIR]/one/foo\nos=[DIR]/shipped/os\nreal=[DIR]/one/real\nspaced name=[DIR]/one/spaced name\n\
                    foo: [DIR]/one/foo\nos: [DIR]/shipped/os\nreal: [DIR]/one/real\nspaced name: [DIR]/one/spaced name\n";
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn diskimage_builder_prints_and_runs_commands() {
    let dibw = elements();
    dibw.file("images.yaml", "- imagename: a\n  environment: {FOO: b ar}\n  elements: [nowhere]\n- imagename: b\n  ramdisk: true\n  elements: [z]\n");
    dibw.file("wrong.yaml", "- imagename: a\n  elemnts: [x]\n");
    let first = "FOO='b ar' bash /var/cache/dibw/lib/disk-image-create -o a nowhere\n\n";
    let (code, out, said) = called("diskimage-builder", &dibw, &["--dry-run", "images.yaml"], &[]);
    let second = "bash /var/cache/dibw/lib/ramdisk-image-create -o b z\n\n";
    assert_eq!((code, out.as_str(), said), (0, "", format!("{first}{second}")));
    let (_, _, said) =
        called("diskimage-builder", &dibw, &["--dry-run", "images.yaml"], &[("_LIB", "/li b")]);
    assert!(said.contains("bash '/li b/ramdisk-image-create' -o b z\n"), "{said}");
    let (code, _, said) = called("diskimage-builder", &dibw, &["--stop-on-failure", "images.yaml"], &[]);
    assert!(code != 0 && said.starts_with(first) && !said.contains("ramdisk-image-create"), "{code}: {said}");
    let (code, _, said) = called("diskimage-builder", &dibw, &["wrong.yaml", "none.yaml"], &[]);
    let expected = "error: cannot read none.yaml: No such file or directory (os error 2)\n\
                    error: wrong.yaml:2:3: unknown key `elemnts`\n  hint: did you mean `elements`?\n";
    assert_eq!((code, said.as_str()), (1, expected));
    assert_eq!(called("diskimage-builder", &dibw, &[], &[]).0, 2);
}

const SCRIPT: &str =
    "#!/bin/bash\nif [ ${DIB_DEBUG_TRACE:-0} -gt 0 ]; then\n    set -x\nfi\nset -eu\nset -o pipefail\n";

#[test]
fn dib_lint_has_a_verdict() {
    let dibw = Dibw::new();
    dibw.file("elements/good/README.rst", "Good.\n");
    dibw.file("elements/good/install.d/10-good", SCRIPT);
    let run = || called("dib-lint", &dibw, &[], &[("ELEMENTS_DIR", "elements")]);
    let (code, out, _) = run();
    assert_eq!((code, out.as_str()), (0, "Running dib-lint in [DIR]\nChecked 2 files\nPASS\n"));
    dibw.file("elements/bad/root.d/10-bad", &format!("{SCRIPT}sudo rm x\n"));
    let (code, out, _) = run();
    let expected = "Running dib-lint in [DIR]\nChecked 3 files\n\
        ERROR: elements/bad: README.rst is missing\n  hint: say in it what the element is for and which variables it reads\n\
        ERROR: elements/bad/root.d/10-bad:7: sudo on the host, with no path of the build: `sudo rm x`\n  \
        hint: name $TARGET_ROOT or $TMP_MOUNT_PATH, or end the line with `# dib-lint: safe_sudo`\n\
        *** FAIL: Some tests failed!\n";
    assert_eq!((code, out.as_str()), (1, expected));
    let (code, _, said) = called("dib-lint", &dibw, &[], &[]);
    assert_eq!(code, 1);
    assert!(said.starts_with("error: diskimage_builder/elements is not a directory\n  hint: "), "{said}");
    let ran = dibw.args(["element", "lint", "./elements/good"]).run();
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let ran = Dibw::new().args(["element", "lint", "nowhere"]).run();
    assert_eq!(ran.stderr, "error: Element 'nowhere' not found\n  hint: for a directory write ./nowhere\n");
}

#[test]
fn dib_lint_leaves_out_what_git_ignores() {
    let dibw = Dibw::new();
    dibw.file("elements/e/README.rst", "E.\n");
    dibw.file("elements/e/junk.yaml", "a: [\n");
    dibw.file(".gitignore", "junk.yaml\n");
    let run = || called("dib-lint", &dibw, &[], &[("ELEMENTS_DIR", "elements")]).0;
    assert_eq!(run(), 1);
    let git = Command::new("git").args(["init", "-q"]).current_dir(dibw.dir()).status();
    if !git.is_ok_and(|status| status.success()) {
        eprintln!("skipped: dib_lint_leaves_out_what_git_ignores (git is not installed)");
        return;
    }
    assert_eq!(run(), 0);
}

#[test]
fn element_test_lists_its_cases() {
    let dibw = Dibw::new();
    dibw.file("elements/e/test-elements/works/README.rst", "x\n");
    dibw.file("elements/e/test-elements/broken/element-type", "disk\n");
    dibw.file("elements/f/test-elements/odd/element-type", "tape\n");
    let directory = dibw.dir().join("elements/");
    let dibw = dibw.elements(directory).args(["element", "test", "--list", "e"]);
    let ran = dibw.run();
    let expected =
        "error: [DIR]/elements/f/test-elements/odd/element-type: `tape` is neither disk nor ramdisk\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, expected));
    dibw.file("elements/f/test-elements/odd/element-type", "ramdisk\n");
    assert_eq!(dibw.succeed().stdout, "e/broken\ne/works\n");
    let ran = dibw.again().args(["element", "test", "e/work"]).run();
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (2, "error: `e/work` has no test element\n  hint: did you mean `e/works`?\n")
    );
}
