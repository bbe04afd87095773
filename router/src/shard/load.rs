//! Bringing rows of an entity to its head from the store.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use panda_protocol::codec::{DecodeError, Reader, Writer};
use panda_protocol::event::Event;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::{EntityId, Position, Seq, Time};
use panda_storage::{EventBatch, EventRow, EventStore, ReadOrder, RowKey, StateRow, StoreError};

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
pub(crate) struct Loading {
    pub(crate) rows: HashMap<RowId, Option<Row>>,
}

impl Rows for Loading {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.rows.get(id).and_then(Option::as_ref)
    }
    fn take_row(&mut self, id: &RowId) -> Option<Row> {
        self.rows.get_mut(id).and_then(Option::take)
    }
    fn set_row(&mut self, id: RowId, row: Row) {
        self.rows.insert(id, Some(row));
    }
}

/// The key of the flushed cell.
pub fn flushed_key() -> RowKey {
    RowKey { kind: kind::FLUSHED, key: Bytes::new() }
}

/// The flushed cell that says so of every row through an event, which has this time.
pub fn flushed_cell(through: Seq, time: Time) -> StateRow {
    let mut value = Writer::with_capacity(8);
    value.value(&through);
    StateRow { key: flushed_key(), value: Some(value.freeze()), time }
}

/// Reads what [`flushed_cell`] made.
pub(crate) fn read_flushed(value: Bytes) -> Result<Seq, DecodeError> {
    Reader::new(value).value()
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
/// What the store returns; [`StoreError::Corrupt`] for rows or events that cannot be read, or that do not go together:
/// whoever went on from a head that is missing or too old would number events anew that are stored.
pub async fn load<S: EventStore>(store: &S, entity: EntityId, wanted: Wanted) -> Result<Loaded, StoreError> {
    let first = wanted.base.is_none();
    let mut tail = match wanted.base {
        Some((seq, position)) => Tail { position: Some(position), ..Tail::behind(seq) },
        None => {
            let cell = store.read_state(entity, vec![flushed_key()]).await?.pop().flatten();
            let flushed = match cell.and_then(|cell| cell.value) {
                Some(value) => {
                    read_flushed(value).map_err(|error| corrupt(format!("the flushed cell of {entity}"), error))?
                }
                None => Seq(0),
            };
            Tail::behind(flushed)
        }
    };
    let mut loading = Loading::default();
    let mut ids = wanted.ids;
    if first && !ids.contains(&RowId::Head) {
        ids.push(RowId::Head);
    }
    read_rows(store, entity, ids, &mut loading).await?;
    if first {
        // Every event changes the head, and the flushed cell is written behind the rows that it speaks of.
        let (head, _, _) = loading.head_stamp();
        if head < tail.head {
            let through = tail.head;
            let why = format!("the head of {entity} is at event {head}, and its rows are stored through {through}");
            return Err(StoreError::Corrupt(why));
        }
        tail.extend(store, entity, usize::MAX).await?;
    }
    let mut touched: HashSet<RowId> = HashSet::new();
    let mut decoded: Vec<(Position, Event)> = Vec::new();
    loop {
        for row in &tail.events[decoded.len()..] {
            let event = decode(entity, row)?;
            touched.extend(fold::touches(&event));
            decoded.push((row.position, event));
        }
        let missing: Vec<RowId> = touched.iter().filter(|id| !loading.rows.contains_key(*id)).cloned().collect();
        read_rows(store, entity, missing, &mut loading).await?;
        let newest = loading.rows.values().flatten().map(|row| row.seq).max().unwrap_or_default();
        if newest <= tail.head {
            break;
        }
        if !tail.extend(store, entity, usize::MAX).await? {
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
pub(crate) struct Tail {
    pub(crate) head: Seq,
    /// Of the head's event, if it is known.
    position: Option<Position>,
    pub(crate) events: Vec<EventRow>,
}

impl Tail {
    /// Nothing was read behind this head.
    pub(crate) const fn behind(head: Seq) -> Self {
        Self { head, position: None, events: Vec::new() }
    }

    /// Forgets all but what a new owner writes again.
    pub(crate) fn keep_last(&mut self) {
        self.events.drain(..self.events.len().saturating_sub(TAIL_EVENTS));
    }

    /// Reads on until there are so many more events, or all; more than one command has. Returns whether there was
    /// more.
    ///
    /// # Errors
    /// What the store returns; [`StoreError::Corrupt`] if the head's own event is not there.
    pub(crate) async fn extend<S: EventStore>(
        &mut self,
        store: &S,
        entity: EntityId,
        enough: usize,
    ) -> Result<bool, StoreError> {
        if self.position.is_none() && self.head > Seq(0) {
            let stored = store.read_events(entity, self.head, ReadOrder::Forward, 1, LOAD_BYTES).await?;
            let Some(head) = stored.first().filter(|row| row.seq == self.head) else {
                let why = format!("the rows of {entity} are stored through event {}, and that is not there", self.head);
                return Err(StoreError::Corrupt(why));
            };
            self.position = Some(head.position);
        }
        let mut found: Vec<EventRow> = Vec::new();
        let mut next = self.head.next();
        'pages: while found.len() < enough {
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

/// The stored events up to `head` that records from `from` on made and that owe something to other entities, rising.
/// All others are let go page by page: a checkpoint that is held has any number of them behind it.
async fn read_owing<S: EventStore>(
    store: &S,
    entity: EntityId,
    head: Seq,
    from: Position,
) -> Result<Vec<(Position, Bytes)>, StoreError> {
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
            // One that cannot be read may owe something, too.
            let event = decode(entity, &row)?;
            if !fold::effects(entity, &event, &row.event).is_empty() {
                owing.push((row.position, row.event));
            }
        }
    }
    owing.reverse();
    Ok(owing)
}

/// The rows that a scan gave, unless one of them cannot be read: a listing leaves nothing out.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn read_scan(rows: Vec<StateRow>) -> Result<Vec<(RowId, Row)>, StoreError> {
    let read = |StateRow { key, value, .. }: StateRow| {
        let id = RowId::from_key(&key).ok().filter(|id| id.key() == key);
        let id = id.ok_or_else(|| StoreError::Corrupt(format!("{key:?} names no row")))?;
        // Scans give live rows: one without a value is none that can be read.
        let row = Row::from_bytes(value.unwrap_or_default()).map_err(|error| corrupt(format!("{id:?}"), error))?;
        Ok((id, row))
    };
    rows.into_iter().map(read).collect()
}

/// Writes the rows that were found once more: at most the last 128 are not everywhere yet, because
/// an owner has one write of that size in flight. They are those that were read, not read again:
/// another read may find fewer.
pub(crate) async fn write_tail<S: EventStore>(
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

/// The event of a row.
pub(crate) fn decode(entity: EntityId, row: &EventRow) -> Result<Event, StoreError> {
    Event::from_bytes(&row.event).map_err(|error| corrupt(format!("event {} of {entity}", row.seq), error))
}

fn corrupt(what: String, error: DecodeError) -> StoreError {
    StoreError::Corrupt(format!("{what}: {error}"))
}
