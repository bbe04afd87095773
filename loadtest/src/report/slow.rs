//! What sessions that read nothing for a while were to the rest and to the servers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Second;
use super::within::within;

/// A share of all sessions stalled, and read again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowReport {
    /// Sessions that stalled.
    pub stalled: u64,
    /// When they began to, in seconds on the run's clock.
    pub began_s: f64,
    /// When they read again.
    pub ended_s: f64,
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
    /// Send due to delivery while all read, in microseconds: the median over seconds of what ninety-nine of a hundred did not
    /// exceed. Absent if no second is of that time.
    pub delivery_p99_us_before: Option<u64>,
    /// Of the rest, while the others stalled.
    pub delivery_p99_us_meanwhile: Option<u64>,
    /// Resident memory of all servers that are watched, in bytes: the most while all read.
    pub rss_bytes_before: Option<u64>,
    /// The most while the others stalled and until they had caught up.
    pub rss_bytes_meanwhile: Option<u64>,
}

impl SlowReport {
    /// Takes in how long each took, in microseconds, and all together.
    pub fn caught_up(&mut self, times_us: &BTreeMap<u64, u64>, all: Duration) {
        self.caught_up = times_us.values().sum();
        (self.p50_s, self.p99_s) = (within(times_us, 50), within(times_us, 99));
        self.all_s = (self.caught_up + self.lost >= self.stalled).then_some(all.as_secs_f64());
    }

    /// Takes in what the seconds before and those of the stall showed.
    pub fn compare(&mut self, seconds: &[Second]) {
        let before = || seconds.iter().filter(|second| second.at_s <= self.began_s);
        // A second that ends in the stall may have begun before it.
        let stalled = || seconds.iter().filter(|second| second.at_s - second.span_s >= self.began_s);
        let (p99_before, rss_before) = (median_p99(before()), most_memory(before()));
        let meanwhile = stalled().filter(|second| second.at_s <= self.ended_s);
        let (p99_meanwhile, rss_meanwhile) = (median_p99(meanwhile), most_memory(stalled()));
        (self.delivery_p99_us_before, self.delivery_p99_us_meanwhile) = (p99_before, p99_meanwhile);
        (self.rss_bytes_before, self.rss_bytes_meanwhile) = (rss_before, rss_meanwhile);
    }

    /// Bytes that waited in the outbox of each session that stalled.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn outbox_bytes_per_stalled(&self) -> Option<f64> {
        self.outbox_bytes.filter(|_| self.stalled > 0).map(|bytes| bytes as f64 / self.stalled as f64)
    }

    /// How many times as long the rest waited for deliveries.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn delivery_ratio(&self) -> Option<f64> {
        let (before, meanwhile) = self.delivery_p99_us_before.zip(self.delivery_p99_us_meanwhile)?;
        (before > 0).then(|| meanwhile as f64 / before as f64)
    }
}

fn median_p99<'a>(seconds: impl Iterator<Item = &'a Second>) -> Option<u64> {
    let mut all: Vec<u64> =
        seconds.filter(|second| !second.delivery_us.is_empty()).map(|second| second.delivery_us.p99).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

fn most_memory<'a>(seconds: impl Iterator<Item = &'a Second>) -> Option<u64> {
    let sum = |second: &Second| second.servers.iter().map(|server| server.rss_bytes).sum();
    seconds.filter(|second| !second.servers.is_empty()).map(sum).max()
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: Option<f64>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.2} s"));
        let ms = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{} ms", us / 1_000));
        let Self { stalled, began_s, ended_s, lost, caught_up, .. } = self;
        writeln!(f, "  slow       {stalled} sessions read nothing for {:.0} s; {lost} were lost", ended_s - began_s)?;
        writeln!(
            f,
            "             {caught_up} caught up: p50 {}, p99 {}; all after {}",
            time(self.p50_s),
            time(self.p99_s),
            time(self.all_s)
        )?;
        writeln!(
            f,
            "             the rest waited for deliveries: p99 {} before, {} meanwhile",
            ms(self.delivery_p99_us_before),
            ms(self.delivery_p99_us_meanwhile)
        )?;
        if let Some(cuts) = self.cuts {
            writeln!(f, "             {cuts} cuts of full outboxes")?;
        }
        if let Some(bytes) = self.outbox_bytes_per_stalled() {
            writeln!(f, "             {:.1} KiB waited in the outbox of each", bytes / 1_024.0)?;
        }
        if let (Some(before), Some(meanwhile)) = (self.rss_bytes_before, self.rss_bytes_meanwhile) {
            let mib = |bytes: u64| bytes >> 20;
            writeln!(f, "             servers took {} MiB before, {} MiB meanwhile", mib(before), mib(meanwhile))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Percentiles;
    use crate::report::model::Process;

    fn second(at_s: f64, p99: u64, rss_bytes: u64) -> Second {
        let servers = vec![Process { name: "edge".into(), rss_bytes, cpu_share: 0.1 }];
        let delivery_us = Percentiles { count: 1, p99, ..Percentiles::default() };
        Second { at_s, span_s: 1.0, delivery_us, servers, ..Second::default() }
    }

    #[test]
    fn the_rest_is_compared_over_the_stall_and_memory_up_to_the_end() {
        let mut slow = SlowReport { stalled: 10, began_s: 2.5, ended_s: 4.5, ..SlowReport::default() };
        let seconds = [
            second(1.0, 10, 900),
            second(2.0, 30, 1_000),
            second(3.0, 999, 9_999),
            second(4.0, 60, 2_000),
            second(5.0, 999, 3_000),
        ];
        slow.compare(&seconds);
        assert_eq!((slow.delivery_p99_us_before, slow.delivery_p99_us_meanwhile), (Some(30), Some(60)));
        assert_eq!((slow.rss_bytes_before, slow.rss_bytes_meanwhile), (Some(1_000), Some(3_000)));
        assert_eq!((slow.outbox_bytes_per_stalled(), slow.delivery_ratio()), (None, Some(2.0)));
        slow.outbox_bytes = Some(2_000);
        assert_eq!(slow.outbox_bytes_per_stalled(), Some(200.0));
        slow.compare(&[]);
        assert_eq!((slow.delivery_ratio(), slow.rss_bytes_before), (None, None));
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
