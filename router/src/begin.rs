//! The begin of a shard's term.

use panda_protocol::link::Record;
use panda_protocol::{Position, ShardId};
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
    pub(crate) reader: R,
    /// When the store was asked, and said that the epoch is open.
    pub(crate) sure_at: Moment,
}

/// Takes the shard over, and finds from where it is to be read. Whatever is away is waited for. A process that
/// was paused may come back to its group behind the end of its epoch: then it takes nothing over.
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
    let stored = match persist.until_done(|store| async move { store.checkpoint(shard).await }).await? {
        Ok(stored) => stored,
        Err(open) => return Ok(Err(GivenUp::EpochOver { open })),
    };
    // The rules go on from one epoch to the next, positions do not.
    let rules = stored.map_or(RULES_FIRST, |stored| stored.rules);
    let from = stored.map(|stored| stored.position).filter(|from| from.epoch == takeover.epoch);
    let mut wait = RETRY_MIN;
    let reader = loop {
        match parts.log.read(parts.shard, from).await {
            Ok(reader) => break reader,
            Err(error) => wait = retry(LOG, Some(parts.shard), error, wait).await?,
        }
    };
    let start = Checkpoint { position: from.unwrap_or(Position { epoch: takeover.epoch, offset: 0 }), rules };
    Ok(Ok(Begun { takeover, start, reader, sure_at: said.asked }))
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
