//! The command log: what clients ask to change, in shards, each in one order.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId, Time};
use ring::digest::{SHA256, digest};

use crate::error::StoreError;
use crate::record_headers::RecordHeaders;

/// Bytes of the digest in a [`RecordMark`].
pub const RECORD_DIGEST_BYTES: usize = 8;

/// Why a record was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue before the log is full. Nothing was appended.
    #[error("the command log's queue is full")]
    Full,
    /// The log is away. Nothing was appended.
    #[error("the command log is not available")]
    Unavailable,
    /// The log did not confirm in time: the record may or may not be in it.
    #[error("the command log did not confirm the record")]
    Unknown,
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub position: Position,
    /// When the log took it, by the log's clock.
    pub time: Time,
    /// What was appended.
    pub record: Bytes,
    /// What was told of it beside.
    pub headers: RecordHeaders,
}

/// What tells a record from every other one that a log could have in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMark {
    /// Where it stands.
    pub position: Position,
    /// When the log took it, by the log's clock.
    pub time: Time,
    /// The first bytes of SHA-256 over what was appended. So few suffice: nobody gains by a log whose record of that
    /// moment happens to have the same.
    pub digest: [u8; RECORD_DIGEST_BYTES],
}

impl RecordMark {
    /// The mark of a record; one hash of its bytes: a quarter of a microsecond for a command of 300 bytes, two for 4 KiB,
    /// where the processor knows SHA-256. An owner makes one of each record that it takes, though a checkpoint needs one a
    /// second: kept records instead would be all that stand out behind a checkpoint that is held, of 64 KiB each.
    pub fn of(LogRecord { position, time, record, .. }: &LogRecord) -> Self {
        let mut mark = Self { position: *position, time: *time, digest: [0; RECORD_DIGEST_BYTES] };
        mark.digest.copy_from_slice(&digest(&SHA256, record).as_ref()[..RECORD_DIGEST_BYTES]);
        mark
    }

    /// The position behind the record.
    pub const fn behind(&self) -> Position {
        Position { offset: self.position.offset.saturating_add(1), ..self.position }
    }
}

/// The log that edges append to and routers read.
pub trait CommandLog: Clone + Send + Sync + 'static {
    /// Resolves when the log confirms a record, or does not. Dropping it does not take the record back.
    type Appending: Future<Output = Result<Position, AppendError>> + Send + Unpin + 'static;
    /// Which shards this process is to own.
    type Group: ShardGroup;
    /// One shard's records.
    type Reader: ShardReader;

    /// How many shards there are; fixed in an epoch.
    fn shards(&self) -> u16;

    /// The log's epoch.
    fn epoch(&self) -> u32;

    /// Hands a record to the log, without waiting. Records of one caller to one shard keep their order.
    ///
    /// # Errors
    /// [`AppendError::Full`] or [`AppendError::Unavailable`] at once: nothing was appended.
    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError>;

    /// Joins those who share the shards among each other.
    fn join(&self, router: u64) -> Self::Group;

    /// Reads a shard from a position on, or from its first record. [`StoreError::Gone`] if the log does not have that
    /// position any more, or does not reach it.
    fn read(
        &self,
        shard: ShardId,
        from: Option<Position>,
    ) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// Reads a shard from a position on that the log is known to reach; so it need not be asked where it ends. Where it
    /// begins behind that, the reader's first call may be what returns [`StoreError::Gone`].
    fn read_reached(
        &self,
        shard: ShardId,
        from: Position,
    ) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send {
        self.read(shard, Some(from))
    }

    /// The position behind the shard's last record at some moment after the call.
    fn end(&self, shard: ShardId) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// How long records stay behind a checkpoint, by log time, for those who read them for other reasons
    /// than to start from it.
    fn held_back(&self) -> Duration {
        Duration::from_secs(24 * 60 * 60)
    }

    /// Lets the log delete what stands before the record just before `position`: that one stays, because an owner
    /// knows its log by it. It may keep more.
    fn release(&self, shard: ShardId, position: Position) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What changed in the shards that this process is to own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChange {
    /// It is ours: append a `Takeover`, then read.
    Assigned(ShardId),
    /// It is no longer ours: stop after what is in flight.
    Revoked(ShardId),
    /// The others count on this process, and it was told of every shard that is its own, if any.
    Joined,
    /// The others do not count on this process any more: all its shards are revoked.
    Left,
}

/// Membership among those who share the shards. Dropping it leaves.
pub trait ShardGroup: Send + 'static {
    /// The next change; waits for it. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<ShardChange, StoreError>> + Send;
}

/// Reads one shard in order.
pub trait ShardReader: Send + 'static {
    /// The next records, at least one and at most `max`; waits for the first. Cancel safe.
    fn next(&mut self, max: usize) -> impl Future<Output = Result<Vec<LogRecord>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_what_was_appended_and_where_and_when() {
        let position = Position { epoch: 2, offset: 7 };
        let record = LogRecord {
            position,
            time: Time(5),
            record: Bytes::from_static(b"abc"),
            headers: RecordHeaders::default(),
        };
        let mark = RecordMark::of(&record);
        // As FIPS 180-4 has it.
        assert_eq!(mark.digest, [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea]);
        assert_eq!((mark.position, mark.time), (position, Time(5)));
        assert_eq!(mark.behind(), Position { epoch: 2, offset: 8 });
        assert_ne!(RecordMark::of(&LogRecord { record: Bytes::new(), ..record }), mark);
    }
}
