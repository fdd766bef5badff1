//! Worker threads whose results come back in the order the jobs went in.
//!
//! Owns threads and bounded queues. Must not know what a job is. Used by the qcow2 writer and by the parallel
//! compressors, which both need the same bytes whatever the number of threads.
//!
//! Job `k` always goes to lane `k % lanes`, so the oldest result is always in one known queue: order costs no
//! sorting and no buffer. At most `DEPTH` jobs wait in each lane, which bounds the memory.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

/// Jobs that may wait in one lane. Two keep a worker busy while the caller takes results; more only cost memory.
const DEPTH: usize = 3;

/// A fixed set of worker threads turning `Job`s into `Output`s, in order.
pub(crate) struct Workers<Job, Output> {
    lanes: Vec<Lane<Job, Output>>,
    submitted: usize,
    taken: usize,
}

struct Lane<Job, Output> {
    /// `None` once the lane is closed: dropping the sender is what ends the thread.
    jobs: Option<SyncSender<Job>>,
    outputs: Receiver<Output>,
    thread: Option<JoinHandle<()>>,
}

impl<Job: Send + 'static, Output: Send + 'static> Workers<Job, Output> {
    /// Starts `threads` workers (at least one); `make` is called once for each, to give it its own state.
    ///
    /// # Errors
    /// When a thread cannot be started, or when `make` fails.
    pub(crate) fn start<Work>(threads: usize, mut make: impl FnMut() -> Result<Work>) -> Result<Self>
    where
        Work: FnMut(Job) -> Output + Send + 'static,
    {
        let mut lanes = Vec::with_capacity(threads.max(1));
        for number in 0..threads.max(1) {
            let mut work = make()?;
            let (jobs, incoming) = sync_channel::<Job>(DEPTH);
            let (outgoing, outputs) = sync_channel(DEPTH);
            let thread = std::thread::Builder::new()
                .name(format!("dibw-image-{number}"))
                .spawn(move || {
                    for job in incoming {
                        // The caller is gone (an error elsewhere): nobody wants the rest.
                        if outgoing.send(work(job)).is_err() {
                            break;
                        }
                    }
                })
                .context("cannot start a worker thread")?;
            lanes.push(Lane { jobs: Some(jobs), outputs, thread: Some(thread) });
        }
        Ok(Workers { lanes, submitted: 0, taken: 0 })
    }

    /// Whether the queues are full, so that a result must be taken before the next job is submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.submitted - self.taken >= self.lanes.len() * DEPTH
    }

    /// Hands a job to the next lane. Call only while not [full](Self::is_full), or it waits for its lane.
    ///
    /// # Errors
    /// When the worker has died.
    pub(crate) fn submit(&mut self, job: Job) -> Result<()> {
        let lane = self.submitted % self.lanes.len();
        let jobs =
            self.lanes[lane].jobs.as_ref().ok_or_else(|| anyhow!("the workers are already stopped"))?;
        jobs.send(job).map_err(|_| anyhow!("a worker thread ended early"))?;
        self.submitted += 1;
        Ok(())
    }

    /// Waits for the oldest result not yet taken; `None` when there is none.
    ///
    /// # Errors
    /// When the worker has died.
    pub(crate) fn take(&mut self) -> Result<Option<Output>> {
        if self.taken == self.submitted {
            return Ok(None);
        }
        let lane = self.taken % self.lanes.len();
        let output = self.lanes[lane].outputs.recv().map_err(|_| anyhow!("a worker thread ended early"))?;
        self.taken += 1;
        Ok(Some(output))
    }
}

impl<Job, Output> Drop for Workers<Job, Output> {
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            lane.jobs = None;
        }
        for mut lane in self.lanes.drain(..) {
            // A worker blocked on a full result queue only ends once that queue is gone.
            drop(lane.outputs);
            if let Some(thread) = lane.thread.take() {
                // A panic was already reported to whoever waited for the result.
                drop(thread.join());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 7] {
            let mut workers =
                Workers::start(threads, || Ok(|job: usize| job * job)).expect("threads can be started");
            let mut results = Vec::new();
            for job in 0..1000 {
                if workers.is_full() {
                    results.extend(workers.take().expect("alive"));
                }
                workers.submit(job).expect("alive");
            }
            while let Some(result) = workers.take().expect("alive") {
                results.push(result);
            }
            assert_eq!(results, (0..1000).map(|job| job * job).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_dead_worker_is_an_error_and_dropping_early_does_not_hang() {
        let mut workers = Workers::start(2, || {
            Ok(|job: usize| {
                assert!(job != 1, "a panic on purpose");
                job
            })
        })
        .expect("threads can be started");
        for job in 0..4 {
            // The lane of job 1 may already be dead when job 3 is handed in.
            drop(workers.submit(job));
        }
        assert_eq!(workers.take().expect("job 0 is fine"), Some(0));
        assert!(workers.take().is_err());
    }
}
