//! Builds a guest of tests/fixtures/guests to a component with `dibw plugin build`, once, outside the source tree. Knows nothing of what the
//! guest does. Called by black-box tests of typed elements.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dibw::{program, workspace};

/// The component of the guest `name`, built below `scratch`, which is kept so that the next run compiles nothing. None, after a word why, without a
/// wasm toolchain, unless `DIBW_REQUIRE_WASM` is set.
///
/// # Panics
/// When the guest does not compile.
#[must_use]
pub fn guest(name: &str, scratch: &Path) -> Option<PathBuf> {
    let source = workspace().join("tests/fixtures/guests").join(name);
    let copy = scratch.join(name);
    fs::create_dir_all(copy.join("src")).expect("the scratch directory can be written to");
    let manifest = fs::read_to_string(source.join("Cargo.toml")).expect("a guest has a manifest");
    let sdk = workspace().join("sdk/rust").display().to_string();
    fs::write(copy.join("Cargo.toml"), manifest.replace("@SDK@", &sdk)).expect("the copy can be written");
    fs::copy(source.join("src/lib.rs"), copy.join("src/lib.rs")).expect("a guest has one source file");
    // The versions that the shipped plugins are locked to are the ones that are certainly at hand.
    fs::copy(workspace().join("plugins/Cargo.lock"), copy.join("Cargo.lock"))
        .expect("the plugins are locked");
    let built =
        Command::new(program()).args(["plugin", "build"]).arg(&copy).output().expect("dibw can be started");
    let said = String::from_utf8_lossy(&built.stderr);
    if built.status.success() {
        return Some(String::from_utf8_lossy(&built.stdout).trim().into());
    }
    let required = std::env::var_os("DIBW_REQUIRE_WASM").is_some_and(|value| !value.is_empty());
    assert!(!required && said.contains("no Rust compiler for"), "building the guest {name}:\n{said}");
    eprintln!("skipped: {said}");
    None
}

/// The number, from 1, of the line that ends with the comment `mark`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn line_of(source: &str, mark: &str) -> usize {
    let marked = |line: &str| line.ends_with(&format!("// {mark}"));
    source.lines().position(marked).expect("the mark stands in the source") + 1
}
