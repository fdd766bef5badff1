//! Copies layers into the cache beside the build, on a thread of its own: a layer that is done does not change any more.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Error, Result, anyhow};

use dibw_sys::observed::Reads;

use super::store::{Entry, NewEntry, Store};

/// One layer to keep.
struct Job {
    new: NewEntry,
    entry: Entry,
    upper: Option<PathBuf>,
    reads: Option<Reads>,
}

/// The thread.
pub(super) struct Saver {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<Vec<Error>>>,
}

impl Saver {
    /// Starts it.
    ///
    /// # Errors
    /// When there can't be another thread.
    pub fn start(store: Store) -> Result<Self> {
        let (jobs, incoming) = channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("dibw-layers".into())
            .spawn(move || incoming.into_iter().filter_map(|job| save(&store, job).err()).collect())
            .context("starting a thread")?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has a layer kept; `upper` must stay as it is until [`Saver::finish`].
    pub fn save(&self, new: NewEntry, entry: Entry, upper: Option<PathBuf>, reads: Option<Reads>) {
        // Once it was finished, nothing is kept.
        if let Some(jobs) = &self.jobs
            && jobs.send(Job { new, entry, upper, reads }).is_err()
        {
            tracing::debug!("the thread that keeps layers is gone");
        }
    }

    /// Waits for everything to be kept, and gives what went wrong.
    pub fn finish(&mut self) -> Vec<Error> {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return Vec::new() };
        thread.join().unwrap_or_else(|_| vec![anyhow!("the thread that keeps layers panicked")])
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        for error in self.finish() {
            tracing::warn!("a layer is not kept: {error:#}");
        }
    }
}

fn save(store: &Store, job: Job) -> Result<()> {
    let Job { new, mut entry, upper, reads } = job;
    if let Some(reads) = reads {
        new.store_reads(&reads)?;
    }
    if let Some(upper) = upper {
        let (tree, bytes) = new.store_tree(&upper)?;
        entry.tree = Some(tree);
        entry.bytes = bytes;
    }
    store.commit(&new, &entry)
}
