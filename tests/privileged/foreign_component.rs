//! Elements in C, compiled with Debian's clang and wasi-libc, in a whole build: the example does its work; one that prowls gets what it was
//! granted and nothing else, in a target full of traps. Needs root and a C compiler for WebAssembly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_tests::dibw::{Dibw, fixtures, program, root, workspace};

/// How each attempt of tests/fixtures/guests/prowler-c ends.
const ATTEMPTS: [(&str, &str); 26] = [
    ("r /srv/given", "open"),
    ("r /srv/inside", "open"),
    ("r /etc/passwd", "refused"),
    ("r /srv/../etc/passwd", "refused"),
    ("r /srv/up", "refused"),
    ("r /srv/absolute", "refused"),
    ("r /srv/deep/../../etc/passwd", "refused"),
    ("r /proc/self/environ", "refused"),
    ("r /srv/magic", "refused"),
    ("r /srv/fifo", "refused"),
    ("r /srv/to-fifo", "refused"),
    ("r /dev/null", "refused"),
    ("r etc/passwd", "refused"),
    ("r ../etc/passwd", "refused"),
    ("w /srv/made", "open"),
    ("w /etc/made", "refused"),
    ("w /srv/up", "refused"),
    ("w /srv/../etc/made", "refused"),
    ("w /srv/setuid", "refused"),
    ("w /srv/fifo", "refused"),
    ("w /tmp/made", "refused"),
    ("link out", "refused"),
    ("rename out", "refused"),
    ("hard link in", "refused"),
    ("mkdir", "done"),
    ("HOME", "unset"),
];

/// Links, a FIFO and a set-user-id file for the prowler.
const TRAPS: &str = "#!/bin/bash
set -eu
cd /srv
mkdir deep
echo given >given
ln -s given inside
ln -s ../etc/passwd up
ln -s /etc/passwd absolute
ln -s /proc/self/root/etc/passwd magic
mkfifo fifo
ln -s fifo to-fifo
echo setuid >setuid
chmod 4755 setuid
";

#[test]
fn the_example_in_c_does_its_work() {
    if !root("foreign_component") || !has_compiler() {
        return;
    }
    let dibw = Dibw::new();
    let element = dibw.dir().join("hello-c.wasm");
    let built = Command::new(workspace().join("plugins/examples/hello-c/build"))
        .arg(&element)
        .env("DIBW", program())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let dibw = dibw.args(["plugin", "inspect"]).args([&element]);
    let said = dibw.run();
    assert!(
        said.stdout.contains("WASI     file access through preopened directories only"),
        "{}",
        said.stdout
    );
    let dibw = dibw
        .again()
        .args(["build", "--log-format", "plain", "-t", "tar", "-o", "image", "fake-os"])
        .args([&element]);
    let ran = dibw.run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("install: wrote /srv/www/index.html"), "{}", ran.stderr);
    let page = unpack(&dibw.dir().join("image.tar"), "./srv/www/index.html");
    assert!(page.contains("<title>It works</title>"), "{page}");
}

#[test]
fn an_element_in_c_gets_what_it_was_granted_and_nothing_else() {
    if !root("foreign_component") || !has_compiler() {
        return;
    }
    let dibw = Dibw::new();
    let element = pack(&fixtures().join("../guests/prowler-c"), "prowler", dibw.dir());
    dibw.file("elements/traps/pre-install.d/50-traps", TRAPS);
    let elements = dibw.dir().join("elements");
    let dibw = dibw
        .elements(elements)
        .args(["build", "--log-format", "plain", "-t", "tar", "-o", "image", "fake-os", "traps"])
        .args([&element]);
    let ran = dibw.run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (attempt, end) in ATTEMPTS {
        assert!(
            ran.stderr.contains(&format!("{attempt}: {end}\n")),
            "{attempt} is not {end}:\n{}",
            ran.stderr
        );
    }
    let listing =
        Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(dibw.dir().join("image.tar")).output();
    let listing = String::from_utf8(listing.unwrap().stdout).unwrap();
    for (mode, name) in
        [("-rw-r--r--", "./srv/made"), ("drwxr-xr-x", "./srv/directory/"), ("-rwsr-xr-x", "./srv/setuid")]
    {
        let line = listing.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap_or_default();
        assert!(line.starts_with(&format!("{mode} 0/0 ")), "{name}: {line}");
    }
    assert_eq!(unpack(&dibw.dir().join("image.tar"), "./srv/setuid"), "setuid\n");
    assert!(!listing.contains("./etc/made") && !listing.contains("./srv/link"), "{listing}");
    let audit = fs::read_to_string(dibw.dir().join("image.audit.jsonl")).unwrap();
    let recorded =
        |line: &str| line.contains("\"prowler\"") && line.contains("/srv") && line.contains("allow");
    assert!(audit.lines().any(recorded), "{audit}");
}

fn pack(source: &Path, name: &str, directory: &Path) -> PathBuf {
    let (module, element) = (directory.join("module.wasm"), directory.join(format!("{name}.wasm")));
    let compiled = Command::new("clang")
        .args(["--target=wasm32-wasi", "-mexec-model=reactor", "-O1", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(workspace().join("plugins/examples/hello-c"))
        .arg("-o")
        .arg(&module)
        .arg(source.join(format!("{name}.c")))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let packed = Command::new(program())
        .args(["plugin", "pack"])
        .arg(&module)
        .arg("--manifest")
        .arg(source.join("manifest.json"))
        .arg("-o")
        .arg(&element)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    element
}

fn unpack(archive: &Path, member: &str) -> String {
    let out = Command::new("tar").arg("-xOf").arg(archive).arg(member).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Whether clang, wasi-libc and the compiler's own library for WebAssembly are there; says so when they are not.
fn has_compiler() -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("try.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { return printf(\"%Lf\", 1.0L); }\n").unwrap();
    let tried = Command::new("clang")
        .arg("--target=wasm32-wasi")
        .arg("-o")
        .arg(scratch.path().join("try.wasm"))
        .arg(&source)
        .output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        return true;
    }
    let required = std::env::var_os("DIBW_REQUIRE_WASM").is_some_and(|value| !value.is_empty());
    assert!(!required, "no C compiler for WebAssembly");
    eprintln!(
        "skipped: foreign_component needs a C compiler for WebAssembly: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32"
    );
    false
}
