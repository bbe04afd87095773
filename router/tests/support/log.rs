//! A command log in memory.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use panda_protocol::{Position, ShardId, Time};
use panda_storage::{AppendError, CommandLog, LogRecord, ShardChange, ShardGroup, ShardReader, StoreError};
use tokio::sync::watch;

struct Shard {
    records: Mutex<Vec<LogRecord>>,
    grown: watch::Sender<u64>,
}

#[derive(Clone)]
pub(crate) struct MemoryLog(Arc<Vec<Shard>>);

impl MemoryLog {
    pub(crate) fn new(shards: u16) -> Self {
        let shard = |_| Shard { records: Mutex::default(), grown: watch::channel(0).0 };
        Self(Arc::new((0..shards).map(shard).collect()))
    }

    fn shard(&self, shard: ShardId) -> &Shard {
        &self.0[usize::from(shard.0)]
    }
}

impl CommandLog for MemoryLog {
    type Appending = std::future::Ready<Result<Position, AppendError>>;
    type Group = Group;
    type Reader = Reader;

    fn shards(&self) -> u16 {
        u16::try_from(self.0.len()).expect("few shards")
    }

    fn epoch(&self) -> u32 {
        1
    }

    fn append(&self, shard: ShardId, record: Bytes) -> Result<Self::Appending, AppendError> {
        let shard = self.shard(shard);
        let mut records = shard.records.lock().expect("not poisoned");
        let offset = records.len() as u64;
        let position = Position { epoch: 1, offset };
        records.push(LogRecord { position, time: Time(1_000_000 + offset), record });
        shard.grown.send_replace(offset + 1);
        Ok(std::future::ready(Ok(position)))
    }

    fn join(&self, _router: u64) -> Group {
        Group((0..self.shards()).map(ShardId).collect())
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Reader, StoreError> {
        let grown = self.shard(shard).grown.subscribe();
        Ok(Reader { log: self.clone(), shard, next: from.map_or(0, |from| from.offset), grown })
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        Ok(Position { epoch: 1, offset: *self.shard(shard).grown.borrow() })
    }

    async fn release(&self, _shard: ShardId, _position: Position) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) struct Group(Vec<ShardId>);

impl ShardGroup for Group {
    async fn next(&mut self) -> Result<ShardChange, StoreError> {
        match self.0.pop() {
            Some(shard) => Ok(ShardChange::Assigned(shard)),
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
        let next = self.next;
        self.grown.wait_for(|length| *length > next).await.map_err(|_| StoreError::Closed)?;
        let records = self.log.shard(self.shard).records.lock().expect("not poisoned");
        let start = usize::try_from(next).expect("a short log");
        let taken: Vec<LogRecord> = records[start..].iter().take(max).cloned().collect();
        self.next += taken.len() as u64;
        Ok(taken)
    }
}
