//! Owns the one way by which commands of elements run, in the target and on the host.
//! Must not decide who may run what. Called by the engine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::cgroup::{Group, Groups};
use crate::channel::{Channel, Outputs};
use crate::confined::ConfinedCommand;
use crate::disk_guard::DiskGuard;
use crate::limits::{Exceeded, Limits};
use crate::process::{Bounds, CannotStart, Finished, OnBytes, OnLine, StartFailure, Status, Take, watch};
use crate::sandbox::{Input, SandboxCommand, TargetSource};
use crate::spec::{InsideJob, Job, Launch, OutsideJob, Report, RootSpec};
use crate::userns::{IdRange, UserNamespace};
use crate::watch::Attempt;

/// Runs commands. One per build: its commands share a user namespace.
#[derive(Debug)]
pub struct Runner {
    program: PathBuf,
    userns: UserNamespace,
    groups: Groups,
}

impl Runner {
    /// A runner that re-executes this very program, whose `main` must call [`crate::entry::dispatch`] first.
    ///
    /// # Errors
    /// See [`UserNamespace::create`].
    pub fn new() -> Result<Self> {
        Self::with_program(Path::new("/proc/self/exe"))
    }

    /// As [`Runner::new`] with another program that calls [`crate::entry::dispatch`].
    ///
    /// # Errors
    /// See [`UserNamespace::create`].
    pub fn with_program(program: &Path) -> Result<Self> {
        let userns = UserNamespace::create(program, IdRange::claim()?)?;
        Ok(Self { program: program.to_owned(), userns, groups: Groups::find()? })
    }

    /// The kinds of limits that this machine has no control group for, by their names in the kernel.
    pub fn missing_controllers(&self) -> Vec<&'static str> {
        self.groups.missing()
    }

    /// The user namespace of its sandboxes.
    pub fn userns(&self) -> &UserNamespace {
        &self.userns
    }

    /// Runs a command in the target, `strict` (SANDBOX.md 3.3, V10), and waits until it and all it started are gone.
    ///
    /// # Errors
    /// [`CannotStart`] when the program can't be executed; otherwise a failure of the sandbox itself. A command that
    /// fails, runs late or is interrupted is not an error here: see [`Finished::status`].
    pub fn inside(
        &self,
        target: &TargetSource<'_>,
        command: &SandboxCommand,
        on_line: OnLine<'_>,
    ) -> Result<Finished> {
        self.enter(target, command, Take::Lines(on_line))
    }

    /// As [`Runner::inside`], its output delivered exactly as it was written.
    ///
    /// # Errors
    /// As [`Runner::inside`].
    pub fn inside_exact(
        &self,
        target: &TargetSource<'_>,
        command: &SandboxCommand,
        on_bytes: OnBytes<'_>,
    ) -> Result<Finished> {
        self.enter(target, command, Take::Bytes(on_bytes))
    }

    /// The user of the host who is root in the target's sandbox.
    pub fn id_base(&self) -> u32 {
        self.userns.base()
    }

    fn enter(&self, target: &TargetSource<'_>, command: &SandboxCommand, take: Take<'_>) -> Result<Finished> {
        let mut held = Held::new(&command.stdin, &command.limits, &self.groups)?;
        let root = match target {
            TargetSource::Layers(view) => {
                let limit = command.limits.disk;
                held.disk = limit.map(|limit| DiskGuard::new(view.upper().to_owned(), limit)).transpose()?;
                view.spec()
            }
            TargetSource::Tree(path) => RootSpec::Tree(path.to_path_buf()),
        };
        let mut launch = held.launch(&command.argv, &command.env, &command.cwd)?;
        launch.processes = command.limits.processes.filter(|_| !held.group.counts_processes());
        let job = Job::Inside(InsideJob {
            launch,
            userns: self.userns.proc_path(),
            id_base: self.userns.base(),
            root,
            extras: command.extras.clone(),
        });
        self.run(&job, &command.argv, command.timeout, take, held)
    }

    /// Runs a command on the host's own root, caged as its level says, and waits until it and all it started are gone.
    ///
    /// # Errors
    /// As [`Runner::inside`].
    pub fn outside(&self, command: &ConfinedCommand, on_line: OnLine<'_>) -> Result<Finished> {
        let held = Held::new(&command.stdin, &command.limits, &self.groups)?;
        let job = Job::Outside(OutsideJob {
            launch: held.launch(&command.argv, &command.env, &command.cwd)?,
            level: command.level,
            network: command.network,
            view: command.view.clone(),
            engine_mounts: format!("/proc/{}/ns/mnt", std::process::id()).into(),
        });
        self.run(&job, &command.argv, command.timeout, Take::Lines(on_line), held)
    }

    fn run(
        &self,
        job: &Job,
        argv: &[String],
        timeout: Option<Duration>,
        take: Take<'_>,
        mut held: Held,
    ) -> Result<Finished> {
        tracing::debug!(?job, "run");
        let outputs = match job.is_interactive() {
            true => Outputs { stdout: Stdio::inherit(), stderr: Stdio::inherit() },
            false => Outputs { stdout: Stdio::piped(), stderr: Stdio::piped() },
        };
        let (child, mut channel) = Channel::start(&self.program, job, Some(outputs))?;
        let output = held.output.filter(|_| !job.is_interactive());
        let bounds = Bounds { timeout, output, guard: Some(&mut || held.exceeded()) };
        let (watched, own_status) = watch(child, bounds, take, &mut || channel.hang_up())?;
        // The process is gone, so this never waits. The last report is the one that counts.
        let (mut last, mut kept) = (None, Vec::new());
        while let Some(report) = channel.receive()? {
            match report {
                Report::Kept { path, place } => kept.push((path, place)),
                report => last = Some(report),
            }
        }
        let status = match (watched.status, last) {
            (_, Some(Report::Failed(message))) => bail!("sandbox for {}: {message}", shown(argv)),
            (Some(stopped), _) => stopped,
            (None, Some(Report::Exited(code))) => Status::Exited(code),
            (None, Some(Report::Signalled(signal))) => Status::Signalled(signal),
            (None, Some(Report::CannotStart { errno, exists })) => {
                let program = argv[0].clone();
                return Err(CannotStart { program, reason: StartFailure::from_errno(errno, exists) }.into());
            }
            (None, Some(Report::Ready | Report::Kept { .. }) | None) => {
                bail!("sandbox for {}: it died unexpectedly ({own_status}); out of memory?", shown(argv))
            }
        };
        let attempts = attempts(held.account)?;
        Ok(Finished { status, tail: watched.tail, duration: watched.duration, kept, attempts })
    }
}

