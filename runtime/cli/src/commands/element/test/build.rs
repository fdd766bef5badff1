//! Builds one test element with this program under a classic name, in a temporary directory.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::cases::Case;

/// How a case went.
pub enum Verdict {
    /// The image was built.
    Built,
    /// It failed in the target, where the case had left the mark that it should.
    FailedAsItShould,
    /// It failed, or could not be told to have meant to.
    Failed {
        /// Exit status, or 128 and the signal.
        status: i32,
        /// The end of what it printed.
        output: Vec<String>,
    },
}

/// The mark in the target's /tmp of a case that is meant to fail.
const MARK: &str = "dib-test-should-fail";

/// Lines that are shown of a failed build.
const SHOWN_LINES: usize = 40;

/// Builds the case and takes everything away again.
pub fn run(program: &Path, case: &Case) -> Result<Verdict> {
    let work = Work::new()?;
    let log = work.directory.join("log");
    let out = File::create(&log).with_context(|| log.display().to_string())?;
    let status = command(program, case, &work.directory)?
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("the log of a test")?)
        .stderr(out)
        .status()
        .with_context(|| format!("starting {} for {case}", case.program))?;
    if status.success() {
        return Ok(Verdict::Built);
    }
    if work.directory.join(MARK).exists() {
        return Ok(Verdict::FailedAsItShould);
    }
    let said = std::fs::read(&log).with_context(|| log.display().to_string())?;
    let lines: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(Verdict::Failed { status, output: lines[lines.len().saturating_sub(SHOWN_LINES)..].to_vec() })
}

/// The break point after an error is where the target still stands and the mark can be looked for.
fn command(program: &Path, case: &Case, directory: &Path) -> Result<Command> {
    let mut path = vec![case.directory.clone()];
    path.extend(
        std::env::var_os("ELEMENTS_PATH").iter().flat_map(std::env::split_paths).filter(|p| p.is_dir()),
    );
    let path = std::env::join_paths(path).context("the elements path of a test")?;
    let look = format!("cp -v \"$TMP_MOUNT_PATH/tmp/{MARK}\" '{}/'", directory.display());
    let mut command = Command::new(program);
    command
        .arg0(case.program)
        .args(["-n", "-t", &case.types, "-o"])
        .arg(directory.join("image"))
        .args([&case.element, &case.name])
        .current_dir(directory)
        .env("ELEMENTS_PATH", path)
        .env("break", "after-error")
        .env("break_outside_target", "1")
        .env("break_cmd", look);
    Ok(command)
}

/// A temporary directory that goes away with the value.
struct Work {
    directory: PathBuf,
}

impl Work {
    fn new() -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dibw-element-test.{}.{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Self { directory })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!("{}: {error}", self.directory.display());
        }
    }
}
