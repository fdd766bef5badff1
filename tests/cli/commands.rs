//! The smaller commands as a user sees them: `element`, `plugin`, `version`, `boot`, and a reader that goes away.

use std::io::Read;

use dibw_tests::dibw::{Dibw, workspace};

#[test]
fn version() {
    let ran = Dibw::new().args(["version"]).succeed();
    let expected = format!(
        "dibw {}\nelement api 0.1\noutputs     raw qcow2 vhd vhdx vmdk vdi vpc qed qcow parallels tar tgz tar.zst aci docker oci squashfs\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(ran.stdout, expected);
    assert_eq!(
        Dibw::new().args(["--version"]).succeed().stdout,
        format!("dibw {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn element_list_has_one_line_each() {
    let ran = Dibw::new().args(["element", "list"]).succeed();
    let wanted = "plan-fixture             classic  One of everything that a classic element can have. Planned by tests, never built.";
    assert!(ran.stdout.lines().any(|line| line == wanted), "{}", ran.stdout);
    let names: Vec<&str> = ran.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.is_sorted() && names.contains(&"debian-minimal"), "{names:?}");
}

#[test]
fn element_info() {
    let ran = Dibw::new().args(["element", "info", "plan-fixture"]).succeed();
    let expected = "\
plan-fixture (classic)
  One of everything that a classic element can have. Planned by tests, never built.

path      [WORKSPACE]/tests/fixtures/elements/plan-fixture
depends   -
provides  -
hook      install.d/20-inside
hook      finalise.d/80-last
hook      cleanup.d/10-outside
";
    assert_eq!(ran.stdout, expected);
}

#[test]
fn element_deps() {
    let ran = Dibw::new().args(["element", "deps", "vm", "fake-os", "block-device-gpt"]).succeed();
    assert_eq!(ran.stdout, "block-device-gpt\nbootloader\nfake-os\nvm\n");
}

/// Arguments, exit code, standard error.
type Case = (&'static [&'static str], i32, &'static str);

#[test]
fn mistakes() {
    let cases: [Case; 13] = [
        (
            &["element", "info", "plan"],
            2,
            "error: Element 'plan' not found\n  hint: did you mean `plan-fixture`?\n",
        ),
        (&["element", "deps", "xyzzy"], 2, "error: Element 'xyzzy' not found\n"),
        (
            &["element", "deps", "vm", "fake-os"],
            2,
            "error: Element 'block-device' not found (needed by `vm`)\n  hint: add one that provides it: block-device-efi, block-device-gpt, block-device-mbr\n",
        ),
        (
            &["boot", "nowhere.qcow2"],
            2,
            "error: image nowhere.qcow2: No such file or directory (os error 2)\n",
        ),
        (&["boot", "."], 2, "error: image . is not a file\n"),
        (
            &["plan", "fake-os", "--qcow2-compression", "lzma"],
            2,
            "error: invalid value 'lzma' for '--qcow2-compression <TYPE>'\n  [possible values: zlib, zstd, none]\n\nFor more information, try '--help'.\n",
        ),
        (
            &["boot", "x.raw", "--timeout", "soon"],
            2,
            "error: invalid value 'soon' for '--timeout <SECONDS>': invalid digit found in string\n\nFor more information, try '--help'.\n",
        ),
        (
            &["boot", "x.raw", "--accel", "magic"],
            2,
            "error: invalid value 'magic' for '--accel <ACCEL>'\n  [possible values: tcg, kvm]\n\nFor more information, try '--help'.\n",
        ),
        (
            &["boot", "x.raw", "--show", "x"],
            2,
            "error: the following required arguments were not provided:\n  --expect <TEXT>\n\nUsage: dibw boot --expect <TEXT> --show <TEXT> <IMAGE>\n\nFor more information, try '--help'.\n",
        ),
        (
            &["plugin", "new", "Bad Name"],
            2,
            "error: `Bad Name` is not a name for an element\n  hint: lower-case letters, digits and dashes: my-element\n",
        ),
        (
            &["plugin", "inspect", "nowhere.wasm"],
            2,
            "error: cannot read nowhere.wasm: No such file or directory (os error 2)\n",
        ),
        (
            &["plugin", "inspect", "no.wasm"],
            2,
            "error: no.wasm: not a WebAssembly component: it does not begin as WebAssembly does\n",
        ),
        (
            &["plugin", "inspect", "module.wasm"],
            2,
            "error: module.wasm: this is a WebAssembly core module, not a component\n  hint: `dibw plugin build` makes components\n",
        ),
    ];
    for (args, code, stderr) in cases {
        let dibw = Dibw::new().args(args);
        dibw.file("no.wasm", "#!/bin/sh\n");
        dibw.file("module.wasm", "\0asm\u{1}\0\0\0");
        let ran = dibw.run();
        assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (code, stderr, ""), "{args:?}");
    }
}

#[test]
fn a_new_plugin_is_a_crate() {
    let dibw = Dibw::new().args(["plugin", "new", "my-first"]);
    let ran = dibw.succeed();
    assert_eq!(ran.stdout, "my-first/\n");
    let read =
        |file: &str| std::fs::read_to_string(dibw.dir().join("my-first").join(file)).unwrap_or_default();
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("name = \"my-first\""), "{manifest}");
    for file in ["Cargo.toml", "src/lib.rs", "README.md", ".gitignore"] {
        let text = read(file);
        assert!(!text.is_empty() && !text.contains("{{"), "{file}: {text}");
    }
    let again = dibw.run();
    assert_eq!((again.code, again.stderr.as_str()), (2, "error: my-first exists already\n"));
}

/// With the plugins that are shipped, where they have been built.
#[test]
fn plugin_inspect() {
    let file = workspace().join("plugins/target/elements/motd.wasm");
    if !file.exists() {
        eprintln!("skipped: plugin_inspect (plugins are not built: dibw plugin build plugins)");
        return;
    }
    let ran = Dibw::new().args(["plugin", "inspect"]).args([file]).succeed();
    assert!(ran.stdout.starts_with("motd "), "{}", ran.stdout);
    for part in ["(api 0.1)\n", "\nhook ", "\nneeds ", "\nimports "] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

/// `dibw completions bash | head`: no message, no panic.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    for args in [&["completions", "bash"][..], &["element", "list"], &["plan", "fake-os"]] {
        let mut child = Dibw::new().args(args).spawn();
        drop(child.stdout.take());
        let mut said = String::new();
        let read = child.stderr.take().expect("it was piped").read_to_string(&mut said);
        read.expect("what it says is text");
        child.wait().expect("a child can be waited for");
        assert_eq!(said, "", "{args:?}");
    }
}
