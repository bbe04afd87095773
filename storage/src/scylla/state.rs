//! State rows: which partition holds one, and how they are written, read and scanned.
//!
//! All rows of an inbox or a direct chat are in one partition, so a flush is one write and a load one
//! read. A group has up to a million members and a window for each of their devices: its rows whose
//! key begins with a user lie in 16 partitions more, cut by the second byte of the key (the first
//! says that it is a user). A partition then has at most 62,500 members, 5 MB, and their windows;
//! what belongs to one user of a group is together. The cut keeps the order of keys, so a scan of a
//! large group reads one or two partitions a page.

use std::collections::{BTreeMap, HashMap};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::try_join_all;
use panda_protocol::EntityId;
use panda_protocol::ids::IdKind;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};

use super::numbers::{from_table, time_from_table, to_table};
use super::{Inner, failure};
use crate::error::StoreError;
use crate::event_store::{RowKey, StateRow};
use crate::send_while::SendWhile;

/// First byte of a value. Where two writes have the same time, the cluster keeps the larger bytes: a
/// deletion wins.
const LIVE: u8 = 0;
const DELETED: u8 = 1;
/// The partition of every row whose key is not a user's.
const SHARED_SLOT: i16 = 0;
/// The partitions of a group's users, behind the shared one.
const USER_SLOTS: i16 = 16;
/// Keys that one request asks for. Scylla refuses more than 100.
const READ_KEYS_MAX: usize = 96;
/// Rows that one request of a scan asks for.
const SCAN_ROWS_MAX: usize = 512;
/// How many partitions of a scan are read at once, first and after each round: a large group fills
/// its page from the first.
const SCAN_SLOTS: usize = 1;
const SCAN_SLOTS_GROWTH: usize = 4;

/// What is scanned; equal scans are one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct StateScan {
    pub(super) entity: EntityId,
    pub(super) kind: u8,
    pub(super) after: Option<Bytes>,
    pub(super) limit: usize,
}

/// The columns of a read, in the statement's order.
type Columns = (i16, Vec<u8>, Vec<u8>, i64);

fn is_spread(entity: EntityId) -> bool {
    entity.chat().is_some_and(|chat| !chat.is_direct())
}

fn slot(entity: EntityId, key: &[u8]) -> i16 {
    match key {
        [first, second, ..] if *first == IdKind::User as u8 && is_spread(entity) => 1 + i16::from(second >> 4),
        _ => SHARED_SLOT,
    }
}

impl Inner {
    pub(super) async fn write_state(
        &self,
        entity: EntityId,
        rows: Vec<StateRow>,
        may: &SendWhile,
    ) -> Result<(), StoreError> {
        StateRow::check(&rows)?;
        let mut slots: BTreeMap<i16, Vec<StateRow>> = BTreeMap::new();
        for row in rows {
            slots.entry(slot(entity, &row.key.key)).or_default().push(row);
        }
        let writes = slots.into_iter().flat_map(|(slot, rows)| cut(rows).into_iter().map(move |rows| (slot, rows)));
        try_join_all(writes.map(|(slot, rows)| self.write_slot(entity, slot, rows, may))).await?;
        Ok(())
    }

    async fn write_slot(
        &self,
        entity: EntityId,
        slot: i16,
        rows: Vec<StateRow>,
        may: &SendWhile,
    ) -> Result<(), StoreError> {
        let values = rows.iter().map(|row| {
            let mut value = BytesMut::with_capacity(1 + row.value.as_ref().map_or(0, Bytes::len));
            value.put_u8(if row.value.is_some() { LIVE } else { DELETED });
            value.put_slice(row.value.as_deref().unwrap_or_default());
            let (kind, key) = (i16::from(row.key.kind), &row.key.key[..]);
            Ok((&entity.as_bytes()[..], slot, kind, key, value.freeze(), to_table(row.time.0)?))
        });
        let values = values.collect::<Result<Vec<_>, StoreError>>()?;
        self.requests.write(&self.statements.write_state, values, may).await
    }

