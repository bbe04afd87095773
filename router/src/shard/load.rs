//! Bringing rows of an entity to its head from the store.

use std::collections::{HashMap, HashSet};

use panda_protocol::event::Event;
use panda_protocol::{EntityId, Position, Seq};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::{EventBatch, EventRow, EventStore, ReadOrder, RowKey, StoreError};

use super::Loaded;
use crate::fold;
use crate::rows::bytes::kind;
use crate::rows::{Row, RowId, Rows};

/// Events read at once while rows are brought to the head.
const LOAD_EVENTS: usize = 512;
const LOAD_BYTES: usize = 512 * 1024;
/// The tail that a new owner writes again.
const TAIL_EVENTS: usize = 128;

/// The rows of a load while events move them.
#[derive(Default)]
struct Loading {
    rows: HashMap<RowId, Option<Row>>,
}

impl Rows for Loading {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.rows.get(id).and_then(Option::as_ref)
    }
    fn set_row(&mut self, id: RowId, row: Row) {
        self.rows.insert(id, Some(row));
    }
}

/// The key of the flushed cell.
pub(crate) fn flushed_key() -> RowKey {
    RowKey { kind: kind::FLUSHED, key: bytes::Bytes::new() }
}

/// Loads rows. The first load of an entity also finds its head: it reads the flushed cell and the
/// events behind it, loads every row that these change, and moves all of them to the last whole command.
///
/// # Errors
/// What the store returns; [`StoreError::Corrupt`] for rows or events that cannot be read.
pub(crate) async fn load<S: EventStore>(
    store: &S,
    entity: EntityId,
    ids: Vec<RowId>,
    first: bool,
) -> Result<Loaded, StoreError> {
    let mut loading = Loading::default();
    read_rows(store, entity, ids, &mut loading).await?;
    if !first {
        return Ok(Loaded { rows: loading.rows.into_iter().collect(), ..Loaded::default() });
    }
    let cell = store.read_state(entity, vec![flushed_key()]).await?.pop().flatten();
    let flushed = match cell.and_then(|cell| cell.value) {
        Some(bytes) => Seq(panda_protocol::Reader::new(bytes).varint().map_err(|error| corrupt(entity, error))?),
        None => Seq(0),
    };
    let events = whole_commands(read_behind(store, entity, flushed).await?);
    if !store.reads_are_durable() {
        write_tail(store, entity, &events, flushed).await?;
    }
    let mut decoded: Vec<(Position, Event)> = Vec::with_capacity(events.len());
    for row in &events {
        decoded.push((row.position, Event::from_bytes(&row.event).map_err(|error| corrupt(entity, error))?));
    }
    let touched: HashSet<RowId> = decoded.iter().flat_map(|(_, event)| fold::touches(event)).collect();
    let missing: Vec<RowId> = touched.iter().filter(|id| !loading.rows.contains_key(*id)).cloned().collect();
    read_rows(store, entity, missing, &mut loading).await?;
    for (position, event) in &decoded {
        fold::advance(&mut loading, entity, event, *position);
    }
    Ok(Loaded { rows: loading.rows.into_iter().collect(), flushed, dirty: touched.into_iter().collect() })
}

async fn read_rows<S: EventStore>(
    store: &S,
    entity: EntityId,
    ids: Vec<RowId>,
    into: &mut Loading,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let stored = store.read_state(entity, ids.iter().map(RowId::key).collect()).await?;
    for (id, row) in ids.into_iter().zip(stored) {
        let row = match row.and_then(|row| row.value) {
            Some(bytes) => Some(Row::from_bytes(bytes).map_err(|error| corrupt(entity, error))?),
            None => None,
        };
        into.rows.insert(id, row);
    }
    Ok(())
}

async fn read_behind<S: EventStore>(store: &S, entity: EntityId, flushed: Seq) -> Result<Vec<EventRow>, StoreError> {
    let mut events: Vec<EventRow> = Vec::new();
    let mut next = flushed.next();
    loop {
        let page = store.read_events(entity, next, ReadOrder::Forward, LOAD_EVENTS, LOAD_BYTES).await?;
        if page.is_empty() {
            return Ok(events);
        }
        for row in page {
            // A row that is not the next one, or of a position that does not follow, is what a
            // process left that no longer owned the shard: the events end before it.
            let follows = events.last().is_none_or(|last| {
                row.position > last.position || row.position == last.position && row.index == last.index + 1
            });
            if row.seq != next || !follows {
                return Ok(events);
            }
            next = next.next();
            events.push(row);
        }
    }
}

/// Without the last command if it is not all there.
fn whole_commands(mut events: Vec<EventRow>) -> Vec<EventRow> {
    while events.last().is_some_and(|last| last.index + 1 != last.count) {
        events.pop();
    }
    events
}

/// What a minority may hold is made the majority's before anything is built on it.
async fn write_tail<S: EventStore>(
    store: &S,
    entity: EntityId,
    behind: &[EventRow],
    flushed: Seq,
) -> Result<(), StoreError> {
    let head = behind.last().map_or(flushed, |last| last.seq);
    if head == Seq(0) {
        return Ok(());
    }
    let mut tail = store.read_events(entity, head, ReadOrder::Backward, TAIL_EVENTS, LOAD_BYTES).await?;
    tail.reverse();
    let mut writes: Vec<EventBatch> = Vec::new();
    for row in tail {
        match writes.last_mut() {
            Some(write)
                if write.rows.last().is_some_and(|last| last.seq.0 / BUCKET_EVENTS == row.seq.0 / BUCKET_EVENTS) =>
            {
                write.rows.push(row)
            }
            _ => writes.push(EventBatch { entity, rows: vec![row], owes: Vec::new(), settles: Vec::new() }),
        }
    }
    for write in writes {
        store.write_events(write).await?;
    }
    Ok(())
}

fn corrupt(entity: EntityId, error: panda_protocol::DecodeError) -> StoreError {
    StoreError::Corrupt(format!("state of {entity}: {error}"))
}
