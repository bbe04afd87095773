//! When the shards of a thread tick.
//!
//! The shards of a thread tick at few moments that they share. So a thread with many idle shards wakes some times a period and
//! not once for each, and what those of one moment ask, where the log ends above all, is on its way together, so that few
//! questions carry it. There is more than one moment because all shards at once would hold up the commands that come then.

use std::time::Duration;

use panda_protocol::ShardId;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Moments in a period.
const MOMENTS: u32 = 4;

/// The moments of one thread. Copies keep step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    since: Instant,
}

impl Beat {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Ticks of a shard, once a period, from its next moment on. A moment that was missed is left out: the next tick
    /// is at one of the shard's again.
    pub(crate) fn ticks(self, shard: ShardId, period: Duration) -> Interval {
        let first = self.since + period / MOMENTS * (u32::from(shard.0) % MOMENTS);
        // Whole periods since then; a thread does not live for as many as do not fit.
        let gone = Instant::now().saturating_duration_since(first).as_nanos() / period.as_nanos();
        let next = first + period * u32::try_from(gone).unwrap_or(u32::MAX).saturating_add(1);
        let mut ticks = interval_at(next, period);
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
    async fn shards_that_begin_at_different_times_tick_at_the_same_moments() {
        let beat = Beat::new();
        advance(Duration::from_millis(30)).await;
        let mut early = beat.ticks(ShardId(0), PERIOD);
        advance(Duration::from_millis(150)).await;
        let mut late = beat.ticks(ShardId(4), PERIOD);
        assert_eq!(early.tick().await, beat.since + PERIOD, "it was missed, and is due at once");
        assert_eq!(early.tick().await, beat.since + 2 * PERIOD);
        assert_eq!(late.tick().await, beat.since + 2 * PERIOD);
        advance(Duration::from_millis(330)).await;
        early.tick().await;
        late.tick().await;
        assert_eq!(early.tick().await, beat.since + 6 * PERIOD, "what was missed meanwhile is not made up for");
        assert_eq!(late.tick().await, beat.since + 6 * PERIOD);
    }

    #[tokio::test(start_paused = true)]
    async fn shards_are_spread_over_the_moments_of_a_period() {
        let beat = Beat::new();
        let mut at = Vec::new();
        for shard in 0..8 {
            at.push(beat.ticks(ShardId(shard), PERIOD).tick().await - beat.since);
        }
        let within: Vec<_> = at.iter().map(|at| at.as_millis() % PERIOD.as_millis()).collect();
        assert_eq!(within, [0, 25, 50, 75, 0, 25, 50, 75]);
    }
}
