//! Tells where a shard's owner is reached, in the background of its term.

use std::time::Duration;

use panda_protocol::{Generation, Position, ShardId};
use panda_storage::{Ownership, OwnershipBoard, StoreError};
use tokio::time::sleep;

/// Between two tries, at least half of it.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What all announcements of a router have in common.
#[derive(Clone, Debug)]
pub(crate) struct Announcer<B> {
    pub(crate) board: B,
    pub(crate) router: u64,
    /// Where edges reach this router; none: nothing is announced.
    pub(crate) address: Option<String>,
}

/// A term that began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) shard: ShardId,
    pub(crate) generation: Generation,
    /// Where its Takeover stands.
    pub(crate) takeover: Position,
}

impl<B: OwnershipBoard> Announcer<B> {
    /// Announces a term, as often as it takes. A board that is away is waited for; dropping this ends it, so
    /// that nothing is announced of a term that is over.
    ///
    /// # Errors
    /// What the board returned and no repetition mends.
    pub(crate) async fn announce(&self, term: Term) -> Result<(), StoreError> {
        let Some(address) = self.address.clone() else { return Ok(()) };
        let Term { shard, generation, takeover } = term;
        let ownership = Ownership { shard, epoch: takeover.epoch, generation, router: self.router, address };
        let mut wait = RETRY_MIN;
        while let Err(error) = self.board.announce(ownership.clone()).await {
            if !error.is_retryable() {
                return Err(error);
            }
            if wait == RETRY_MIN {
                tracing::warn!(%error, shard = shard.0, "the owner of a shard could not be announced; trying again");
            }
            sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
        Ok(())
    }
}
