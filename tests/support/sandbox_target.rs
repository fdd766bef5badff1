//! Owns what the sandbox tests share: a runner, a small Debian as the lowest layer, one-line ways to run commands in it.
//! Must not assert anything about the sandbox.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dibw_sys::limits::Limits;
use dibw_sys::overlay::TargetTree;
use dibw_sys::process::{Finished, Stream};
use dibw_sys::runner::Runner;
use dibw_sys::sandbox::{Extras, Input, SandboxCommand, TargetSource};

const CACHE: &str = "/var/tmp/dibw-test-cache";
const MIRROR: &str = "http://deb.debian.org/debian";

/// A target to run commands in. Its directory goes away with it.
pub struct SandboxTarget {
    /// The runner under test.
    pub runner: Runner,
    /// The target: one layer called `base` with a minimal Debian 12.
    pub tree: TargetTree,
    /// Where the tree and anything else of the test lives.
    pub dir: tempfile::TempDir,
}

/// What a command did and said.
#[derive(Debug)]
pub struct Outcome {
    /// Its end.
    pub finished: Finished,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl SandboxTarget {
    /// Makes one; `program` is the path of `sandbox-probe`. None, having said so, without root.
    ///
    /// # Errors
    /// When it can't be made although we are root.
    pub fn new(test: &str, program: &str) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return Ok(None);
        }
        let dir = tempfile::tempdir_in("/var/tmp")?;
        let runner = Runner::with_program(Path::new(program))?;
        let mut tree = TargetTree::new(dir.path())?;
        tree.begin_layer("base")?;
        // Hard links: layers below the top are never written to, and unpacking for each test would take seconds.
        let upper = &tree.layers()[0].upper;
        let linked = Command::new("cp")
            .args(["-al", "--no-target-directory"])
            .arg(minimal_debian()?)
            .arg(upper)
            .status()?;
        ensure!(linked.success(), "link the minimal Debian");
        tree.begin_layer("test")?;
        Ok(Some(Self { runner, tree, dir }))
    }

    /// Runs a shell script in the target.
    ///
    /// # Errors
    /// Those of the runner.
    pub fn shell(&mut self, script: &str) -> Result<Outcome> {
        self.run(&shell_command(script))
    }

    /// Runs a command in the target.
    ///
    /// # Errors
    /// Those of the runner.
    pub fn run(&mut self, command: &SandboxCommand) -> Result<Outcome> {
        let source = TargetSource::Layers(self.tree.sandbox_root()?);
        record(|on_line| self.runner.inside(&source, command, on_line))
    }
}

/// Runs something with a line callback and keeps what it said.
///
/// # Errors
/// Those of `run`.
pub fn record(run: impl FnOnce(&mut dyn FnMut(Stream, &str)) -> Result<Finished>) -> Result<Outcome> {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let finished = run(&mut |stream, line| {
        let text = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
        text.push_str(line);
        text.push('\n');
    })?;
    Ok(Outcome { finished, stdout, stderr })
}

/// `sh -c script` with a bare environment and no extras.
#[must_use]
pub fn shell_command(script: &str) -> SandboxCommand {
    SandboxCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: bare_environment(),
        cwd: "/".into(),
        stdin: Input::Null,
        timeout: None,
        extras: Extras::default(),
        limits: Limits::default(),
    }
}

/// What a command needs to find its tools.
#[must_use]
pub fn bare_environment() -> BTreeMap<String, String> {
    let pairs = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("LC_ALL", "C")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// A directory with a minimal Debian 12, made once per machine, and not to be changed.
fn minimal_debian() -> Result<PathBuf> {
    fs::create_dir_all(CACHE)?;
    let lock = File::create(Path::new(CACHE).join("lock"))?;
    lock.lock()?;
    let [dir, partial_dir, tar, partial_tar] =
        ["minbase-bookworm", "partial", "minbase-bookworm.tar", "partial.tar"]
            .map(|name| Path::new(CACHE).join(name));
    if !tar.exists() {
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--variant=minbase", "bookworm"]).arg(&partial_tar).arg(MIRROR);
        ensure!(command.status().context("start mmdebstrap")?.success(), "mmdebstrap failed");
        fs::rename(partial_tar, &tar)?;
    }
    if !dir.exists() {
        fs::remove_dir_all(&partial_dir)
            .or_else(|error| if partial_dir.exists() { Err(error) } else { Ok(()) })?;
        fs::create_dir(&partial_dir)?;
        let mut command = Command::new("tar");
        command.arg("-xf").arg(&tar).arg("-C").arg(&partial_dir).args(["--xattrs", "--xattrs-include=*"]);
        ensure!(command.status()?.success(), "unpack the minimal Debian");
        fs::rename(partial_dir, &dir)?;
    }
    Ok(dir)
}
