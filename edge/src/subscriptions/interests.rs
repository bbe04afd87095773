//! What one worker wants of each entity.
//!
//! An interest is named by its entity and found by it, so the table that finds it holds places only: it is
//! the only part that doubles, and is up to half empty.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use panda_protocol::EntityId;
use smallvec::SmallVec;

use super::SubscriptionKey;
use crate::chunked_slab::{self, ChunkedSlab};

/// What is known here of one entity.
#[derive(Debug)]
pub(super) struct Interest {
    entity: EntityId,
    /// Most inboxes and many chats have one here: it needs no memory of its own.
    pub(super) listeners: SmallVec<[SubscriptionKey; 2]>,
    /// Admissions that are out, of whatever kind.
    pub(super) admits: u32,
    /// The router may believe that there are listeners here.
    pub(super) stated: bool,
}

/// A worker whose sessions each have an inbox and a chat of their own has two for each.
const _: () = assert!(chunked_slab::bytes_of::<Interest>() <= 48);

/// The interests of one worker.
#[derive(Debug)]
pub(super) struct Interests {
    all: ChunkedSlab<Interest>,
    /// Places in `all`, by the hash of their entities.
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Interests {
    pub(super) fn new() -> Self {
        Self { all: ChunkedSlab::new(), places: HashTable::new(), hasher: RandomState::default() }
    }

    pub(super) fn one(&self, entity: EntityId) -> Option<&Interest> {
        self.all.get(self.place(entity)?)
    }

    pub(super) fn one_mut(&mut self, entity: EntityId) -> Option<&mut Interest> {
        self.all.get_mut(self.place(entity)?)
    }

    pub(super) fn one_or_new(&mut self, entity: EntityId) -> &mut Interest {
        let place = self.place(entity).unwrap_or_else(|| {
            let place = self.all.insert(Interest { entity, listeners: SmallVec::new(), admits: 0, stated: false });
            let (all, hasher) = (&self.all, &self.hasher);
            let hash_at = |place: &u32| all.get(*place).map_or(0, |one| hasher.hash_one(one.entity));
            self.places.insert_unique(hasher.hash_one(entity), place, hash_at);
            place
        });
        self.all.get_mut(place).expect("every place in the table is taken")
    }

    pub(super) fn remove(&mut self, entity: EntityId) -> Option<Interest> {
        let (hash, all) = (self.hasher.hash_one(entity), &self.all);
        let found = self.places.find_entry(hash, |place| is_of(all, *place, entity)).ok()?;
        let (place, _) = found.remove();
        self.all.remove(place)
    }

    /// Every entity of which something is known.
    pub(super) fn entities(&self) -> impl Iterator<Item = EntityId> {
        self.all.iter().map(|(_, one)| one.entity)
    }

    fn place(&self, entity: EntityId) -> Option<u32> {
        let hash = self.hasher.hash_one(entity);
        self.places.find(hash, |place| is_of(&self.all, *place, entity)).copied()
    }
}

fn is_of(all: &ChunkedSlab<Interest>, place: u32, entity: EntityId) -> bool {
    all.get(place).is_some_and(|one| one.entity == entity)
}

#[cfg(test)]
mod tests {
    use panda_protocol::UserId;

    use super::*;

    fn entity(number: u16) -> EntityId {
        let mut bytes = [7; 16];
        bytes[14..].copy_from_slice(&number.to_be_bytes());
        UserId::from_random(bytes).into()
    }

    #[test]
    fn an_entity_is_found_until_it_is_removed_however_many_there_are() {
        let mut interests = Interests::new();
        for number in 0..2_000 {
            interests.one_or_new(entity(number)).admits = number.into();
        }
        for number in (0..2_000).step_by(2) {
            assert_eq!(interests.remove(entity(number)).map(|one| one.admits), Some(number.into()));
            assert!(interests.remove(entity(number)).is_none());
        }
        for number in 0..2_000 {
            let admits = (number % 2 == 1).then_some(number.into());
            assert_eq!(interests.one(entity(number)).map(|one| one.admits), admits);
        }
        assert_eq!(interests.entities().count(), 1_000);
        assert_eq!(interests.one_or_new(entity(4)).admits, 0, "it begins anew");
    }
}
