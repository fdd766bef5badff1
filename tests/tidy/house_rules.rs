//! The house rules that a test can check: which crate may use which, how long a file may be, that every file says what it owns, that no
//! test file is left unwired and that `unsafe` stays in its one crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the top: a crate may use crates of lower layers only, and never these.
/// The rule is DESIGN.md section 2: `cli -> engine -> {sys, host, image} -> {}`; everyone may use plan and policy.
const LAYERS: [(&str, u8); 8] = [
    ("runtime/cli", 4),
    ("runtime/engine", 3),
    ("runtime/sys", 2),
    ("runtime/host", 2),
    ("runtime/image", 2),
    ("runtime/compat", 1),
    ("runtime/plan", 1),
    ("runtime/policy", 0),
];

/// `compat` reads into `plan`'s model, so it may use it though both are pure and of one layer.
const ALSO_ALLOWED: [(&str, &str); 1] = [("runtime/compat", "runtime/plan")];

/// Lines in a Rust file, tests included.
const LONGEST_FILE: usize = 500;

#[test]
fn crates_use_only_what_lies_below_them() {
    let layers: BTreeMap<&str, u8> = LAYERS.into();
    let mut broken = Vec::new();
    for (user, layer) in LAYERS {
        for used in dependencies(user) {
            let allowed =
                layers[used.as_str()] < layer || ALSO_ALLOWED.contains(&(user, used.as_str()));
            if !allowed {
                broken.push(format!("{user} must not use {used}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// Directories of our crates that a crate's `[dependencies]` name.
fn dependencies(user: &str) -> Vec<String> {
    let text = read(&root().join(user).join("Cargo.toml"));
    let section = text.split("[dependencies]").nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', '=', ' ']).next());
    names.filter_map(|name| name.strip_prefix("dibw-")).map(|name| format!("runtime/{name}")).collect()
}

#[test]
fn every_file_opens_by_saying_what_it_owns_and_is_short_enough() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if !text.starts_with("//!") {
            broken.push(format!("{name}: does not open with //!"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{name}: {lines} lines; {LONGEST_FILE} are the bound, so it is two things"));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn unsafe_code_lives_in_one_crate_and_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let explained = lines[index.saturating_sub(4)..=index].iter().any(|line| line.contains("SAFETY:"));
            if !(name.starts_with("runtime/sys/") || name.starts_with("tests/privileged/")) || !explained {
                broken.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| code.contains(word)) && !code.contains('"')
}

#[test]
fn every_test_file_is_wired_in() {
    let manifest = read(&root().join("tests/Cargo.toml"));
    let areas = ["cli", "plan", "compat", "host", "engine", "image", "privileged", "boot", "tidy", "bench"];
    let mut broken = Vec::new();
    for area in areas {
        let directory = root().join("tests").join(area);
        for file in listing(&directory).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
            let path = file.strip_prefix(root().join("tests")).unwrap().display().to_string();
            if !manifest.contains(&format!("\"{path}\"")) {
                broken.push(format!("tests/Cargo.toml does not name {path}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn listing(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories: Vec<_> = ["runtime", "sdk", "plugins", "tests"].map(|name| root().join(name)).into();
    while let Some(directory) = directories.pop() {
        for path in listing(&directory) {
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
