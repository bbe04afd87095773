//! Values by their place, in memory that grows a chunk at a time.
//!
//! One vector for all would double when it is full: it would hold up to twice what is needed, and stop its
//! thread while it copies. Here a value stays where it is, and less than a chunk is held beyond the most that there ever
//! were: places that are free again wait for the next values, of which a worker that had many soon has as many again.

/// Values in a chunk. Of what a worker keeps by place the largest is a session of some 200 bytes.
const CHUNK: usize = 256;

/// A place.
#[derive(Debug)]
enum Slot<T> {
    Taken(T),
    /// The place below is the next free one, if it is not [`NONE`].
    Free(u32),
}

/// No place: the end of the list of free ones.
const NONE: u32 = u32::MAX;

/// Values, each named by its place. A place is given again once it is free.
#[derive(Debug)]
pub(crate) struct ChunkedSlab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    /// The first of the free places.
    free: u32,
    len: usize,
}

impl<T> ChunkedSlab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }

    /// Puts a value into a free place.
    ///
    /// # Panics
    /// If there are 2^32 - 1 values: what is kept here are sockets and what belongs to them, of which memory
    /// holds fewer.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.slot_mut(self.free)
            && let Slot::Free(next) = *slot
        {
            *slot = Slot::Taken(value);
            return std::mem::replace(&mut self.free, next);
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one that is not full was just made");
        let place = u32::try_from(before + chunk.len()).ok().filter(|place| *place != NONE);
        chunk.push(Slot::Taken(value));
        place.expect("fewer values than 2^32 fit in memory")
    }

    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        let place = place as usize;
        match self.chunks.get(place / CHUNK)?.get(place % CHUNK)? {
            Slot::Taken(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        match self.slot_mut(place)? {
            Slot::Taken(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let next = self.free;
        let slot = self.slot_mut(place)?;
        if let Slot::Free(_) = slot {
            return None;
        }
        let Slot::Taken(value) = std::mem::replace(slot, Slot::Free(next)) else { return None };
        self.free = place;
        self.len -= 1;
        Some(value)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Every value with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.chunks.iter().flatten()).filter_map(|(place, slot)| match slot {
            Slot::Taken(value) => Some((place, value)),
            Slot::Free(_) => None,
        })
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot<T>> {
        let place = place as usize;
        self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }
}

/// Bytes that a value takes here.
pub(crate) const fn bytes_of<T>() -> usize {
    size_of::<Slot<T>>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_value_is_found_in_its_place_until_it_is_removed_and_places_are_given_again() {
        let (mut slab, mut model, mut highest) = (ChunkedSlab::new(), HashMap::new(), 0);
        // Fills three chunks, frees every third place, fills again, and so on.
        for round in 0..4_u64 {
            for number in 0..700_u64 {
                let value = round << 32 | number;
                let place = slab.insert(value);
                highest = highest.max(place);
                assert_eq!(model.insert(place, value), None, "a place is given once");
            }
            for place in (0..=highest).filter(|place| u64::from(*place) % 3 == round % 3) {
                assert_eq!(slab.remove(place), model.remove(&place));
                assert_eq!((slab.remove(place), slab.get(place)), (None, None));
            }
            assert_eq!(slab.len(), model.len());
        }
        assert!(model.iter().all(|(place, value)| slab.get(*place) == Some(value)));
        assert_eq!(slab.iter().map(|(place, value)| (place, *value)).collect::<HashMap<_, _>>(), model);
        for place in 0..=highest {
            assert_eq!(slab.get_mut(place).copied(), model.get(&place).copied());
        }
        assert_eq!(slab.get(highest + 1), None);
        assert_eq!(slab.remove(NONE), None);
    }

    #[test]
    fn less_than_a_chunk_is_held_beyond_the_most_that_there_were() {
        let mut slab = ChunkedSlab::new();
        for number in 0..10_000_u64 {
            slab.insert(number);
            let held: usize = slab.chunks.iter().map(Vec::capacity).sum();
            assert!(held < slab.len() + CHUNK);
        }
        for place in 0..10_000 {
            slab.remove(place);
        }
        for number in 0..10_000_u64 {
            slab.insert(number);
        }
        assert_eq!(slab.chunks.len(), 10_000_usize.div_ceil(CHUNK), "free places are used first");
    }
}
