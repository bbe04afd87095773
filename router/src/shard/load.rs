//! Bringing rows of an entity to its head from the store.

use std::collections::{HashMap, HashSet};

use panda_protocol::event::Event;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::{EntityId, Position, Seq};
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
pub fn flushed_key() -> RowKey {
    RowKey { kind: kind::FLUSHED, key: bytes::Bytes::new() }
}

/// What a load is to bring.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Rows to bring.
    pub ids: Vec<RowId>,
    /// The last event that was applied in memory and its position; absent: nothing is in memory, and
    /// the head is to be found.
    pub base: Option<(Seq, Position)>,
    /// With the first load: also the stored events from this position on. Their commands are skipped,
    /// and what they owe to other entities may not have been appended.
    pub owing_from: Position,
    /// Events of one partition of the store, which no write may leave.
    pub bucket_events: u64,
}

/// Loads rows. The first load of an entity also finds its head: it reads the flushed cell and the
/// events behind it, loads every row that these change, and moves all of them to the last whole
/// command. A later load that meets a row ahead of the base (another owner stored it) brings the
/// events up to it, too: the row must not be used before them.
///
/// # Errors
/// What the store returns; [`StoreError::Corrupt`] for rows or events that cannot be read.
pub async fn load<S: EventStore>(store: &S, entity: EntityId, wanted: Wanted) -> Result<Loaded, StoreError> {
    let first = wanted.base.is_none();
    let mut tail = match wanted.base {
        Some((seq, position)) => Tail { head: seq, position: Some(position), events: Vec::new() },
        None => {
            let cell = store.read_state(entity, vec![flushed_key()]).await?.pop().flatten();
            let flushed = match cell.and_then(|cell| cell.value) {
                Some(bytes) => panda_protocol::Reader::new(bytes)
                    .varint()
                    .map_err(|error| corrupt(format!("the flushed cell of {entity}"), error))?,
                None => 0,
            };
            Tail { head: Seq(flushed), position: None, events: Vec::new() }
        }
    };
    let mut loading = Loading::default();
    read_rows(store, entity, wanted.ids, &mut loading).await?;
    if first {
        tail.extend(store, entity).await?;
    }
    let mut touched: HashSet<RowId> = HashSet::new();
    let mut decoded: Vec<(Position, Event)> = Vec::new();
    loop {
        for row in &tail.events[decoded.len()..] {
            let event = readable(entity, row)?;
            touched.extend(fold::touches(&event));
            decoded.push((row.position, event));
        }
        let missing: Vec<RowId> = touched.iter().filter(|id| !loading.rows.contains_key(*id)).cloned().collect();
        read_rows(store, entity, missing, &mut loading).await?;
        let newest = loading.rows.values().flatten().map(|row| row.seq).max().unwrap_or_default();
        if newest <= tail.head {
            break;
        }
        if !tail.extend(store, entity).await? {
            return Err(StoreError::Corrupt(format!("{entity} has a row of event {newest} and no such event")));
        }
    }
    // What a minority may hold is made the majority's before anything is built on it. The base's
    // owner writes what this load brings with its next batch.
    if first && !store.reads_are_durable() {
        write_tail(store, entity, &tail.events, wanted.bucket_events).await?;
    }
    for (position, event) in &decoded {
        fold::advance(&mut loading, entity, event, *position);
    }
    let skips = first && tail.position.is_some_and(|head| head >= wanted.owing_from);
    let owing = if skips && entity.chat().is_some() {
        read_owing(store, entity, tail.head, wanted.owing_from).await?
    } else {
        Vec::new()
    };
    let events = if first { Vec::new() } else { tail.events };
    let rows = loading.rows.into_iter().collect();
    Ok(Loaded { rows, dirty: touched.into_iter().collect(), events, owing })
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
            Some(bytes) => Some(Row::from_bytes(bytes).map_err(|error| corrupt(format!("{id:?} of {entity}"), error))?),
            None => None,
        };
        into.rows.insert(id, row);
    }
    Ok(())
}

/// The events behind a head, as far as they are whole commands.
struct Tail {
    head: Seq,
    /// Of the head's event, if it is known.
    position: Option<Position>,
    events: Vec<EventRow>,
}

