//! Owns how much a command may use, and how it is told that it wanted more.
//! Must not enforce anything: `cgroup`, `process` and `disk_guard` do. Written by the engine.

use std::fmt;

use anyhow::Result;

use crate::probe;

/// What a command, with all that it starts, may use. Nothing is limited by default; [`Limits::usual`] has good values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, files in memory included; there is no swap beside it.
    pub memory: Option<u64>,
    /// Processes and threads at one time.
    pub processes: Option<u64>,
    /// Processor time per time, in percent of one processor: 150 is one and a half. It slows down and never ends a command.
    pub cpu: Option<u32>,
    /// Bytes on disk by which the layer that the command writes to may grow. Only for commands in the layers of a target: the file
    /// systems of an image have a size of their own.
    pub disk: Option<u64>,
    /// Bytes on standard output and error together.
    pub output: Option<u64>,
}

/// Processes and threads of a command unless told otherwise: many times what the largest package needs.
pub const USUAL_PROCESSES: u64 = 4096;
/// Bytes of output unless told otherwise: a build of a kernel with all its warnings says less.
pub const USUAL_OUTPUT: u64 = 64 << 20;

impl Limits {
    /// Values for this machine: 80 % of its memory, [`USUAL_PROCESSES`], [`USUAL_OUTPUT`].
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn usual() -> Result<Self> {
        let mebibytes = (probe::total_memory()? >> 20) * 4 / 5;
        Ok(Self {
            memory: Some(mebibytes << 20),
            processes: Some(USUAL_PROCESSES),
            cpu: None,
            disk: None,
            output: Some(USUAL_OUTPUT),
        })
    }
}

/// A limit that was reached, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// [`Limits::memory`].
    Memory(u64),
    /// [`Limits::processes`].
    Processes(u64),
    /// [`Limits::disk`].
    Disk(u64),
    /// [`Limits::output`].
    Output(u64),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exceeded::Memory(bytes) => write!(f, "memory limit of {} reached", exactly(*bytes)),
            Exceeded::Processes(count) => write!(f, "limit of {count} processes reached"),
            Exceeded::Disk(bytes) => write!(f, "disk limit of {} reached", exactly(*bytes)),
            Exceeded::Output(bytes) => write!(f, "output limit of {} reached", exactly(*bytes)),
        }
    }
}

/// In the largest unit that loses nothing.
fn exactly(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, bits)| bytes >> bits > 0 && bytes >> bits << bits == bytes);
    whole.map_or_else(|| format!("{bytes} bytes"), |(unit, bits)| format!("{} {unit}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_value() {
        let cases = [
            (Exceeded::Memory(2 << 30), "memory limit of 2 GiB reached"),
            (Exceeded::Memory(1_536 << 20), "memory limit of 1536 MiB reached"),
            (Exceeded::Processes(4096), "limit of 4096 processes reached"),
            (Exceeded::Disk(1), "disk limit of 1 bytes reached"),
            (Exceeded::Output(64 << 20), "output limit of 64 MiB reached"),
            (Exceeded::Output(0), "output limit of 0 bytes reached"),
        ];
        for (exceeded, text) in cases {
            assert_eq!(exceeded.to_string(), text);
        }
    }
}
