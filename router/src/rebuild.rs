//! Making the rows of one chat or inbox anew from its events, because some of them are damaged.
//!
//! No statement by hand does that safely. A row that is deleted comes back with the time of its own event, and loses
//! against the deletion, also against one of that very time; it is then missing for good, and an owner believes it.
//! So what is wrong is **written over**, a microsecond after it was written last: that is no later than the event
//! behind it, so whatever comes next wins over it. (If that has the very same time, the larger bytes win, and a row
//! begins with its event's number.)
//!
//! A row that was written later than that is not written over: what comes next might lose against it. Nor is anything
//! done where events are missing that rows speak of: rows made of the others would give the missing numbers away.
//!
//! An owner may run meanwhile: it writes the same rows of the same events.

use std::collections::HashMap;

use panda_protocol::{EntityId, Seq, Time};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::{EventStore, ReadOrder, RowKey, StateRow, StoreError};

use crate::fold;
use crate::rows::bytes::kind;
use crate::rows::{Row, RowId};
use crate::shard::load::{Loading, Tail, decode, flushed_cell, flushed_key, read_flushed, write_tail};

/// Events that are folded before more are read; more than one command has.
const EVENTS_AT_ONCE: usize = 512;
/// Rows that are looked at, and written, at once.
const ROWS_AT_ONCE: usize = 128;
/// Every kind of row that a fold makes.
const KINDS: [u8; 5] = [kind::HEAD, kind::MEMBER, kind::WINDOW, kind::INBOX_CHAT, kind::SETTING];

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events that the entity has.
    pub events: u64,
    /// Rows that they come to.
    pub rows: u64,
    /// Rows that were not as they should be, and are now; those that should not be there among them.
    pub mended: u64,
}

/// Makes the rows of an entity what its events say. Reads all of them, and holds all rows of this one entity in
/// memory. May be cut short, and done again. No record that is taken from here on has a time before `from`; without
/// it, some may wait in the log since the newest event.
///
/// # Errors
/// What the store returns; [`StoreError::Corrupt`] where events are damaged or missing, or a row was written too late:
/// a backup has to bring those back.
pub async fn rebuild<S: EventStore>(store: &S, entity: EntityId, from: Option<Time>) -> Result<Rebuilt, StoreError> {
    let folded = Folded::of(store, entity).await?;
    let flushed = match read_one(store, entity, flushed_key()).await? {
        Stored::Row(Some(cell)) => cell.value.and_then(|value| read_flushed(value).ok()),
        Stored::Row(None) | Stored::Unknown => None,
    };
    if let Some(through) = flushed.filter(|through| *through > folded.head) {
        return Err(folded.falls_short(through));
    }
    let latest = from.map_or(Time(folded.time.0 + 1), |from| Time(from.0.saturating_sub(1)));
    let mut mending = Mending { store, folded: &folded, latest, mended: 0 };
    for kind in KINDS {
        mending.look(kind).await?;
    }
    let keys: Vec<RowKey> = folded.rows.keys().cloned().collect();
    for keys in keys.chunks(ROWS_AT_ONCE) {
        mending.mend(keys).await?;
    }
    for kind in KINDS {
        mending.remove_others(kind).await?;
    }
    // Behind the rows that it speaks of.
    if folded.head > Seq(0) && flushed.is_none() {
        mending.write(vec![(flushed_key(), None)]).await?;
    }
    let mended = mending.mended;
    store.sync_state().await?;
    Ok(Rebuilt { events: folded.head.0, rows: folded.rows.len() as u64, mended })
}

/// What the events of an entity come to.
struct Folded {
    entity: EntityId,
    head: Seq,
    /// Of the head.
    time: Time,
    rows: HashMap<RowKey, Row>,
}

impl Folded {
    async fn of<S: EventStore>(store: &S, entity: EntityId) -> Result<Self, StoreError> {
        let mut loading = Loading::default();
        let mut tail = Tail::behind(Seq(0));
        let mut time = Time(0);
        let mut folded = 0;
        while tail.extend(store, entity, EVENTS_AT_ONCE).await? {
            for row in &tail.events[folded..] {
                let event = decode(entity, row)?;
                fold::advance(&mut loading, entity, &event, row.position);
                time = row.time;
            }
            tail.keep_last();
            folded = tail.events.len();
        }
        let behind = store.read_events(entity, tail.head.next(), ReadOrder::Forward, 1, 1).await?;
        if let Some(row) = behind.first().filter(|row| row.seq > tail.head.next()) {
            let missing = tail.head.next();
            return Err(StoreError::Corrupt(format!(
                "event {missing} of {entity} is missing, and {} is there",
                row.seq
            )));
        }
        if !store.reads_are_durable() {
            write_tail(store, entity, &tail.events, BUCKET_EVENTS).await?;
        }
        let rows = loading.rows.into_iter().filter_map(|(id, row)| Some((id.key(), row?))).collect();
        Ok(Self { entity, head: tail.head, time, rows })
    }

    /// Whether the events reach what a row says.
    fn reaches(&self, row: &StateRow) -> Result<(), StoreError> {
        let read = row.value.clone().and_then(|value| Row::from_bytes(value).ok());
        read.filter(|read| read.seq > self.head).map_or(Ok(()), |read| Err(self.falls_short(read.seq)))
    }

