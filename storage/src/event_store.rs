//! The event store: the truth about every chat and inbox, and rows that cache its fold.
//!
//! Every write carries the time of the event that caused it, and a write with a lower time than what
//! is stored changes nothing, in whatever order writes arrive. Equal times carry equal bytes. A
//! deleted row keeps its time. So the late write of a process that no longer owns the shard always
//! loses, without a lock.

use std::future::Future;

use bytes::Bytes;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::{EntityId, Incarnation, Position, Seq, ShardId, Time};

use crate::command_log::RecordMark;
use crate::error::StoreError;
use crate::send_while::SendWhile;

/// Events of one bucket of an entity: seq / `BUCKET_EVENTS`. One write never crosses its end.
pub const BUCKET_EVENTS: u64 = 8192;
/// Bytes of a state row's key within its kind.
pub const ROW_KEY_BYTES_MAX: usize = 64;

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number.
    pub seq: Seq,
    /// The command that made it.
    pub position: Position,
    /// Which event of its command this is, from 0.
    pub index: u8,
    /// How many events its command made: `index < count`.
    pub count: u8,
    /// The event's time, also the time of this write.
    pub time: Time,
    /// The canonical bytes.
    pub event: Bytes,
}

/// An effect that a stored event owes to another entity and that the target has not stored yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwedEffect {
    /// The entity that the event is of.
    pub source: EntityId,
    /// The event.
    pub source_seq: Seq,
    /// The entity that is changed.
    pub target: EntityId,
    /// The event's canonical bytes.
    pub event: Bytes,
}

/// Names an owed effect that its target has now stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SettledEffect {
    /// The entity that the event is of.
    pub source: EntityId,
    /// The event.
    pub source_seq: Seq,
    /// The entity that was changed.
    pub target: EntityId,
}

/// One write: whole commands of one entity, at most 128 events and 256 KiB, of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The chat or inbox.
    pub entity: EntityId,
    /// Rising, dense.
    pub rows: Vec<EventRow>,
    /// What these events owe. A store without transactions across entities may ignore it: its log
    /// is read again from the checkpoint instead.
    pub owes: Vec<OwedEffect>,
    /// What these events settle, likewise.
    pub settles: Vec<SettledEffect>,
}

impl EventBatch {
    /// What every store insists on: dense rows of one bucket, within the limits of a write.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub fn check(&self) -> Result<(), StoreError> {
        let refuse = |why: &str| Err(StoreError::Limit(format!("a write of {} {why}", self.entity)));
        if self.rows.len() > COMMAND_EVENTS_MAX {
            return refuse(&format!("has {} events, {COMMAND_EVENTS_MAX} are allowed", self.rows.len()));
        }
        let bytes: usize = self.rows.iter().map(|row| row.event.len()).sum();
        if bytes > WRITE_BYTES_MAX {
            return refuse(&format!("has {bytes} bytes, {WRITE_BYTES_MAX} are allowed"));
        }
        for pair in self.rows.windows(2) {
            let follows = pair[0].seq.0.checked_add(1) == Some(pair[1].seq.0);
            if !follows || pair[0].seq.0 / BUCKET_EVENTS != pair[1].seq.0 / BUCKET_EVENTS {
                return refuse("has rows that are not dense, or of two buckets");
            }
        }
        Ok(())
    }
}

impl StateRow {
    /// What every store insists on.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a key that is too long.
    pub fn check(rows: &[Self]) -> Result<(), StoreError> {
        match rows.iter().map(|row| row.key.key.len()).find(|bytes| *bytes > ROW_KEY_BYTES_MAX) {
            Some(bytes) => {
                let why = format!("the key of a state row has {bytes} bytes, {ROW_KEY_BYTES_MAX} are allowed");
                Err(StoreError::Limit(why))
            }
            None => Ok(()),
        }
    }
}

/// Names a state row of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Which kind of row; the router's matter.
    pub kind: u8,
    /// Which one of its kind; at most [`ROW_KEY_BYTES_MAX`] bytes, may be empty.
    pub key: Bytes,
}

/// A state row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// Which row.
    pub key: RowKey,
    /// Its value; absent: the row is deleted.
    pub value: Option<Bytes>,
    /// The time of the event that caused it.
    pub time: Time,
}

/// Which way events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOrder {
    /// Rising seqs, from `from` on.
    Forward,
    /// Falling seqs, from `from` down.
    Backward,
}

