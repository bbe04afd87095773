//! How many connections each address has.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// Parts that are locked one by one, so that accepting workers rarely wait for each other.
const PARTS: usize = 16;

/// Who shares a count: an IPv4 address, or an IPv6 /64, which is what one household or host gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Neighbourhood(u64);

impl Neighbourhood {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // An IPv6 network that begins with 32 zero bits is not routed, so the two never meet.
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => Self(u64::MAX),
            IpAddr::V6(v6) => Self(u64::try_from(v6.to_bits() >> 64).expect("64 bits are left")),
        }
    }
}

/// Counts by address. An address without connections takes no memory, so the map is bounded by the
/// connections that are open.
#[derive(Debug)]
pub(super) struct Addresses {
    max: usize,
    hasher: foldhash::fast::RandomState,
    parts: [Mutex<HashMap<Neighbourhood, usize, foldhash::fast::RandomState>>; PARTS],
}

impl Addresses {
    pub(super) fn new(max: usize) -> Self {
        Self { max, hasher: foldhash::fast::RandomState::default(), parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts one more connection, unless the address has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> bool {
        let neighbourhood = Neighbourhood::of(address);
        let mut part = self.part(neighbourhood);
        let count = part.entry(neighbourhood).or_insert(0);
        if *count >= self.max {
            // Only a limit of 0 leaves an empty entry behind.
            if *count == 0 {
                part.remove(&neighbourhood);
            }
            return false;
        }
        *count += 1;
        true
    }

    /// Takes back what `enter` counted.
    pub(super) fn leave(&self, address: IpAddr) {
        let neighbourhood = Neighbourhood::of(address);
        let mut part = self.part(neighbourhood);
        if let Some(count) = part.get_mut(&neighbourhood) {
            *count -= 1;
            if *count == 0 {
                part.remove(&neighbourhood);
            }
        }
    }

    fn part(
        &self,
        neighbourhood: Neighbourhood,
    ) -> MutexGuard<'_, HashMap<Neighbourhood, usize, foldhash::fast::RandomState>> {
        let hash = self.hasher.hash_one(neighbourhood.0);
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
