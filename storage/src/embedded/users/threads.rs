//! The threads that own the connections.
//!
//! SQLite blocks, so no runtime's thread may call it. Jobs wait in two bounded queues; a full one
//! refuses at once, so that a flood costs a refusal each and no memory.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;

/// Writes that may wait.
const WRITES_QUEUED_MAX: usize = 1_024;
/// Reads that may wait.
const READS_QUEUED_MAX: usize = 4_096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Threads {
    /// Absent once the store is being closed.
    writes: Option<mpsc::Sender<Job>>,
    reads: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(writer: Connection, readers: Vec<Connection>) -> Result<Self, StoreError> {
        let (writes, write_jobs) = mpsc::channel(WRITES_QUEUED_MAX);
        let (reads, read_jobs) = mpsc::channel(READS_QUEUED_MAX);
        let read_jobs = Arc::new(Mutex::new(read_jobs));
        let mut this = Self { writes: Some(writes), reads: Some(reads), threads: Vec::new() };
        this.spawn("users-write", writer, Arc::new(Mutex::new(write_jobs)))?;
        for reader in readers {
            this.spawn("users-read", reader, Arc::clone(&read_jobs))?;
        }
        Ok(this)
    }

    fn spawn(
        &mut self,
        name: &str,
        mut connection: Connection,
        jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    ) -> Result<(), StoreError> {
        let run = move || {
            loop {
                // The lock is held while waiting and not while working: one idle thread waits for the
                // next job, the others for their turn to wait.
                let job = jobs.lock().blocking_recv();
                let Some(job) = job else { return };
                job(&mut connection);
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        self.threads
            .push(thread.map_err(|error| StoreError::Unavailable(format!("no thread for the user store: {error}")))?);
        Ok(())
    }

    /// Runs a job that changes something. It runs to its end when the future is dropped.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        submit(self.writes.as_ref(), job).await
    }

    /// Runs a job that reads; it may run beside others.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        submit(self.reads.as_ref(), |connection| job(connection)).await
    }
}

impl Drop for Threads {
    /// Finishes what is queued, so that the file is whole and free when the store is gone.
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked was reported by the panic hook, and its job's caller was told.
            drop(thread.join());
        }
    }
}

async fn submit<T: Send + 'static>(
    queue: Option<&mpsc::Sender<Job>>,
    job: impl FnOnce(&mut Connection) -> T + Send + 'static,
) -> Result<T, StoreError> {
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        // The caller may have stopped waiting.
        drop(answer.send(job(connection)));
    });
    match queue.ok_or(StoreError::Closed)?.try_send(job) {
        Ok(()) => answered.await.map_err(|_| StoreError::Closed),
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err(StoreError::Unavailable("too many requests to the user store are waiting".into()))
        }
        Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_what_was_queued_is_done() {
        let threads = Arc::new(Threads::start(connection(), vec![connection()]).unwrap());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let blocked = {
            let threads = Arc::clone(&threads);
            tokio::spawn(async move {
                threads
                    .write(move |_| {
                        started.send(()).unwrap();
                        released.recv().unwrap();
                    })
                    .await
            })
        };
        has_started.await.unwrap();
        let mut queued: Vec<_> =
            (0..WRITES_QUEUED_MAX).map(|number| Box::pin(threads.write(move |_| number))).collect();
        for job in &mut queued {
            // One poll puts it into the queue.
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(job.as_mut().poll(cx).is_pending())).await);
        }
        assert!(matches!(threads.write(|_| ()).await, Err(StoreError::Unavailable(_))));
        release.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        for (number, job) in queued.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), number);
        }
    }

    #[tokio::test]
    async fn dropping_finishes_what_is_queued() {
        let threads = Threads::start(connection(), vec![connection()]).unwrap();
        let (done, has_done) = std::sync::mpsc::channel();
        {
            let mut job = Box::pin(threads.write(move |_| done.send(()).unwrap()));
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(job.as_mut().poll(cx))).await;
            assert!(!matches!(polled, std::task::Poll::Ready(Err(_))));
        }
        drop(threads);
        assert_eq!(has_done.try_recv(), Ok(()));
    }
}
