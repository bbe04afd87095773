//! What the gate counted since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Refusal;

/// How a connection attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counted {
    /// Began its handshake.
    Admitted,
    /// Refused: too many handshakes.
    RefusedHandshakes,
    /// Refused: too many sessions.
    RefusedSessions,
    /// Refused: too many connections of its address.
    RefusedAddress,
    /// Refused: too many HTTP connections of its address.
    RefusedHttp,
    /// Given to the HTTP API.
    HandedOver,
    /// Did not authenticate in time.
    TimedOut,
    /// Ended before it authenticated.
    Abandoned,
}

impl Counted {
    /// Every kind, with the label that metrics use.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Admitted, "admitted"),
        (Self::RefusedHandshakes, "refused_handshakes"),
        (Self::RefusedSessions, "refused_sessions"),
        (Self::RefusedAddress, "refused_address"),
        (Self::RefusedHttp, "refused_http"),
        (Self::HandedOver, "handed_over"),
        (Self::TimedOut, "timed_out"),
        (Self::Abandoned, "abandoned"),
    ];
}

/// One counter for each [`Counted`].
#[derive(Debug, Default)]
pub struct AdmissionCounters {
    counts: [AtomicU64; Counted::ALL.len()],
}

impl AdmissionCounters {
    /// How often it happened.
    pub fn value(&self, counted: Counted) -> u64 {
        self.counts[counted as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, counted: Counted) {
        self.counts[counted as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.count(match refusal {
            Refusal::Handshakes => Counted::RefusedHandshakes,
            Refusal::Sessions => Counted::RefusedSessions,
            Refusal::Address => Counted::RefusedAddress,
            Refusal::Http => Counted::RefusedHttp,
        });
    }
}
