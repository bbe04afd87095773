//! Events, state rows, owed effects and checkpoints in one folder.
//!
//! A commit is one append to the `journal` and one sync, for all writes that wait. What a journal
//! file holds is in memory too; when it is large enough, a new file is begun and the rows of the old
//! one move into the `index` in one sorted, durable step. Opening reads the journal files that the
//! index lacks. `ENGINE.md` tells why.

mod ends;
mod entities;
mod epoch;
mod failure;
mod index;
mod journal;
mod keys;
mod pace;
mod reads;
mod tables;
mod writer;

use std::ops::Bound;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{EntityId, Incarnation, Seq, ShardId};
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, oneshot};

use super::disk::Folder;
use super::folder::DataFolder;
use crate::error::StoreError;
use crate::event_store::{Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RowKey, StateRow};
use crate::send_while::SendWhile;
use ends::Ends;
use index::{Index, Pair};
use journal::{Journal, Operation};
use reads::Readers;
use tables::Tables;
use writer::{Filling, Request, Work, Writer};

/// Writes that may wait for the writer; who comes then waits for a place.
const WRITES_QUEUED_MAX: usize = 2_048;
/// Rows that one look at the tables takes when their count is not known.
const PAGE_ROWS: usize = 256;

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of rows in memory from which on they move into the index. Twice as many may be there
    /// before writes wait, and as many again are on their way.
    pub memory_bytes: usize,
    /// After how long the index is tried again when it could not be written.
    pub retry: Duration,
    /// After how long without a write what is in memory moves into the index, if it is [`Self::resting_bytes`] or more: a
    /// store in which nothing goes on takes little memory for it.
    pub rest: Duration,
    /// Bytes of rows in memory from which on they are worth a step into the index while nobody writes.
    pub resting_bytes: usize,
    /// How far apart commits are that follow one another for long; few of them never wait. Zero is as fast as the disk.
    pub spacing: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            retry: Duration::from_secs(1),
            rest: Duration::from_secs(2),
            resting_bytes: 256 << 10,
            spacing: pace::SPACING,
        }
    }
}

/// The event store of one process. Clones share it; dropping the last one finishes what is queued.
#[derive(Clone)]
pub struct EmbeddedEvents {
    inner: Arc<Inner>,
    may: SendWhile,
}

struct Inner {
    incarnation: Incarnation,
    epoch: u32,
    owed: Vec<OwedEffect>,
    filling: Arc<Filling>,
    last_error: Arc<Mutex<Option<String>>>,
    readers: Readers,
    /// Absent while it is being dropped.
    writes: Option<mpsc::Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

impl EmbeddedEvents {
    /// Opens the store in the folder, or makes it. When it returns, the epoch is one above the last
    /// and durable.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], [`StoreError::Newer`], [`StoreError::Full`], or
    /// [`StoreError::Unavailable`], with a sentence that says what to do.
    pub fn open(folder: &DataFolder) -> Result<Self, StoreError> {
        Self::open_with(folder, Options::default())
    }

    /// Opens the store with other options than the usual ones.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(folder: &DataFolder, options: Options) -> Result<Self, StoreError> {
        let path = folder.path();
        Self::open_in(folder.events()?, options).map_err(|error| failure::at_start(path, error))
    }

    fn open_in(folder: Folder, options: Options) -> Result<Self, StoreError> {
        let index = Index::open(folder.clone())?;
        let applied = index.applied()?;
        let recovered = journal::recover(&folder, applied)?;
        if applied > 0 && recovered.is_empty() {
            return Err(failure::unusable(format!("journal file {} is missing", applied + 1)));
        }
        journal::remove_through(&folder, applied).map_err(|error| failure::io(&error))?;
        let tables = Tables::new(index);
        tables.put(recovered.operations.iter().cloned());
        let (incarnation, epoch, first) = identity(&tables)?;
        let journal = Journal::begin(folder.clone(), &recovered, applied, first.clone())?;
        drop(recovered);
        tables.put(first);
        let owed = owed(&tables)?;
        Self::start(folder, options, journal, tables, (incarnation, epoch, owed))
    }

