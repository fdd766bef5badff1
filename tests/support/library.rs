//! The classic elements' library as a build has it: its files in a directory, and bash running with them. Also diskimage-builder's own
//! source package, whose tests and elements are run against it. Must not assert anything about the library.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use dibw_compat::library::FILES;

const CACHE: &str = "/var/tmp/dibw-test-cache";
const RELEASE: &str = "diskimage_builder-3.43.0";

/// Writes a file, with its directories.
///
/// # Errors
/// When it can't be written.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file has a directory")?)?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Writes the library to a directory, as the engine does.
///
/// # Errors
/// When a file can't be written.
pub fn write_library(lib: &Path) -> Result<()> {
    for file in FILES {
        write(&lib.join(file.path), file.text, if file.executable { 0o755 } else { 0o644 })?;
    }
    Ok(())
}

/// A directory with the library in `lib`, where bash runs with `_LIB` and little else in its environment.
pub struct LibraryBash {
    /// The working directory of every script.
    pub dir: tempfile::TempDir,
}

impl LibraryBash {
    /// Makes one.
    ///
    /// # Errors
    /// When its files can't be written.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        write_library(&dir.path().join("lib"))?;
        Ok(Self { dir })
    }

    /// bash running a script with `set -eu -o pipefail`; not yet started.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -eu -o pipefail\n{script}")]).current_dir(self.dir.path());
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("_LIB", self.dir.path().join("lib")).env("LC_ALL", "C").env("HOME", "/root");
        // The directory is written to and compared.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// What a script that succeeds prints.
    ///
    /// # Errors
    /// With both of its streams when it does not succeed.
    pub fn says(&self, script: &str) -> Result<String> {
        said(self.command(script).output()?)
    }
}

/// The standard output of a command that succeeded.
///
/// # Errors
/// With both of its streams when it did not.
pub fn said(output: Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    Ok(stdout)
}

/// diskimage-builder's source package, unpacked; fetched once with pip. None, having said so, where it can't be had.
///
/// # Errors
/// When it can be had but not unpacked.
pub fn diskimage_builder_source(test: &str) -> Result<Option<PathBuf>> {
    let unpacked = Path::new(CACHE).join(RELEASE);
    if unpacked.is_dir() {
        return Ok(Some(unpacked));
    }
    fs::create_dir_all(CACHE)?;
    // Unpacked beside and renamed when whole: tests run at the same time.
    let work = tempfile::tempdir_in(CACHE)?;
    let fetched = Command::new("python3")
        .args(["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d"])
        .arg(work.path())
        .arg("diskimage-builder==3.43.0")
        .output();
    if !fetched.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {test}: needs diskimage-builder's source package from PyPI (python3-pip)");
        return Ok(None);
    }
    let archive = work.path().join(format!("{RELEASE}.tar.gz"));
    said(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(work.path()).output()?)?;
    if fs::rename(work.path().join(RELEASE), &unpacked).is_err() {
        ensure!(unpacked.is_dir(), "{} could not be made", unpacked.display());
    }
    Ok(Some(unpacked))
}
