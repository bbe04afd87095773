//! When the shards of a thread tick.
//!
//! All of a thread's shards tick at the same moments, a whole number of periods after the thread's start. So a thread
//! with many idle shards wakes once a period and not once for each, and what they all ask at a tick, where the log ends
//! above all, is on its way together, so that few questions carry it.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The moments of one thread. Copies keep step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    since: Instant,
}

impl Beat {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Ticks at the beats of this period that are still to come. A beat that was missed is left out: the next tick
    /// is at a beat again.
    pub(crate) fn ticks(self, period: Duration) -> Interval {
        let into = self.since.elapsed().as_nanos() % period.as_nanos();
        // Less than a period, so it fits.
        let left = period - Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        let mut ticks = interval_at(Instant::now() + left, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn whoever_begins_later_ticks_at_the_same_moments() {
        let beat = Beat::new();
        advance(Duration::from_millis(30)).await;
        let mut early = beat.ticks(PERIOD);
        advance(Duration::from_millis(150)).await;
        let mut late = beat.ticks(PERIOD);
        assert_eq!(early.tick().await, beat.since + PERIOD, "it was missed, and is due at once");
        assert_eq!(early.tick().await, beat.since + 2 * PERIOD);
        assert_eq!(late.tick().await, beat.since + 2 * PERIOD);
        advance(Duration::from_millis(330)).await;
        early.tick().await;
        late.tick().await;
        assert_eq!(early.tick().await, beat.since + 6 * PERIOD, "what was missed meanwhile is not made up for");
        assert_eq!(late.tick().await, beat.since + 6 * PERIOD);
    }
}
