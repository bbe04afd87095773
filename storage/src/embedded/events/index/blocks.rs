//! Events of an entity that come into the index together stand together. Many small rows of a tree cost more to put in
//! and to read again than the bytes that are in them.
//!
//! A block is a row of a table of its own. Its key is that of its first event, its value all of its events in order:
//!
//! ```text
//! block: (seq u64 | length u32 | value)*
//! ```
//!
//! Only events behind all that the index has of their entity become a block. So blocks do not overlap, and a row of the
//! other table that stands for an event of a block was written later and counts.

use std::ops::{Bound, RangeBounds};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::super::keys;
use super::super::tables::Rows;
use super::{Pair, TABLE as ROWS};
use crate::event_store::ReadOrder;

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);
type Blocks = ReadOnlyTable<&'static [u8], &'static [u8]>;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");
/// Bytes of a block: with its key it fills a page of the tree, which has 4,096. An event that is larger stands alone.
const BYTES_MAX: usize = 4_000;
/// Before each event's value.
const HEAD_BYTES: usize = 12;

/// Puts rows in, and takes out those without a value.
pub(super) fn put(transaction: &WriteTransaction, rows: &Rows) -> Result<(), redb::Error> {
    let mut putting = Putting { rows: transaction.open_table(ROWS)?, blocks: transaction.open_table(TABLE)? };
    let mut events = Vec::new();
    for (key, value) in rows {
        match (value, keys::event_place(key)) {
            (Some(value), Some(place)) => {
                if events.first().is_some_and(|first: &Event<'_>| first.place.0 != place.0) {
                    putting.events(&events)?;
                    events.clear();
                }
                events.push(Event { place, key, value });
            }
            (Some(value), None) => drop(putting.rows.insert(&key[..], &value[..])?),
            // Never of an event: those are blanked, and one in a block would be there again.
            (None, place) => {
                debug_assert!(place.is_none(), "an event is removed");
                putting.rows.remove(&key[..])?;
            }
        }
    }
    putting.events(&events)
}

/// An event that is to be put in.
struct Event<'a> {
    /// Of which entity, and its number.
    place: (&'a [u8], u64),
    key: &'a [u8],
    value: &'a [u8],
}

impl Event<'_> {
    const fn len(&self) -> usize {
        HEAD_BYTES + self.value.len()
    }
}

struct Putting<'a> {
    rows: Table<'a, &'static [u8], &'static [u8]>,
    blocks: Table<'a, &'static [u8], &'static [u8]>,
}

impl Putting<'_> {
    /// Events of one entity, in order.
    fn events(&mut self, events: &[Event<'_>]) -> Result<(), redb::Error> {
        // One alone is no block, wherever it belongs.
        let end = if events.len() > 1 { self.end(events[0].place.0)? } else { u64::MAX };
        let (again, mut new) = events.split_at(events.partition_point(|event| event.place.1 <= end));
        for event in again {
            self.rows.insert(event.key, event.value)?;
        }
        while let Some(first) = new.first() {
            let mut len = first.len();
            let further = new[1..].iter().take_while(|event| {
                len += event.len();
                len <= BYTES_MAX
            });
            let (block, rest) = new.split_at(1 + further.count());
            match block {
                [alone] => drop(self.rows.insert(alone.key, alone.value)?),
                block => drop(self.blocks.insert(first.key, &to_bytes(block)[..])?),
            }
            new = rest;
        }
        Ok(())
    }

    /// The number of the last event that the index has of an entity; 0 if it has none.
    fn end(&self, entity: &[u8]) -> Result<u64, redb::Error> {
        let (first, last) = (keys::event_at(entity, 0), keys::event_at(entity, u64::MAX));
        let row = self.rows.range::<&[u8]>(&first[..]..=&last[..])?.next_back().transpose()?;
        let row = row.and_then(|(key, _)| keys::event_place(key.value()).map(|(_, seq)| seq));
        let block = self.blocks.range::<&[u8]>(&first[..]..=&last[..])?.next_back().transpose()?;
        let in_block = block.map(|(_, block)| Ok::<_, redb::Error>(read(block.value())?.last().map(|(seq, _)| *seq)));
        Ok(row.max(in_block.transpose()?.flatten()).unwrap_or(0))
    }
}

