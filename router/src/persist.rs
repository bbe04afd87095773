//! Operations of the store that are repeated until they are done, or until their epoch is over.
//!
//! The core begins an operation only in an epoch that is open. One that lasts may be of a process that was
//! paused meanwhile: what it has not sent yet must not be sent then.

use std::time::Duration;

use panda_protocol::codec::Writer;
use panda_protocol::{EntityId, Seq, Time};
use panda_storage::{EpochStore, EventBatch, EventStore, StateRow, StoreError};
use tokio::time::{Instant, sleep};

use crate::shard::Input;
use crate::shard::load::flushed_key;

pub(crate) const RETRY_MIN: Duration = Duration::from_millis(20);
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(1);
/// Who is tried again, as a person reads it.
const STORE: &str = "the event store";
pub(crate) const LOG: &str = "the command log";
/// No epoch ends sooner than this after the log was heard, or after the store said that it is open.
const EPOCH_LASTS: Duration = Duration::from_secs(2);

/// Knows whether an operation may still be sent.
#[derive(Clone, Debug)]
pub(crate) struct Persist<S> {
    pub(crate) store: S,
    /// The epoch of the shard's log.
    pub(crate) own: u32,
    /// When it was known last that this epoch is open; absent: it is to be asked.
    pub(crate) sure_at: Option<Instant>,
}

impl<S: EpochStore> Persist<S> {
    /// The epoch that is open, if it is a later one than the shard's.
    ///
    /// # Errors
    /// What the store returns.
    async fn over(&mut self) -> Result<Option<u32>, StoreError> {
        while self.sure_at.is_none_or(|at| at.elapsed() >= EPOCH_LASTS) {
            let asked = Instant::now();
            let open = open_epoch(&self.store, self.own).await?;
            if open > self.own {
                return Ok(Some(open));
            }
            self.sure_at = Some(asked);
        }
        Ok(None)
    }

    /// Waits for the store to say whether the shard's epoch is open, if that is not known. Otherwise returns
    /// the one that is.
    ///
    /// # Errors
    /// What the store returns and no repetition mends.
    pub(crate) async fn still_open(&mut self) -> Result<Result<(), u32>, StoreError> {
        self.until_done(|_| std::future::ready(Ok(()))).await
    }

    /// Repeats an operation until it is done. Returns the epoch that is open if it must not be done.
    ///
    /// # Errors
    /// What the store returns and no repetition mends.
    pub(crate) async fn until_done<T, F>(
        &mut self,
        mut operation: impl FnMut(S) -> F,
    ) -> Result<Result<T, u32>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut wait = RETRY_MIN;
        loop {
            let done = match self.over().await {
                Ok(Some(open)) => return Ok(Err(open)),
                Ok(None) => operation(self.store.clone()).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => return Ok(Ok(done)),
                Err(error) => wait = retry(STORE, error, wait).await?,
            }
        }
    }
}

/// The epoch that the store has in force; the own one for a store that was told of none, which is one process's.
///
/// # Errors
/// What the store returns.
async fn open_epoch<S: EpochStore>(store: &S, own: u32) -> Result<u32, StoreError> {
    Ok(store.log_epoch().await?.map_or(own, |open| open.epoch))
}

/// Asks which epoch is open, as often as it takes.
pub(crate) async fn read_epoch<S: EpochStore>(store: S, own: u32) -> Result<Input, StoreError> {
    let mut wait = RETRY_MIN;
    loop {
        match open_epoch(&store, own).await {
            Ok(open) => return Ok(Input::EpochRead(open)),
            Err(error) => wait = retry(STORE, error, wait).await?,
        }
    }
}

/// Stores events, as often as it takes: what was applied is never taken back.
pub(crate) async fn write<S: EventStore + EpochStore>(
    mut persist: Persist<S>,
    batches: Vec<EventBatch>,
) -> Result<Input, StoreError> {
    let entity = batches.first().map(|batch| batch.entity).ok_or(StoreError::Closed)?;
    for batch in batches {
        let written = persist.until_done(|store| {
            let batch = batch.clone();
            async move { store.write_events(batch).await }
        });
        if let Err(open) = written.await? {
            return Ok(Input::EpochRead(open));
        }
    }
    Ok(Input::Written(entity))
}

/// Stores rows, then the flushed cell that speaks of them.
pub(crate) async fn flush<S: EventStore + EpochStore>(
    mut persist: Persist<S>,
    entity: EntityId,
    rows: Vec<StateRow>,
    through: Seq,
    time: Time,
) -> Result<Input, StoreError> {
    let mut value = Writer::with_capacity(8);
    value.value(&through);
    let cell = StateRow { key: flushed_key(), value: Some(value.freeze()), time };
    // The cell is written behind the rows that it speaks of.
    for rows in [rows, vec![cell]] {
        let written = persist.until_done(|store| {
            let rows = rows.clone();
            async move { store.write_state(entity, rows).await }
        });
        if let Err(open) = written.await? {
            return Ok(Input::EpochRead(open));
        }
    }
    Ok(Input::Flushed(entity))
}

/// Waits before the next try of `service`, or returns an error that no repetition mends.
pub(crate) async fn retry(service: &str, error: StoreError, wait: Duration) -> Result<Duration, StoreError> {
    if !error.is_retryable() {
        return Err(error);
    }
    if wait == RETRY_MIN {
        tracing::warn!(service, %error, "refused; trying again");
    }
    sleep(wait).await;
    Ok((wait * 2).min(RETRY_MAX))
}
