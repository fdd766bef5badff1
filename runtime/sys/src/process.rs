//! Owns how a running command is watched: its output line by line, its time limit, its interruption, its end.
//! Must not know namespaces or what the command is for.
//! Called by `runner` for commands in sandboxes, and by the engine (`ToolCommand`) for host tools that talk while they
//! work. Short host tools of the disk half use `tool` instead.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::limits::Exceeded;
use crate::lines::Lines;
use crate::signals;
use crate::tool::TOOL_PATH;
use crate::watch::Attempt;

/// How long a command that was told to stop may take before its first process is killed outright.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Which output stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It returned this exit status (0 to 255).
    Exited(i32),
    /// A signal of this number killed it.
    Signalled(i32),
    /// It was killed because its time was up.
    TimedOut,
    /// It was killed because dibw was asked to stop (see [`signals`]).
    Interrupted,
    /// It was killed because it wanted more than it may have.
    Exceeded(Exceeded),
}

impl Status {
    /// The number a shell would show: the exit status, 128 + signal, 124 for a time limit, 130 for an interruption, 137 for another
    /// limit.
    pub fn code(self) -> i32 {
        match self {
            Status::Exited(code) => code,
            Status::Signalled(signal) => 128 + signal,
            Status::TimedOut => 124,
            Status::Interrupted => 130,
            Status::Exceeded(_) => 137,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exit status {code}"),
            Status::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Status::TimedOut => write!(f, "killed: time limit reached"),
            Status::Interrupted => write!(f, "killed: interrupted"),
            Status::Exceeded(exceeded) => write!(f, "killed: {exceeded}"),
        }
    }
}

/// What is known of a command that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub status: Status,
    /// Its last 20 lines, both streams, as they arrived; empty when its output was taken as bytes.
    pub tail: Vec<String>,
    /// From start to end.
    pub duration: Duration,
    /// What it left mounted where that is kept ([`crate::confined::Keep`]): where, and where it is now.
    pub kept: Vec<(PathBuf, PathBuf)>,
    /// The system calls that its cage denied.
    pub attempts: Vec<Attempt>,
}

impl Finished {
    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.status == Status::Exited(0)
    }
}

/// Receives each line of output while the command runs (lossy UTF-8, no line end, at most 8 KiB).
pub type OnLine<'a> = &'a mut dyn FnMut(Stream, &str);

/// Receives output exactly as the command wrote it, in pieces as they arrive.
pub type OnBytes<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// Who receives the output of a command.
pub(crate) enum Take<'a> {
    /// Line by line; the last ones are kept as the tail.
    Lines(OnLine<'a>),
    /// As written; there is no tail.
    Bytes(OnBytes<'a>),
    /// Nobody.
    Nothing,
}

/// Why a command could not be started; found in the error chain with `downcast_ref`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotStart {
    /// `argv[0]` as given.
    pub program: String,
    /// The reason.
    pub reason: StartFailure,
}

/// The reasons of [`CannotStart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// No such file, by its path or on `PATH`.
    NotFound,
    /// The file is there, but the interpreter of its `#!` line, or its dynamic loader, is not.
    InterpreterMissing,
    /// Not executable, or no permission.
    NotPermitted,
    /// Neither a binary of this machine nor a script with a `#!` line.
    NotAProgram,
    /// Any other system error.
    Other(i32),
}

