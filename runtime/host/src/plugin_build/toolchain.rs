//! Finding a compiler that can make wasm32-unknown-unknown: one whose standard library for it is installed, else one with its library's
//! source. Facts and order: TOOLCHAIN.md. Must not know what is built. Called by `plugin_build::build` and `dibw doctor`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TARGET;
use super::machine::{Machine, is_program};

/// The oldest compiler that builds the SDK: the workspace's own.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// What makes it work on Debian and Ubuntu.
pub const APT_COMMAND: &str =
    "apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src lld";

/// What makes it work where rustup is used.
pub const RUSTUP_COMMAND: &str = "rustup target add wasm32-unknown-unknown";

/// A compiler that can do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler itself, not a proxy of rustup's.
    pub rustc: PathBuf,
    /// The cargo of the same release.
    pub cargo: PathBuf,
    /// All that `rustc -vV` says: what a cached library is valid for.
    pub version: String,
    /// Where the standard library comes from.
    pub library: Library,
    /// The linker to name; none when the toolchain has its own.
    pub linker: Option<PathBuf>,
}

/// Where the standard library for wasm comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Library {
    /// It is installed.
    Installed,
    /// It is built once from the source in this directory.
    Source(PathBuf),
}

impl fmt::Display for Toolchain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self.version.lines().next().unwrap_or_default();
        write!(out, "{} ({release}", self.rustc.display())?;
        match &self.library {
            Library::Installed => write!(out, ", installed library)"),
            Library::Source(_) => write!(out, ", library from source)"),
        }
    }
}

/// No compiler can do it; why not, for each that was found.
#[derive(Debug)]
pub struct NoToolchain {
    /// Compiler and reason.
    pub tried: Vec<(PathBuf, String)>,
}

impl fmt::Display for NoToolchain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "no Rust compiler for {TARGET} was found")?;
        for (rustc, reason) in &self.tried {
            writeln!(out, "  {}: {reason}", rustc.display())?;
        }
        writeln!(out, "  with rustup:          {RUSTUP_COMMAND}")?;
        write!(out, "  on Debian or Ubuntu:  {APT_COMMAND}")
    }
}

impl std::error::Error for NoToolchain {}

/// The best compiler: an installed library first, then the order of `candidates`.
///
/// # Errors
/// None can do it.
pub fn discover(machine: &Machine) -> Result<Toolchain, NoToolchain> {
    let mut tried = Vec::new();
    let mut from_source = None;
    let mut seen = Vec::new();
    for candidate in candidates(machine) {
        match examine(&candidate, machine, &mut seen) {
            Ok(Some(found)) if found.library == Library::Installed => return Ok(found),
            Ok(Some(found)) => from_source = from_source.or(Some(found)),
            Ok(None) => {}
            Err(reason) => tried.push((candidate, reason)),
        }
    }
    from_source.ok_or(NoToolchain { tried })
}

/// The compiler that the user named, else all that can be found, best known first.
fn candidates(machine: &Machine) -> Vec<PathBuf> {
    if let Some(named) = &machine.rustc {
        return vec![named.clone()];
    }
    let mut all: Vec<PathBuf> = machine.programs("rustc").collect();
    if let Some(home) = &machine.rustup_home {
        let mut toolchains: Vec<PathBuf> = std::fs::read_dir(home.join("toolchains"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin/rustc")))
            .filter(|path| is_program(path))
            .collect();
        toolchains.sort();
        all.extend(toolchains);
    }
    all.extend([PathBuf::from("/usr/bin/rustc")].into_iter().filter(|path| is_program(path)));
    all
}

/// None when the same compiler was seen before under another name.
fn examine(
    candidate: &Path,
    machine: &Machine,
    seen: &mut Vec<PathBuf>,
) -> Result<Option<Toolchain>, String> {
    let sysroot = PathBuf::from(ask(candidate, &["--print", "sysroot"])?.trim());
    let own = sysroot.join("bin/rustc");
    let rustc = if is_program(&own) { own } else { candidate.to_owned() };
    let real = rustc.canonicalize().map_err(|error| error.to_string())?;
    if seen.contains(&real) {
        return Ok(None);
    }
    seen.push(real);
    let version = ask(&rustc, &["-vV"])?;
    let release = version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default();
    if release_number(release) < release_number(OLDEST) {
        return Err(format!("is {release}; {OLDEST} or newer is needed"));
    }
    let cargo = rustc.with_file_name("cargo");
    if !is_program(&cargo) {
        return Err("has no cargo beside it".to_owned());
    }
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let library = library(&sysroot)?;
    let linker = linker(&sysroot, host, machine)?;
    Ok(Some(Toolchain { rustc, cargo, version, library, linker }))
}

fn library(sysroot: &Path) -> Result<Library, String> {
    let installed = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let names = std::fs::read_dir(installed).into_iter().flatten().flatten().map(|entry| entry.file_name());
    if names.into_iter().any(|name| name.to_string_lossy().starts_with("libstd-")) {
        return Ok(Library::Installed);
    }
    let source = sysroot.join("lib/rustlib/src/rust/library");
    if source.join("Cargo.lock").is_file() {
        return Ok(Library::Source(source));
    }
    Err(format!("has neither the {TARGET} library nor its source"))
}

fn linker(sysroot: &Path, host: &str, machine: &Machine) -> Result<Option<PathBuf>, String> {
    if is_program(&sysroot.join("lib/rustlib").join(host).join("bin/rust-lld")) {
        return Ok(None);
    }
    let plain = machine.programs("wasm-ld").chain(machine.programs("rust-lld")).next();
    let newest_first = || (11..=40).rev().map(|number| format!("wasm-ld-{number}"));
    plain
        .or_else(|| newest_first().find_map(|name| machine.programs(&name).next()))
        .map(Some)
        .ok_or_else(|| "there is no wasm linker: wasm-ld, of package lld".to_owned())
}

fn ask(rustc: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(rustc).args(arguments).output().map_err(|error| format!("cannot be run: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("does not work: {}", why.lines().last().unwrap_or_default()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `1.96.0-nightly` as (1, 96).
fn release_number(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        for (release, number) in
            [("1.95", (1, 95)), ("1.96.0", (1, 96)), ("1.100.0-nightly", (1, 100)), ("", (0, 0))]
        {
            assert_eq!(release_number(release), number, "{release}");
        }
    }

    #[test]
    fn the_error_gives_both_commands_and_every_reason() {
        let none = NoToolchain {
            tried: vec![("/usr/bin/rustc".into(), "is 1.63.0; 1.95 or newer is needed".into())],
        };
        assert_eq!(
            none.to_string(),
            "no Rust compiler for wasm32-unknown-unknown was found\n  \
             /usr/bin/rustc: is 1.63.0; 1.95 or newer is needed\n  \
             with rustup:          rustup target add wasm32-unknown-unknown\n  \
             on Debian or Ubuntu:  apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src lld"
        );
    }
}
