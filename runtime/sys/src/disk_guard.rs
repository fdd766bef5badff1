//! Owns noticing that the layer a command writes to has grown too much.
//! Must not stop anybody. Called by `runner` while the command runs.
//!
//! A project quota would be exact, and needs a file system mounted for it. Here the layer is measured, but only once the whole file
//! system has lost that much space, so that it costs nothing as long as nobody writes much.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::limits::Exceeded;
use crate::probe::free_space;
use crate::tree_walk::tree_usage;

/// A measurement may take this part of the time.
const SHARE: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// A watched directory.
#[derive(Debug)]
pub(crate) struct DiskGuard {
    dir: PathBuf,
    limit: u64,
    free_at_start: u64,
    kib_at_start: u64,
    next: Instant,
}

impl DiskGuard {
    /// Allows `dir` to grow by `limit` bytes from now on.
    pub fn new(dir: PathBuf, limit: u64) -> Result<Self> {
        let (free_at_start, kib_at_start) = (free_space(&dir)?, tree_usage(&dir)?.kib());
        Ok(Self { dir, limit, free_at_start, kib_at_start, next: Instant::now() })
    }

    /// Whether it has grown more.
    pub fn exceeded(&mut self) -> Result<Option<Exceeded>> {
        let began = Instant::now();
        if began < self.next || self.free_at_start.saturating_sub(free_space(&self.dir)?) <= self.limit {
            return Ok(None);
        }
        // What is removed while it is measured does not count.
        let kib = tree_usage(&self.dir).map_or(0, |usage| usage.kib());
        self.next = Instant::now() + (began.elapsed() * SHARE).max(SHORTEST_PAUSE);
        let grown = kib.saturating_sub(self.kib_at_start).saturating_mul(1024);
        Ok((grown > self.limit).then_some(Exceeded::Disk(self.limit)))
    }
}