/// How far a shard of an epoch is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every command before this position is stored, effects included.
    pub position: Position,
    /// The rules version in force at that position.
    pub rules: u16,
    /// The last record before that position, by which the next owner knows the log. None if none was read, and in
    /// what a release wrote that did not keep it.
    pub last: Option<RecordMark>,
}

impl Checkpoint {
    /// What every store insists on.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a last record that is not before the position, or is of another epoch.
    pub fn check(&self) -> Result<(), StoreError> {
        let Self { position, last, .. } = self;
        match last {
            Some(last) if last.position.epoch != position.epoch || last.position >= *position => {
                let found = last.position;
                Err(StoreError::Limit(format!("a checkpoint at {position} names a last record at {found}")))
            }
            _ => Ok(()),
        }
    }

    /// Behind the last record before the position: the position itself, unless the log leaves offsets out.
    pub fn behind_last(&self) -> Position {
        self.last.map_or(self.position, |last| last.behind())
    }
}

/// The truth about every chat and inbox.
pub trait EventStore: Clone + Send + Sync + 'static {
    /// This store's incarnation: made with it, kept by an export, replaced by a restore.
    fn incarnation(&self) -> Incarnation;

    /// Whether everything that a read finds is durable. Where a read may find what only a minority of
    /// replicas holds, a new owner writes the tail again before it builds on it.
    fn reads_are_durable(&self) -> bool {
        false
    }

    /// The same store, through which events, state rows and checkpoints are sent only while `may` says yes: it is
    /// asked when a write has its place, behind whatever it waited for. A write for which it says no is refused as
    /// [`StoreError::Unavailable`]; of one that is cut, some may have been sent. Replaces what was said before.
    #[must_use]
    fn sending_while(&self, may: SendWhile) -> Self;

    /// Stores events. When it returns `Ok`, they survive the loss of power (embedded) or of a
    /// minority of replicas (cluster); before that, none, some or all of them may be found by a read.
    /// Not cancel safe in one sense only: the write may go on when the future is dropped.
    ///
    /// # Errors
    /// After an error the write may or may not have happened; repeating it is harmless.
    /// [`StoreError::Limit`] for what [`EventBatch::check`] or [`StateRow::check`] refuses: nothing
    /// was stored.
    fn write_events(&self, batch: EventBatch) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads at most `limit` events and about `bytes_max` bytes of them, at least one if there is one.
    /// Finds every event whose write had returned when it was asked; one behind a hole need not be found.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read_events(
        &self,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>, StoreError>> + Send;

    /// Stores state rows of one entity. They may be lost with the process until [`Self::sync_state`]
    /// returns or a later [`Self::write_events`] does; a row is never found without the rows of calls
    /// that had returned before this one began.
    ///
    /// # Errors
    /// As [`Self::write_events`].
    fn write_state(&self, entity: EntityId, rows: Vec<StateRow>)
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes what [`Self::write_state`] took durable.
    ///
    /// # Errors
    /// As [`Self::write_events`].
    fn sync_state(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads state rows by key, in the keys' order. An absent or deleted row has no value; a deleted
    /// one keeps its time.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read_state(
        &self,
        entity: EntityId,
        keys: Vec<RowKey>,
    ) -> impl Future<Output = Result<Vec<Option<StateRow>>, StoreError>> + Send;

    /// Reads at most `limit` live rows of one kind in the order of their keys, behind `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan_state(
        &self,
        entity: EntityId,
        kind: u8,
        after: Option<Bytes>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StateRow>, StoreError>> + Send;

    /// The effects that were owed when the store was opened and are not settled yet. A store whose
    /// log outlives the process has none to tell.
    ///
    /// # Errors
    /// [`StoreError`].
    fn owed_effects(&self) -> impl Future<Output = Result<Vec<OwedEffect>, StoreError>> + Send;

    /// How far a shard is stored; the highest position ever written.
    ///
    /// # Errors
    /// [`StoreError`].
    fn checkpoint(&self, shard: ShardId) -> impl Future<Output = Result<Option<Checkpoint>, StoreError>> + Send;

    /// Writes a checkpoint; one below what is stored changes nothing.
    ///
    /// # Errors
    /// As [`Self::write_events`]; [`StoreError::Limit`] for what [`Checkpoint::check`] refuses.
    fn write_checkpoint(
        &self,
        shard: ShardId,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
