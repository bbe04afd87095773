//! How often the store syncs. A sync, and the threads that wait for it and go on behind it, cost more than the write
//! itself; writes that come one after the other, all within a moment, are cheaper as one commit.
//!
//! Where little goes on, nobody waits: up to [`BURST`] commits go through at once, and of more, one each
//! [`SPACING`]. It is the generic cell rate algorithm (ITU-T I.371, annex A): one moment in time is all its state.

use std::time::Duration;

use tokio::time::Instant;

/// Commits that follow one another for long are so far apart.
pub(super) const SPACING: Duration = Duration::from_millis(2);
/// Commits that go through at once, where none came for a while.
const BURST: u32 = 16;

/// When the next commit may begin.
#[derive(Debug)]
pub(super) struct Pace {
    spacing: Duration,
    /// The moment at which everything so far would be over, had it come evenly.
    even: Instant,
}

impl Pace {
    pub(super) fn new(spacing: Duration, now: Instant) -> Self {
        Self { spacing, even: now }
    }

    /// Counts a commit that is there now; returns how long it waits, at most one spacing.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let ahead = self.even.saturating_duration_since(now);
        let wait = ahead.saturating_sub(self.spacing * BURST);
        self.even = self.even.max(now) + self.spacing;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_seldom_never_waits_and_who_always_comes_waits_one_spacing() {
        let (began, spacing) = (Instant::now(), Duration::from_millis(2));
        let mut pace = Pace::new(spacing, began);
        let mut now = began;
        for _ in 0..1_000 {
            assert_eq!(pace.wait(now), Duration::ZERO);
            now += spacing;
        }
        let waits: Vec<_> = (0..100).map(|_| pace.wait(now)).collect();
        let (burst, rest) = waits.split_at(BURST as usize + 1);
        assert!(burst.iter().all(Duration::is_zero), "{burst:?}");
        assert_eq!(rest[0], spacing);

        let mut pace = Pace::new(spacing, began);
        let mut now = began;
        for _ in 0..1_000 {
            let wait = pace.wait(now);
            assert!(wait <= spacing, "{wait:?}");
            now += wait;
        }
        assert_eq!(now - began, spacing * (999 - BURST));
        // After a rest as long as it takes, as many go through at once as at first.
        now += spacing * (BURST + 1);
        assert!((0..=BURST).all(|_| pace.wait(now).is_zero()));
    }
}