impl Tail {
    /// Reads on. Returns whether there was more.
    async fn extend<S: EventStore>(&mut self, store: &S, entity: EntityId) -> Result<bool, StoreError> {
        if self.position.is_none() && self.head > Seq(0) {
            let head = store.read_events(entity, self.head, ReadOrder::Forward, 1, LOAD_BYTES).await?;
            self.position = head.first().filter(|row| row.seq == self.head).map(|row| row.position);
        }
        let mut found: Vec<EventRow> = Vec::new();
        let mut next = self.head.next();
        'pages: loop {
            let page = store.read_events(entity, next, ReadOrder::Forward, LOAD_EVENTS, LOAD_BYTES).await?;
            if page.is_empty() {
                break;
            }
            for row in page {
                if row.seq != next || !self.follows(found.last(), &row) {
                    break 'pages;
                }
                next = next.next();
                found.push(row);
            }
        }
        // Without the last command if it is not all there.
        while found.last().is_some_and(|last| last.index + 1 != last.count) {
            found.pop();
        }
        let Some(last) = found.last() else { return Ok(false) };
        self.head = last.seq;
        self.position = Some(last.position);
        self.events.extend(found);
        Ok(true)
    }

    /// A row that does not go on with its command, or of a position that does not follow, is what a
    /// process left that no longer owned the shard: the events end before it.
    fn follows(&self, last: Option<&EventRow>, row: &EventRow) -> bool {
        match last {
            Some(last) if last.index + 1 < last.count => {
                row.position == last.position && row.index == last.index + 1 && row.count == last.count
            }
            Some(last) => row.position > last.position && row.index == 0,
            None => self.position.is_none_or(|position| row.position > position) && row.index == 0,
        }
    }
}

/// The stored events up to `head` that records from `from` on made, rising.
async fn read_owing<S: EventStore>(
    store: &S,
    entity: EntityId,
    head: Seq,
    from: Position,
) -> Result<Vec<(Position, bytes::Bytes)>, StoreError> {
    let mut owing = Vec::new();
    let mut next = head;
    'pages: while next > Seq(0) {
        let page = store.read_events(entity, next, ReadOrder::Backward, LOAD_EVENTS, LOAD_BYTES).await?;
        let Some(last) = page.last() else { break };
        next = Seq(last.seq.0.saturating_sub(1));
        for row in page {
            if row.position < from {
                break 'pages;
            }
            // Nothing that it owes may be passed over.
            readable(entity, &row)?;
            owing.push((row.position, row.event));
        }
    }
    owing.reverse();
    Ok(owing)
}

/// Writes the rows that were found once more: at most the last 128 are not everywhere yet, because
/// an owner has one write of that size in flight. They are those that were read, not read again:
/// another read may find fewer.
async fn write_tail<S: EventStore>(
    store: &S,
    entity: EntityId,
    found: &[EventRow],
    bucket_events: u64,
) -> Result<(), StoreError> {
    let tail = found[found.len().saturating_sub(TAIL_EVENTS)..].to_vec();
    for batch in batches(entity, tail, bucket_events) {
        store.write_events(batch).await?;
    }
    Ok(())
}

/// Cuts rows into writes, the lower first: one bucket each, and within the limits of a write.
pub(super) fn batches(entity: EntityId, rows: Vec<EventRow>, bucket_events: u64) -> Vec<EventBatch> {
    let mut writes: Vec<EventBatch> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let fits = writes.last().and_then(|write| write.rows.last()).is_some_and(|last| {
            last.seq.0 / bucket_events == row.seq.0 / bucket_events && bytes + row.event.len() <= WRITE_BYTES_MAX
        });
        match writes.last_mut() {
            Some(write) if fits && write.rows.len() < COMMAND_EVENTS_MAX => {
                bytes += row.event.len();
                write.rows.push(row);
            }
            _ => {
                bytes = row.event.len();
                writes.push(EventBatch { entity, rows: vec![row], owes: Vec::new(), settles: Vec::new() });
            }
        }
    }
    writes
}

fn readable(entity: EntityId, row: &EventRow) -> Result<Event, StoreError> {
    Event::from_bytes(&row.event).map_err(|error| corrupt(format!("event {} of {entity}", row.seq), error))
}

fn corrupt(what: String, error: panda_protocol::DecodeError) -> StoreError {
    StoreError::Corrupt(format!("{what}: {error}"))
}
