//! What something that went on for a while did to the rest: its deliveries and the servers' memory, before and meanwhile.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::Second;

/// Before and meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meanwhile {
    /// When it began, in seconds on the run's clock.
    pub began_s: f64,
    /// When it ended.
    pub ended_s: f64,
    /// Send due to delivery before it began, in microseconds: the median over seconds of what ninety-nine of a hundred did not
    /// exceed. Absent if no second is of that time.
    pub delivery_p99_us_before: Option<u64>,
    /// Of the rest, while it went on.
    pub delivery_p99_us_meanwhile: Option<u64>,
    /// Resident memory of all servers that are watched, in bytes: the most before it began.
    pub rss_bytes_before: Option<u64>,
    /// The most from then to the end of the run.
    pub rss_bytes_meanwhile: Option<u64>,
}

impl Meanwhile {
    /// Takes in what the seconds before and those of the while showed.
    pub fn compare(&mut self, seconds: &[Second]) {
        let before = || seconds.iter().filter(|second| second.at_s <= self.began_s);
        // A second that ends in the while may have begun before it.
        let behind = || seconds.iter().filter(|second| second.at_s - second.span_s >= self.began_s);
        let (p99_before, rss_before) = (median_p99(before()), most_memory(before()));
        let meanwhile = behind().filter(|second| second.at_s <= self.ended_s);
        let (p99_meanwhile, rss_meanwhile) = (median_p99(meanwhile), most_memory(behind()));
        (self.delivery_p99_us_before, self.delivery_p99_us_meanwhile) = (p99_before, p99_meanwhile);
        (self.rss_bytes_before, self.rss_bytes_meanwhile) = (rss_before, rss_meanwhile);
    }

    /// By how much the servers' memory grew.
    pub fn rss_growth_bytes(&self) -> Option<u64> {
        let (before, meanwhile) = self.rss_bytes_before.zip(self.rss_bytes_meanwhile)?;
        Some(meanwhile.saturating_sub(before))
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

/// The lines of it in a summary.
impl fmt::Display for Meanwhile {
    #[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3));
        writeln!(
            f,
            "             the rest waited for deliveries: p99 {} before, {} meanwhile",
            ms(self.delivery_p99_us_before),
            ms(self.delivery_p99_us_meanwhile)
        )?;
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
    fn the_rest_is_compared_over_the_while_and_memory_up_to_the_end() {
        let mut slow = Meanwhile { began_s: 2.5, ended_s: 4.5, ..Meanwhile::default() };
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
        assert_eq!(slow.delivery_ratio(), Some(2.0));
        slow.compare(&[]);
        assert_eq!((slow.delivery_ratio(), slow.rss_bytes_before), (None, None));
    }
}
