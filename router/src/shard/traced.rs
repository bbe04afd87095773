//! Records that somebody follows: what is kept of them on their way, and told at its end.
//!
//! Nothing here reaches `apply`, an event or a row. A record without a context costs a look at an option.

use panda_protocol::link::{Down, Outcome};
use panda_protocol::{EntityId, Generation, Position, Time, TraceContext};
use panda_storage::Appender;

use super::Shard;
use super::entity::Release;

/// What a record's headers say, while it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    pub(super) context: TraceContext,
    pub(super) from: Option<Appender>,
}

/// A record of a sampled trace that was released. Its moments are of the core's clock, but for the log's.
#[derive(Debug)]
pub struct TracedRecord {
    /// Whose trace.
    pub context: TraceContext,
    /// Who appended it.
    pub from: Option<Appender>,
    /// The chat or inbox.
    pub entity: EntityId,
    /// Where it stands.
    pub position: Position,
    /// When the log took it, by the log's clock.
    pub logged: Time,
    /// When it was decided.
    pub decided: Time,
    /// When all that it made was durable. If it made nothing: what was made before it.
    pub stored: Time,
    /// It stands before this owner's Takeover: the owner before may have let out what it made.
    pub again: bool,
    /// What was answered; of an effect, the event that it made, or nothing where it was taken before.
    pub outcome: Option<Outcome>,
}

impl Shard {
    /// Lets [`super::Output::Traced`] come for records of sampled traces from here on.
    pub const fn tell_traces(&mut self) {
        self.tells_traces = true;
    }

    /// A record was decided. `since` is how many releases there were before.
    pub(super) fn note_traced(
        &mut self,
        id: EntityId,
        position: Position,
        logged: Time,
        followed: Option<&Followed>,
        since: usize,
    ) {
        let Some(Followed { context, from }) = followed.copied() else { return };
        if !self.tells_traces || !context.is_sampled() {
            return;
        }
        let (decided, stored) = (self.now, self.now);
        let Some(entity) = self.entities.get_mut(&id) else { return };
        let outcome = match entity.building().releases.get(since..).and_then(<[Release]>::last) {
            Some(Release::Send(_, Down::Answer(answer))) => Some(answer.outcome),
            Some(Release::Event(stored, _)) => Some(Outcome::Applied(stored.seq)),
            _ => None,
        };
        if outcome.is_none() && self.damages.contains(id) {
            // An effect that is held: nothing of it is let out in this term.
            return;
        }
        let again = Generation::of(position) < self.generation;
        let traced = TracedRecord { context, from, entity: id, position, logged, decided, stored, again, outcome };
        entity.building().releases.push(Release::Traced(Box::new(traced)));
    }
}

#[cfg(test)]
mod tests;
