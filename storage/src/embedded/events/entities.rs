//! Which entities there are.

use std::ops::Bound;

use panda_protocol::{EntityId, Seq};

use super::tables::Tables;
use super::{EmbeddedEvents, keys, walk};
use crate::entity_store::{Copies, ENTITIES_AT_ONCE_MAX, EntityStore};
use crate::error::StoreError;
use crate::event_store::{EventRow, EventStore as _, ReadOrder};

/// There is one copy, and what a read finds in it is durable.
impl EntityStore for EmbeddedEvents {
    async fn entities(&self, _: Copies, after: Option<EntityId>, limit: usize) -> Result<Vec<EntityId>, StoreError> {
        self.read(move |tables| entities(tables, after, limit.min(ENTITIES_AT_ONCE_MAX))).await
    }

    async fn read_events_of(
        &self,
        _: Copies,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.read_events(entity, from, order, limit, bytes_max).await
    }
}

/// By leaps: each begins behind the last event that the entity before could have.
fn entities(tables: &Tables, after: Option<EntityId>, limit: usize) -> Result<Vec<EntityId>, StoreError> {
    let (start, end) = keys::EVENT_RANGE;
    let mut found: Vec<EntityId> = Vec::new();
    let mut last = after;
    while found.len() < limit {
        let behind = last.map(|last| keys::event(last, Seq(u64::MAX)));
        let from = behind.as_ref().map_or(Bound::Included(start), |behind| Bound::Excluded(&behind[..]));
        let mut next = None;
        walk(tables, (from, Bound::Excluded(end)), ReadOrder::Forward, 1, |(key, _)| {
            next = Some(keys::read_event_entity(key)?);
            Ok(false)
        })?;
        let Some(next) = next else { break };
        found.push(next);
        last = Some(next);
    }
    Ok(found)
}
