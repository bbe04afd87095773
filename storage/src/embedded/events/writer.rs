//! The thread that writes: whatever waits becomes one commit and one sync.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use panda_protocol::{EntityId, ShardId};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Options;
use super::ends::Ends;
use super::failure;
use super::journal::{self, Journal, Operation};
use super::keys;
use super::pace::Pace;
use super::tables::Tables;
use crate::embedded::disk::Folder;
use crate::epoch_store::LogEpoch;
use crate::error::StoreError;
use crate::event_store::{Checkpoint, EventBatch, StateRow};

/// Requests in one commit.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// About how many bytes one commit has.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// State rows that wait for a sync of something else; more of them are synced by themselves.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;

/// What is asked of the writer.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) enum Work {
    Events(EventBatch),
    State(EntityId, Vec<StateRow>),
    SyncState,
    Checkpoint(ShardId, Checkpoint),
    LogEpoch(Option<u32>, LogEpoch),
    Close,
}

impl Work {
    fn is_durable(&self) -> bool {
        !matches!(self, Self::State(..))
    }
}

/// What the index's thread and the writer tell each other.
#[derive(Default)]
pub(super) struct Filling {
    state: Mutex<FillingState>,
    changed: Condvar,
}

#[derive(Default)]
struct FillingState {
    /// The journal files up to this number are frozen and to be moved into the index.
    wanted: Option<u64>,
    /// Why the last attempt failed.
    error: Option<StoreError>,
    stopped: bool,
}

impl Filling {
    fn want(&self, number: u64) {
        self.state.lock().wanted = Some(number);
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether rows are on their way into the index.
    fn is_busy(&self) -> bool {
        self.state.lock().wanted.is_some()
    }

    /// Waits until the index has taken what is frozen, or could not.
    fn wait(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        while state.wanted.is_some() {
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            if state.stopped {
                return Err(StoreError::Closed);
            }
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    pub(super) fn error(&self) -> Option<String> {
        self.state.lock().error.as_ref().map(StoreError::to_string)
    }
}

/// Moves frozen rows into the index until it is stopped.
pub(super) fn fill_index(tables: &Tables, folder: &Folder, filling: &Filling, options: Options) {
    loop {
        let number = {
            let mut state = filling.state.lock();
            loop {
                match (state.stopped, state.wanted) {
                    (true, _) => return,
                    (false, Some(number)) => break number,
                    (false, None) => filling.changed.wait(&mut state),
                }
            }
        };
        let result = tables.fill_index(number).and_then(|()| {
            tables.thaw();
            journal::remove_through(folder, number).map_err(|error| failure::io(&error))
        });
        let mut state = filling.state.lock();
        match result {
            Ok(()) => (state.wanted, state.error) = (None, None),
            Err(error) => {
                if state.error.is_none() {
                    tracing::error!(%error, "the index of the event store could not be written; it is tried again");
                }
                state.error = Some(error);
            }
        }
        filling.changed.notify_all();
        if state.error.is_some() && !state.stopped {
            filling.changed.wait_for(&mut state, options.retry);
        }
    }
}

/// Tells when nobody has written for a while, and when the next commit may begin. Made by the thread that uses it: one that
/// is dropped in an asynchronous caller, who gets no thread, panics there.
fn clock() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a clock needs nothing of the system")
}

/// Owns the journal.
pub(super) struct Writer {
    pub(super) tables: Arc<Tables>,
    pub(super) ends: Ends,
    pub(super) journal: Journal,
    pub(super) filling: Arc<Filling>,
    pub(super) last_error: Arc<Mutex<Option<String>>>,
    pub(super) options: Options,
}

impl Writer {
    /// Runs until the store is closed or nobody is left to ask.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let clock = clock();
        let mut group = Vec::new();
        let mut pace = Pace::new(self.options.spacing, Instant::now());
        while let Some(first) = self.next(&clock, &mut requests) {
            // What is not synced costs little, and a full group gains nothing by waiting.
            if first.work.is_durable() && requests.len() < GROUP_REQUESTS_MAX {
                let wait = pace.wait(Instant::now());
                if !wait.is_zero() {
                    clock.block_on(async { sleep(wait).await });
                }
            }
            let mut bytes = first.work.len();
            group.push(first);
            while group.len() < GROUP_REQUESTS_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = requests.try_recv() else { break };
                bytes += next.work.len();
                group.push(next);
            }
            if self.write(mem::take(&mut group)) {
                break;
            }
        }
        // State rows that nobody asked to sync.
        if let Err(error) = self.journal.commit(&[], true) {
            tracing::warn!(%error, "the last state rows were not synced; they are rebuilt from events");
        }
        requests.close();
        while let Some(request) = requests.blocking_recv() {
            drop(request.answer.send(Err(StoreError::Closed)));
        }
    }

