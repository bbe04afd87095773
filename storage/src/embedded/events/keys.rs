//! How rows become keys and values. Keys sort as their rows do; the first byte says which table.

use std::ops::Bound;

use bytes::{BufMut as _, Bytes, BytesMut};
use panda_protocol::{EntityId, Position, Seq, ShardId, Time};

use crate::command_log::{RECORD_DIGEST_BYTES, RecordMark};
use crate::epoch_store::{LogEpoch, LogIdentity};
use crate::error::StoreError;
use crate::event_store::{Checkpoint, EventRow, OwedEffect, ROW_KEY_BYTES_MAX, RowKey, SettledEffect, StateRow};

const META: u8 = 0;
const EVENT: u8 = 1;
const STATE: u8 = 2;
const OWED: u8 = 3;
const CHECKPOINT: u8 = 4;

/// Where the store's incarnation stands.
pub(super) const INCARNATION: &[u8] = &[META, 1];
/// Where the last epoch stands.
pub(super) const EPOCH: &[u8] = &[META, 2];
/// Where the index notes the last journal file that is wholly in it.
pub(super) const APPLIED: &[u8] = &[META, 3];
/// Where the epoch of a log of other processes stands.
pub(super) const LOG_EPOCH: &[u8] = &[META, 4];

const EVENT_HEAD: usize = 22;
/// Of the last record before a checkpoint, whose epoch is the checkpoint's.
const MARK_BYTES: usize = 16 + RECORD_DIGEST_BYTES;

/// Of the key of an event, what comes before its number.
const EVENT_ENTITY: usize = 17;

pub(super) fn event(entity: EntityId, seq: Seq) -> Bytes {
    let mut key = BytesMut::with_capacity(EVENT_ENTITY + 8);
    key.put_u8(EVENT);
    key.put_slice(entity.as_bytes());
    key.put_u64(seq.0);
    key.freeze()
}

/// If it is the key of an event: what all keys of its entity's events begin with, and its number.
pub(super) fn event_place(key: &[u8]) -> Option<(&[u8], u64)> {
    let (entity, seq) = key.split_at_checked(EVENT_ENTITY).filter(|(entity, _)| entity[0] == EVENT)?;
    Some((entity, u64::from_be_bytes(seq.try_into().ok()?)))
}

/// The key of which [`event_place`] told.
pub(super) fn event_at(entity: &[u8], seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(entity.len() + 8);
    key.put_slice(entity);
    key.put_u64(seq);
    key.freeze()
}

/// Whether keys of events may lie within the bounds.
pub(super) fn may_hold_events((start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    let (first, behind) = EVENT_RANGE;
    let begins_before = match start {
        Bound::Included(start) | Bound::Excluded(start) => start < behind,
        Bound::Unbounded => true,
    };
    let ends_behind = match end {
        Bound::Included(end) | Bound::Excluded(end) => end > first,
        Bound::Unbounded => true,
    };
    begins_before && ends_behind
}

pub(super) fn state(entity: EntityId, row: &RowKey) -> Bytes {
    let mut key = BytesMut::with_capacity(18 + row.key.len());
    key.put_u8(STATE);
    key.put_slice(entity.as_bytes());
    key.put_u8(row.kind);
    key.put_slice(&row.key);
    key.freeze()
}

/// The first key behind every row of this kind.
pub(super) fn state_end(entity: EntityId, kind: u8) -> Bytes {
    let mut key = BytesMut::from(&state(entity, &RowKey { kind, key: Bytes::new() })[..]);
    // Bigger than every key of the kind, smaller than the next kind: no row key is that long.
    key.put_bytes(0xff, ROW_KEY_BYTES_MAX + 1);
    key.freeze()
}

fn owed(source: EntityId, seq: Seq, target: EntityId) -> Bytes {
    let mut key = BytesMut::with_capacity(41);
    key.put_u8(OWED);
    key.put_slice(source.as_bytes());
    key.put_u64(seq.0);
    key.put_slice(target.as_bytes());
    key.freeze()
}

pub(super) fn owed_effect(owed_effect: &OwedEffect) -> Bytes {
    owed(owed_effect.source, owed_effect.source_seq, owed_effect.target)
}

pub(super) fn settled_effect(settled: &SettledEffect) -> Bytes {
    owed(settled.source, settled.source_seq, settled.target)
}

/// Every event is between them.
pub(super) const EVENT_RANGE: (&[u8], &[u8]) = (&[EVENT], &[EVENT + 1]);

/// Every owed effect is between them.
pub(super) const OWED_RANGE: (&[u8], &[u8]) = (&[OWED], &[OWED + 1]);

pub(super) fn checkpoint(shard: ShardId) -> Bytes {
    let mut key = BytesMut::with_capacity(3);
    key.put_u8(CHECKPOINT);
    key.put_u16(shard.0);
    key.freeze()
}

pub(super) fn event_value(row: &EventRow) -> Bytes {
    let mut value = BytesMut::with_capacity(EVENT_HEAD + row.event.len());
    value.put_u64(row.time.0);
    put_position(&mut value, row.position);
    value.put_u8(row.index);
    value.put_u8(row.count);
    value.put_slice(&row.event);
    value.freeze()
}

/// The entity of an event, by its key.
pub(super) fn read_event_entity(key: Bytes) -> Result<EntityId, StoreError> {
    let mut key = Fields(key);
    key.take::<1>()?;
    key.entity()
}

pub(super) fn state_value(row: &StateRow) -> Bytes {
    let mut value = BytesMut::with_capacity(9 + row.value.as_ref().map_or(0, Bytes::len));
    value.put_u64(row.time.0);
    value.put_u8(u8::from(row.value.is_some()));
    value.put_slice(row.value.as_deref().unwrap_or_default());
    value.freeze()
}

/// Position, rules, and behind them offset, time and digest of the last record before, if it is known. Older
/// programs wrote none, and read no further than the rules.
pub(super) fn checkpoint_value(checkpoint: Checkpoint) -> Bytes {
    let mut value = BytesMut::with_capacity(14 + MARK_BYTES);
    put_position(&mut value, checkpoint.position);
    value.put_u16(checkpoint.rules);
    if let Some(last) = checkpoint.last {
        value.put_u64(last.position.offset);
        value.put_u64(last.time.0);
        value.put_slice(&last.digest);
    }
    value.freeze()
}

/// Epoch, and behind a length the cluster's name; the rest is the topic's.
pub(super) fn log_epoch_value(epoch: &LogEpoch) -> Bytes {
    let LogIdentity { cluster, topic } = &epoch.log;
    let mut value = BytesMut::with_capacity(5 + cluster.len() + topic.len());
    value.put_u32(epoch.epoch);
    // Both names were checked to be short.
    value.put_u8(u8::try_from(cluster.len()).unwrap_or(u8::MAX));
    value.put_slice(cluster.as_bytes());
    value.put_slice(topic.as_bytes());
    value.freeze()
}

fn put_position(value: &mut BytesMut, position: Position) {
    value.put_u32(position.epoch);
    value.put_u64(position.offset);
}

/// Reads a value or key from its front.
struct Fields(Bytes);

impl Fields {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        if self.0.len() < N {
            return Err(malformed());
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0.split_to(N));
        Ok(bytes)
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_be_bytes)
    }

    fn entity(&mut self) -> Result<EntityId, StoreError> {
        EntityId::from_bytes(self.take()?).map_err(|_| malformed())
    }

    fn position(&mut self) -> Result<Position, StoreError> {
        Ok(Position { epoch: u32::from_be_bytes(self.take()?), offset: self.u64()? })
    }
}

