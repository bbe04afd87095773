//! How sessions came and went.

use std::collections::BTreeMap;

use crate::lean::Second;

/// Added up over all agents, which are of one machine where its clock is read.
#[derive(Clone, Debug, Default)]
pub(in crate::scenario) struct Comings {
    /// When sessions were lost, and how many: milliseconds of the machine's clock.
    pub(in crate::scenario) lost_at_ms: BTreeMap<u64, u64>,
    /// When they were back.
    pub(in crate::scenario) back_at_ms: BTreeMap<u64, u64>,
    /// Connections that were tried and did not become sessions.
    pub(in crate::scenario) failed: u64,
    /// How long sessions that had left took until they had all that they missed, in microseconds.
    pub(in crate::scenario) caught_up_us: BTreeMap<u64, u64>,
    /// How long sessions that had stalled took until they had what waited for them, in microseconds.
    pub(in crate::scenario) read_up_us: BTreeMap<u64, u64>,
    /// Full handshakes of TLS.
    pub(in crate::scenario) tls_full: u64,
    /// Resumed ones.
    pub(in crate::scenario) tls_resumed: u64,
    /// Sessions that a token opened.
    pub(in crate::scenario) by_token: u64,
    /// Sessions that a resume ticket opened.
    pub(in crate::scenario) by_ticket: u64,
}

impl Comings {
    pub(super) fn add(&mut self, second: &Second) {
        for (into, from) in [
            (&mut self.lost_at_ms, &second.lost_at_ms),
            (&mut self.back_at_ms, &second.back_at_ms),
            (&mut self.caught_up_us, &second.caught_up_us),
            (&mut self.read_up_us, &second.read_up_us),
        ] {
            from.iter().for_each(|&(at, count)| *into.entry(at).or_default() += count);
        }
        self.failed += second.failed;
        self.tls_full += second.tls_full;
        self.tls_resumed += second.tls_resumed;
        self.by_token += second.by_token;
        self.by_ticket += second.by_ticket;
    }

    /// Sessions that were lost.
    pub(in crate::scenario) fn lost(&self) -> u64 {
        self.lost_at_ms.values().sum()
    }

    /// Those that are back.
    pub(in crate::scenario) fn back(&self) -> u64 {
        self.back_at_ms.values().sum()
    }
}