/// A command as messages name it: one line, not too long.
fn shown(argv: &[String]) -> String {
    let line: String = argv.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}...`", &line[..end]),
        None => format!("`{line}`"),
    }
}

/// Most characters of a command in a message.
const SHOWN: usize = 80;

/// What is kept for a command until it has ended.
struct Held {
    input: Fed,
    /// Where the keeper writes what was tried and denied. A file and not the channel: nobody reads that while the command runs.
    account: File,
    group: Group,
    disk: Option<DiskGuard>,
    output: Option<u64>,
}

impl Held {
    fn new(input: &Input, limits: &Limits, groups: &Groups) -> Result<Self> {
        let account = memfd_create("account", MemfdFlags::CLOEXEC).context("memfd for the denied calls")?;
        Ok(Self {
            input: Fed::new(input)?,
            account: account.into(),
            group: groups.make(limits),
            disk: None,
            output: limits.output,
        })
    }

    fn launch(&self, argv: &[String], env: &BTreeMap<String, String>, cwd: &Path) -> Result<Launch> {
        check(argv, env)?;
        Ok(Launch {
            argv: argv.to_vec(),
            env: env.clone(),
            cwd: cwd.to_owned(),
            stdin: self.input.proc_path(),
            interactive: matches!(self.input, Fed::Terminal),
            groups: self.group.doors(),
            processes: None,
            account: proc_path(&self.account),
        })
    }

    fn exceeded(&mut self) -> Result<Option<Exceeded>> {
        match (self.group.exceeded(), &mut self.disk) {
            (None, Some(disk)) => disk.exceeded(),
            (exceeded, _) => Ok(exceeded),
        }
    }
}

/// Standard input of a command, kept open until it has ended.
enum Fed {
    Nothing,
    Bytes(File),
    Terminal,
}

impl Fed {
    fn new(input: &Input) -> Result<Self> {
        let bytes = match input {
            Input::Null => return Ok(Self::Nothing),
            Input::Terminal => return Ok(Self::Terminal),
            Input::Bytes(bytes) => bytes,
        };
        let mut file =
            File::from(memfd_create("stdin", MemfdFlags::CLOEXEC).context("memfd for standard input")?);
        file.write_all(bytes).context("fill standard input")?;
        file.rewind().context("rewind standard input")?;
        Ok(Self::Bytes(file))
    }

    fn proc_path(&self) -> Option<PathBuf> {
        match self {
            Self::Nothing => None,
            Self::Bytes(file) => Some(proc_path(file)),
            Self::Terminal => Some(proc_path(&std::io::stdin())),
        }
    }
}

/// What the keeper wrote; nothing when it was killed before it could.
fn attempts(mut account: File) -> Result<Vec<Attempt>> {
    account.rewind().context("rewind the account of denied calls")?;
    let mut text = String::new();
    account.read_to_string(&mut text).context("read the account of denied calls")?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).context("decode the account of denied calls")
}

/// By which name a child of this process can open one of our files.
fn proc_path(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Refuses what no program can be given.
fn check(argv: &[String], env: &BTreeMap<String, String>) -> Result<()> {
    ensure!(argv.first().is_some_and(|program| !program.is_empty()), "a command without a program");
    let has_nul = |text: &String| text.contains('\0');
    ensure!(
        !argv.iter().any(has_nul) && !env.values().any(has_nul),
        "{}: NUL byte in its arguments",
        argv[0]
    );
    let bad_name = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    if let Some(name) = env.keys().find(bad_name) {
        bail!("{}: {name:?} can't be the name of a variable", argv[0]);
    }
    Ok(())
}
