//! Which lanes listen to which entity of one shard, and which admissions are out.

use foldhash::{HashMap, HashMapExt as _};
use panda_protocol::EntityId;
use smallvec::SmallVec;

use super::lanes::Lanes;
use crate::lane_of;

/// What the lanes want of one entity.
#[derive(Debug, Default)]
struct Interest {
    /// Lanes that were admitted and did not say goodbye since.
    lanes: Lanes,
    /// Admissions that the owner was asked for, in order.
    out: SmallVec<[Out; 1]>,
    /// The owner may believe that there are listeners here.
    stated: bool,
}

/// An admission that is out.
#[derive(Debug)]
struct Out {
    token: u64,
    /// Its lane did not say goodbye since: with the answer it listens.
    wanted: bool,
}

/// What the lanes want of the entities of one shard.
#[derive(Debug)]
pub(super) struct Interests {
    entities: HashMap<EntityId, Interest>,
}

impl Interests {
    pub(super) fn new() -> Self {
        Self { entities: HashMap::new() }
    }

    /// An admission goes up.
    pub(super) fn asked(&mut self, entity: EntityId, token: u64) {
        self.entities.entry(entity).or_default().out.push(Out { token, wanted: true });
    }

    /// An admission was answered. From now on its lane listens, if it was admitted and still wants to.
    /// Returns whether that admission was out at all, and whether the owner is to be told goodbye.
    pub(super) fn answered(&mut self, entity: EntityId, token: u64, admitted: bool) -> (bool, bool) {
        let Some(interest) = self.entities.get_mut(&entity) else { return (false, false) };
        let Some(place) = interest.out.iter().position(|out| out.token == token) else { return (false, false) };
        let out = interest.out.remove(place);
        if admitted {
            interest.stated = true;
            if out.wanted {
                interest.lanes.insert(lane_of(token));
            }
        }
        (true, self.tidy(entity))
    }

    /// A lane has no listener left. Returns whether the owner is to be told goodbye: not while another
    /// lane listens, and not while an admission is out, because the owner may have noted an interest that
    /// its answer, still on the way, tells of, and a goodbye now would take that back.
    pub(super) fn forget(&mut self, entity: EntityId, lane: u8) -> bool {
        let Some(interest) = self.entities.get_mut(&entity) else { return false };
        interest.lanes.remove(lane);
        for out in &mut interest.out {
            out.wanted &= lane_of(out.token) != lane;
        }
        self.tidy(entity)
    }

    /// Takes an entity out of which nobody wants anything any more. Returns whether the owner may
    /// believe otherwise.
    fn tidy(&mut self, entity: EntityId) -> bool {
        match self.entities.get(&entity) {
            Some(interest) if interest.lanes.is_empty() && interest.out.is_empty() => {
                self.entities.remove(&entity).is_some_and(|interest| interest.stated)
            }
            _ => false,
        }
    }

    /// Who listens to an entity; none if nothing is known of it.
    pub(super) fn listeners(&self, entity: EntityId) -> Option<Lanes> {
        self.entities.get(&entity).map(|interest| interest.lanes)
    }

    /// The owner's term, or the link to it, has ended: nothing is out, and nothing is stated.
    pub(super) fn end_term(&mut self) {
        self.entities.retain(|_, interest| {
            interest.out.clear();
            interest.stated = false;
            !interest.lanes.is_empty()
        });
    }

    /// All entities to which somebody listens, to be stated to a new owner.
    pub(super) fn state(&mut self) -> Vec<EntityId> {
        let listened = self.entities.iter_mut().filter(|(_, interest)| !interest.lanes.is_empty());
        listened
            .map(|(entity, interest)| {
                interest.stated = true;
                *entity
            })
            .collect()
    }

    /// A lane is gone: returns the entities of which the owner is to be told goodbye.
    pub(super) fn lane_gone(&mut self, lane: u8) -> Vec<EntityId> {
        let of_lane: Vec<EntityId> = self
            .entities
            .iter()
            .filter(|(_, one)| one.lanes.contains(lane) || one.out.iter().any(|out| lane_of(out.token) == lane))
            .map(|(entity, _)| *entity)
            .collect();
        of_lane.into_iter().filter(|entity| self.forget(*entity, lane)).collect()
    }
}
