//! Owns being the first process of a pid namespace: reap every orphan, pass signals on, end with the one child's status.
//! Must not know what the child is. Called by `supervise` for a build and by `entry` for a sandboxed command.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process::Status;
use crate::signals::STOPPING;

/// The signals [`wait_as_init`] waits for. Block them before forking the child, and give the child its old mask back.
pub(crate) fn block_signals() -> Result<SigSet> {
    let old = SigSet::thread_get_mask().context("signal mask")?;
    waited_for().thread_block().context("block signals")?;
    Ok(old)
}

/// Waits until `child` ends. Meanwhile reaps whatever else is our child, and passes stopping signals on to `child`.
///
/// # Errors
/// Only for what cannot happen with a child of our own.
pub(crate) fn wait_as_init(child: Pid) -> Result<Status> {
    let signals = waited_for();
    loop {
        if let Some(status) = reap(child)? {
            return Ok(status);
        }
        match signals.wait().context("wait for a signal")? {
            Signal::SIGCHLD => {}
            // A child that is gone by now is seen at the next turn: SIGCHLD is pending.
            signal => match kill(child, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("pass a signal on"),
            },
        }
    }
}

/// Reaps all that ended; the status of `child` when it was among them.
fn reap(child: Pid) -> Result<Option<Status>> {
    let mut found = None;
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Status::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Status::Signalled(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(found),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error).context("reap"),
        };
        if pid == child {
            found = Some(status);
        }
    }
}

fn waited_for() -> SigSet {
    let mut set = SigSet::from_iter(STOPPING);
    set.add(Signal::SIGCHLD);
    set
}
