//! When each message is due. Open loop: the schedule never waits for the server.

use crate::clock::SECOND;

/// Messages at an even rate.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: u64,
    /// Messages a second are `rate` divided by `weight`.
    rate: u64,
    weight: u64,
}

impl Schedule {
    /// From `start` on (nanoseconds), so many messages that what they make is `rate` a second (at least 1), where each
    /// makes `weight`: deliveries to so many listeners, or one acknowledgement.
    pub fn new(start: u64, rate: u32, weight: u32) -> Self {
        Self { start, rate: u64::from(rate.max(1)), weight: u64::from(weight) }
    }

    /// When message `number` (from 0) is due, in nanoseconds.
    pub fn due(&self, number: u64) -> u64 {
        let made = number * self.weight;
        // Whole seconds apart, so that nothing overflows and no rounding adds up.
        self.start + made / self.rate * SECOND + made % self.rate * SECOND / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spread_evenly_and_no_rounding_adds_up() {
        let schedule = Schedule::new(7, 3, 1);
        assert_eq!([0, 1, 2, 3].map(|number| schedule.due(number)), [7, 333_333_340, 666_666_673, SECOND + 7]);
        assert_eq!(schedule.due(3 * 86_400), 7 + 86_400 * SECOND);
    }

    #[test]
    fn a_rate_of_deliveries_is_one_of_publications_by_their_listeners() {
        let schedule = Schedule::new(0, 20_000, 1_000);
        assert_eq!(schedule.due(1), SECOND / 20);
        assert_eq!(schedule.due(20), SECOND);
    }
}
