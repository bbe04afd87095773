//! When each connection is to be looked at.
//!
//! A heap with one entry a connection, which knows where the entry is: putting a connection in again moves its
//! entry, so nothing stale piles up however often a deadline changes. A deadline that moves back, as that
//! of an idle connection does with every packet, leaves the entry where it is: it is found early, looked at once for
//! nothing, and put where it belongs then.

/// Children of an entry.
const ARITY: usize = 4;
/// No entry.
const NONE: u32 = u32::MAX;

/// Connections by the moment, in microseconds, when they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// The moment and the connection's place; no child is earlier than its parent.
    heap: Vec<(u64, u32)>,
    /// By place: where in the heap it is.
    positions: Vec<u32>,
}

impl Timers {
    /// To be looked at from `at_us` on, if not earlier.
    pub(super) fn set(&mut self, place: u32, at_us: u64) {
        match self.position(place) {
            Some(position) => {
                if at_us < self.heap[position].0 {
                    self.heap[position].0 = at_us;
                    self.rise(position);
                }
            }
            None => {
                let index = place as usize;
                if index >= self.positions.len() {
                    self.positions.resize(index + 1, NONE);
                }
                self.heap.push((at_us, place));
                self.rise(self.heap.len() - 1);
            }
        }
    }

    /// Not to be looked at any more.
    pub(super) fn remove(&mut self, place: u32) {
        let Some(position) = self.position(place) else { return };
        self.positions[place as usize] = NONE;
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.sink(position);
            self.rise(position);
        }
    }

    /// The next moment at which somebody is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.first().map(|(at_us, _)| *at_us)
    }

    /// Takes out one that is due.
    pub(super) fn pop_due(&mut self, now_us: u64) -> Option<u32> {
        let (at_us, place) = *self.heap.first()?;
        (at_us <= now_us).then(|| {
            self.remove(place);
            place
        })
    }

    fn position(&self, place: u32) -> Option<usize> {
        self.positions.get(place as usize).filter(|position| **position != NONE).map(|position| *position as usize)
    }

    /// Moves an entry towards the root until its parent is not later, and notes where it is.
    fn rise(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    /// Moves an entry away from the root until no child is earlier, and notes where it is.
    fn sink(&mut self, mut position: usize) {
        let entry = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(child) = children.min_by_key(|child| self.heap[*child].0) else { break };
            if self.heap[child].0 >= entry.0 {
                break;
            }
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, entry);
    }

    fn put(&mut self, position: usize, entry: (u64, u32)) {
        self.heap[position] = entry;
        // Places are counted in 32 bits, and each has one entry.
        self.positions[entry.1 as usize] = u32::try_from(position).unwrap_or(NONE);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// A deadline that moves back is found at the old moment, so the model is asked again then, as a connection is.
    #[test]
    fn everybody_is_found_when_due_and_once() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut timers, mut model, mut now_us) = (Timers::default(), HashMap::<u32, u64>::new(), 0);
        for _ in 0..200_000 {
            let place = random.random_range(0..300);
            match random.random_range(0..10) {
                0..6 => {
                    let at_us = now_us + random.random_range(0..5_000);
                    timers.set(place, at_us);
                    model.insert(place, at_us);
                }
                6 => {
                    timers.remove(place);
                    model.remove(&place);
                }
                _ => {
                    now_us += random.random_range(0..200);
                    while let Some(place) = timers.pop_due(now_us) {
                        let at_us = model[&place];
                        if at_us > now_us {
                            timers.set(place, at_us);
                        } else {
                            model.remove(&place);
                        }
                    }
                    assert!(model.values().all(|at_us| *at_us > now_us), "somebody who is due was not found");
                }
            }
            assert_eq!(timers.heap.len(), model.len(), "one entry a connection");
            assert!(timers.next() <= model.values().min().copied().or(Some(u64::MAX)));
        }
        assert!(timers.pop_due(u64::MAX).is_some());
    }
}
