//! Operations of the store that are repeated until they are done, or until their epoch is over.
//!
//! The core begins an operation only in an epoch that is open. One that lasts may be of a process that was
//! paused meanwhile: what it has not sent yet must not be sent then.

use std::sync::Arc;
use std::time::Duration;

use panda_protocol::{EntityId, Seq, ShardId, Time};
use panda_storage::{Checkpoint, EventBatch, EventStore, SendWhile, StateRow, StoreError};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::damage::or_damage;
use crate::open_epoch::Guard;
use crate::shard::Input;
use crate::shard::load::{Wanted, flushed_cell, load};

pub(crate) const RETRY_MIN: Duration = Duration::from_millis(20);
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(1);
/// Who is tried again, as a person reads it.
pub(crate) const STORE: &str = "the event store";
pub(crate) const LOG: &str = "the command log";

/// Knows whether an operation may still be sent.
#[derive(Clone)]
pub(crate) struct Persist<S> {
    /// For whom, as the log names it.
    shard: ShardId,
    store: S,
    guard: Guard,
}

impl<S: EventStore> Persist<S> {
    /// What waits in the store is asked again when it is its turn.
    pub(crate) fn new(shard: ShardId, store: &S, guard: Guard) -> Self {
        let may = guard.clone();
        Self { shard, store: store.sending_while(SendWhile::new(move || may.is_sure())), guard }
    }

    /// Waits for the store to say whether the shard's epoch is open, if that is not known. Otherwise returns
    /// the one that is.
    ///
    /// # Errors
    /// What the store returns and no repetition mends.
    pub(crate) async fn still_open(&self) -> Result<Result<(), u32>, StoreError> {
        self.guard.sure().await
    }

    /// Writes a checkpoint, if it may be sent now.
    ///
    /// # Errors
    /// What the store returns.
    pub(crate) async fn once(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<(), StoreError> {
        self.store.write_checkpoint(shard, checkpoint).await
    }

    /// Repeats an operation until it is done. Returns the epoch that is open if it must not be done.
    ///
    /// # Errors
    /// What the store returns and no repetition mends.
    pub(crate) async fn until_done<T, F>(&self, mut operation: impl FnMut(S) -> F) -> Result<Result<T, u32>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut wait = RETRY_MIN;
        loop {
            if let Err(open) = self.guard.sure().await? {
                return Ok(Err(open));
            }
            match operation(self.store.clone()).await {
                Ok(done) => return Ok(Ok(done)),
                Err(error) => wait = retry(STORE, Some(self.shard), error, wait).await?,
            }
        }
    }
}

/// Loads rows, holding one of `places` while it reads.
pub(crate) async fn bring<S: EventStore>(
    persist: Persist<S>,
    places: Arc<Semaphore>,
    entity: EntityId,
    wanted: Wanted,
) -> Result<Input, StoreError> {
    let loaded = persist.until_done(|store| {
        let (wanted, places) = (wanted.clone(), Arc::clone(&places));
        async move {
            let _place = places.acquire().await.map_err(|_| StoreError::Closed)?;
            or_damage(load(&store, entity, wanted).await)
        }
    });
    Ok(match loaded.await? {
        Ok(Ok(loaded)) => Input::Loaded(entity, loaded),
        Ok(Err(why)) => Input::Damaged { entity, read: None, why },
        Err(open) => Input::EpochOver(open),
    })
}

/// Stores events, as often as it takes: what was applied is never taken back.
pub(crate) async fn write<S: EventStore>(persist: Persist<S>, batches: Vec<EventBatch>) -> Result<Input, StoreError> {
    let entity = batches.first().map(|batch| batch.entity).ok_or(StoreError::Closed)?;
    for batch in batches {
        let written = persist.until_done(|store| {
            let batch = batch.clone();
            async move { store.write_events(batch).await }
        });
        if let Err(open) = written.await? {
            return Ok(Input::EpochOver(open));
        }
    }
    Ok(Input::Written(entity))
}

/// Stores rows, then the flushed cell that speaks of them.
pub(crate) async fn flush<S: EventStore>(
    persist: Persist<S>,
    entity: EntityId,
    rows: Vec<StateRow>,
    through: Seq,
    time: Time,
) -> Result<Input, StoreError> {
    // The cell is written behind the rows that it speaks of.
    for rows in [rows, vec![flushed_cell(through, time)]] {
        let written = persist.until_done(|store| {
            let rows = rows.clone();
            async move { store.write_state(entity, rows).await }
        });
        if let Err(open) = written.await? {
            return Ok(Input::EpochOver(open));
        }
    }
    Ok(Input::Flushed(entity))
}

/// Waits before the next try of `service`, for a shard or for all, or returns an error that no repetition mends.
pub(crate) async fn retry(
    service: &str,
    shard: Option<ShardId>,
    error: StoreError,
    wait: Duration,
) -> Result<Duration, StoreError> {
    if !error.is_retryable() {
        return Err(error);
    }
    if wait == RETRY_MIN {
        tracing::warn!(service, shard = shard.map(|shard| shard.0), %error, "refused; trying again");
    }
    sleep(wait).await;
    Ok((wait * 2).min(RETRY_MAX))
}
