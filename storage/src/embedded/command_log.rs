//! The command log in memory. What was not stored when the process ended was not acknowledged, so
//! nothing here needs to outlive it; every start opens a new epoch.

use std::collections::VecDeque;
use std::future::{Ready, pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId, Time};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::command_log::{AppendError, CommandLog, LogRecord, ShardChange, ShardGroup, ShardReader};
use crate::error::StoreError;
use crate::record_headers::RecordHeaders;

/// Records of one shard that nobody has read yet.
const UNREAD_RECORDS_MAX: usize = 8_192;
/// Their bytes.
const UNREAD_BYTES_MAX: usize = 8 << 20;
/// Records of one shard that were read and are kept until they are released. Beyond it the oldest go
/// unasked, and a reader that wants them is refused.
const KEPT_RECORDS_MAX: usize = 65_536;
/// Their bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A log for one process. Clones share it.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

struct Inner {
    epoch: u32,
    clock: fn() -> Time,
    shards: Vec<Shard>,
}

#[derive(Default)]
struct Shard {
    records: Mutex<Records>,
    appended: Notify,
}

/// `first <= read <= first + records.len()`, all offsets.
#[derive(Default)]
struct Records {
    first: u64,
    /// Everything before it was read by somebody.
    read: u64,
    records: VecDeque<(Time, Bytes, RecordHeaders)>,
    unread_bytes: usize,
    kept_bytes: usize,
}

impl EmbeddedLog {
    /// An empty log of `shards` shards (at least 1). `epoch` must be above every earlier one's;
    /// `clock` tells the time of each record.
    pub fn new(shards: u16, epoch: u32, clock: fn() -> Time) -> Self {
        let shards = (0..shards.max(1)).map(|_| Shard::default()).collect();
        Self { inner: Arc::new(Inner { epoch, clock, shards }) }
    }

    fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.inner.shards.get(usize::from(shard.0))
    }

    fn known(&self, shard: ShardId) -> Result<&Shard, StoreError> {
        self.shard(shard).ok_or_else(|| StoreError::Unavailable(format!("the command log has no shard {shard}")))
    }
}

impl Records {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn unread(&self) -> usize {
        self.records.len() - self.kept()
    }

    fn kept(&self) -> usize {
        // Bounded by the records' count.
        usize::try_from(self.read - self.first).unwrap_or(usize::MAX)
    }

    fn append(&mut self, time: Time, record: Bytes, headers: RecordHeaders) -> Option<u64> {
        if self.unread() >= UNREAD_RECORDS_MAX || self.unread_bytes + record.len() > UNREAD_BYTES_MAX {
            return None;
        }
        let offset = self.end();
        self.unread_bytes += record.len();
        self.records.push_back((time, record, headers));
        Some(offset)
    }

    /// Notes that everything before `offset` was read, and lets go of what is too much.
    fn note_read(&mut self, offset: u64) {
        while self.read < offset {
            let bytes = self.records[self.kept()].1.len();
            self.unread_bytes -= bytes;
            self.kept_bytes += bytes;
            self.read += 1;
        }
        while self.kept() > KEPT_RECORDS_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            self.drop_first();
        }
    }

    fn release(&mut self, offset: u64) {
        // What nobody has read is not released: a checkpoint never stands behind it.
        while self.first < offset.min(self.read) {
            self.drop_first();
        }
    }

    /// Only while something read is kept.
    fn drop_first(&mut self) {
        if let Some((_, record, _)) = self.records.pop_front() {
            self.kept_bytes -= record.len();
            self.first += 1;
        }
    }
}

impl CommandLog for EmbeddedLog {
    type Appending = Ready<Result<Position, AppendError>>;
    type Group = EmbeddedGroup;
    type Reader = EmbeddedReader;

    fn shards(&self) -> u16 {
        u16::try_from(self.inner.shards.len()).unwrap_or(u16::MAX)
    }

    fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError> {
        let shard = self.shard(shard).ok_or(AppendError::Unavailable)?;
        let offset = {
            let mut records = shard.records.lock();
            // Inside the lock, so that times rise with offsets as far as the clock does.
            records.append((self.inner.clock)(), record, headers).ok_or(AppendError::Full)?
        };
        shard.appended.notify_waiters();
        Ok(ready(Ok(Position { epoch: self.inner.epoch, offset })))
    }

