//! A standard library for wasm made once from its source and kept, for compilers that come without one (Debian's). Building it uses
//! cargo's unstable build-std; plugins then build without anything unstable. Called by `plugin_build::build`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::TARGET;
use super::cargo::{Flags, clean_command, run_captured, rustflags};
use super::machine::Machine;
use super::toolchain::Toolchain;

/// Changed when the way of building changes, so that an old library is not used.
const RECIPE: &str = "build-std 1";

/// An empty crate: no crate of anyone's gets among the library's files.
const SEED_MANIFEST: &str = "[package]\nname = \"dibw-seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
    [profile.release]\nopt-level = \"s\"\ncodegen-units = 1\npanic = \"abort\"\n";

/// The directory to give to `rustc --sysroot`; built when it is not there. Several processes may ask at once.
///
/// # Errors
/// The cache cannot be written, or the library does not build.
pub fn seeded(toolchain: &Toolchain, machine: &Machine, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let cache = &machine.cache;
    let flags = Flags { sysroot: None, remap: machine.registry_remap().into_iter().collect(), bitcode: true };
    let flags = rustflags(&flags);
    let name = format!("sysroot-{:016x}", fingerprint(&[&toolchain.version, RECIPE, &flags, SEED_MANIFEST]));
    let ready = cache.join(&name);
    if ready.is_dir() {
        return Ok(ready);
    }
    fs::create_dir_all(cache).with_context(|| format!("making {}", cache.display()))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("making {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;
    if ready.is_dir() {
        return Ok(ready);
    }
    say("building the standard library for wasm, once (1 to 2 minutes)");
    let work = cache.join(format!("{name}.partial"));
    remove_leftover(&work)?;
    build(toolchain, &flags, &work)
        .with_context(|| format!("building the standard library with {toolchain}"))?;
    // Renamed only when whole, so that a killed build leaves nothing that looks ready.
    fs::rename(work.join("sysroot"), &ready)
        .with_context(|| format!("moving the library to {}", ready.display()))?;
    remove_leftover(&work)?;
    Ok(ready)
}

fn build(toolchain: &Toolchain, flags: &str, work: &Path) -> Result<()> {
    write(&work.join("Cargo.toml"), SEED_MANIFEST)?;
    write(&work.join("src/lib.rs"), "#![no_std]\n")?;
    let mut command = clean_command(toolchain);
    command
        .args(["build", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET, "--manifest-path"])
        .arg(work.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(work.join("target"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    run_captured(&mut command)?;
    let library = work.join("sysroot/lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&library).with_context(|| format!("making {}", library.display()))?;
    let built = work.join("target").join(TARGET).join("release/deps");
    let mut copied = 0;
    for entry in fs::read_dir(&built).with_context(|| format!("reading {}", built.display()))? {
        let path = entry.with_context(|| format!("reading {}", built.display()))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.ends_with(".rlib") && !name.starts_with("libdibw_seed-") {
            fs::copy(&path, library.join(name)).with_context(|| format!("copying {}", path.display()))?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "cargo left no library in {}", built.display());
    Ok(())
}

fn write(path: &Path, contents: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(path, contents).with_context(|| format!("writing {}", path.display()))
}

fn remove_leftover(work: &Path) -> Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", work.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// FNV-1a, 64 bits: tells compilers apart; nobody attacks it. <http://www.isthe.com/chongo/tech/comp/fnv/>
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
