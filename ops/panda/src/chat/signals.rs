//! What asks for the end from outside.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The statuses of who is ended by a signal: 128 and its number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;
const HUNG_UP: u8 = 129;

/// The signals that end the client: none of them ends it by itself any more, and none is lost.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    /// The status of the first one that came.
    first: Option<u8>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not let it.
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            first: None,
        })
    }

    /// Waits for one. Cancel safe.
    pub(super) async fn come(&mut self) {
        self.next().await;
    }

    /// Waits for one that says not to wait any longer for what was said. That a terminal is gone says nothing of that, and
    /// it may be known before its signal comes. Cancel safe.
    pub(super) async fn give_up(&mut self) {
        while self.next().await == HUNG_UP {}
    }

    /// The status of who was ended by a signal, if one came.
    pub(super) fn status(&self) -> Option<ExitCode> {
        self.first.map(ExitCode::from)
    }

    async fn next(&mut self) -> u8 {
        let status = tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
            _ = self.hang_up.recv() => HUNG_UP,
        };
        self.first = self.first.or(Some(status));
        status
    }
}
