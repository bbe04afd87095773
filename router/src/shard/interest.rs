//! Who is told of an entity's events, and how far each link was told everything.

use std::collections::{BTreeSet, HashMap};

use hashbrown::hash_map::Entry;
use panda_protocol::link::LinkId;
use panda_protocol::{EntityId, Position, Seq, Time};
use smallvec::SmallVec;

use super::standing::Standing;
use super::{Output, Shard, room};

/// A link is told a watermark at most so often, in microseconds: what an edge is admitted anew to
/// after a break are the chats of about so long before it.
const WATERMARK_AFTER_US: u64 = 200_000;

/// Links that listen to an entity; it outlives the entity's stay in memory.
#[derive(Default)]
pub(super) struct Interest {
    pub(super) links: SmallVec<[LinkId; 2]>,
    /// The last event that they were told of.
    pub(super) told: Seq,
    /// As the entity was when it left memory; its head is 0 while it is there, or was not yet.
    standing: Standing,
}

// There is one for each chat and each inbox of all who are connected.
const _: () = assert!(size_of::<(EntityId, Interest)>() <= 64);

/// What an owner knows of a link's interests.
#[derive(Default)]
struct Listener {
    /// Entities that it listens to.
    entities: usize,
    resumed: Resumed,
    /// Its read of the log's tail that is under way.
    tail: Option<u64>,
}

/// Before a link has stated all that it listened to, and was told what it missed of it, it may have
/// missed anything: a watermark would hide that.
#[derive(Clone, Copy, Default)]
enum Resumed {
    #[default]
    No,
    /// Since then it was told a watermark up to here.
    Told(Position),
}

/// Entities to which nobody listens any more. Each has one place, however often it was left and listened to again.
#[derive(Default)]
struct Lapsing {
    since: hashbrown::HashMap<EntityId, Time>,
    /// The same, those left first in front.
    order: BTreeSet<(Time, EntityId)>,
}

impl Lapsing {
    /// The last one who listened has left. Returns whether there was a place, of `max`.
    fn begin(&mut self, entity: EntityId, now: Time, max: usize) -> bool {
        self.end(entity);
        let has_place = self.since.len() < max;
        if has_place {
            self.since.insert(entity, now);
            self.order.insert((now, entity));
        }
        has_place
    }

    /// Somebody listens again.
    fn end(&mut self, entity: EntityId) {
        if let Some(since) = self.since.remove(&entity) {
            self.order.remove(&(since, entity));
        }
    }

    /// Takes out the one that was left first, if that was `after_us` ago.
    fn take_lapsed(&mut self, now: Time, after_us: u64) -> Option<EntityId> {
        self.order.first().filter(|(since, _)| now.0.saturating_sub(since.0) >= after_us)?;
        let (_, entity) = self.order.pop_first()?;
        self.since.remove(&entity);
        Some(entity)
    }
}

/// All interests of a shard.
#[derive(Default)]
pub(super) struct Interests {
    entities: hashbrown::HashMap<EntityId, Interest>,
    links: HashMap<LinkId, Listener>,
    /// Pairs of a link and an entity.
    pairs: usize,
    lapsing: Lapsing,
    /// When watermarks were told last.
    watermarks_at: Time,
}

impl Interests {
    pub(super) fn get_mut(&mut self, entity: EntityId) -> Option<&mut Interest> {
        self.entities.get_mut(&entity)
    }

    pub(super) fn listens(&self, link: LinkId, entity: EntityId) -> bool {
        self.entities.get(&entity).is_some_and(|interest| interest.links.contains(&link))
    }

    /// Notes a link's interest; none if it is new and would be one more than `max` pairs.
    pub(super) fn listen(&mut self, link: LinkId, entity: EntityId, max: usize) -> Option<&mut Interest> {
        if !self.listens(link, entity) {
            if self.pairs >= max {
                return None;
            }
            self.pairs += 1;
            self.links.entry(link).or_default().entities += 1;
            let interest = self.entities.entry(entity).or_default();
            if interest.links.is_empty() {
                self.lapsing.end(entity);
            }
            interest.links.push(link);
        }
        self.entities.get_mut(&entity)
    }

