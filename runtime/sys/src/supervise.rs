//! Owns the shell around a whole build: namespaces of its own, so that the death of any part, `kill -9` included, takes
//! every mount, loop device and process with it.
//! Must not know what a build does. Called by the CLI once, before any thread is started.
//!
//! Three processes: the *supervisor* (the one the user started) only passes signals on and waits; the *init* is pid 1 of
//! the new pid namespace and reaps orphans, so that nobody steals the exit status of a command from the engine, which is
//! the third, and the only one that works.
#![expect(unsafe_code, reason = "fork, unshare, close_range")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, fork, setsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::init::{block_signals, wait_as_init};
use crate::{process::Status, signals};

/// Runs `work` in a process of its own, in new mount, pid, ipc and uts namespaces, and returns its exit status
/// (128 + signal number if one killed it).
///
/// In `work` the signals of [`signals`] are caught, and it has no controlling terminal: Ctrl-C reaches it once, from the
/// supervisor, and its commands not at all. Inherited descriptors other than 0 to 2 are not passed to its commands.
/// Call it with a single thread. It can be called again.
///
/// # Errors
/// When the namespaces can't be made (not root, or forbidden by a container).
pub fn run_build(work: impl FnOnce() -> i32) -> Result<i32> {
    close_inherited_on_exec();
    let user_mask = block_signals()?;
    let (life, life_held) = pipe_with(PipeFlags::CLOEXEC).context("pipe")?;
    unshare(UnshareFlags::NEWPID).context("a pid namespace for the build (are you root?)")?;
    // SAFETY: the process has one thread (the caller's duty, documented above), so the child may do anything.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => {
            drop(life);
            let status = wait_as_init(child)?;
            drop(life_held);
            leave_dead_namespace()?;
            // A signal that came too late for the build ends us here.
            user_mask.thread_set_mask().context("restore the signal mask")?;
            Ok(status.code())
        }
        ForkResult::Child => {
            drop(life_held);
            leave(be_init(&life, user_mask, work))
        }
    }
}

/// The init: makes the private world, forks the engine, reaps until it ends.
fn be_init(life: &OwnedFd, user_mask: SigSet, work: impl FnOnce() -> i32) -> Result<i32> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the supervisor")?;
    if is_closed(life)? {
        bail!("the supervisor is gone");
    }
    setsid().context("setsid")?;
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)
        .context("namespaces for the build")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).context("mount /proc for the build")?;
    // SAFETY: still one thread.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => wait_as_init(child).map(Status::code),
        ForkResult::Child => {
            user_mask.thread_set_mask().context("restore the signal mask")?;
            signals::install()?;
            leave(Ok(work()))
        }
    }
}

/// Until then every fork would land in the namespace of the build that has ended, and fail.
fn leave_dead_namespace() -> Result<()> {
    let ours = File::open("/proc/self/ns/pid").context("open our pid namespace")?;
    move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .context("return to our pid namespace")
}

/// Ends this process without running what belongs to the process it was forked from.
fn leave(result: Result<i32>) -> ! {
    let status = result.unwrap_or_else(|error| {
        eprintln!("dibw: {error:#}");
        1
    });
    if let Err(error) = std::io::stdout().flush() {
        tracing::debug!("flush stdout: {error}");
    }
    std::process::exit(status)
}

/// Makes the kernel kill this process, and whatever program it becomes, when its parent ends.
///
/// # Errors
/// When the kernel refuses.
pub fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the parent")
}

/// Whether the other end of a pipe is closed; never waits.
pub(crate) fn is_closed(pipe: &OwnedFd) -> Result<bool> {
    let mut polled = [PollFd::new(pipe, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).context("poll")?;
    Ok(polled[0].revents().contains(PollFlags::HUP))
}

/// `unshare`, with the one reason why it is safe here.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: it is only unsafe with FILES, which is never asked for.
    unsafe { unshare_unsafe(flags) }
}

/// A shell may leave us descriptors; no command of the build shall see them.
fn close_inherited_on_exec() {
    // SAFETY: sets a flag on descriptors, closes nothing. Kernels before 5.11 answer EINVAL, and nothing is lost.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}
