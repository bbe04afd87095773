//! QUIC's own code, run so that a panic in it ends one connection and not the worker.

use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

/// Panics are told of this far apart at least: whoever can cause one can cause many.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Runs what panics of some peer's bytes could come from, and counts those that do. `None`: it panicked, and nothing
/// more is to be asked of the connection that it was about.
pub(super) struct Containment {
    panics: Counter,
    told_at: Cell<Option<Instant>>,
    untold: Cell<u64>,
    /// The next call of the endpoint's own protocol panics, as QUIC might.
    #[cfg(test)]
    pub(super) trips: Cell<bool>,
}

impl Containment {
    pub(super) fn new(panics: Counter) -> Self {
        Self {
            panics,
            told_at: Cell::default(),
            untold: Cell::default(),
            #[cfg(test)]
            trips: Cell::default(),
        }
    }

    pub(super) fn run<T>(&self, what: &str, peer: SocketAddr, run: impl FnOnce() -> T) -> Option<T> {
        let ran = catch_unwind(AssertUnwindSafe(run));
        if ran.is_err() {
            self.panics.inc();
            self.tell(what, peer, Instant::now());
        }
        ran.ok()
    }

    fn tell(&self, what: &str, peer: SocketAddr, now: Instant) {
        if self.told_at.get().is_some_and(|at| now.duration_since(at) < TOLD_EVERY) {
            return self.untold.set(self.untold.get() + 1);
        }
        self.told_at.set(Some(now));
        let untold = self.untold.take();
        tracing::error!(%peer, untold, "QUIC panicked when it was to {what}");
    }
}
