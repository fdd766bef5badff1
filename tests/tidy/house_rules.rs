//! The house rules that a test can check: which crate may use which, how long a file may be, that every file says what it owns, that no
//! test file is left unwired and that `unsafe` stays in its one crate.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates and their layers: a crate may use crates of lower layers only. The rule is that of docs/architecture.md:
/// `cli -> engine -> {sys, host, image, fetch, signature} -> {}`; everyone may use plan and policy; the SDK shares with the runtime the code that decides.
const LAYERS: [(&str, &str, u8); 13] = [
    ("dibw", "runtime/cli", 4),
    ("dibw-engine", "runtime/engine", 3),
    ("dibw-sys", "runtime/sys", 2),
    ("dibw-host", "runtime/host", 2),
    ("dibw-image", "runtime/image", 2),
    ("dibw-fetch", "runtime/fetch", 2),
    ("dibw-signature", "runtime/signature", 2),
    ("dibw-compat", "runtime/compat", 1),
    ("dibw-plan", "runtime/plan", 1),
    ("dibw-policy", "runtime/policy", 0),
    ("dibw-sdk-testing", "sdk/testing", 3),
    ("dibw-sdk", "sdk/rust", 2),
    ("dibw-sdk-macros", "sdk/macros", 1),
];

/// `compat` reads into `plan`'s model, so it may use it though both are pure and of one layer.
const ALSO_ALLOWED: [(&str, &str); 1] = [("dibw-compat", "dibw-plan")];

/// The SDK and the runtime know of each other only what decides: an element must build without the runtime, and the other way round.
const SHARED: &str = "dibw-policy";

/// Lines in a Rust file, tests included.
const LONGEST_FILE: usize = 500;

#[test]
fn crates_use_only_what_lies_below_them() {
    let mut broken = Vec::new();
    for (user, directory, layer) in LAYERS {
        for used in dependencies(directory) {
            let Some((_, place, below)) = LAYERS.iter().find(|(name, _, _)| *name == used) else {
                broken.push(format!("{user} uses {used}, which has no layer in this test"));
                continue;
            };
            let other_side = place.starts_with("sdk/") != directory.starts_with("sdk/") && used != SHARED;
            if (*below >= layer && !ALSO_ALLOWED.contains(&(user, used.as_str()))) || other_side {
                broken.push(format!("{user} must not use {used}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_crate_has_a_layer() {
    let rooms = ["runtime", "sdk"].into_iter().flat_map(|room| listing(&root().join(room)));
    let crates = rooms.filter(|path| path.join("Cargo.toml").exists()).map(|path| shown(&path));
    let mut known: Vec<_> = LAYERS.iter().map(|(_, directory, _)| (*directory).to_owned()).collect();
    known.sort();
    assert_eq!(crates.collect::<Vec<_>>(), known);
}

/// Our crates that a crate's manifest names as dependencies of any kind.
fn dependencies(directory: &str) -> Vec<String> {
    let text = read(&root().join(directory).join("Cargo.toml"));
    let mut used = Vec::new();
    let mut in_dependencies = false;
    for line in text.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && (line.starts_with("dibw-") || line.starts_with("dibw ")) {
            used.extend(line.split(['.', '=', ' ']).next().map(str::to_owned));
        }
    }
    used
}

#[test]
fn every_file_opens_by_saying_what_it_owns_and_is_short_enough() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let name = shown(&file);
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
        let name = shown(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let explained =
                lines[index.saturating_sub(4)..=index].iter().any(|line| line.contains("SAFETY:"));
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
fn every_crate_but_one_forbids_unsafe_code() {
    let mut broken = Vec::new();
    for (name, directory, _) in LAYERS.into_iter().filter(|(name, _, _)| *name != "dibw-sys") {
        let source = root().join(directory).join("src");
        let opening =
            ["lib.rs", "main.rs"].map(|file| source.join(file)).into_iter().find(|file| file.exists());
        let text = read(&opening.expect("a crate has a lib.rs or a main.rs"));
        // The contract's bindings in a component are generated, and unsafe.
        let forbids =
            ["#![forbid(unsafe_code)]", "#![cfg_attr(not(target_family = \"wasm\"), forbid(unsafe_code))]"];
        if !forbids.iter().any(|line| text.contains(line)) {
            broken.push(name);
        }
    }
    assert_eq!(broken, Vec::<&str>::new());
}

#[test]
fn every_test_file_is_wired_in() {
    let lines = ["tests/Cargo.toml", "runtime/host/Cargo.toml", "runtime/engine/Cargo.toml"]
        .map(|file| read(&root().join(file)))
        .join("\n");
    let wired: Vec<String> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'))
        .map(|path| path.trim_start_matches("../../tests/").to_owned())
        .collect();
    let mut broken = Vec::new();
    for area in
        listing(&root().join("tests")).into_iter().filter(|path| path.is_dir() && !path.ends_with("support"))
    {
        for file in listing(&area).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
            let path = shown(&file).trim_start_matches("tests/").to_owned();
            if !wired.contains(&path) {
                broken.push(format!("no [[test]] has {path}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the source tree")
}

/// A path within the source tree.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn listing(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
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
