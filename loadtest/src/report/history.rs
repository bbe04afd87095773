//! How sessions that were away for long caught up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::within::within;

/// A share of all sessions was away, and came back at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryReport {
    /// Sessions that were away.
    pub away: u64,
    /// For how long, in seconds.
    pub absent_s: f64,
    /// Events that they all together had missed, and got.
    pub missed: u64,
    /// Of them, sessions that have all that was there when they were admitted.
    pub back: u64,
    /// Seconds from the first packet of a connection until then: half of them took no longer.
    pub p50_s: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99_s: Option<f64>,
    /// The slowest.
    pub max_s: Option<f64>,
    /// Seconds from when they were told to come back until all had caught up, within a second; absent if not all did.
    pub all_s: Option<f64>,
    /// Reads of the event store meanwhile, where the health of routers was named.
    pub store_reads: Option<u64>,
}

impl HistoryReport {
    /// Takes in how long each took, in microseconds, and all together.
    pub fn caught_up(&mut self, times_us: &BTreeMap<u64, u64>, all: Duration) {
        self.back = times_us.values().sum();
        let within = |of_a_hundred| within(times_us, of_a_hundred);
        (self.p50_s, self.p99_s, self.max_s) = (within(50), within(99), within(100));
        self.all_s = (self.back >= self.away).then_some(all.as_secs_f64());
    }

    /// Of each session that came back.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn store_reads_per_session(&self) -> Option<f64> {
        self.store_reads.filter(|_| self.back > 0).map(|reads| reads as f64 / self.back as f64)
    }
}

impl fmt::Display for HistoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: Option<f64>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.2} s"));
        writeln!(
            f,
            "  history    {} sessions were away for {:.0} s and missed {} events",
            self.away, self.absent_s, self.missed
        )?;
        writeln!(
            f,
            "             {} caught up: p50 {}, p99 {}, max {}; all after {}",
            self.back,
            time(self.p50_s),
            time(self.p99_s),
            time(self.max_s),
            time(self.all_s)
        )?;
        if let Some(reads) = self.store_reads {
            writeln!(f, "             {reads} reads of the event store")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_those_who_caught_up_and_all_is_told_only_of_all() {
        let mut history = HistoryReport { away: 4, ..HistoryReport::default() };
        history.caught_up(&BTreeMap::from([(1_000, 2), (2_000, 1)]), Duration::from_secs(3));
        assert_eq!((history.back, history.p50_s, history.max_s, history.all_s), (3, Some(0.001), Some(0.002), None));
        history.caught_up(&BTreeMap::from([(1_000, 2), (9_000, 2)]), Duration::from_secs(3));
        assert_eq!((history.p99_s, history.all_s), (Some(0.009), Some(3.0)));
        assert_eq!(history.store_reads_per_session(), None, "nobody said where that is counted");
        history.store_reads = Some(2);
        assert_eq!(history.store_reads_per_session(), Some(0.5));
        history.caught_up(&BTreeMap::new(), Duration::from_secs(3));
        assert_eq!((history.p50_s, history.all_s), (None, None));
    }
}
