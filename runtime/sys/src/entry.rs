//! Owns what this program does when it was started by itself to make a sandbox: namespaces, mounts, identity, command.
//! Must not read anything but its job, and never returns to the CLI. Called first of all in `main`.
//!
//! Two processes do it. The *keeper* (the one that was started) makes the namespaces and mounts, then answers denied system calls and
//! waits for the end of the *init*, or for the engine to hang up, and tidies. The init is pid 1 of the sandbox: it gives up its
//! rights, starts the command, reaps, and reports. When it ends, the kernel kills all that the command left behind.
#![expect(unsafe_code, reason = "fork, close_range")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::unistd::{ForkResult, fork, setsid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, fchown, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitOptions, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitpid,
};
use rustix::thread::UnshareFlags;

use crate::channel::{Channel, WORD};
use crate::confined::{Level, Network};
use crate::init::{block_signals, wait_as_init};
use crate::process::Status;
use crate::spec::{InsideJob, Job, Launch, OutsideJob, Report};
use crate::supervise::{is_closed, unshare};
use crate::syscalls::Cage;
use crate::watch::Watch;
use crate::{
    domain, handover, inside_root, kept_mounts, launch, loopback, network, outside_root, privileges, seccomp,
    userns,
};

/// Serves a job of [`crate::runner::Runner`] when this process was started for one; otherwise does nothing.
///
/// Call it first in `main`, before any thread, log or argument parser.
pub fn dispatch() -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != WORD {
        return None;
    }
    Some(serve().map_or_else(
        |error| {
            // Without its channel nobody else can be told.
            eprintln!("dibw: sandbox: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn serve() -> Result<()> {
    close_inherited();
    setsid().context("setsid")?;
    let socket = fcntl_dupfd_cloexec(std::io::stdin(), 3).context("take the channel")?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("open /dev/null")?;
    nix::unistd::dup2_stdin(&null).context("close standard input")?;
    let mut channel = Channel::over(UnixStream::from(socket));
    let Some(job) = channel.receive::<Job>()? else { bail!("no job came ({WORD} is for dibw's own use)") };
    rustix::process::umask(Mode::empty());
    let served = match job {
        Job::HoldUserNamespace => userns::hold(&mut channel),
        Job::Inside(job) => inside(&job, &mut channel),
        Job::Outside(job) => outside(&job, &mut channel),
    };
    served.or_else(|error| channel.send(&Report::Failed(format!("{error:#}"))))
}

/// A command in the target.
fn inside(job: &InsideJob, channel: &mut Channel) -> Result<()> {
    let userns = File::open(&job.userns).context("open the build's user namespace")?;
    let files = Files::open(&job.launch)?;
    if !job.launch.interactive {
        own_outputs(files.stdin.as_ref(), job.id_base)?;
    }
    privileges::become_mapped_root(job.id_base)?;
    private_world(UnshareFlags::NEWCGROUP, job.extras.network, job.extras.netns.as_deref())?;
    rustix::system::sethostname(b"localhost").context("sethostname")?;
    let placeholders = inside_root::build(job, userns.as_fd())?;
    // A network that was made for it is for it to use.
    let network = if job.extras.netns.is_some() { Network::Host } else { job.extras.network };
    let cage = Some(Cage::Target(network));
    keep(channel, &job.launch, files, cage, || {
        inside_root::mount_proc()?;
        let outside = job.extras.host.is_some();
        privileges::become_target_root(userns.as_fd(), outside)
    })?;
    inside_root::clean_up(&placeholders)
}

/// A command on the host's own root.
fn outside(job: &OutsideJob, channel: &mut Channel) -> Result<()> {
    let files = Files::open(&job.launch)?;
    let engine_mounts = File::open(&job.engine_mounts).context("open the engine's mount namespace")?;
    private_world(UnshareFlags::empty(), job.network, None)?;
    outside_root::build(job)?;
    let target = job.view.target.clone().unwrap_or_default();
    let mounted_before = match &target.keep {
        Some(_) => kept_mounts::present(&target.root)?,
        None => BTreeSet::new(),
    };
    let cage = match job.level {
        Level::Confined => Some(Cage::Host),
        Level::Host => None,
    };
    keep(channel, &job.launch, files, cage, || {
        outside_root::mount_proc(job.level)?;
        if target.furnished {
            outside_root::furnish(&target.root)?;
        }
        match job.level {
            Level::Confined => privileges::drop_host_capabilities(job.network),
            Level::Host => Ok(()),
        }
    })?;
    let Some(places) = &target.keep else { return Ok(()) };
    for (path, place) in kept_mounts::hand_over(&target.root, places, &mounted_before, engine_mounts.as_fd())?
    {
        channel.send(&Report::Kept { path, place })?;
    }
    Ok(())
}

/// Namespaces of our own; the pid namespace begins with the next fork.
fn private_world(more: UnshareFlags, wanted: Network, netns: Option<&Path>) -> Result<()> {
    let mut flags =
        more | UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWPID;
    match (wanted, netns) {
        (Network::None, None) => flags |= UnshareFlags::NEWNET,
        (Network::None, Some(path)) => network::join(path)?,
        (Network::Host, _) => {}
    }
    unshare(flags).context("make namespaces")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make mounts private")?;
    if flags.contains(UnshareFlags::NEWNET) { loopback::bring_up() } else { Ok(()) }
}

/// Forks the init, which calls `give_up`, filters its system calls if it is caged, and runs the command; waits until the whole
/// sandbox is gone.
fn keep(
    channel: &mut Channel,
    command: &Launch,
    files: Files,
    cage: Option<Cage>,
    give_up: impl FnOnce() -> Result<()>,
) -> Result<()> {
    // Only now: a change of identity would clear it again.
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the engine")?;
    let (life, life_held) = pipe_with(PipeFlags::CLOEXEC).context("pipe")?;
    let (keepers, inits) = UnixStream::pair().context("socket pair")?;
    // SAFETY: this process has one thread.
    let ForkResult::Parent { child } = unsafe { fork() }.context("fork the init of the sandbox")? else {
        drop((life_held, keepers));
        let enter = || {
            join(&files.groups)?;
            give_up()?;
            let listener = cage.map(enclose).transpose()?.flatten();
            // The keeper must be the only one who has it: when the keeper is gone, nothing may wait for an answer.
            handover::give(&inits, listener.as_ref())
        };
        let report = be_init(&life, command, files.stdin, enter)
            .unwrap_or_else(|error| Report::Failed(format!("{error:#}")));
        let code = i32::from(channel.send(&report).is_err());
        std::process::exit(code)
    };
    let child = Pid::from_raw(child.as_raw()).context("a pid from fork")?;
    let pidfd = pidfd_open(child, PidfdFlags::empty()).context("pidfd_open")?;
    drop(inits);
    let listener = handover::take(&keepers)?;
    let mut watch = cage.zip(listener).map(|(cage, listener)| Watch::new(listener, cage));
    wait_or_kill(&pidfd, channel, &mut watch)?;
    // The kernel has killed and reaped every process of the namespace before its init can be waited for.
    waitpid(Some(child), WaitOptions::empty()).context("wait for the init of the sandbox")?;
    drop(life_held);
    let attempts = watch.map(Watch::finish).unwrap_or_default();
    serde_json::to_writer(files.account, &attempts).context("write the account of denied calls")
}

/// What comes last: neither of them could be set up under the other's eyes. Returns the filter's listener.
fn enclose(cage: Cage) -> Result<Option<OwnedFd>> {
    domain::enter(cage)?;
    seccomp::install(&cage.denials(privileges::held()?))
}

/// Answers denied calls and waits for the init; kills it once the engine hangs up or is gone.
fn wait_or_kill(init: &OwnedFd, channel: &Channel, watch: &mut Option<Watch>) -> Result<()> {
    let mut hung_up = false;
    loop {
        let mut polled = vec![PollFd::new(init, PollFlags::IN)];
        polled.extend(watch.iter().map(|watch| PollFd::from_borrowed_fd(watch.descriptor(), PollFlags::IN)));
        if !hung_up {
            polled.push(PollFd::from_borrowed_fd(channel.descriptor(), PollFlags::IN | PollFlags::RDHUP));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        if !ready[0].is_empty() {
            return Ok(());
        }
        if let Some(watch) = watch
            && ready[1].contains(PollFlags::IN)
        {
            watch.answer()?;
        }
        // After the job nothing more is ever sent: whatever arrives is the end.
        if !hung_up && ready.last().is_some_and(|ready| !ready.is_empty()) {
            hung_up = true;
            pidfd_send_signal(init, Signal::KILL).context("kill the sandbox")?;
        }
    }
}

/// The init: its own rights go first, then the command starts.
fn be_init(
    life: &OwnedFd,
    command: &Launch,
    stdin: Option<File>,
    enter: impl FnOnce() -> Result<()>,
) -> Result<Report> {
    block_signals()?;
    enter()?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the keeper")?;
    if is_closed(life)? {
        bail!("the keeper is gone");
    }
    let (failure, tell_failure) = pipe_with(PipeFlags::CLOEXEC).context("pipe")?;
    // SAFETY: this process has one thread.
    let ForkResult::Parent { child } = unsafe { fork() }.context("fork")? else {
        let report = launch::become_command(command, stdin);
        let written = serde_json::to_writer(File::from(tell_failure), &report);
        std::process::exit(if written.is_ok() { 127 } else { 126 })
    };
    drop((tell_failure, stdin));
    // Ends with exec, which closes the pipe, or with a report why not.
    let mut report = Vec::new();
    File::from(failure).read_to_end(&mut report).context("read from the starting command")?;
    let status = wait_as_init(child)?;
    if !report.is_empty() {
        return serde_json::from_slice(&report).context("decode why the command did not start");
    }
    Ok(match status {
        Status::Signalled(signal) => Report::Signalled(signal),
        other => Report::Exited(other.code()),
    })
}

/// What the keeper needs of the engine's files, opened while it still can.
struct Files {
    stdin: Option<File>,
    account: File,
    groups: Vec<File>,
}

impl Files {
    fn open(launch: &Launch) -> Result<Self> {
        let stdin = launch.stdin.as_ref().map(|path| File::open(path).context("open the command's input"));
        let account = File::options().write(true).open(&launch.account);
        let groups = launch.groups.iter().map(|door| {
            let file = File::options().write(true).open(door);
            file.with_context(|| format!("open {}", door.display()))
        });
        Ok(Self {
            stdin: stdin.transpose()?,
            account: account.context("open the account of denied calls")?,
            groups: groups.collect::<Result<_>>()?,
        })
    }
}

/// Puts this process, and so all that it starts, into its control groups.
fn join(groups: &[File]) -> Result<()> {
    groups.iter().try_for_each(|mut door| door.write_all(b"0").context("join a control group"))
}

/// Gives the pipes to root of the target, so that `echo > /dev/stderr` works there, which opens them anew.
fn own_outputs(stdin: Option<&File>, id_base: u32) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(id_base)), Some(Gid::from_raw(id_base)));
    fchown(std::io::stdout(), uid, gid).context("own stdout")?;
    fchown(std::io::stderr(), uid, gid).context("own stderr")?;
    stdin.map_or(Ok(()), |file| fchown(file, uid, gid).context("own stdin"))
}

/// Closes what whoever started this process left open, but for standard input and outputs. Call it first.
pub(crate) fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet; those beyond 2 were left by whoever started it.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0) };
}