impl StartFailure {
    /// The reason behind an `execve` error number; `exists` says whether the file itself was found.
    pub(crate) fn from_errno(errno: i32, exists: bool) -> Self {
        match errno {
            libc::ENOENT if exists => Self::InterpreterMissing,
            libc::ENOENT | libc::ENOTDIR => Self::NotFound,
            libc::EACCES | libc::EPERM => Self::NotPermitted,
            libc::ENOEXEC => Self::NotAProgram,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = &self.program;
        match self.reason {
            StartFailure::NotFound => write!(f, "{program}: no such program"),
            StartFailure::InterpreterMissing => {
                write!(f, "{program}: its interpreter (the #! line or the dynamic loader) is missing")
            }
            StartFailure::NotPermitted => write!(f, "{program}: not executable"),
            StartFailure::NotAProgram => {
                write!(f, "{program}: neither a script with a #! line nor a binary for this machine")
            }
            StartFailure::Other(errno) => {
                write!(f, "{program}: {}", std::io::Error::from_raw_os_error(errno))
            }
        }
    }
}

impl std::error::Error for CannotStart {}

/// A host tool run as root on the host itself, with nothing inherited: `LC_ALL=C`, a fixed `PATH`, no standard input,
/// a process group of its own.
#[derive(Clone, Debug, Default)]
pub struct ToolCommand {
    /// Program name or path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// More variables, over the fixed ones.
    pub env: BTreeMap<String, String>,
    /// Directory to run in; `/` when none is given.
    pub cwd: Option<PathBuf>,
    /// Time limit.
    pub timeout: Option<Duration>,
}

impl ToolCommand {
    /// Runs the tool to its end, every line going to `on_line`.
    ///
    /// # Errors
    /// [`CannotStart`], or a failure to watch it. A tool that fails is not an error here: see [`Finished::status`].
    pub fn run(&self, on_line: OnLine<'_>) -> Result<Finished> {
        tracing::debug!(program = ?self.program, args = ?self.args, "run tool");
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().env("LC_ALL", "C").env("PATH", TOOL_PATH).envs(&self.env);
        command.current_dir(self.cwd.as_deref().unwrap_or("/".as_ref())).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            let program = self.program.to_string_lossy().into_owned();
            let reason = StartFailure::from_errno(error.raw_os_error().unwrap_or(libc::EIO), false);
            CannotStart { program, reason }
        })?;
        let group = Pid::from_child(&child);
        let mut stop = || match kill_process_group(group, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("kill process group"),
        };
        let bounds = Bounds { timeout: self.timeout, output: None, guard: None };
        let (finished, status) = watch(child, bounds, Take::Lines(on_line), &mut stop)?;
        Ok(Finished {
            status: finished.status.unwrap_or(status),
            tail: finished.tail,
            duration: finished.duration,
            kept: Vec::new(),
            attempts: Vec::new(),
        })
    }
}

/// What `watch` saw. `status` is set when the command was stopped, and is then why.
pub(crate) struct Watched {
    pub status: Option<Status>,
    pub tail: Vec<String>,
    pub duration: Duration,
}

/// Says, whenever it is asked, whether a command has exceeded a limit that is measured elsewhere.
pub(crate) type Guard<'a> = &'a mut dyn FnMut() -> Result<Option<Exceeded>>;

/// How often a [`Guard`] is asked.
const GUARD_PAUSE: Duration = Duration::from_millis(50);

/// What a watched command may not exceed.
pub(crate) struct Bounds<'a> {
    /// Time from start to end.
    pub timeout: Option<Duration>,
    /// Bytes of output.
    pub output: Option<u64>,
    /// Anything else.
    pub guard: Option<Guard<'a>>,
}

impl Bounds<'_> {
    /// The limit that was reached, if one was.
    fn exceeded(&mut self, written: u64) -> Result<Option<Exceeded>> {
        if let Some(limit) = self.output.filter(|limit| written > *limit) {
            return Ok(Some(Exceeded::Output(limit)));
        }
        self.guard.as_mut().map_or(Ok(None), |guard| guard())
    }
}

/// Waits for `child` (stdout and stderr piped) to end, delivering its output, and returns its own status too.
/// `stop` is called once, when a limit is reached or dibw is interrupted.
pub(crate) fn watch(
    mut child: Child,
    mut bounds: Bounds<'_>,
    mut take: Take<'_>,
    stop: &mut dyn FnMut() -> Result<()>,
) -> Result<(Watched, Status)> {
    let started = Instant::now();
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("pidfd_open")?;
    let outputs = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let mut lines = Lines::new(outputs)?;
    let mut deadline = bounds.timeout.map(|limit| started + limit);
    let (mut why, mut written) = (None, 0);
    loop {
        let pause = bounds.guard.is_some().then(|| Instant::now() + GUARD_PAUSE);
        let wake = [deadline, pause].into_iter().flatten().min();
        let ready = wait_ready(&pidfd, &lines, why.is_none(), wake)?;
        written += lines.drain(&mut take)?;
        if ready.ended {
            break;
        }
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let reason = match (ready.interrupted, late, why) {
            (true, _, _) => Some(Status::Interrupted),
            (false, true, _) => Some(Status::TimedOut),
            (false, false, None) => bounds.exceeded(written)?.map(Status::Exceeded),
            (false, false, Some(_)) => None,
        };
        let Some(reason) = reason else { continue };
        if why.is_none() {
            why = Some(reason);
            if matches!(reason, Status::Exceeded(_)) {
                // It may be what it says that is too much.
                take = Take::Nothing;
            }
            deadline = Some(Instant::now() + STOP_PATIENCE);
            stop()?;
        } else {
            tracing::warn!("a command did not stop in {STOP_PATIENCE:?}; killing it");
            child.kill().context("kill")?;
            deadline = None;
        }
    }
    // What the pipes still hold. A process that outlived the command may keep them open for ever, so no waiting.
    written += lines.drain(&mut take)?;
    if why.is_none() {
        why = bounds.exceeded(written)?.map(Status::Exceeded);
    }
    let tail = lines.finish(&mut take);
    let exit = child.wait().context("wait")?;
    Ok((Watched { status: why, tail, duration: started.elapsed() }, status_of(exit)))
}