    /// Waits for the next request; none once nobody is left to ask. Meanwhile, what is in memory moves into the index.
    fn next(&mut self, clock: &Runtime, requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
        loop {
            match requests.try_recv() {
                Ok(next) => return Some(next),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if self.tables.active_bytes() < self.options.resting_bytes {
                return requests.blocking_recv();
            }
            match clock.block_on(async { timeout(self.options.rest, requests.recv()).await }) {
                Ok(next) => return next,
                Err(_) => self.rest(),
            }
        }
    }

    /// Nobody asks for anything: the rows in memory move into the index, unless earlier ones are on their way there. Only
    /// once, and not by [`Self::make_ready`], which may do so itself: the second move would take the place of the first.
    fn rest(&mut self) {
        if !self.filling.is_busy() {
            let rested = self.mend().and_then(|()| self.rotate().map_err(|error| failure::io(&error)));
            self.note(&rested);
        }
    }

    /// Commits a group and answers it; whether the store is to be closed.
    fn write(&mut self, group: Vec<Request>) -> bool {
        let closing = group.iter().any(|request| matches!(request.work, Work::Close));
        let ready = self.make_ready();
        self.ends.forget_many();
        let mut overlay = Overlay::new(&self.tables, &mut self.ends);
        let mut durable = self.journal.unsynced_bytes() > UNSYNCED_BYTES_MAX;
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            let Request { work, answer } = request;
            durable |= work.is_durable();
            let taken = match &ready {
                Ok(()) => overlay.take(work),
                Err(error) => Err(error.clone()),
            };
            answers.push((answer, taken));
        }
        let operations = overlay.operations;
        let committed = match ready {
            Ok(()) => self.journal.commit(&operations, durable).map_err(|error| failure::io(&error)),
            Err(error) => Err(error),
        };
        // Only what is durable becomes visible, but for state rows, which are a cache.
        if committed.is_ok() {
            self.tables.put(operations);
        }
        self.note(&committed);
        for (answer, taken) in answers {
            let result = match &committed {
                Ok(()) => taken,
                Err(error) => Err(error.clone()),
            };
            // Who asked may have stopped waiting.
            drop(answer.send(result));
        }
        if committed.is_ok() && self.tables.active_bytes() >= self.options.memory_bytes && !self.filling.is_busy() {
            // The next write mends it, or says why it cannot.
            let rotated = self.rotate().map_err(|error| failure::io(&error));
            if rotated.is_err() {
                self.note(&rotated);
            }
        }
        closing
    }

    /// Heals the journal after a failure.
    fn mend(&mut self) -> Result<(), StoreError> {
        if self.journal.has_failed() { self.journal.mend().map_err(|error| failure::io(&error)) } else { Ok(()) }
    }

    /// Heals the journal after a failure, and waits for room in memory.
    fn make_ready(&mut self) -> Result<(), StoreError> {
        // First: what is in doubt must not count as what the rest of the file is.
        self.mend()?;
        if self.tables.active_bytes() >= self.options.memory_bytes.saturating_mul(2) {
            self.filling.wait()?;
            self.rotate().map_err(|error| failure::io(&error))?;
        }
        Ok(())
    }

    /// Goes on in a new journal file and hands the rows of the old one to the index.
    fn rotate(&mut self) -> io::Result<()> {
        let full = self.journal.number();
        self.journal.rotate()?;
        self.tables.freeze();
        self.filling.want(full);
        Ok(())
    }

    fn note(&self, result: &Result<(), StoreError>) {
        let mut last = self.last_error.lock();
        match result {
            Ok(()) => {
                if last.take().is_some() {
                    tracing::info!("the event store takes writes again");
                }
            }
            Err(error) => {
                if last.is_none() {
                    tracing::error!(%error, "the event store takes no writes");
                }
                *last = Some(error.to_string());
            }
        }
    }
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Self::Events(batch) => batch.rows.iter().map(|row| row.event.len()).sum(),
            Self::State(_, rows) => rows.iter().filter_map(|row| row.value.as_ref()).map(Bytes::len).sum(),
            Self::SyncState | Self::Checkpoint(..) | Self::LogEpoch(..) | Self::Close => 0,
        }
    }
}

/// A group that is being put together, above what is stored.
struct Overlay<'a> {
    tables: &'a Tables,
    ends: &'a mut Ends,
    operations: Vec<Operation>,
    /// The place of each key's last operation.
    places: HashTable<usize>,
    hasher: RandomState,
}

