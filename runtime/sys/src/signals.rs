//! Owns what SIGINT, SIGTERM and SIGHUP do to a build: the first one is remembered and wakes whoever waits for a command.
//! Must not unwind anything itself: that is the engine's, in order. Further signals change nothing, so that an impatient
//! second Ctrl-C can't break the unwinding.
//! Called by `supervise` (installs), `process` (waits) and the engine (asks between steps).
#![expect(unsafe_code, reason = "sigaction, and a handler limited to async-signal-safe calls")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use anyhow::{Context, Result};
pub use nix::sys::signal::Signal;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
use rustix::event::{EventfdFlags, eventfd};

/// The signals that ask a build to stop.
pub const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

static FIRST: AtomicI32 = AtomicI32::new(0);
static WAKE_RAW: AtomicI32 = AtomicI32::new(-1);
static WAKE: OnceLock<OwnedFd> = OnceLock::new();
static SHIELDS: AtomicUsize = AtomicUsize::new(0);

/// Makes the three signals set the flag of [`interrupted`] instead of killing the process.
///
/// # Errors
/// When the kernel refuses a descriptor or a handler.
pub fn install() -> Result<()> {
    if WAKE.get().is_none() {
        let event =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd for signals")?;
        WAKE_RAW.store(event.as_raw_fd(), Ordering::SeqCst);
        WAKE.set(event).map_err(|_| anyhow::anyhow!("signal handlers were installed twice at once"))?;
    }
    let action = SigAction::new(SigHandler::Handler(remember), SaFlags::SA_RESTART, SigSet::empty());
    for signal in STOPPING {
        // SAFETY: `remember` touches only atomics and calls write(2), both async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("install a handler for {signal}"))?;
    }
    Ok(())
}

/// The first stopping signal that arrived since [`install`], if any.
pub fn interrupted() -> Option<Signal> {
    Signal::try_from(FIRST.load(Ordering::SeqCst)).ok()
}

/// Lets the process end quietly when whoever reads its output goes away, as programs that only print do (`dibw element list | head`).
///
/// # Errors
/// When the kernel refuses.
pub fn end_with_the_reader() -> Result<()> {
    restore_default_action(Signal::SIGPIPE)
}

/// Gives a signal its default action back, for a process about to become another program.
pub(crate) fn restore_default_action(signal: Signal) -> Result<()> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(signal, &action) }.map(drop).with_context(|| format!("restore {signal}"))
}

/// While one of these lives, commands run to their end although dibw was interrupted: for unwinding.
#[derive(Debug)]
pub struct Shield(());

impl Shield {
    /// Raises a shield. They nest.
    #[must_use]
    pub fn raise() -> Self {
        SHIELDS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        SHIELDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a [`Shield`] is raised.
pub(crate) fn shielded() -> bool {
    SHIELDS.load(Ordering::SeqCst) > 0
}

/// Readable, and staying so, once interrupted. None before [`install`].
pub(crate) fn wake_descriptor() -> Option<BorrowedFd<'static>> {
    WAKE.get().map(std::os::fd::AsFd::as_fd)
}

extern "C" fn remember(signal: libc::c_int) {
    // Only the first counts; a failed exchange means one is remembered already.
    if FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        let one = 1u64.to_ne_bytes();
        // SAFETY: write(2) is async-signal-safe, the buffer lives on this stack, and the descriptor is never closed
        // (it is kept in a static). A failed write leaves the flag set, which is looked at between commands anyway.
        unsafe { libc::write(WAKE_RAW.load(Ordering::SeqCst), one.as_ptr().cast(), one.len()) };
    }
}
