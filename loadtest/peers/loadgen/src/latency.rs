//! Latencies of one row.

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in microseconds: an hour. A longer one counts as this.
const MICROSECONDS_MAX: u64 = 3_600_000_000;
/// Three digits: an error below 0.1 %.
const DIGITS: u8 = 3;

/// A histogram of microseconds.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, MICROSECONDS_MAX, DIGITS)
                .expect("1 and an hour are bounds, and 3 digits fit"),
        )
    }
}

impl Latencies {
    /// Records a latency, counted from when a message was *due*: a server that stalls cannot hide it by holding up the
    /// sender (no coordinated omission).
    pub fn record(&mut self, due: u64, happened: u64) {
        self.0.saturating_record(happened.saturating_sub(due) / 1_000);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in microseconds that this share of all (0 to 1) does not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), 0, "nothing yet");
        for microseconds in 1..=1_000 {
            latencies.record(5_000, 5_000 + microseconds * 1_000);
        }
        assert_eq!(latencies.count(), 1_000);
        for (share, expected) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1_000)] {
            assert_eq!(latencies.quantile(share), expected, "{share}");
        }
    }

    #[test]
    fn what_is_longer_than_an_hour_or_seems_to_come_before_it_was_due_is_counted() {
        let mut latencies = Latencies::default();
        latencies.record(0, u64::MAX);
        latencies.record(10, 5);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.quantile(1.0) >= MICROSECONDS_MAX, "{}", latencies.quantile(1.0));
    }
}