    /// The link listens no more. What is known of an entity to which no other one listens stays for a while, of `max`
    /// of them: who has left may come back.
    pub(super) fn forget(&mut self, link: LinkId, entity: EntityId, now: Time, max: usize) {
        let Entry::Occupied(mut entry) = self.entities.entry(entity) else { return };
        let before = entry.get().links.len();
        entry.get_mut().links.retain(|interested| *interested != link);
        let gone = before - entry.get().links.len();
        if gone > 0 && entry.get().links.is_empty() && !self.lapsing.begin(entity, now, max) {
            entry.remove();
        }
        self.pairs -= gone;
        if let Some(listener) = self.links.get_mut(&link) {
            listener.entities -= gone;
        }
    }

    /// What is known of an entity that is not in memory.
    pub(super) fn standing(&self, entity: EntityId) -> Option<Standing> {
        self.entities.get(&entity).map(|interest| interest.standing).filter(|standing| standing.head > Seq(0))
    }

    /// The entity is loaded: from here on it says itself how it stands. Returns what was known.
    pub(super) fn take_standing(&mut self, entity: EntityId) -> Option<Standing> {
        let known = std::mem::take(&mut self.entities.get_mut(&entity)?.standing);
        Some(known).filter(|standing| standing.head > Seq(0))
    }

    /// The entity leaves memory.
    pub(super) fn note_standing(&mut self, entity: EntityId, standing: Standing) {
        if let Some(interest) = self.entities.get_mut(&entity) {
            interest.standing = standing;
        }
    }

    /// The link is no more. What is known of entities to which no other one listens stays for a while, of `max` of
    /// them.
    pub(super) fn drop_link(&mut self, link: LinkId, now: Time, max: usize) {
        let Some(listener) = self.links.remove(&link) else { return };
        self.pairs -= listener.entities;
        if listener.entities == 0 {
            return;
        }
        self.entities.retain(|entity, interest| {
            let before = interest.links.len();
            interest.links.retain(|interested| *interested != link);
            let is_left = before > 0 && interest.links.is_empty();
            !is_left || self.lapsing.begin(*entity, now, max)
        });
        room::give_back(&mut self.entities);
    }

    /// Forgets entities to which nobody has listened for `after_us`, at most so many.
    pub(super) fn forget_lapsed(&mut self, now: Time, after_us: u64, at_most: usize) {
        for _ in 0..at_most {
            let Some(entity) = self.lapsing.take_lapsed(now, after_us) else { break };
            self.entities.remove(&entity);
        }
        room::give_back(&mut self.lapsing.since);
        room::give_back(&mut self.entities);
    }

    /// The link states its interests again: from here on it may have missed something.
    pub(super) fn begin_resume(&mut self, link: LinkId) {
        self.links.entry(link).or_default().resumed = Resumed::No;
    }

    /// The link was told what it missed.
    pub(super) fn end_resume(&mut self, link: LinkId) {
        self.links.entry(link).or_default().resumed = Resumed::Told(Position::default());
    }

    /// Notes the link's read of the log's tail. Returns whether it has none under way.
    pub(super) fn begin_tail(&mut self, link: LinkId, tail: u64) -> bool {
        let listener = self.links.entry(link).or_default();
        let free = listener.tail.is_none();
        if free {
            listener.tail = Some(tail);
        }
        free
    }

    /// A read of the tail has come. Returns whether the link still waits for it.
    pub(super) fn end_tail(&mut self, link: LinkId, tail: u64) -> bool {
        // The link may have been attached anew meanwhile, or was told of everything another way.
        let Some(listener) = self.links.get_mut(&link).filter(|listener| listener.tail == Some(tail)) else {
            return false;
        };
        listener.tail = None;
        matches!(listener.resumed, Resumed::No)
    }
}

impl Shard {
    /// Tells each link how far everything was sent that concerns it.
    pub(super) fn tell_watermarks(&mut self) {
        let interests = &mut self.interests;
        if self.now.0.saturating_sub(interests.watermarks_at.0) < WATERMARK_AFTER_US {
            return;
        }
        interests.watermarks_at = self.now;
        let released = self.progress.released();
        for (link, listener) in &mut interests.links {
            match &mut listener.resumed {
                Resumed::Told(told) if *told < released && listener.entities > 0 => {
                    *told = released;
                    self.outputs.push(Output::Watermark(*link, released));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