fn to_bytes(events: &[Event<'_>]) -> Bytes {
    let mut block = BytesMut::with_capacity(events.iter().map(Event::len).sum());
    for event in events {
        block.put_u64(event.place.1);
        // No event is nearly that large.
        block.put_u32(u32::try_from(event.value.len()).unwrap_or(u32::MAX));
        block.put_slice(event.value);
    }
    block.freeze()
}

/// The numbers and values of a block's events.
fn read(mut block: &[u8]) -> Result<Vec<(u64, &[u8])>, redb::Error> {
    let mut events = Vec::new();
    while !block.is_empty() {
        let malformed = || redb::Error::Corrupted("a block of events ends within one".into());
        let (mut head, rest) = block.split_at_checked(HEAD_BYTES).ok_or_else(malformed)?;
        let (seq, len) = (head.get_u64(), head.get_u32() as usize);
        let (value, rest) = rest.split_at_checked(len).ok_or_else(malformed)?;
        events.push((seq, value));
        block = rest;
    }
    Ok(events)
}

/// None in an index that an older program made, until something is put into it.
fn open(transaction: &ReadTransaction) -> Result<Option<Blocks>, redb::Error> {
    match transaction.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

/// The event of this key, if it is in a block.
pub(super) fn value(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<Bytes>, redb::Error> {
    let Some((entity, seq)) = keys::event_place(key) else { return Ok(None) };
    let Some(table) = open(transaction)? else { return Ok(None) };
    let first = keys::event_at(entity, 0);
    let Some(block) = table.range::<&[u8]>(&first[..]..=key)?.next_back() else { return Ok(None) };
    let (_, block) = block?;
    let events = read(block.value())?;
    let found = events.binary_search_by_key(&seq, |(seq, _)| *seq);
    Ok(found.ok().map(|place| Bytes::copy_from_slice(events[place].1)))
}

/// At most `max` events of blocks within the bounds, from the side that `order` begins at.
pub(super) fn range(
    transaction: &ReadTransaction,
    bounds: Bounds<'_>,
    order: ReadOrder,
    max: usize,
) -> Result<Vec<Pair>, redb::Error> {
    let mut pairs = Vec::new();
    if !keys::may_hold_events(bounds) {
        return Ok(pairs);
    }
    let Some(table) = open(transaction)? else { return Ok(pairs) };
    // The first event within the bounds may be in a block that begins before them.
    let first = match bounds.0 {
        Bound::Unbounded => None,
        Bound::Included(start) | Bound::Excluded(start) => {
            let block = table.range::<&[u8]>(..=start)?.next_back().transpose()?;
            block.map(|(key, _)| Bytes::copy_from_slice(key.value()))
        }
    };
    let start = first.as_ref().map_or(bounds.0, |first| Bound::Included(&first[..]));
    let mut blocks = table.range::<&[u8]>((start, bounds.1))?;
    while pairs.len() < max {
        let next = match order {
            ReadOrder::Forward => blocks.next(),
            ReadOrder::Backward => blocks.next_back(),
        };
        let Some(next) = next else { break };
        let (key, block) = next?;
        let Some((entity, _)) = keys::event_place(key.value()) else { continue };
        let mut events = read(block.value())?;
        if order == ReadOrder::Backward {
            events.reverse();
        }
        let events = events.into_iter().map(|(seq, value)| (keys::event_at(entity, seq), value));
        let within = events.filter(|(key, _)| RangeBounds::<[u8]>::contains(&bounds, &key[..]));
        let room = max - pairs.len();
        pairs.extend(within.take(room).map(|(key, value)| (key, Bytes::copy_from_slice(value))));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use panda_protocol::{EntityId, Seq, UserId};
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::super::Index;
    use super::*;
    use crate::embedded::disk::{Folder, SystemDisk};

    fn entity(number: u8) -> EntityId {
        UserId::from_random([number; 16]).into()
    }

    fn key(of: u8, seq: u64) -> Bytes {
        keys::event(entity(of), Seq(seq))
    }

    fn index(place: &tempfile::TempDir) -> Index {
        Index::open(Folder::new(Arc::new(SystemDisk), place.path().to_owned())).unwrap()
    }

    /// How many rows and blocks there are, but for the index's own.
    fn counts(index: &Index) -> (usize, usize) {
        let snapshot = index.snapshot().unwrap();
        let rows = snapshot.transaction.open_table(ROWS).unwrap().iter().unwrap().count();
        let blocks = open(&snapshot.transaction).unwrap().map_or(0, |table| table.iter().unwrap().count());
        (rows - 1, blocks)
    }

    fn fill(index: &Index, model: &mut BTreeMap<Bytes, Bytes>, rows: Vec<(Bytes, Bytes)>) {
        model.extend(rows.iter().cloned());
        index.fill(&rows.into_iter().map(|(key, value)| (key, Some(value))).collect(), 1).unwrap();
    }

    #[test]
    fn a_block_fills_a_page_and_what_is_alone_large_or_written_again_is_a_row() {
        let place = tempfile::tempdir().unwrap();
        let (index, mut model) = (index(&place), BTreeMap::new());
        let value = |len| Bytes::from(vec![7; len]);
        // 18 of 212 bytes in one.
        fill(&index, &mut model, (1..=36).map(|seq| (key(1, seq), value(200))).collect());
        assert_eq!(counts(&index), (0, 2));
        fill(&index, &mut model, vec![(key(1, 37), value(200)), (key(2, 1), value(200))]);
        assert_eq!(counts(&index), (2, 2), "each is alone");
        fill(&index, &mut model, (38..=40).map(|seq| (key(1, seq), value(BYTES_MAX))).collect());
        assert_eq!(counts(&index), (5, 2), "each is large");
        fill(&index, &mut model, vec![(key(1, 36), value(1)), (key(1, 40), value(2)), (key(1, 41), value(3))]);
        assert_eq!(counts(&index), (7, 2), "one is new, and two are not");
        let snapshot = index.snapshot().unwrap();
        for (key, value) in &model {
            assert_eq!(snapshot.value(key).unwrap().as_ref(), Some(value));
        }
        for absent in [key(1, 0), key(1, 42), key(0, 1), key(3, 1)] {
            assert_eq!(snapshot.value(&absent).unwrap(), None);
        }
    }

    #[test]
    fn whatever_came_together_reads_are_those_of_single_rows() {
        let random = &mut StdRng::seed_from_u64(5);
        let place = tempfile::tempdir().unwrap();
        let (index, mut model) = (index(&place), BTreeMap::new());
        let mut ends = [0; 4];
        for round in 0..60 {
            let mut rows = Vec::new();
            for of in 0..4 {
                let end = &mut ends[usize::from(of)];
                // Some are new, now and then with a gap; some are written again.
                for _ in 0..random.random_range(0..40) {
                    *end += random.random_range(1..3);
                    rows.push((key(of, *end), Bytes::from(vec![round; random.random_range(0..300)])));
                }
                if random.random_bool(0.3) {
                    rows.push((key(of, random.random_range(1..*end + 2)), Bytes::from(vec![round; 5])));
                }
            }
            fill(&index, &mut model, rows);
            let snapshot = index.snapshot().unwrap();
            for _ in 0..20 {
                let mut bound = || {
                    let key = key(random.random_range(0..4), random.random_range(0..200));
                    if random.random_bool(0.5) { Bound::Included(key) } else { Bound::Excluded(key) }
                };
                let (start, end) = (bound(), bound());
                let of = |bound: &Bound<Bytes>| match bound {
                    Bound::Included(key) | Bound::Excluded(key) => key.clone(),
                    Bound::Unbounded => Bytes::new(),
                };
                if of(&start) >= of(&end) {
                    continue;
                }
                let max = random.random_range(1..100);
                let bounds = (start.as_ref().map(|key| &key[..]), end.as_ref().map(|key| &key[..]));
                let found = snapshot.range(bounds, ReadOrder::Forward, max).unwrap();
                let within = model.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
                assert_eq!(found, within.clone().take(max).collect::<Vec<_>>());
                let found = snapshot.range(bounds, ReadOrder::Backward, max).unwrap();
                assert_eq!(found, within.rev().take(max).collect::<Vec<_>>());
            }
            for (key, value) in &model {
                assert_eq!(snapshot.value(key).unwrap().as_ref(), Some(value));
            }
        }
        let (rows, blocks) = counts(&index);
        assert!(blocks > 100 && rows < model.len() / 2, "{rows} rows and {blocks} blocks for {} events", model.len());
    }

    #[test]
    fn a_block_that_ends_within_an_event_is_found_out() {
        let events = [(1, "one"), (2, "two")];
        let keys = events.map(|(seq, _)| key(1, seq));
        let of = |place: usize| {
            let key = &keys[place];
            Event { place: keys::event_place(key).unwrap(), key, value: events[place].1.as_bytes() }
        };
        let block = to_bytes(&[of(0), of(1)]);
        assert_eq!(read(&block).unwrap(), [(1, &b"one"[..]), (2, &b"two"[..])]);
        for cut in (1..block.len()).filter(|cut| *cut != HEAD_BYTES + 3) {
            assert!(matches!(read(&block[..cut]), Err(redb::Error::Corrupted(_))), "{cut} bytes");
        }
    }
}