    fn start(
        folder: Folder,
        options: Options,
        journal: Journal,
        tables: Tables,
        (incarnation, epoch, owed): (Incarnation, u32, Vec<OwedEffect>),
    ) -> Result<Self, StoreError> {
        let tables = Arc::new(tables);
        let filling = Arc::new(Filling::default());
        let last_error = Arc::default();
        let (writes, requests) = mpsc::channel(WRITES_QUEUED_MAX);
        let writer = Writer {
            tables: Arc::clone(&tables),
            ends: Ends::default(),
            journal,
            filling: Arc::clone(&filling),
            last_error: Arc::clone(&last_error),
            options,
        };
        let filler = {
            let (tables, filling) = (Arc::clone(&tables), Arc::clone(&filling));
            spawn("events-index", move || writer::fill_index(&tables, &folder, &filling, options))?
        };
        let writer = match spawn("events-write", move || writer.run(requests)) {
            Ok(writer) => writer,
            Err(error) => {
                filling.stop();
                return Err(error);
            }
        };
        let readers = Readers::start(&tables);
        let threads = vec![writer, filler];
        let inner =
            Inner { incarnation, epoch, owed, filling, last_error, readers: readers?, writes: Some(writes), threads };
        Ok(Self { inner: Arc::new(inner), may: SendWhile::default() })
    }

    /// The epoch that the command log is to have: above every one before, and durable.
    pub fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    /// Why writes fail at the moment, if they do.
    pub fn last_error(&self) -> Option<String> {
        self.inner.last_error.lock().clone().or_else(|| self.inner.filling.error())
    }

    /// Finishes what is queued and syncs it; later calls get [`StoreError::Closed`].
    ///
    /// # Errors
    /// As [`EventStore::write_events`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.write(Work::Close).await
    }

    async fn write(&self, work: Work) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let writes = self.inner.writes.as_ref().ok_or(StoreError::Closed)?;
        let place = writes.reserve().await.map_err(|_| StoreError::Closed)?;
        if matches!(work, Work::Events(_) | Work::State(..) | Work::Checkpoint(..)) {
            self.may.check()?;
        }
        place.send(Request { work, answer });
        answered.await.map_err(|_| StoreError::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.run(job).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writes = None;
        self.filling.stop();
        for thread in self.threads.drain(..) {
            // A thread that panicked was reported by the panic hook.
            drop(thread.join());
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|error| StoreError::Unavailable(format!("no thread for the event store: {error}")))
}

/// Who this store is, the epoch that begins now, and what is to be written about it.
fn identity(tables: &Tables) -> Result<(Incarnation, u32, Vec<Operation>), StoreError> {
    let mut first = Vec::new();
    let incarnation = match tables.value(keys::INCARNATION)? {
        Some(value) => keys::read_meta(value)?,
        None => {
            let mut made = [0; 8];
            SystemRandom::new()
                .fill(&mut made)
                .map_err(|_| StoreError::Unavailable("the system gave no random bytes".into()))?;
            let value = Some(Bytes::copy_from_slice(&made));
            first.push(Operation { key: Bytes::from_static(keys::INCARNATION), value });
            made
        }
    };
    let last = tables.value(keys::EPOCH)?.map(keys::read_meta).transpose()?.map_or(0, u32::from_be_bytes);
    let epoch = last.checked_add(1).ok_or_else(|| failure::unusable("there are no epochs left".into()))?;
    let value = Some(Bytes::copy_from_slice(&epoch.to_be_bytes()));
    first.push(Operation { key: Bytes::from_static(keys::EPOCH), value });
    Ok((Incarnation(incarnation), epoch, first))
}

fn owed(tables: &Tables) -> Result<Vec<OwedEffect>, StoreError> {
    let (start, end) = keys::OWED_RANGE;
    let mut owed = Vec::new();
    walk(tables, (Bound::Included(start), Bound::Excluded(end)), ReadOrder::Forward, PAGE_ROWS, |(key, value)| {
        owed.push(keys::read_owed(key, value)?);
        Ok(true)
    })?;
    Ok(owed)
}

