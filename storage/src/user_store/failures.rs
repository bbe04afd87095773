//! Failed logins, as they are counted: a count that goes up by one with each and goes down with time, and a wait that grows with
//! it. What is counted under a key, and by which rule, is the caller's matter.

use std::time::Duration;

use panda_protocol::Time;

use super::logins::after;

/// Keys in one call.
pub const FAILURE_KEYS_MAX: usize = 16;
/// What is not counted any more is forgotten after so long without a failure.
pub(crate) const FAILURES_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// A count stops here: what comes behind it is one wait after the other anyway.
const COUNT_MAX: u64 = 1_000;
/// The wait after the first failure that is not free.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What failures are counted under: a digest, so that the store tells neither names nor addresses.
pub type FailureKey = [u8; 32];

/// How failures under a key are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRule {
    /// Failures that cost no wait.
    pub free: u64,
    /// In so long, one is forgotten.
    pub forget_one: Duration,
    /// Each further one doubles the wait, from 1 s to this; zero: there is none, and they are only counted.
    pub wait_max: Duration,
}

/// Failures under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The time that it takes to forget all of them, in microseconds, as it was at `at`.
    pub(crate) debt_us: u64,
    /// When the last one happened.
    pub(crate) at: Time,
    /// Until when nobody may try.
    pub(crate) until: Time,
}

impl Failures {
    /// How many are remembered.
    pub fn count(&self, rule: &FailureRule, now: Time) -> u64 {
        self.owed(now).div_ceil(micros(rule.forget_one))
    }

    /// How long to wait before the next try.
    pub fn wait(&self, now: Time) -> Option<Duration> {
        let left = self.until.0.saturating_sub(now.0);
        (left > 0).then(|| Duration::from_micros(left))
    }

    /// With one more.
    pub(crate) fn one_more(&self, rule: &FailureRule, now: Time) -> Self {
        let one = micros(rule.forget_one);
        let debt_us = self.owed(now).saturating_add(one).min(one.saturating_mul(COUNT_MAX));
        let beyond = debt_us.div_ceil(one).saturating_sub(rule.free);
        let wait = match u32::try_from(beyond) {
            Ok(0) => Duration::ZERO,
            Ok(beyond) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond - 1)).min(rule.wait_max),
            Err(_) => rule.wait_max,
        };
        // Of another process, whose clock may be a little behind.
        let (at, until) =
            (self.at.max(now), if wait.is_zero() { self.until } else { self.until.max(after(now, wait)) });
        Self { debt_us, at, until }
    }

    fn owed(&self, now: Time) -> u64 {
        self.debt_us.saturating_sub(now.0.saturating_sub(self.at.0))
    }
}

fn micros(long: Duration) -> u64 {
    u64::try_from(long.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: FailureRule =
        FailureRule { free: 3, forget_one: Duration::from_secs(60), wait_max: Duration::from_secs(10) };

    fn at(seconds: u64) -> Time {
        Time(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn some_are_free_and_each_further_one_doubles_the_wait_up_to_the_longest() {
        let mut failures = Failures::default();
        let mut waits = Vec::new();
        let mut now = at(0);
        for _ in 0..9 {
            failures = failures.one_more(&RULE, now);
            let wait = failures.wait(now).unwrap_or_default();
            waits.push(wait.as_secs());
            now = after(now, wait);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(failures.count(&RULE, now), 9);
    }

    #[test]
    fn time_forgets_one_after_the_other() {
        let mut failures = Failures::default();
        for _ in 0..4 {
            failures = failures.one_more(&RULE, at(0));
        }
        assert_eq!([0, 59, 60, 120, 240].map(|seconds| failures.count(&RULE, at(seconds))), [4, 4, 3, 2, 0]);
        assert_eq!(failures.wait(at(1)), None);
        let later = failures.one_more(&RULE, at(120));
        assert_eq!((later.count(&RULE, at(120)), later.wait(at(120))), (3, None));
    }

    #[test]
    fn a_count_has_an_end_and_a_rule_without_a_wait_only_counts() {
        let rule = FailureRule { wait_max: Duration::ZERO, ..RULE };
        let mut failures = Failures::default();
        for _ in 0..2 * COUNT_MAX {
            failures = failures.one_more(&rule, at(0));
        }
        assert_eq!((failures.count(&rule, at(0)), failures.wait(at(0))), (COUNT_MAX, None));
        // A clock that is behind another one's shortens nothing.
        let failures = Failures { debt_us: 0, at: at(10), until: at(20) };
        assert_eq!(failures.one_more(&RULE, at(5)), Failures { debt_us: 60_000_000, at: at(10), until: at(20) });
    }
}
