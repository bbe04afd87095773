//! Connections by place, in chunks that are given back.
//!
//! A connection of QUIC has some 6 KiB of which an allocator, asked for each alone, would round up one more: so they
//! lie in chunks of half a mebibyte, which is what allocators cut memory in. The lowest free place is given first, so
//! that those that stay gather there and chunks at the end become empty.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Bytes of a chunk at most.
const CHUNK_BYTES: usize = 512 * 1024;

/// Values, each named by its place. A place is given again once it is free.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// A chunk without any value takes no memory.
    chunks: Vec<Chunk<T>>,
    /// Free places of all chunks.
    free: BinaryHeap<Reverse<u32>>,
}

#[derive(Debug)]
struct Chunk<T> {
    values: Vec<Option<T>>,
    taken: usize,
}

impl<T> Table<T> {
    /// Values in a chunk.
    const CHUNK: usize = if CHUNK_BYTES > size_of::<Option<T>>() { CHUNK_BYTES / size_of::<Option<T>>() } else { 1 };

    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: BinaryHeap::new() }
    }

    /// Puts a value into the lowest free place.
    ///
    /// # Panics
    /// If there are 2^32 - 1 values, of which memory holds fewer.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let Reverse(place) = self.free.pop().unwrap_or_else(|| self.grow());
        let chunk = &mut self.chunks[place as usize / Self::CHUNK];
        if chunk.values.is_empty() {
            chunk.values.reserve_exact(Self::CHUNK);
            chunk.values.resize_with(Self::CHUNK, || None);
        }
        chunk.values[place as usize % Self::CHUNK] = Some(value);
        chunk.taken += 1;
        place
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.chunks.get_mut(place as usize / Self::CHUNK)?.values.get_mut(place as usize % Self::CHUNK)?.as_mut()
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let chunk = self.chunks.get_mut(place as usize / Self::CHUNK)?;
        let value = chunk.values.get_mut(place as usize % Self::CHUNK)?.take()?;
        chunk.taken -= 1;
        if chunk.taken == 0 {
            chunk.values = Vec::new();
        }
        self.free.push(Reverse(place));
        Some(value)
    }

    /// All places that are taken.
    pub(super) fn places(&self) -> Vec<u32> {
        let values = self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let taken = chunk.values.iter().enumerate().filter(|(_, value)| value.is_some());
            taken.map(move |(index, _)| number * Self::CHUNK + index)
        });
        values.filter_map(|place| u32::try_from(place).ok()).collect()
    }

    /// One more chunk; returns its first place, and the others are free.
    fn grow(&mut self) -> Reverse<u32> {
        let first = self.chunks.len() * Self::CHUNK;
        self.chunks.push(Chunk { values: Vec::new(), taken: 0 });
        let place = |place| u32::try_from(place).ok().filter(|place| *place < u32::MAX);
        self.free.extend((first + 1..first + Self::CHUNK).filter_map(place).map(Reverse));
        Reverse(place(first).expect("fewer values than 2^32 fit in memory"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_value_is_found_in_its_place_and_empty_chunks_take_no_memory() {
        let (mut table, mut model) = (Table::new(), HashMap::new());
        let held =
            |table: &Table<[u64; 4_096]>| table.chunks.iter().filter(|chunk| chunk.values.capacity() > 0).count();
        let chunk = Table::<[u64; 4_096]>::CHUNK;
        assert!(chunk > 10);
        for round in 0..4_u64 {
            for number in 0..50 {
                let value = round << 32 | number;
                let place = table.insert([value; 4_096]);
                assert_eq!(model.insert(place, value), None, "a place is given once");
            }
            assert_eq!(held(&table), model.len().div_ceil(chunk), "the lowest places are given first");
            let mut places = table.places();
            places.sort_unstable();
            for place in places.split_off(7) {
                assert_eq!(table.remove(place).map(|value| value[0]), model.remove(&place));
                assert_eq!(table.remove(place), None);
                assert!(table.get_mut(place).is_none());
            }
            assert_eq!(held(&table), 1);
            assert!(model.iter().all(|(place, value)| table.get_mut(*place).is_some_and(|found| found[0] == *value)));
        }
        assert_eq!(table.get_mut(u32::MAX), None);
    }
}