    fn falls_short(&self, of: Seq) -> StoreError {
        let Self { entity, head, .. } = self;
        StoreError::Corrupt(format!("{entity} has rows of event {of}, and its events end at {head}"))
    }

    /// The bytes that a row should have and their time; none: it should not be there.
    fn value(&self, key: &RowKey) -> (Option<bytes::Bytes>, Time) {
        match self.rows.get(key) {
            Some(row) => (Some(row.to_bytes()), row.time),
            None if *key == flushed_key() => (flushed_cell(self.head, self.time).value, self.time),
            None => (None, Time(0)),
        }
    }
}

/// What a read of one row brought.
enum Stored {
    Row(Option<StateRow>),
    /// Not even its form can be read.
    Unknown,
}

async fn read_one<S: EventStore>(store: &S, entity: EntityId, key: RowKey) -> Result<Stored, StoreError> {
    match store.read_state(entity, vec![key]).await {
        Ok(mut rows) => Ok(Stored::Row(rows.pop().flatten())),
        Err(StoreError::Corrupt(_)) => Ok(Stored::Unknown),
        Err(error) => Err(error),
    }
}

struct Mending<'a, S> {
    store: &'a S,
    folded: &'a Folded,
    /// No event to come has an earlier time than behind this.
    latest: Time,
    mended: u64,
}

impl<S: EventStore> Mending<'_, S> {
    /// Looks whether rows of a kind speak of events that are missing, as far as they can be read.
    async fn look(&self, kind: u8) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = match self.store.scan_state(self.folded.entity, kind, after.clone(), ROWS_AT_ONCE).await {
                Err(StoreError::Corrupt(_)) => return Ok(()),
                page => page?,
            };
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.key.clone());
            page.iter().try_for_each(|row| self.folded.reaches(row))?;
        }
    }

    /// Compares rows with what they should be, and writes over those that are not.
    async fn mend(&mut self, keys: &[RowKey]) -> Result<(), StoreError> {
        let entity = self.folded.entity;
        let stored = match self.store.read_state(entity, keys.to_vec()).await {
            Ok(rows) => rows.into_iter().map(Stored::Row).collect(),
            Err(StoreError::Corrupt(_)) => {
                let mut rows = Vec::with_capacity(keys.len());
                for key in keys {
                    rows.push(read_one(self.store, entity, key.clone()).await?);
                }
                rows
            }
            Err(error) => return Err(error),
        };
        let mut wrong = Vec::new();
        for (key, stored) in keys.iter().zip(stored) {
            let (value, _) = self.folded.value(key);
            match stored {
                Stored::Row(Some(row)) if row.value == value => {}
                Stored::Row(Some(row)) => {
                    self.folded.reaches(&row)?;
                    wrong.push((key.clone(), Some(row.time)));
                }
                Stored::Row(None) => wrong.push((key.clone(), None)),
                // Unless somebody wrote it by hand, that is no later than the newest event.
                Stored::Unknown => wrong.push((key.clone(), Some(self.folded.time))),
            }
        }
        self.write(wrong).await
    }

    /// Deletes rows of a kind that no event made.
    async fn remove_others(&mut self, kind: u8) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.scan_state(self.folded.entity, kind, after.clone(), ROWS_AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.key.clone());
            let mut others = Vec::new();
            for row in page.into_iter().filter(|row| !self.folded.rows.contains_key(&row.key)) {
                self.folded.reaches(&row)?;
                others.push((row.key, Some(row.time)));
            }
            self.write(others).await?;
        }
    }

    /// Writes what rows should be, each behind when it was written last, and looks whether that is what is there then.
    async fn write(&mut self, wrong: Vec<(RowKey, Option<Time>)>) -> Result<(), StoreError> {
        if wrong.is_empty() {
            return Ok(());
        }
        let entity = self.folded.entity;
        let mut rows = Vec::with_capacity(wrong.len());
        for (key, stored) in wrong {
            let (value, time) = self.folded.value(&key);
            let time = Time(time.max(stored.unwrap_or_default()).0 + 1);
            if time > self.latest {
                return Err(self.too_late(&key));
            }
            rows.push(StateRow { key, value, time });
        }
        let keys: Vec<RowKey> = rows.iter().map(|row| row.key.clone()).collect();
        self.store.write_state(entity, rows.clone()).await?;
        let found = self.store.read_state(entity, keys).await?;
        for (row, found) in rows.iter().zip(found) {
            if found.and_then(|found| found.value) != row.value {
                return Err(self.too_late(&row.key));
            }
        }
        self.mended += rows.len() as u64;
        Ok(())
    }

    fn too_late(&self, key: &RowKey) -> StoreError {
        let (entity, latest) = (self.folded.entity, self.latest.0);
        let what = match RowId::from_key(key) {
            Ok(id) => format!("{id:?}"),
            Err(_) => format!("{key:?}"),
        };
        StoreError::Corrupt(format!(
            "{what} of {entity} was written or deleted so late that it cannot be written over at {latest} us, and events \
             to come might lose against what is later: a backup has to bring it back, or a clock is to be set right"
        ))
    }
}
