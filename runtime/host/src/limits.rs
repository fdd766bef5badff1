//! Bounds on what a guest may use of the host's time and memory, and which of them was hit.
//!
//! Callers: [`crate::run`] sets them on a store; [`crate::failure`] asks what was hit.

use std::fmt;
use std::time::{Duration, Instant};

use wasmtime::{CallHook, ResourceLimiter};

use crate::bindings::dibw::element::types::Error;
use crate::gate::Halt;

/// Bounds for one hook. Values to start from: SANDBOX.md section 5.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time spent in the guest's own code; host functions have their own time limits.
    pub guest_time: Duration,
    /// Bytes of each linear memory.
    pub memory: usize,
    /// Elements of each table.
    pub table_elements: usize,
    /// Bytes of all log lines together.
    pub log_bytes: usize,
    /// Bytes of one file read or written.
    pub file_bytes: usize,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Time spent in host functions, all together.
    pub host_time: Duration,
    /// Longest time a program in the target may be given.
    pub program_time: Duration,
    /// Bytes of one download into a file of the target.
    pub download_bytes: u64,
    /// Longest time a download may take.
    pub download_time: Duration,
}

const MIB: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            guest_time: Duration::from_secs(5),
            memory: 64 * MIB,
            table_elements: 20_000,
            log_bytes: MIB,
            file_bytes: 16 * MIB,
            host_calls: 100_000,
            host_time: Duration::from_secs(2 * 3600),
            program_time: Duration::from_secs(3600),
            download_bytes: 4 << 30,
            download_time: Duration::from_secs(1800),
        }
    }
}

/// A bound that was hit; prints as a sentence's middle (`memory limit of 64 MiB reached`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Guest code ran too long.
    Time(Duration),
    /// A memory grew too large, in bytes.
    Memory(usize),
    /// A table grew too large, in elements.
    Table(usize),
    /// Calls were nested too deep.
    Stack,
    /// One call carried too much data to the host.
    Copy(usize),
    /// Too much was logged, in bytes.
    Log(usize),
    /// Too many host functions were called.
    Calls(u64),
    /// What host functions did took too long.
    HostTime(Duration),
    /// It is made of too many parts.
    Parts,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time(budget) => {
                write!(f, "time limit of {} s of its own code reached", budget.as_secs_f64())
            }
            Limit::Memory(bytes) => write!(f, "memory limit of {} reached", Size(*bytes)),
            Limit::Table(elements) => write!(f, "table limit of {elements} elements reached"),
            Limit::Stack => f.write_str("stack limit reached (endless recursion?)"),
            Limit::Copy(bytes) => write!(f, "limit of {} in one call reached", Size(*bytes)),
            Limit::Log(bytes) => write!(f, "log limit of {} reached", Size(*bytes)),
            Limit::Calls(calls) => write!(f, "limit of {calls} calls to the host reached"),
            Limit::HostTime(budget) => {
                write!(f, "time limit of {} s for all that it asks for reached", budget.as_secs_f64())
            }
            Limit::Parts => f.write_str("limit of instances, memories or tables reached"),
        }
    }
}

impl std::error::Error for Limit {}

/// Bytes for people.
pub(crate) struct Size(pub(crate) usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= MIB && bytes % MIB == 0 => write!(f, "{} MiB", bytes / MIB),
            bytes if bytes >= 1024 && bytes % 1024 == 0 => write!(f, "{} KiB", bytes / 1024),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// Refuses what is larger than it may be.
pub(crate) fn within(what: &str, bytes: usize, most: usize) -> Result<(), Halt> {
    if bytes > most {
        let why = format!("{what}: {bytes} bytes are more than {}", Size(most));
        return Err(Halt::Guest(Error::Limit(why)));
    }
    Ok(())
}

/// Refuses growth beyond the bounds, and remembers that it did.
///
/// Growth is refused the way a machine without memory would: the guest may cope. Only if it then ends in a trap is the limit the reason.
pub(crate) struct Limiter {
    memory: usize,
    table_elements: usize,
    pub(crate) hit: Option<Limit>,
    pub(crate) peak_memory: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Limiter { memory: limits.memory, table_elements: limits.table_elements, hit: None, peak_memory: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory {
            self.hit = Some(Limit::Memory(self.memory));
            return Ok(false);
        }
        self.peak_memory = self.peak_memory.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            self.hit = Some(Limit::Table(self.table_elements));
            return Ok(false);
        }
        Ok(true)
    }

    // A component is the element's module and a few made by the componentizer (shim, fix-up).
    fn instances(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        4
    }
}

/// Stop watches: one runs while the guest's own code does, the other while a host function does.
pub(crate) struct GuestClock {
    spent: Duration,
    running_since: Option<Instant>,
    budget: Duration,
    hosted: Duration,
    hosting_since: Option<Instant>,
}

impl GuestClock {
    pub(crate) fn new(budget: Duration) -> Self {
        GuestClock {
            spent: Duration::ZERO,
            running_since: None,
            budget,
            hosted: Duration::ZERO,
            hosting_since: None,
        }
    }

    pub(crate) fn observe(&mut self, transition: CallHook) {
        self.spent = self.spent();
        self.running_since = transition.exiting_host().then(Instant::now);
        self.hosted = self.hosted();
        self.hosting_since = matches!(transition, CallHook::CallingHost).then(Instant::now);
    }

    /// Time in host functions, the one under way included.
    pub(crate) fn hosted(&self) -> Duration {
        self.hosted + self.hosting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn spent(&self) -> Duration {
        self.spent + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn check(&self) -> Result<(), Limit> {
        if self.spent() > self.budget { Err(Limit::Time(self.budget)) } else { Ok(()) }
    }
}
