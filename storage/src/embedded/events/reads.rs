//! The threads that read: the index may wait for the disk, so no runtime's thread may call it.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::spawn;
use super::tables::Tables;
use crate::error::StoreError;

/// Threads that read.
const READERS: usize = 2;
/// Reads that may wait; one more is refused.
const READS_QUEUED_MAX: usize = 8_192;

type Job = Box<dyn FnOnce(&Tables) + Send>;

pub(super) struct Readers {
    /// Absent while they are being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(tables: &Arc<Tables>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>(READS_QUEUED_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let mut this = Self { jobs: Some(jobs), threads: Vec::new() };
        for _ in 0..READERS {
            let (queue, tables) = (Arc::clone(&queue), Arc::clone(tables));
            let run = move || {
                loop {
                    // The lock is held while waiting and not while working.
                    let job = queue.lock().blocking_recv();
                    let Some(job) = job else { return };
                    job(&tables);
                }
            };
            this.threads.push(spawn("events-read", run)?);
        }
        Ok(this)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tables| {
            // The caller may have stopped waiting.
            drop(answer.send(job(tables)));
        });
        match self.jobs.as_ref().ok_or(StoreError::Closed)?.try_send(job) {
            Ok(()) => answered.await.map_err(|_| StoreError::Closed)?,
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(StoreError::Unavailable("too many reads of the event store are waiting".into()))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Closed),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked was reported by the panic hook.
            drop(thread.join());
        }
    }
}