fn malformed() -> StoreError {
    StoreError::Corrupt("a row of the event store has the wrong form".into())
}

/// The time of an event or a state row.
pub(super) fn time(value: &Bytes) -> Result<Time, StoreError> {
    Fields(value.clone()).u64().map(Time)
}

pub(super) fn read_event(key: Bytes, value: Bytes) -> Result<EventRow, StoreError> {
    let mut key = Fields(key);
    key.take::<17>()?;
    let mut value = Fields(value);
    Ok(EventRow {
        seq: Seq(key.u64()?),
        time: Time(value.u64()?),
        position: value.position()?,
        index: value.take::<1>()?[0],
        count: value.take::<1>()?[0],
        event: value.0,
    })
}

pub(super) fn read_state(key: RowKey, value: Bytes) -> Result<StateRow, StoreError> {
    let mut value = Fields(value);
    let time = Time(value.u64()?);
    let live = value.take::<1>()? == [1];
    Ok(StateRow { key, value: live.then_some(value.0), time })
}

/// A state row of a scan, with the key that its own key holds.
pub(super) fn read_scanned(key: Bytes, value: Bytes) -> Result<StateRow, StoreError> {
    let mut key = Fields(key);
    key.take::<17>()?;
    let kind = key.take::<1>()?[0];
    read_state(RowKey { kind, key: key.0 }, value)
}

pub(super) fn read_owed(key: Bytes, value: Bytes) -> Result<OwedEffect, StoreError> {
    let mut key = Fields(key);
    key.take::<1>()?;
    Ok(OwedEffect { source: key.entity()?, source_seq: Seq(key.u64()?), target: key.entity()?, event: value })
}

pub(super) fn read_checkpoint(value: Bytes) -> Result<Checkpoint, StoreError> {
    let mut value = Fields(value);
    let (position, rules) = (value.position()?, u16::from_be_bytes(value.take()?));
    let last = if value.0.is_empty() {
        None
    } else {
        let position = Position { offset: value.u64()?, ..position };
        Some(RecordMark { position, time: Time(value.u64()?), digest: value.take()? })
    };
    Ok(Checkpoint { position, rules, last })
}

pub(super) fn read_log_epoch(value: Bytes) -> Result<LogEpoch, StoreError> {
    let mut value = Fields(value);
    let epoch = u32::from_be_bytes(value.take()?);
    let cluster = usize::from(value.take::<1>()?[0]);
    let names = std::str::from_utf8(&value.0).map_err(|_| malformed())?;
    let (cluster, topic) = names.split_at_checked(cluster).ok_or_else(malformed)?;
    Ok(LogEpoch { epoch, log: LogIdentity { cluster: cluster.into(), topic: topic.into() } })
}

/// A number or identifier of the store itself.
pub(super) fn read_meta<const N: usize>(value: Bytes) -> Result<[u8; N], StoreError> {
    Fields(value).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_an_older_program_has_no_last_record_and_that_program_finds_its_own_in_ours() {
        let position = Position { epoch: 2, offset: 77 };
        let last = RecordMark { position: Position { offset: 70, ..position }, time: Time(5), digest: *b"a record" };
        let without = Checkpoint { position, rules: 3, last: None };
        let (short, long) = (checkpoint_value(without), checkpoint_value(Checkpoint { last: Some(last), ..without }));
        assert_eq!((short.len(), long.len()), (14, 14 + MARK_BYTES));
        assert_eq!(read_checkpoint(short.clone()).unwrap(), without);
        assert_eq!(read_checkpoint(long.clone()).unwrap().last, Some(last));
        assert_eq!(long[..14], short);
        for cut in 15..long.len() {
            assert!(matches!(read_checkpoint(long.slice(..cut)), Err(StoreError::Corrupt(_))), "{cut} bytes");
        }
    }
}