/// Gives the rows of a range to `take` until it has enough.
fn walk(
    tables: &Tables,
    (start, end): (Bound<&[u8]>, Bound<&[u8]>),
    order: ReadOrder,
    page_rows: usize,
    mut take: impl FnMut(Pair) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut from: Option<Bytes> = None;
    loop {
        let bounds = match (&from, order) {
            (None, _) => (start, end),
            (Some(from), ReadOrder::Forward) => (Bound::Excluded(&from[..]), end),
            (Some(from), ReadOrder::Backward) => (start, Bound::Excluded(&from[..])),
        };
        let page = tables.page(bounds, order, page_rows.clamp(1, PAGE_ROWS))?;
        for pair in page.rows {
            if !take(pair)? {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

fn read_events(
    tables: &Tables,
    (entity, from): (EntityId, Seq),
    order: ReadOrder,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<EventRow>, StoreError> {
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    let (first, from, last) =
        (keys::event(entity, Seq(0)), keys::event(entity, from), keys::event(entity, Seq(u64::MAX)));
    let bounds = match order {
        ReadOrder::Forward => (Bound::Included(&from[..]), Bound::Included(&last[..])),
        ReadOrder::Backward => (Bound::Included(&first[..]), Bound::Included(&from[..])),
    };
    let mut bytes = 0;
    walk(tables, bounds, order, limit, |(key, value)| {
        let row = keys::read_event(key, value)?;
        bytes += row.event.len();
        // At least one, so that whoever pages gets on.
        if bytes > bytes_max && !rows.is_empty() {
            return Ok(false);
        }
        rows.push(row);
        Ok(rows.len() < limit)
    })?;
    Ok(rows)
}

fn scan_state(
    tables: &Tables,
    entity: EntityId,
    kind: u8,
    after: Option<Bytes>,
    limit: usize,
) -> Result<Vec<StateRow>, StoreError> {
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    let end = keys::state_end(entity, kind);
    let start = keys::state(entity, &RowKey { kind, key: after.clone().unwrap_or_default() });
    let start = if after.is_some() { Bound::Excluded(&start[..]) } else { Bound::Included(&start[..]) };
    walk(tables, (start, Bound::Excluded(&end[..])), ReadOrder::Forward, limit, |(key, value)| {
        rows.extend(Some(keys::read_scanned(key, value)?).filter(|row| row.value.is_some()));
        Ok(rows.len() < limit)
    })?;
    Ok(rows)
}

impl EventStore for EmbeddedEvents {
    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    fn reads_are_durable(&self) -> bool {
        true
    }

    fn sending_while(&self, may: SendWhile) -> Self {
        Self { inner: Arc::clone(&self.inner), may }
    }

    async fn write_events(&self, batch: EventBatch) -> Result<(), StoreError> {
        batch.check()?;
        self.write(Work::Events(batch)).await
    }

    async fn read_events(
        &self,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.read(move |tables| read_events(tables, (entity, from), order, limit, bytes_max)).await
    }

    async fn write_state(&self, entity: EntityId, rows: Vec<StateRow>) -> Result<(), StoreError> {
        StateRow::check(&rows)?;
        self.write(Work::State(entity, rows)).await
    }

    async fn sync_state(&self) -> Result<(), StoreError> {
        self.write(Work::SyncState).await
    }

    async fn read_state(&self, entity: EntityId, keys: Vec<RowKey>) -> Result<Vec<Option<StateRow>>, StoreError> {
        let read = move |tables: &Tables| {
            let row = |key: RowKey| {
                let value = tables.value(&keys::state(entity, &key))?;
                value.map(|value| keys::read_state(key, value)).transpose()
            };
            keys.into_iter().map(row).collect()
        };
        self.read(read).await
    }

    async fn scan_state(
        &self,
        entity: EntityId,
        kind: u8,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        self.read(move |tables| scan_state(tables, entity, kind, after, limit)).await
    }

    async fn owed_effects(&self) -> Result<Vec<OwedEffect>, StoreError> {
        let owed = self.inner.owed.clone();
        // Those that were settled since are told no more.
        self.read(move |tables| {
            let is_owed = |owed: &OwedEffect| Ok(tables.value(&keys::owed_effect(owed))?.is_some());
            owed.into_iter().filter_map(|owed| is_owed(&owed).map(|is| is.then_some(owed)).transpose()).collect()
        })
        .await
    }

    async fn checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
        self.read(move |tables| tables.value(&keys::checkpoint(shard))?.map(keys::read_checkpoint).transpose()).await
    }

    async fn write_checkpoint(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<(), StoreError> {
        checkpoint.check()?;
        self.write(Work::Checkpoint(shard, checkpoint)).await
    }
}

#[cfg(test)]
mod tests;
