//! The worker's open sessions by their IDs.
//!
//! The IDs are with the sessions: what doubles when it is full holds their places only.

use hashbrown::HashTable;
use panda_protocol::SessionId;

use crate::chunked_slab::ChunkedSlab;
use crate::session::Session;

/// Places of sessions, by the hash of their IDs.
#[derive(Debug, Default)]
pub(crate) struct ById {
    places: HashTable<u32>,
}

impl ById {
    /// The session in this place has this ID, which it keeps until [`Self::remove`].
    pub(crate) fn insert(&mut self, id: SessionId, place: u32, sessions: &ChunkedSlab<Session>) {
        let hash_at = |place: &u32| id_at(sessions, *place).map_or(0, hash);
        self.places.insert_unique(hash(id), place, hash_at);
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&mut self, id: SessionId, place: u32) -> bool {
        self.places.find_entry(hash(id), |known| *known == place).map(|found| found.remove()).is_ok()
    }

    /// The place of a session.
    pub(crate) fn find(&self, id: SessionId, sessions: &ChunkedSlab<Session>) -> Option<u32> {
        self.places.find(hash(id), |place| id_at(sessions, *place) == Some(id)).copied()
    }

    /// The places of all.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        self.places.iter().copied()
    }
}

fn id_at(sessions: &ChunkedSlab<Session>, place: u32) -> Option<SessionId> {
    Some(sessions.get(place)?.member.as_ref()?.id)
}

/// The worker made the ID from random bytes, and the last of them are as good as a hash of it.
fn hash(id: SessionId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *id.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
