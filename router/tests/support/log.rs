//! A command log in memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::link::Record;
use panda_protocol::{Position, ShardId, Time};
use panda_storage::{
    AppendError, CommandLog, LogRecord, RecordHeaders, ShardChange, ShardGroup, ShardReader, StoreError,
};
use tokio::sync::watch;

struct Shard {
    records: Mutex<Vec<LogRecord>>,
    grown: watch::Sender<u64>,
}

#[derive(Clone)]
pub(crate) struct MemoryLog {
    shards: Arc<Vec<Shard>>,
    epoch: u32,
    /// What its clock shows at the first record.
    since: u64,
    /// Effects are confirmed, and nobody will ever read them: as if the log were lost right then.
    loses_effects: Arc<AtomicBool>,
    /// It does not say any more where it ends.
    silent: Arc<AtomicBool>,
    /// The next read gives no record.
    gives_nothing: Arc<AtomicBool>,
    /// Deletions of records that nobody answers.
    releases_hang: Arc<AtomicBool>,
    /// Readers wait.
    held: watch::Sender<bool>,
    /// Offsets that the log leaves out before its next record.
    left_out: Arc<AtomicU64>,
    /// From where on records were to stay.
    released: Arc<Mutex<Vec<Position>>>,
}

impl MemoryLog {
    pub(crate) fn new(shards: u16) -> Self {
        Self::of_epoch(shards, 1, 1_000_000)
    }

    pub(crate) fn of_epoch(shards: u16, epoch: u32, since: u64) -> Self {
        let shard = |_| Shard { records: Mutex::default(), grown: watch::channel(0).0 };
        Self {
            shards: Arc::new((0..shards).map(shard).collect()),
            epoch,
            since,
            loses_effects: Arc::default(),
            silent: Arc::default(),
            gives_nothing: Arc::default(),
            releases_hang: Arc::default(),
            held: watch::channel(false).0,
            left_out: Arc::default(),
            released: Arc::default(),
        }
    }

    pub(crate) fn lose_effects(&self) {
        self.loses_effects.store(true, Ordering::Relaxed);
    }

    /// From here on it does not say any more where it ends.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// As no log should, and one may that is asked too early.
    pub(crate) fn give_nothing_once(&self) {
        self.gives_nothing.store(true, Ordering::Relaxed);
    }

    /// Whether readers get nothing.
    pub(crate) fn hold_readers(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Leaves offsets out before the next record, as a log does that compacts or has marks of its own.
    pub(crate) fn leave_out(&self, offsets: u64) {
        self.left_out.store(offsets, Ordering::Relaxed);
    }

    /// Before the record just before each of these, everything was to be deleted.
    pub(crate) fn released(&self) -> Vec<Position> {
        self.released.lock().expect("not poisoned").clone()
    }

    pub(crate) fn hang_releases(&self) {
        self.releases_hang.store(true, Ordering::Relaxed);
    }

    /// What a shard holds.
    pub(crate) fn records(&self, shard: ShardId) -> Vec<LogRecord> {
        self.shard(shard).records.lock().expect("not poisoned").clone()
    }

    fn shard(&self, shard: ShardId) -> &Shard {
        &self.shards[usize::from(shard.0)]
    }
}

impl CommandLog for MemoryLog {
    type Appending = std::future::Ready<Result<Position, AppendError>>;
    type Group = Group;
    type Reader = Reader;

    fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("few shards")
    }

    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError> {
        let shard = self.shard(shard);
        let effect = matches!(Record::from_bytes(record.clone()), Ok(Record::Effect(_)));
        let lost = effect && self.loses_effects.load(Ordering::Relaxed);
        let mut records = shard.records.lock().expect("not poisoned");
        let offset = *shard.grown.borrow() + self.left_out.swap(0, Ordering::Relaxed);
        let position = Position { epoch: self.epoch, offset };
        if lost {
            return Ok(std::future::ready(Ok(position)));
        }
        records.push(LogRecord { position, time: Time(self.since + offset), record, headers });
        shard.grown.send_replace(offset + 1);
        Ok(std::future::ready(Ok(position)))
    }

    fn join(&self, _router: u64) -> Group {
        Group((0..self.shards()).map(ShardId).collect(), false)
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Reader, StoreError> {
        let grown = self.shard(shard).grown.subscribe();
        Ok(Reader {
            log: self.clone(),
            shard,
            next: from.filter(|from| from.epoch == self.epoch).map_or(0, |from| from.offset),
            grown,
        })
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(Position { epoch: self.epoch, offset: *self.shard(shard).grown.borrow() })
    }

    /// It is asked to delete as soon as there is a checkpoint.
    fn held_back(&self) -> Duration {
        Duration::ZERO
    }

    async fn release(&self, _shard: ShardId, position: Position) -> Result<(), StoreError> {
        self.released.lock().expect("not poisoned").push(position);
        if self.releases_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

pub(crate) struct Group(Vec<ShardId>, bool);

impl ShardGroup for Group {
    async fn next(&mut self) -> Result<ShardChange, StoreError> {
        match self.0.pop() {
            Some(shard) => Ok(ShardChange::Assigned(shard)),
            None if !std::mem::replace(&mut self.1, true) => Ok(ShardChange::Joined),
            None => std::future::pending().await,
        }
    }
}

pub(crate) struct Reader {
    log: MemoryLog,
    shard: ShardId,
    next: u64,
    grown: watch::Receiver<u64>,
}

impl ShardReader for Reader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        if self.log.gives_nothing.swap(false, Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let next = self.next;
        self.log.held.subscribe().wait_for(|held| !held).await.map_err(|_| StoreError::Closed)?;
        self.grown.wait_for(|length| *length > next).await.map_err(|_| StoreError::Closed)?;
        let records = self.log.shard(self.shard).records.lock().expect("not poisoned");
        let start = records.partition_point(|record| record.position.offset < next);
        let taken: Vec<LogRecord> = records[start..].iter().take(max).cloned().collect();
        self.next = taken.last().map_or(next, |last| last.position.offset + 1);
        Ok(taken)
    }
}
