//! Entities that are stored further than this owner has taken the log.
//!
//! The owner before may have stored an event and ended before it sent it. This owner will not send it,
//! either: it skips the command when it comes to it. Whoever listened when the entity was loaded was told
//! its head. A link that states its interest later is told nothing by that load, and the command is not in
//! the part of the log's tail that is read for the link: so such entities are kept here until their
//! commands were taken, which may be longer than they stay in memory.

use std::collections::HashMap;

use panda_protocol::{EntityId, Position, Seq};

use super::Shard;
use crate::rows::Rows;

/// So many are told apart; with more, a link that resumes admits all its listeners anew, until the log was
/// taken so far.
const AHEAD_MAX: usize = if cfg!(test) { 4 } else { 65_536 };

/// Entities whose head was made by a command that is still to be taken.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Each with the position that made its head.
    entities: HashMap<EntityId, Position>,
    /// The last position of those for which there was no room.
    beyond: Option<Position>,
}

impl Ahead {
    /// An entity's head is of `position`, which was not taken yet.
    fn note(&mut self, entity: EntityId, position: Position) {
        if self.entities.len() < AHEAD_MAX || self.entities.contains_key(&entity) {
            self.entities.insert(entity, position);
        } else {
            self.beyond = self.beyond.max(Some(position));
        }
    }

    /// Forgets those whose commands were taken.
    pub(super) fn pass(&mut self, taken: Position) {
        self.entities.retain(|_, position| *position >= taken);
        self.beyond = self.beyond.filter(|position| *position >= taken);
    }

    /// Those whose head is of `from` or later; `None` if some of them were too many to be kept.
    pub(super) fn since(&self, from: Position) -> Option<Vec<EntityId>> {
        if self.beyond.is_some_and(|position| position >= from) {
            return None;
        }
        let since = self.entities.iter().filter(|(_, position)| **position >= from);
        Some(since.map(|(entity, _)| *entity).collect())
    }
}

impl Shard {
    /// An entity was loaded, or took in what another owner stored.
    pub(super) fn note_ahead(&mut self, id: EntityId) {
        let Some(entity) = self.entities.get(&id) else { return };
        let (head, _, position) = entity.head_stamp();
        if head > Seq(0) && position >= self.progress.taken() {
            self.ahead.note(id, position);
        }
    }
}

#[cfg(test)]
mod tests;
