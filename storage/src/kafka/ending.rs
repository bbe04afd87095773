//! Threads that end by themselves, and whoever wants to wait for that.

use std::time::Duration;

use tokio::sync::watch;

/// Held by each thread that still has something to say to the brokers.
#[derive(Clone)]
pub(super) struct Ending {
    _alive: watch::Receiver<()>,
}

/// Sees when every thread has ended.
pub(super) struct Endings {
    threads: watch::Sender<()>,
}

impl Endings {
    pub(super) fn new() -> Self {
        Self { threads: watch::Sender::new(()) }
    }

    pub(super) fn thread(&self) -> Ending {
        Ending { _alive: self.threads.subscribe() }
    }

    /// Waits until no thread is left, at most for `deadline`. Whether that is so.
    pub(super) async fn wait(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.threads.closed()).await.is_ok()
    }
}