struct Ready {
    ended: bool,
    interrupted: bool,
}

/// Sleeps until the command ended, wrote, it is time, or (when `interruptible`) dibw was interrupted.
fn wait_ready(
    pidfd: &OwnedFd,
    lines: &Lines,
    interruptible: bool,
    deadline: Option<Instant>,
) -> Result<Ready> {
    let wake = if interruptible && !signals::shielded() { signals::wake_descriptor() } else { None };
    let mut polled = vec![PollFd::new(pidfd, PollFlags::IN)];
    polled.extend(wake.iter().map(|wake| PollFd::from_borrowed_fd(*wake, PollFlags::IN)));
    polled.extend(lines.open_descriptors().map(|fd| PollFd::new(fd, PollFlags::IN)));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left
        .map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
    match poll(&mut polled, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    Ok(Ready {
        ended: !polled[0].revents().is_empty(),
        interrupted: wake.is_some() && !polled[1].revents().is_empty(),
    })
}

fn status_of(exit: std::process::ExitStatus) -> Status {
    use std::os::unix::process::ExitStatusExt;
    exit.code().map_or_else(|| Status::Signalled(exit.signal().unwrap_or(0)), Status::Exited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ToolCommand {
        ToolCommand { program: "sh".into(), args: vec!["-c".into(), script.into()], ..ToolCommand::default() }
    }

    #[test]
    fn ends_are_told_apart() {
        for (script, status) in [
            ("exit 0", Status::Exited(0)),
            ("exit 7", Status::Exited(7)),
            ("kill -9 $$", Status::Signalled(9)),
            ("sleep 1000 & wait", Status::TimedOut),
        ] {
            let command = ToolCommand { timeout: Some(Duration::from_millis(300)), ..shell(script) };
            assert_eq!(command.run(&mut |_, _| {}).unwrap().status, status, "{script}");
        }
    }

    #[test]
    fn lines_arrive_by_stream_and_the_tail_keeps_twenty() {
        let mut seen = Vec::new();
        let finished = shell("echo one; echo two >&2; printf three")
            .run(&mut |s, l| seen.push((s, l.to_owned())))
            .unwrap();
        seen.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
        let expected = [(Stream::Stdout, "one"), (Stream::Stdout, "three"), (Stream::Stderr, "two")];
        assert_eq!(seen, expected.map(|(stream, line)| (stream, line.to_owned())));
        assert_eq!(finished.tail.len(), 3);
        let finished = shell("seq 30").run(&mut |_, _| {}).unwrap();
        assert_eq!(finished.tail, (11..=30).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_hold_us() {
        let finished = shell("sleep 5 & echo $!").run(&mut |_, _| {}).unwrap();
        assert_eq!(finished.status, Status::Exited(0));
        assert!(finished.duration < Duration::from_secs(4));
        let pid: i32 = finished.tail[0].parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn missing_program_is_typed() {
        let command = ToolCommand { program: "no-such-tool".into(), ..ToolCommand::default() };
        let error = command.run(&mut |_, _| {}).unwrap_err();
        assert_eq!(error.downcast_ref::<CannotStart>().unwrap().reason, StartFailure::NotFound);
    }
}
