//! QUIC's own code, run so that a panic in it ends one connection and not the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use prometheus_client::metrics::counter::Counter;

/// Runs what panics of some peer's bytes could come from, and counts those that do. `None`: it panicked, and nothing
/// more is to be asked of the connection that it was about.
pub(super) struct Containment {
    panics: Counter,
    /// The next call of the endpoint's own protocol panics, as QUIC might.
    #[cfg(test)]
    pub(super) trips: std::cell::Cell<bool>,
}

impl Containment {
    pub(super) fn new(panics: Counter) -> Self {
        Self {
            panics,
            #[cfg(test)]
            trips: std::cell::Cell::default(),
        }
    }

    pub(super) fn run<T>(&self, what: &str, run: impl FnOnce() -> T) -> Option<T> {
        let ran = catch_unwind(AssertUnwindSafe(run));
        if ran.is_err() {
            self.panics.inc();
            tracing::error!("QUIC panicked when it was to {what}");
        }
        ran.ok()
    }
}