    fn join(&self, _router: u64) -> Self::Group {
        EmbeddedGroup { next: 0, shards: self.shards(), joined: false }
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Self::Reader, StoreError> {
        let records = self.known(shard)?.records.lock();
        let epoch = self.inner.epoch;
        let offset = match from {
            Some(from) if from.epoch == epoch => from.offset,
            // Before everything that is in this log.
            Some(from) if from.epoch < epoch => 0,
            Some(from) => {
                return Err(StoreError::Corrupt(format!(
                    "shard {shard} was read to {from}, and its log has epoch {epoch}"
                )));
            }
            None => records.first,
        };
        if offset < records.first || offset > records.end() {
            return Err(StoreError::Gone(format!(
                "shard {shard} is to be read from {offset}, and its log holds {} to {}",
                records.first,
                records.end()
            )));
        }
        drop(records);
        Ok(EmbeddedReader { log: self.clone(), shard, offset })
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        let offset = self.known(shard)?.records.lock().end();
        Ok(Position { epoch: self.inner.epoch, offset })
    }

    /// The log ends with the process: what is stored is read again by nobody.
    fn held_back(&self) -> Duration {
        Duration::ZERO
    }

    async fn release(&self, shard: ShardId, position: Position) -> Result<(), StoreError> {
        let shard = self.known(shard)?;
        if position.epoch == self.inner.epoch {
            shard.records.lock().release(position.offset.saturating_sub(1));
        }
        Ok(())
    }
}

/// Everything belongs to the one process.
#[derive(Debug)]
pub struct EmbeddedGroup {
    next: u16,
    shards: u16,
    /// That was told.
    joined: bool,
}

impl ShardGroup for EmbeddedGroup {
    async fn next(&mut self) -> Result<ShardChange, StoreError> {
        if self.next == self.shards {
            if self.joined {
                return pending().await;
            }
            self.joined = true;
            return Ok(ShardChange::Joined);
        }
        let shard = ShardId(self.next);
        self.next += 1;
        Ok(ShardChange::Assigned(shard))
    }
}

/// Reads one shard.
pub struct EmbeddedReader {
    log: EmbeddedLog,
    shard: ShardId,
    offset: u64,
}

impl EmbeddedReader {
    fn take(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let epoch = self.log.inner.epoch;
        let mut records = self.log.known(self.shard)?.records.lock();
        let Some(start) = self.offset.checked_sub(records.first) else {
            return Err(StoreError::Gone(format!(
                "the log of shard {} begins at {}, behind the reader at {}",
                self.shard, records.first, self.offset
            )));
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(records.records.len());
        let taken: Vec<_> = (self.offset..)
            .zip(records.records.range(start..).take(max))
            .map(|(offset, (time, record, headers))| LogRecord {
                position: Position { epoch, offset },
                time: *time,
                record: record.clone(),
                headers: *headers,
            })
            .collect();
        self.offset += taken.len() as u64;
        records.note_read(self.offset);
        Ok(taken)
    }
}

impl ShardReader for EmbeddedReader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let log = self.log.clone();
        let shard = log.known(self.shard)?;
        loop {
            let appended = shard.appended.notified();
            let mut appended = std::pin::pin!(appended);
            // Before the look, so that an append after it is not missed.
            appended.as_mut().enable();
            let taken = self.take(max.max(1))?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            appended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: RecordHeaders = RecordHeaders { from: None, trace: None };

    fn log() -> EmbeddedLog {
        EmbeddedLog::new(4, 7, || Time(1_800_000_000_000_000))
    }

    #[tokio::test]
    async fn the_log_keeps_the_contract() {
        crate::contract::command_log::all(async || log()).await;
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_it_is_read() {
        let log = log();
        let shard = ShardId(1);
        for _ in 0..UNREAD_RECORDS_MAX {
            log.append(shard, Bytes::new(), NONE).unwrap().await.unwrap();
        }
        assert_eq!(log.append(shard, Bytes::new(), NONE).unwrap_err(), AppendError::Full);
        log.append(ShardId(2), Bytes::new(), NONE).unwrap().await.unwrap();
        let mut reader = log.read(shard, None).await.unwrap();
        assert_eq!(reader.next(10).await.unwrap().len(), 10);
        log.append(shard, Bytes::new(), NONE).unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn a_queue_of_many_bytes_refuses() {
        let log = log();
        let half = Bytes::from(vec![0; UNREAD_BYTES_MAX / 2]);
        log.append(ShardId(0), half.clone(), NONE).unwrap().await.unwrap();
        log.append(ShardId(0), half, NONE).unwrap().await.unwrap();
        assert_eq!(log.append(ShardId(0), Bytes::from_static(b"x"), NONE).unwrap_err(), AppendError::Full);
    }

    #[tokio::test]
    async fn what_is_read_and_never_released_is_bounded_and_its_loss_is_told() {
        let log = log();
        let shard = ShardId(0);
        let mut reader = log.read(shard, None).await.unwrap();
        let chunk = Bytes::from(vec![0; UNREAD_BYTES_MAX]);
        for _ in 0..4 {
            log.append(shard, chunk.clone(), NONE).unwrap().await.unwrap();
            reader.next(1).await.unwrap();
        }
        assert!(log.shard(shard).unwrap().records.lock().kept_bytes <= KEPT_BYTES_MAX);
        let from = Some(Position { epoch: 7, offset: 0 });
        assert!(matches!(log.read(shard, from).await, Err(StoreError::Gone(_))));
    }
}
