//! Which entities there are.

use std::ops::Bound;

use bytes::Bytes;
use panda_protocol::{EntityId, Seq};

use super::tables::Tables;
use super::{EmbeddedEvents, keys, walk};
use crate::entity_store::{Copies, ENTITIES_AT_ONCE_MAX, EntityStore};
use crate::error::StoreError;
use crate::event_store::{EventRow, EventStore as _, ReadOrder, RowKey, StateRow};

impl EmbeddedEvents {
    /// At most `limit` of an entity's state rows behind `after`, in the order of kinds and keys, those that
    /// are deleted among them; none: there are no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn state_rows(
        &self,
        entity: EntityId,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        self.read(move |tables| state_rows(tables, entity, after.as_ref(), limit)).await
    }
}

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

fn state_rows(
    tables: &Tables,
    entity: EntityId,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<StateRow>, StoreError> {
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    let first = RowKey { kind: u8::MIN, key: Bytes::new() };
    let start = keys::state(entity, after.unwrap_or(&first));
    let start = if after.is_some() { Bound::Excluded(&start[..]) } else { Bound::Included(&start[..]) };
    let end = keys::state_end(entity, u8::MAX);
    walk(tables, (start, Bound::Excluded(&end[..])), ReadOrder::Forward, limit, |(key, value)| {
        rows.push(keys::read_scanned(key, value)?);
        Ok(rows.len() < limit)
    })?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use panda_protocol::{Time, UserId};

    use super::super::Options;
    use super::*;
    use crate::embedded::folder::DataFolder;

    #[tokio::test]
    async fn all_rows_of_an_entity_are_found_whatever_their_kind_and_whether_they_live() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let store = EmbeddedEvents::open_with(&folder, Options { memory_bytes: 500, ..Options::default() }).unwrap();
        let entity = |byte| EntityId::from(UserId::from_random([byte; 16]));
        let row = |kind: u8, key: &'static [u8], value: Option<&'static str>| StateRow {
            key: RowKey { kind, key: Bytes::from_static(key) },
            value: value.map(Into::into),
            time: Time(7),
        };
        let rows = vec![
            row(0, b"", Some("first")),
            row(1, b"", None),
            row(1, &[0xff; 64], Some("long")),
            row(2, b"a", Some("")),
            row(255, &[0xff; 64], None),
        ];
        for neighbour in [1, 3] {
            store.write_state(entity(neighbour), vec![row(1, b"", Some("other"))]).await.unwrap();
        }
        store.write_state(entity(2), rows.clone()).await.unwrap();
        for limit in [1, 2, 5, 100] {
            let mut found: Vec<StateRow> = Vec::new();
            loop {
                let after = found.last().map(|last| last.key.clone());
                let page = store.state_rows(entity(2), after, limit).await.unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            assert_eq!(found, rows, "{limit}");
        }
        assert_eq!(store.state_rows(entity(2), None, 0).await.unwrap(), []);
    }
}
