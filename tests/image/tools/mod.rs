//! The other programs that judge our bytes, and the sample files they judge.
//!
//! Owns running them. A test that lacks its program prints that it is skipped. Used by the tests in this directory.
#![allow(dead_code, reason = "every test file uses its own part of this module")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Whether `program` can be run; says that the test is skipped when it cannot.
pub fn have(program: &str) -> bool {
    let found = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// Whether we are root; says that the test is skipped when not.
pub fn am_root() -> bool {
    let root = run("id", &["-u"]).trim() == "0";
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// Runs a program that must succeed; gives what it wrote to stdout and stderr.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let (text, success) = attempt(program, arguments);
    assert!(success, "{program} {arguments:?} failed:\n{text}");
    text
}

/// Runs a program; gives its stdout and stderr, and whether it succeeded.
pub fn attempt(program: &str, arguments: &[&str]) -> (String, bool) {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A file of `length` bytes without data.
pub fn empty_file(path: &Path, length: u64) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .expect("the file can be created");
    file.set_len(length).expect("the length can be set");
    file
}

/// Bytes from a fixed sequence: of `values` equally likely values each, so 256 does not compress and 2 does.
pub fn noise(length: usize, values: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 32) % values) as u8
        })
        .collect()
}

/// Puts noise into a file at each offset.
pub fn sprinkle(file: &File, parts: &[(u64, usize, u64)]) {
    for (offset, length, values) in parts {
        file.write_all_at(&noise(*length, *values, *offset + 1), *offset).expect("the file can be written");
    }
}
