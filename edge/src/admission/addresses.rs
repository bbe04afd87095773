//! How many connections each address has.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use panda_access::Neighbourhood;

/// Parts that are locked one by one, so that accepting workers rarely wait for each other.
const PARTS: usize = 16;

/// What is open from one neighbourhood.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// Of them, those of the HTTP API.
    http: usize,
}

type Part = HashMap<Neighbourhood, Open, foldhash::fast::RandomState>;

/// Counts by address. An address without connections takes no memory, so the map is bounded by the
/// connections that are open.
#[derive(Debug)]
pub(super) struct Addresses {
    max: usize,
    http_max: usize,
    hasher: foldhash::fast::RandomState,
    parts: [Mutex<Part>; PARTS],
}

impl Addresses {
    pub(super) fn new(max: usize, http_max: usize) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        Self { max, http_max, hasher, parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts one more connection, unless the address has as many as it may.
    pub(super) fn enter(&self, neighbourhood: Neighbourhood) -> bool {
        let mut part = self.part(neighbourhood);
        let open = part.entry(neighbourhood).or_default();
        if open.all >= self.max {
            // Only a limit of 0 leaves an empty entry behind.
            if open.all == 0 {
                part.remove(&neighbourhood);
            }
            return false;
        }
        open.all += 1;
        true
    }

    /// Counts an entered connection as one of the HTTP API, unless the address has as many of them as it may.
    pub(super) fn enter_http(&self, neighbourhood: Neighbourhood) -> bool {
        let mut part = self.part(neighbourhood);
        let Some(open) = part.get_mut(&neighbourhood).filter(|open| open.http < self.http_max) else { return false };
        open.http += 1;
        true
    }

    /// Takes back what `enter` counted.
    pub(super) fn leave(&self, neighbourhood: Neighbourhood) {
        let mut part = self.part(neighbourhood);
        if let Some(open) = part.get_mut(&neighbourhood) {
            open.all -= 1;
            if open.all == 0 {
                part.remove(&neighbourhood);
            }
        }
    }

    /// Takes back what `enter_http` counted; `leave` follows.
    pub(super) fn leave_http(&self, neighbourhood: Neighbourhood) {
        if let Some(open) = self.part(neighbourhood).get_mut(&neighbourhood) {
            open.http -= 1;
        }
    }

    fn part(&self, neighbourhood: Neighbourhood) -> MutexGuard<'_, Part> {
        let hash = self.hasher.hash_one(neighbourhood);
        // The map uses the hash's high and low bits; the part takes some from the middle.
        let part = usize::try_from(hash >> 32 & (PARTS as u64 - 1)).unwrap_or(0);
        // A count is never half changed, so a panic elsewhere leaves the map good.
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}
