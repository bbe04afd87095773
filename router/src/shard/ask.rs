//! What became of a command whose answer did not come.
//!
//! An edge asks about a position of the log. Stored events name the position that made them. A position
//! that the shard has passed and that no stored event of the entity names made none, and never will; why
//! is not known any more. The question takes the way of every question, so it is answered once the shard has
//! passed the position and what that made is durable, behind the command's own answer if this owner gives it.

use std::collections::VecDeque;

use panda_protocol::link::{Answer, Down, LinkId, Outcome, Rejection};
use panda_protocol::{EntityId, ErrorCode, Position, Seq};
use panda_storage::{EventRow, ReadOrder};

use super::entity::Entity;
use super::reads::{Reading, ReadingWhat};
use super::{Output, Shard};

/// Events read at once while the one of a position is looked for: edges ask within seconds.
const ASK_EVENTS: usize = 128;
/// Reads of so many events, beyond which the outcome stays unknown.
const ASK_READS_MAX: u32 = 16;
/// Questions that read the store at once; the others wait for their turn.
const READING_MAX: usize = 64;

/// An edge asks about a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) token: u64,
    pub(super) entity: EntityId,
    pub(super) position: Position,
}

/// A search of the store.
#[derive(Debug)]
pub(super) struct Asking {
    position: Position,
    /// Falling from this event on.
    from: Seq,
    /// Reads that may still follow.
    reads_left: u32,
}

/// The searches of the store.
#[derive(Debug, Default)]
pub(super) struct Asks {
    reading: usize,
    waiting: VecDeque<Reading>,
}

/// What is known of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It made events, this one first.
    Applied(Seq),
    /// It made none.
    Nothing,
    /// What it made stands at this event or before.
    Before(Seq),
}

impl Ask {
    /// Whether the position is of this log and before its end. Nothing that stands in another one, or
    /// will, is the command that was confirmed there.
    pub(super) fn is_within(&self, end: Position) -> bool {
        self.position.epoch == end.epoch && self.position < end
    }
}

impl Asks {
    /// How many wait for their turn.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.waiting.retain(|reading| reading.link != link);
    }
}

impl Entity {
    /// Looks among the newest released events.
    fn find(&self, position: Position) -> Found {
        let at = self.ring.partition_point(|stored| stored.position < position);
        let here = self.ring.get(at).filter(|stored| stored.position == position);
        match (self.ring.front(), here) {
            (None, _) if self.released.0 == Seq(0) => Found::Nothing,
            (None, _) => Found::Before(self.released.0),
            // The ring may hold only the last events of its oldest command.
            (Some(oldest), _) if at == 0 && oldest.seq > Seq(1) => {
                Found::Before(here.map_or(Seq(oldest.seq.0 - 1), |stored| stored.seq))
            }
            (_, Some(stored)) => Found::Applied(stored.seq),
            (Some(_), None) => Found::Nothing,
        }
    }
}

impl Asking {
    /// Looks among stored events, falling from where they were asked for.
    fn find(&self, rows: &[EventRow]) -> Option<Found> {
        // They are there, because they were released: a store that gives others tells nothing.
        rows.first().filter(|row| row.seq == self.from)?;
        for row in rows {
            if row.position < self.position {
                return Some(Found::Nothing);
            }
            if row.position == self.position && row.index == 0 {
                return Some(Found::Applied(row.seq));
            }
        }
        let last = rows.last()?.seq;
        Some(if last <= Seq(1) { Found::Nothing } else { Found::Before(Seq(last.0 - 1)) })
    }
}

impl Shard {
    /// The shard has passed the position, and everything before the question is durable.
    pub(super) fn look_up(&mut self, link: LinkId, ask: Ask) {
        let found = self.entities.get(&ask.entity).map(|entity| entity.find(ask.position));
        let asking = Asking { position: ask.position, from: Seq(0), reads_left: ASK_READS_MAX };
        self.tell_found(ask.entity, link, ask.token, asking, found);
    }

    /// A read of a search brought events; none: it failed.
    pub(super) fn asked_read(
        &mut self,
        entity: EntityId,
        link: LinkId,
        token: u64,
        asking: Asking,
        rows: Option<&[EventRow]>,
    ) {
        self.asks.reading -= 1;
        let found = rows.and_then(|rows| asking.find(rows));
        self.tell_found(entity, link, token, asking, found);
        if self.asks.reading < READING_MAX
            && let Some(next) = self.asks.waiting.pop_front()
        {
            self.search(next);
        }
    }

    fn tell_found(&mut self, entity: EntityId, link: LinkId, token: u64, asking: Asking, found: Option<Found>) {
        // Where `apply` panicked, or what is stored is damaged, another owner may still apply what this one refuses.
        let poisoned = self.entities.get(&entity).is_some_and(|entity| entity.poisoned);
        let decides = !poisoned && !self.damages.contains(entity);
        let outcome = match found {
            Some(Found::Applied(seq)) => Outcome::Applied(seq),
            Some(Found::Nothing) if decides => Outcome::Rejected(Rejection::new(ErrorCode::NotApplied)),
            Some(Found::Before(from)) if asking.reads_left > 0 => {
                let what = ReadingWhat::Ask(Asking { from, reads_left: asking.reads_left - 1, ..asking });
                return self.search(Reading { entity, link, token, what });
            }
            _ => return self.answer_unknown(link, token),
        };
        let answer = Answer { token, generation: self.generation, outcome };
        self.outputs.push(Output::Send(link, Down::Answer(answer)));
    }

    fn search(&mut self, reading: Reading) {
        let (entity, ReadingWhat::Ask(Asking { from, .. })) = (reading.entity, &reading.what) else { return };
        if self.asks.reading >= READING_MAX {
            return self.asks.waiting.push_back(reading);
        }
        let from = *from;
        self.asks.reading += 1;
        let read = self.start_reading(reading);
        self.outputs.push(Output::ReadEvents { read, entity, from, order: ReadOrder::Backward, limit: ASK_EVENTS });
    }

    /// Nobody can tell what became of a command. Never `unavailable`: it may have happened.
    pub(super) fn answer_unknown(&mut self, link: LinkId, token: u64) {
        self.answer_rejected(link, token, Rejection::new(ErrorCode::OutcomeUnknown));
    }

    pub(super) fn answer_rejected(&mut self, link: LinkId, token: u64, rejection: Rejection) {
        let outcome = Outcome::Rejected(rejection);
        let answer = Answer { token, generation: self.generation, outcome };
        self.outputs.push(Output::Send(link, Down::Answer(answer)));
    }
}

#[cfg(test)]
mod tests;