    pub(super) async fn read_state(
        &self,
        entity: EntityId,
        keys: Vec<RowKey>,
    ) -> Result<Vec<Option<StateRow>>, StoreError> {
        let mut slots: BTreeMap<i16, Vec<&RowKey>> = BTreeMap::new();
        for key in &keys {
            slots.entry(slot(entity, &key.key)).or_default().push(key);
        }
        let reads = slots.iter().flat_map(|(slot, keys)| keys.chunks(READ_KEYS_MAX).map(move |keys| (*slot, keys)));
        let read = async |(slot, keys): (i16, &[&RowKey])| {
            let keys: Vec<_> = keys.iter().map(|key| (i16::from(key.kind), &key.key[..])).collect();
            let values = (&entity.as_bytes()[..], slot, keys);
            self.requests.read::<Columns, _>(&self.statements.read_state, values, row).await
        };
        let found = try_join_all(reads.map(read)).await?;
        let found: HashMap<RowKey, StateRow> = found.into_iter().flatten().map(|row| (row.key.clone(), row)).collect();
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    pub(super) async fn scan_state(&self, scan: StateScan) -> Result<Vec<StateRow>, StoreError> {
        if scan.limit == 0 {
            return Ok(Vec::new());
        }
        // The smallest key behind `after`.
        let from = scan.after.as_ref().map_or_else(Bytes::new, |after| [after, &[0][..]].concat().into());
        let mut rows = self.scan_slot(&scan, SHARED_SLOT, &from, scan.limit).await?;
        if is_spread(scan.entity) {
            rows.extend(self.scan_users(&scan, &from).await?);
            rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            rows.truncate(scan.limit);
        }
        Ok(rows)
    }

    /// Rows of a group's users. Partitions are read in the order of keys, more at once each round.
    async fn scan_users(&self, scan: &StateScan, from: &Bytes) -> Result<Vec<StateRow>, StoreError> {
        let first = match from.first() {
            Some(kind) if *kind > IdKind::User as u8 => return Ok(Vec::new()),
            _ => slot(scan.entity, from).max(SHARED_SLOT + 1),
        };
        let slots: Vec<i16> = (first..=USER_SLOTS).collect();
        let (mut rows, mut slots, mut at_once) = (Vec::new(), &slots[..], SCAN_SLOTS);
        while !slots.is_empty() && rows.len() < scan.limit {
            let (round, later) = slots.split_at(at_once.min(slots.len()));
            let limit = scan.limit - rows.len();
            let found = try_join_all(round.iter().map(|slot| self.scan_slot(scan, *slot, from, limit))).await?;
            rows.extend(found.into_iter().flatten());
            (slots, at_once) = (later, at_once * SCAN_SLOTS_GROWTH);
        }
        Ok(rows)
    }

    /// At most `limit` live rows of one partition.
    async fn scan_slot(
        &self,
        scan: &StateScan,
        slot: i16,
        from: &Bytes,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        let mut rows: Vec<StateRow> = Vec::new();
        let mut from = from.clone();
        while rows.len() < limit {
            let asked = (limit - rows.len()).min(SCAN_ROWS_MAX);
            let limit = i32::try_from(asked).unwrap_or(i32::MAX);
            let values = (&scan.entity.as_bytes()[..], slot, i16::from(scan.kind), &from[..], limit);
            let page = self.requests.read::<Columns, _>(&self.statements.scan_state, values, row).await?;
            let more = page.len() == asked;
            if let Some(last) = page.last() {
                from = [&last.key.key[..], &[0]].concat().into();
            }
            rows.extend(page.into_iter().filter(|row| row.value.is_some()));
            if !more {
                break;
            }
        }
        Ok(rows)
    }
}

/// Cuts the rows of a partition into writes.
fn cut(rows: Vec<StateRow>) -> Vec<Vec<StateRow>> {
    let mut writes: Vec<Vec<StateRow>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let size = row.key.key.len() + row.value.as_ref().map_or(0, Bytes::len);
        match writes.last_mut() {
            Some(write) if write.len() < COMMAND_EVENTS_MAX && bytes + size <= WRITE_BYTES_MAX => {
                bytes += size;
                write.push(row);
            }
            _ => {
                bytes = size;
                writes.push(vec![row]);
            }
        }
    }
    writes
}

fn row((kind, key, value, time): Columns) -> Result<StateRow, StoreError> {
    let key = RowKey { kind: from_table(kind)?, key: key.into() };
    let value = match value[..] {
        [LIVE, ..] => Some(Bytes::from(value).slice(1..)),
        [DELETED] => None,
        _ => return Err(failure::value("it has the wrong form")),
    };
    Ok(StateRow { key, value, time: time_from_table(time)? })
}

#[cfg(test)]
mod tests {
    use panda_protocol::{ChatId, Counter, DeviceId, Time, UserId};

    use super::*;

    fn user(second: u8) -> UserId {
        let mut bytes = [7; 16];
        bytes[1] = second;
        UserId::from_random(bytes)
    }

    #[test]
    fn only_the_users_of_a_group_are_spread() {
        let group: EntityId = ChatId::group(user(1), DeviceId::NONE, Counter(1)).into();
        let direct: EntityId = ChatId::direct(user(1), user(2)).into();
        for second in 0..=255 {
            assert_eq!(slot(group, user(second).as_bytes()), 1 + i16::from(second / 16));
            assert_eq!(slot(direct, user(second).as_bytes()), SHARED_SLOT);
            assert_eq!(slot(user(1).into(), user(second).as_bytes()), SHARED_SLOT);
        }
        for key in [&b""[..], b"theme", &[IdKind::User as u8], DeviceId::NONE.as_bytes()] {
            assert_eq!(slot(group, key), SHARED_SLOT);
        }
    }

    #[test]
    fn a_write_of_many_rows_is_cut_at_its_limits() {
        let row = |bytes: usize| StateRow {
            key: RowKey { kind: 1, key: Bytes::new() },
            value: Some(vec![0; bytes].into()),
            time: Time(1),
        };
        let sizes = |rows| cut(rows).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![row(1); 2 * COMMAND_EVENTS_MAX + 1]), [COMMAND_EVENTS_MAX, COMMAND_EVENTS_MAX, 1]);
        assert_eq!(sizes(vec![row(WRITE_BYTES_MAX / 2); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![row(WRITE_BYTES_MAX + 1); 2]), [1, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }

    #[test]
    fn a_deletion_has_the_larger_bytes() {
        assert!([DELETED][..] > [LIVE, 255, 255][..]);
        let read = |kind, value: &[u8]| row((kind, b"k".to_vec(), value.to_vec(), 1));
        assert!(read(1, &[LIVE]).is_ok() && read(1, &[DELETED]).is_ok());
        assert!(read(1, &[]).is_err() && read(1, &[2]).is_err() && read(1, &[DELETED, 1]).is_err());
        assert!(read(300, &[LIVE]).is_err());
    }
}
