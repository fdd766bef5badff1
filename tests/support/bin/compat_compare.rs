//! `compat-compare [--allowed FILE]... A B`: lists how image B differs from image A; exit code 1 when something does that is not allowed.
//! Each may be a directory, a tar archive or a disk image. Needs root. Called by tests/compat/compare and tests/compat/run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use dibw_sys::supervise::run_build;
use dibw_tests::compare::allowed::Allowed;
use dibw_tests::compare::source::Source;
use dibw_tests::compare::{Difference, differences};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("compat-compare: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<u8> {
    let mut args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let mut allowed = Allowed::default();
    while args.first().is_some_and(|word| word == Path::new("--allowed")) && args.len() > 1 {
        let file = args.drain(..2).nth(1).context("--allowed FILE")?;
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        allowed = allowed.and(&text).with_context(|| file.display().to_string())?;
    }
    let [a, b] = args.as_slice() else { bail!("want [--allowed FILE]... A B") };
    let absolute = |path: &Path| path.canonicalize().with_context(|| path.display().to_string());
    let (a, b) = (absolute(a)?, absolute(b)?);
    let scratch = tempfile::Builder::new().prefix("compat-compare-").tempdir_in("/var/tmp")?;
    // Its own process: the namespaces end with it, and the scratch directory is ours to remove after that.
    let code = run_build(|| match compare(&a, &b, &allowed, scratch.path()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("compat-compare: {error:#}");
            2
        }
    })?;
    Ok(u8::try_from(code).unwrap_or(2))
}

fn compare(a: &Path, b: &Path, allowed: &Allowed, scratch: &Path) -> Result<i32> {
    let open = |path: &Path, name: &str| {
        let scratch = scratch.join(name);
        fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        Source::open(path, &scratch)
    };
    let (a, b) = (open(a, "a")?, open(b, "b")?);
    let found = differences(&a.inventory, &b.inventory)?;
    let (expected, surprising): (Vec<Difference>, Vec<Difference>) =
        found.into_iter().partition(|difference| allowed.covers(difference));
    let mut out = std::io::stdout().lock();
    for difference in &surprising {
        writeln!(out, "{difference}").context("standard output")?;
    }
    eprintln!(
        "{} and {} entries, {} differences, {} more are allowed",
        a.inventory.entries.len(),
        b.inventory.entries.len(),
        surprising.len(),
        expected.len()
    );
    Ok(i32::from(!surprising.is_empty()))
}
