//! Chats and inboxes of which something that is stored cannot be read.
//!
//! One damaged row ends neither the router nor the shard: its entity alone is refused, for the rest of this
//! owner's term. A **question** is refused as `damaged`. A **record** may have been applied already, by an
//! owner before, and then owe effects that nobody can read now; or it waits to be applied. So it is neither
//! decided nor passed over: a command is answered with `held`, and the first record of each damaged entity
//! holds the shard's checkpoint. Whoever owns the shard of this log next begins there, and takes all of them
//! if the entity can be read then. This owner does not try again: it went on behind records that it did not take.
//!
//! What is kept of an entity is its name, however many of its records come. Its listeners are admitted
//! anew, which is refused: nobody who was told a watermark behind those records believes to have all of it.

use std::collections::HashMap;

use panda_protocol::link::{LinkId, Record, Rejection};
use panda_protocol::{EntityId, ErrorCode, Position};

use super::reads::Question;
use super::{GivenUp, Shard};

/// Who is refused asks again not before so many milliseconds: a person has to act first.
const RETRY_AFTER_MS: u64 = 60_000;

/// The damaged entities, each with whether a record of it is held.
#[derive(Debug, Default)]
pub(super) struct Damages(HashMap<EntityId, bool>);

impl Damages {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, entity: EntityId) -> bool {
        self.0.contains_key(&entity)
    }

    /// A record of a damaged entity is held from here on. Returns whether none was before.
    fn begin_holding(&mut self, entity: EntityId) -> bool {
        self.0.get_mut(&entity).is_some_and(|holds| !std::mem::replace(holds, true))
    }
}

impl Shard {
    /// What was to be loaded of an entity cannot be read.
    pub(super) fn damaged(&mut self, id: EntityId) {
        if let Some(entity) = self.entities.get_mut(&id) {
            entity.loading = false;
        }
        if self.damages.len() >= self.limits.damaged_max {
            return self.give_up(GivenUp::Damaged { entities: self.limits.damaged_max });
        }
        self.damages.0.insert(id, false);
        let links = self.interests.get_mut(id).map(|interest| interest.links.clone()).unwrap_or_default();
        for link in links {
            self.tell_readmit(link, id);
        }
        self.run(id);
    }

    /// A record of a damaged entity: it is left to an owner that can read what is stored.
    pub(super) fn hold_back(&mut self, id: EntityId, record: &Record, position: Position) {
        if self.damages.begin_holding(id) {
            self.progress.hold(position);
        }
        self.refuse(id, record, refusal(ErrorCode::Held));
    }

    /// What is stored cannot be read to answer this.
    pub(super) fn refuse_damaged(&mut self, link: LinkId, question: &Question) {
        match question {
            Question::Ask(ask) => self.answer_rejected(link, ask.token, refusal(ErrorCode::Held)),
            Question::Admit(_) | Question::Read(_) => {
                self.refuse_question(link, question, refusal(ErrorCode::Damaged));
            }
        }
    }

    /// A read of the store came to something that cannot be read. It alone is refused: what the entity's
    /// commands are built on was read.
    pub(super) fn read_damaged(&mut self, read: u64) {
        self.end_reading(read, refusal(ErrorCode::Damaged));
    }
}

const fn refusal(code: ErrorCode) -> Rejection {
    Rejection { code, retry_after_ms: RETRY_AFTER_MS, details: None }
}

#[cfg(test)]
pub(super) mod tests;
