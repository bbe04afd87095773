//! An edge that lists admitted sessions, states its interests to each owner that it hears of, and honours
//! what a link tells it.

use std::collections::HashMap;

use bytes::Bytes;
use panda_protocol::link::{Answer, Down, Resume};
use panda_protocol::{EntityId, Generation, Position, Seq, UserId};

use super::checkpoints::SHARD;

/// A session's stream: from the event behind its admission on.
struct Listed {
    user: UserId,
    next: Seq,
    /// The term of who admitted it.
    admitted_in: Generation,
}

#[derive(Default)]
pub(crate) struct Edge {
    /// The highest term that it heard of; what is older is dropped.
    generation: Generation,
    /// Whether the link to that term's owner stands.
    linked: bool,
    /// What it stated was not answered yet: it may have missed something.
    resuming: bool,
    /// What an owner told last.
    watermark: Option<Position>,
    listed: HashMap<EntityId, Vec<Listed>>,
    pub(crate) asked: HashMap<u64, (EntityId, UserId)>,
    pub(crate) answers: Vec<Answer>,
    /// (entity, seq, to whom).
    pub(crate) delivered: Vec<(EntityId, Seq, UserId)>,
    pub(crate) events: Vec<(EntityId, Seq, Bytes)>,
}

impl Edge {
    /// An owner says that it is one. Returns what the edge states to it, unless it does so already.
    pub(crate) fn hear(&mut self, generation: Generation) -> Option<Resume> {
        if generation < self.generation || (generation == self.generation && self.linked) {
            return None;
        }
        (self.generation, self.linked, self.resuming) = (generation, true, true);
        let mut entities: Vec<EntityId> =
            self.listed.iter().filter(|(_, listed)| !listed.is_empty()).map(|(entity, _)| *entity).collect();
        entities.sort_unstable();
        Some(Resume { shard: SHARD, generation, watermark: self.watermark, last: true, entities })
    }

    /// Whether its link to this term's owner stands.
    pub(crate) fn is_linked(&self, generation: Generation) -> bool {
        self.linked && generation == self.generation
    }

    /// Loses the link to its owner, if there is one; returns its term.
    pub(crate) fn break_link(&mut self) -> Option<Generation> {
        std::mem::take(&mut self.linked).then_some(self.generation)
    }

    /// Sessions that get what comes next: of what, what that is, and whether an owner before admitted them.
    pub(crate) fn live(&self) -> impl Iterator<Item = (EntityId, Seq, bool)> {
        self.listed.iter().flat_map(|(entity, listed)| {
            listed.iter().map(|session| (*entity, session.next, session.admitted_in < self.generation))
        })
    }

    fn is_stale(&self, generation: Generation) -> bool {
        assert!(generation <= self.generation, "an owner says first that it is one");
        generation < self.generation
    }

    pub(crate) fn take(&mut self, down: Down) {
        match down {
            Down::Answer(answer) => self.answers.push(answer),
            Down::Admitted(admitted) => {
                let asked = self.asked.remove(&admitted.token);
                if self.is_stale(admitted.generation) {
                    return;
                }
                if let (Some((entity, user)), Ok(admission)) = (asked, admitted.outcome) {
                    let listed = self.listed.entry(entity).or_default();
                    listed.retain(|session| session.user != user);
                    let next = admission.head.next();
                    listed.push(Listed { user, next, admitted_in: admitted.generation });
                }
            }
            Down::Events(events) => {
                for event in &events.events {
                    self.events.push((events.entity, event.seq, event.event.clone()));
                }
                if self.is_stale(events.generation) {
                    return;
                }
                let listed = self.listed.entry(events.entity).or_default();
                for event in events.events {
                    // Who sees the gap is told of what is missing, or reads it.
                    listed.retain(|session| event.seq <= session.next || !self.resuming);
                    for session in listed.iter_mut() {
                        assert!(event.seq <= session.next, "a gap before {} of {}", event.seq, events.entity);
                        if event.seq < session.next {
                            let again = session.admitted_in < events.generation;
                            assert!(again, "{} of {} came twice", event.seq, events.entity);
                            continue;
                        }
                        session.next = event.seq.next();
                        self.delivered.push((events.entity, event.seq, session.user));
                    }
                    listed.retain(|session| Some(session.user) != event.ends);
                }
            }
            Down::Head { generation, entity, readmit, .. } => {
                let heeded = !self.is_stale(generation) && readmit;
                self.listed.retain(|listed, _| !heeded || *listed != entity);
            }
            Down::Watermark { generation, position, .. } if !self.is_stale(generation) => {
                self.watermark = Some(position);
                self.resuming = false;
            }
            Down::Readmit { generation, .. } if !self.is_stale(generation) => self.listed.clear(),
            _ => {}
        }
    }
}
