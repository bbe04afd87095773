//! Where an owner begins, and what it finds.

use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use panda_protocol::{EntityId, Position, ShardId};
use panda_router::fold::RULES_FIRST;
use panda_router::rows::{Row, RowId};
use panda_router::shard::load::{Wanted, load};
use panda_storage::{Checkpoint, LogRecord, RecordMark};

use super::owner::BUCKET_EVENTS;
use super::support::store::MemoryStore;

/// The one shard of this world.
pub(crate) const SHARD: ShardId = ShardId(0);

/// Where the owner of a Takeover begins: at the shard's checkpoint, if it is of this epoch.
pub(crate) fn start(store: &MemoryStore, takeover: Position) -> Checkpoint {
    let stored = store.read_checkpoint(SHARD);
    let rules = stored.map_or(RULES_FIRST, |stored| stored.rules);
    let first = Checkpoint { position: Position { offset: 0, ..takeover }, rules, last: None };
    stored.filter(|stored| stored.position.epoch == takeover.epoch).unwrap_or(first)
}

/// Whoever begins there knows its log, which is this one of its epoch, by the record before.
pub(crate) fn check(start: &Checkpoint, log: &[LogRecord]) {
    let offset = usize::try_from(start.position.offset).expect("a short log");
    let before = offset.checked_sub(1).map(|before| RecordMark::of(&log[before]));
    assert_eq!(start.last, before, "the record before {}", start.position);
}

/// The rows of an entity as an owner would load them. The owner before may have ended before it stored
/// them, and nothing came since that made another one load the entity.
pub(crate) fn load_rows<'a>(
    store: &MemoryStore,
    entity: EntityId,
    ids: impl Iterator<Item = &'a RowId>,
) -> HashMap<RowId, Row> {
    let nothing_owed = Position { epoch: u32::MAX, offset: 0 };
    let ids = ids.cloned().collect();
    let wanted = Wanted { ids, base: None, owing_from: nothing_owed, bucket_events: BUCKET_EVENTS };
    let mut loading = pin!(load(store, entity, wanted));
    loop {
        if let Poll::Ready(loaded) = loading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let rows = loaded.expect("every write arrives").rows;
            return rows.into_iter().filter_map(|(id, row)| Some((id, row?))).collect();
        }
        store.deliver();
    }
}
