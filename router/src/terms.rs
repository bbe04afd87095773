//! The terms of one shard on this router, one after another.
//!
//! Another router may take the shard over while the group still assigns it to this one: at the end of a
//! rebalance both may believe to own it for a moment. Then this router appends its own Takeover again,
//! with a core that knows nothing of the term before. It waits first, each time for another while, so
//! that two routers that take it from each other do not keep step.

use std::time::Duration;

use panda_storage::{CommandLog, EpochStore, EventStore, OwnershipBoard, StoreError};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::announcer::Announcer;
use crate::driver::{Ended, Parts, term};

/// Between being taken over and the own Takeover, in milliseconds.
const AGAIN_AFTER_MS: std::ops::RangeInclusive<u64> = 50..=500;

/// Runs a shard until its tenure is over, or until this process cannot own it any more. Each term is
/// announced once it has begun.
///
/// # Errors
/// What the store, the log or the board returned and no repetition can mend.
pub(crate) async fn run<L: CommandLog, S: EventStore + EpochStore, B: OwnershipBoard>(
    mut parts: Parts<L, S>,
    announcer: Announcer<B>,
) -> Result<Ended, StoreError> {
    loop {
        let (begins, begun) = oneshot::channel();
        let announced = async {
            match begun.await {
                Ok(term) => announcer.announce(term).await,
                // It ended before it began.
                Err(_) => Ok(()),
            }
        };
        let began = |term| {
            // Its receiver is polled beside the term.
            let _sent = begins.send(term);
        };
        let ended = tokio::select! {
            ended = term(&mut parts, began) => ended?,
            Err(error) = announced => return Err(error),
        };
        let shard = parts.shard.0;
        match ended {
            Ended::GivenUp(why) if why.is_for_good() => {
                tracing::error!(shard, %why, "shard given up by this router: {}", why.mend());
                parts.metrics.given_up.inc();
                return Ok(ended);
            }
            Ended::GivenUp(why) => tracing::warn!(shard, %why, "shard lost; taking it again if it stays assigned"),
            Ended::Stopped => return Ok(ended),
        }
        let again_after = Duration::from_millis(rand::random_range(AGAIN_AFTER_MS));
        // What links say meanwhile is for nobody: they state everything again when the next term begins.
        tokio::select! {
            biased;
            () = parts.tenure.over() => return Ok(Ended::Stopped),
            () = sleep(again_after) => {}
        }
    }
}