impl<'a> Overlay<'a> {
    fn new(tables: &'a Tables, ends: &'a mut Ends) -> Self {
        Self { tables, ends, operations: Vec::new(), places: HashTable::new(), hasher: RandomState::default() }
    }

    /// All of a request or, after an error, nothing of it.
    fn take(&mut self, work: Work) -> Result<(), StoreError> {
        let operations = match work {
            Work::Events(batch) => self.events(batch)?,
            Work::State(entity, rows) => self.state(entity, rows)?,
            Work::Checkpoint(shard, checkpoint) => self.checkpoint(shard, checkpoint)?,
            Work::LogEpoch(after, next) => self.log_epoch(after, &next)?,
            Work::SyncState | Work::Close => Vec::new(),
        };
        for operation in operations {
            self.push(operation);
        }
        Ok(())
    }

    fn push(&mut self, operation: Operation) {
        let Self { operations, places, hasher, .. } = self;
        let (place, hash) = (operations.len(), hasher.hash_one(&operation.key));
        operations.push(operation);
        let is_same = |other: &usize| operations[*other].key == operations[place].key;
        let hash_of = |other: &usize| hasher.hash_one(&operations[*other].key);
        *places.entry(hash, is_same, hash_of).or_insert(place).get_mut() = place;
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let is_of = |place: &usize| self.operations[*place].key == key;
        match self.places.find(self.hasher.hash_one(key), is_of) {
            Some(place) => Ok(self.operations[*place].value.clone()),
            None => self.tables.value(key),
        }
    }

    /// Whether a write of this time changes the row.
    fn is_newer(&self, key: &[u8], time: panda_protocol::Time) -> Result<bool, StoreError> {
        match self.value(key)? {
            Some(value) => Ok(time > keys::time(&value)?),
            None => Ok(true),
        }
    }

    fn events(&mut self, batch: EventBatch) -> Result<Vec<Operation>, StoreError> {
        let mut operations = Vec::with_capacity(batch.rows.len() + batch.owes.len() + batch.settles.len());
        let mut owes = batch.owes;
        for row in &batch.rows {
            let key = keys::event(batch.entity, row.seq);
            if self.ends.is_behind(self.tables, batch.entity, row.seq)? || self.is_newer(&key, row.time)? {
                operations.push(Operation { key, value: Some(keys::event_value(row)) });
            } else {
                // What it owes was taken with it, and may be settled by now.
                owes.retain(|owed| owed.source_seq != row.seq);
            }
        }
        let owed = owes.into_iter();
        operations.extend(owed.map(|owed| Operation { key: keys::owed_effect(&owed), value: Some(owed.event) }));
        let settled = batch.settles.iter();
        operations.extend(settled.map(|settled| Operation { key: keys::settled_effect(settled), value: None }));
        Ok(operations)
    }

    fn state(&self, entity: EntityId, rows: Vec<StateRow>) -> Result<Vec<Operation>, StoreError> {
        // A key may come twice in one request.
        let mut taken: BTreeMap<Bytes, StateRow> = BTreeMap::new();
        for row in rows {
            let key = keys::state(entity, &row.key);
            let newer = match taken.get(&key) {
                Some(earlier) => row.time > earlier.time,
                None => self.is_newer(&key, row.time)?,
            };
            if newer {
                taken.insert(key, row);
            }
        }
        Ok(taken.into_iter().map(|(key, row)| Operation { key, value: Some(keys::state_value(&row)) }).collect())
    }

    fn checkpoint(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<Vec<Operation>, StoreError> {
        let key = keys::checkpoint(shard);
        let stored = self.value(&key)?.map(keys::read_checkpoint).transpose()?;
        if stored.is_some_and(|stored| stored.position >= checkpoint.position) {
            return Ok(Vec::new());
        }
        Ok(vec![Operation { key, value: Some(keys::checkpoint_value(checkpoint)) }])
    }

    /// Nothing if another epoch is in force than was thought.
    fn log_epoch(&self, after: Option<u32>, next: &LogEpoch) -> Result<Vec<Operation>, StoreError> {
        let stored = self.value(keys::LOG_EPOCH)?.map(keys::read_log_epoch).transpose()?;
        let stored = stored.map(|stored| stored.epoch);
        if stored != after || stored.is_some_and(|stored| stored >= next.epoch) {
            return Ok(Vec::new());
        }
        Ok(vec![Operation { key: Bytes::from_static(keys::LOG_EPOCH), value: Some(keys::log_epoch_value(next)) }])
    }
}
