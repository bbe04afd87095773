//! Whether a shard's owner may store something now.

use tokio::sync::watch;

use super::{EPOCH_LASTS, OpenEpoch};
use panda_storage::StoreError;

use crate::moment::Moment;

/// Knows whether an epoch is open still: its log was heard, or the store said so, not long ago. Clones know the same.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    epoch: OpenEpoch,
    /// When the log was heard, if that counts.
    heard: watch::Receiver<Option<Moment>>,
}

impl Guard {
    pub(crate) const fn new(epoch: OpenEpoch, heard: watch::Receiver<Option<Moment>>) -> Self {
        Self { epoch, heard }
    }

    /// Whether the epoch is known to be open now.
    pub(crate) fn is_sure(&self) -> bool {
        let lasts = |at: Moment| at.elapsed() < EPOCH_LASTS;
        match self.epoch.last() {
            Ok(said) => {
                said.is_none_or(|said| said.open <= self.epoch.own)
                    && (self.heard.borrow().is_some_and(lasts) || said.is_some_and(|said| lasts(said.asked)))
            }
            Err(_) => false,
        }
    }

    /// Waits until the epoch is known to be open. Returns the one that is, if it is another.
    ///
    /// # Errors
    /// What the store returns and no repetition mends. Cancel safe.
    pub(crate) async fn sure(&self) -> Result<Result<(), u32>, StoreError> {
        loop {
            if let Some(said) = self.epoch.last()?.filter(|said| said.open > self.epoch.own) {
                return Ok(Err(said.open));
            }
            if self.is_sure() {
                return Ok(Ok(()));
            }
            // A question that is under way will do, if its answer comes in time.
            self.epoch.since(Moment::now().before(EPOCH_LASTS / 2)).await?;
        }
    }
}
