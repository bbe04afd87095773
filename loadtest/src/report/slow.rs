//! What sessions that read nothing for a while were to the rest and to the servers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::meanwhile::Meanwhile;
use super::within::within;

/// A share of all sessions stalled, and read again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowReport {
    /// Sessions that stalled.
    pub stalled: u64,
    /// Connections that were lost meanwhile.
    pub lost: u64,
    /// Times that an edge cut a full outbox, where the health of edges was named.
    pub cuts: Option<u64>,
    /// Bytes that waited in outboxes at the end of the stall, likewise.
    pub outbox_bytes: Option<u64>,
    /// Of those that stalled, sessions that have all that waited for them.
    pub caught_up: u64,
    /// Seconds from when they read again until then: half of them took no longer.
    pub p50_s: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99_s: Option<f64>,
    /// Seconds until all had, within a second; absent if not all did.
    pub all_s: Option<f64>,
    /// What it did to the rest.
    #[serde(flatten)]
    pub meanwhile: Meanwhile,
}

impl SlowReport {
    /// Takes in how long each took, in microseconds, and all together.
    pub fn caught_up(&mut self, times_us: &BTreeMap<u64, u64>, all: Duration) {
        self.caught_up = times_us.values().sum();
        (self.p50_s, self.p99_s) = (within(times_us, 50), within(times_us, 99));
        self.all_s = (self.caught_up + self.lost >= self.stalled).then_some(all.as_secs_f64());
    }

    /// Bytes that waited in the outbox of each session that stalled.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn outbox_bytes_per_stalled(&self) -> Option<f64> {
        self.outbox_bytes.filter(|_| self.stalled > 0).map(|bytes| bytes as f64 / self.stalled as f64)
    }
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: Option<f64>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.2} s"));
        let Self { stalled, lost, caught_up, meanwhile, .. } = self;
        let lasted = meanwhile.ended_s - meanwhile.began_s;
        writeln!(f, "  slow       {stalled} sessions read nothing for {lasted:.0} s; {lost} were lost")?;
        writeln!(
            f,
            "             {caught_up} caught up: p50 {}, p99 {}; all after {}",
            time(self.p50_s),
            time(self.p99_s),
            time(self.all_s)
        )?;
        if let Some(cuts) = self.cuts {
            writeln!(f, "             {cuts} cuts of full outboxes")?;
        }
        if let Some(bytes) = self.outbox_bytes_per_stalled() {
            writeln!(f, "             {:.1} KiB waited in the outbox of each", bytes / 1_024.0)?;
        }
        write!(f, "{meanwhile}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_waits_is_told_of_each_that_stalled() {
        let mut slow = SlowReport { stalled: 10, ..SlowReport::default() };
        assert_eq!(slow.outbox_bytes_per_stalled(), None);
        slow.outbox_bytes = Some(2_000);
        assert_eq!(slow.outbox_bytes_per_stalled(), Some(200.0));
    }

    #[test]
    fn all_is_told_only_if_everybody_caught_up_who_was_not_lost() {
        let mut slow = SlowReport { stalled: 4, ..SlowReport::default() };
        let times = BTreeMap::from([(1_000, 2), (2_000, 1)]);
        slow.caught_up(&times, Duration::from_secs(3));
        assert_eq!((slow.caught_up, slow.p50_s, slow.p99_s, slow.all_s), (3, Some(0.001), Some(0.002), None));
        slow.lost = 1;
        slow.caught_up(&times, Duration::from_secs(3));
        assert_eq!(slow.all_s, Some(3.0));
    }
}
