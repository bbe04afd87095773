//! The begin of a shard's term.

use panda_protocol::link::Record;
use panda_protocol::{Position, ShardId};
use panda_storage::known_log::{KnownReader, read_on};
use panda_storage::{AppendError, Appender, Checkpoint, CommandLog, EpochStore, EventStore, StoreError};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::driver::Parts;
use crate::fold::RULES_FIRST;
use crate::moment::Moment;
use crate::open_epoch::Guard;
use crate::persist::{LOG, Persist, RETRY_MAX, RETRY_MIN, retry};
use crate::shard::GivenUp;

/// Where a term begins.
pub(crate) struct Begun<R> {
    pub(crate) takeover: Position,
    /// From where the log is read, and the rules that hold there.
    pub(crate) start: Checkpoint,
    /// What the store held when the reader was opened.
    pub(crate) stored: Option<Checkpoint>,
    /// Compares the last record before the start when that comes: links and other routers need not wait for it.
    pub(crate) reader: KnownReader<R>,
    /// When the store was asked, and said that the epoch is open.
    pub(crate) sure_at: Moment,
}

/// Takes the shard over, and finds from where it is to be read. Whatever is away is waited for. A process that
/// was paused may come back to its group behind the end of its epoch: then it takes nothing over.
///
/// # Errors
/// What the store or the log returned and no repetition mends; [`StoreError::Misconfigured`] if the log is seen at once
/// not to be the one that was read up to the shard's checkpoint.
pub(crate) async fn begin<L: CommandLog, S: EventStore + EpochStore>(
    parts: &Parts<L, S>,
    rules_max: u16,
) -> Result<Result<Begun<L::Reader>, GivenUp>, StoreError> {
    let persist = Persist::new(parts.shard, &parts.store, Guard::new(parts.epoch.clone(), watch::channel(None).1));
    if let Err(open) = persist.still_open().await? {
        return Ok(Err(GivenUp::EpochOver { open }));
    }
    let takeover = take_over(&parts.log, parts.shard, parts.router, rules_max).await;
    // The Takeover may have waited for long, and whoever opens an epoch sees in the group who came before.
    let said = parts.epoch.since(Moment::now()).await?;
    if said.open > parts.log.epoch() {
        return Ok(Err(GivenUp::EpochOver { open: said.open }));
    }
    let shard = parts.shard;
    let stored = async || checkpoint(&persist, shard).await;
    Ok(match go_on(stored, async |stored| open(&parts.log, shard, stored, takeover).await).await? {
        Ok((stored, reader)) => {
            Ok(Begun { takeover, start: start(stored, takeover.epoch), stored, reader, sure_at: said.asked })
        }
        Err(open) => Err(GivenUp::EpochOver { open }),
    })
}

/// What the store holds of a shard, or the epoch that is open instead.
///
/// # Errors
/// What the store returns and no repetition mends.
pub(crate) async fn checkpoint<S: EventStore>(
    persist: &Persist<S>,
    shard: ShardId,
) -> Result<Result<Option<Checkpoint>, u32>, StoreError> {
    persist.until_done(|store| async move { store.checkpoint(shard).await }).await
}

/// Opens the log at what is stored. Where it is refused, the owner before may have gone on meanwhile, and the log deleted
/// what is behind its next checkpoint: so it is for good only at a checkpoint that stays. The driver holds what the log
/// refuses later to the same.
async fn go_on<R>(
    stored: impl AsyncFn() -> Result<Result<Option<Checkpoint>, u32>, StoreError>,
    open: impl AsyncFn(Option<Checkpoint>) -> Result<R, StoreError>,
) -> Result<Result<(Option<Checkpoint>, R), u32>, StoreError> {
    let mut refused = None;
    loop {
        let stored = match stored().await? {
            Ok(stored) => stored,
            Err(open) => return Ok(Err(open)),
        };
        match open(stored).await {
            Ok(reader) => return Ok(Ok((stored, reader))),
            Err(StoreError::Misconfigured(_)) if refused.replace(stored) != Some(stored) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Where an owner in this epoch begins. The rules go on from one epoch to the next, positions do not.
fn start(stored: Option<Checkpoint>, epoch: u32) -> Checkpoint {
    let rules = stored.map_or(RULES_FIRST, |stored| stored.rules);
    let first = Checkpoint { position: Position { epoch, offset: 0 }, rules, last: None };
    stored.filter(|stored| stored.position.epoch == epoch).unwrap_or(first)
}

/// Reads the log from there on; it reaches the Takeover.
async fn open<L: CommandLog>(
    log: &L,
    shard: ShardId,
    stored: Option<Checkpoint>,
    takeover: Position,
) -> Result<KnownReader<L::Reader>, StoreError> {
    let mut wait = RETRY_MIN;
    loop {
        let opened = match &stored {
            Some(stored) if stored.position.epoch == log.epoch() => read_on(log, shard, stored, Some(takeover)).await,
            _ => log.read(shard, None).await.map(|reader| KnownReader::from_first(shard, reader)),
        };
        match opened {
            Ok(reader) => return Ok(reader),
            Err(error) => wait = retry(LOG, Some(shard), error, wait).await?,
        }
    }
}

/// Appends the record with which a term begins; one that may be in the log already does no harm.
async fn take_over<L: CommandLog>(log: &L, shard: ShardId, router: u64, rules_max: u16) -> Position {
    let takeover = Record::Takeover { router, rules_max };
    let mut wait = RETRY_MIN;
    loop {
        let appended = match log.append(shard, takeover.to_bytes(), Appender::Router(router).into()) {
            Ok(appending) => appending.await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(position) => return position,
            Err(AppendError::Full | AppendError::Unavailable | AppendError::Unknown) => sleep(wait).await,
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn checkpoint(offset: u64) -> Option<Checkpoint> {
        Some(Checkpoint { position: Position { epoch: 1, offset }, rules: RULES_FIRST, last: None })
    }

    #[tokio::test]
    async fn a_log_that_is_refused_is_tried_again_at_the_checkpoint_to_which_the_owner_before_came() {
        let looks = Cell::new(0);
        let stored = async || Ok(Ok(checkpoint(looks.replace(looks.get() + 1))));
        let refused = |stored: Option<Checkpoint>| StoreError::Misconfigured(format!("{stored:?}"));
        let open = async |stored| if stored == checkpoint(2) { Ok("a reader") } else { Err(refused(stored)) };
        let opened = go_on(stored, open).await.expect("it can be opened");
        assert_eq!(opened, Ok((checkpoint(2), "a reader")));
        let tries = Cell::new(0);
        let open = async |stored| {
            tries.set(tries.get() + 1);
            Err::<(), _>(refused(stored))
        };
        let ended = go_on(async || Ok(Ok(checkpoint(7))), open).await;
        assert!(matches!(ended, Err(StoreError::Misconfigured(_))), "{ended:?}");
        assert_eq!(tries.get(), 2, "the checkpoint stays");
        let over = go_on(async || Ok(Err(3)), open).await;
        assert!(matches!(over, Ok(Err(3))), "{over:?}");
    }
}
