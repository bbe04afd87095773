//! The terms of one shard on this router, one after another.
//!
//! Another router may take the shard over while the group still assigns it to this one: at the end of a
//! rebalance both may believe to own it for a moment. Then this router appends its own Takeover again,
//! with a core that knows nothing of the term before. It waits first, each time for another while, so
//! that two routers that take it from each other do not keep step.

use std::time::Duration;

use panda_storage::{CommandLog, EventStore, StoreError};
use tokio::time::{Instant, sleep_until};

use crate::driver::{Ended, Parts, term};

/// Between being taken over and the own Takeover, in milliseconds.
const AGAIN_AFTER_MS: std::ops::RangeInclusive<u64> = 50..=500;
/// Frames of links taken at once while the shard is nobody's.
const FRAMES_AT_ONCE: usize = 512;

/// Runs a shard until the router stops, or until it needs another release of the router. `ready` is
/// called when the first term begins.
///
/// # Errors
/// What the store or the log returned and no repetition can mend.
pub(crate) async fn run<L: CommandLog, S: EventStore>(
    mut parts: Parts<L, S>,
    ready: impl FnOnce(),
) -> Result<(), StoreError> {
    let mut ended = term(&mut parts, ready).await?;
    loop {
        let shard = parts.shard.0;
        match ended {
            Ended::Stopped => return Ok(()),
            Ended::GivenUp(why) if why.needs_upgrade() => {
                tracing::error!(
                    shard,
                    %why,
                    "shard given up: its commands wait for another owner; if there is none, upgrade this router and \
                     restart it"
                );
                parts.metrics.given_up.inc();
                return Ok(());
            }
            Ended::GivenUp(why) => {
                tracing::warn!(shard, %why, "shard taken over; taking it again if it stays assigned")
            }
        }
        if !is_still_assigned(&mut parts).await {
            return Ok(());
        }
        let shards = parts.metrics.shards.clone();
        let begun = || {
            shards.inc();
        };
        ended = term(&mut parts, begun).await?;
    }
}

/// Waits a while. Returns false at once when the router is to stop, or nobody can reach the shard any
/// more. What links say meanwhile is for nobody: they state everything again when the next term begins.
async fn is_still_assigned<L, S>(parts: &mut Parts<L, S>) -> bool {
    let again = Instant::now() + Duration::from_millis(rand::random_range(AGAIN_AFTER_MS));
    let mut frames = Vec::with_capacity(FRAMES_AT_ONCE);
    loop {
        tokio::select! {
            biased;
            () = async { drop(parts.stop.wait_for(|stop| *stop).await) } => return false,
            () = sleep_until(again) => return true,
            count = parts.outside.recv_many(&mut frames, FRAMES_AT_ONCE) => {
                if count == 0 {
                    return false;
                }
                frames.clear();
            }
        }
    }
}
