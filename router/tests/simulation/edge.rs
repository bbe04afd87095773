//! An edge that lists admitted sessions and honours what a link tells it.

use std::collections::HashMap;

use bytes::Bytes;
use panda_protocol::link::{Answer, Down};
use panda_protocol::{EntityId, Generation, Seq, UserId};

/// A session's stream: from the event behind its admission on.
struct Listed {
    user: UserId,
    next: Seq,
}

#[derive(Default)]
pub(crate) struct Edge {
    /// The highest term seen; what is older is dropped, and who was admitted by an older one is unlisted.
    generation: Generation,
    listed: HashMap<EntityId, Vec<Listed>>,
    pub(crate) asked: HashMap<u64, (EntityId, UserId)>,
    pub(crate) answers: Vec<Answer>,
    /// (entity, seq, to whom).
    pub(crate) delivered: Vec<(EntityId, Seq, UserId)>,
    pub(crate) events: Vec<(EntityId, Seq, Bytes)>,
}

impl Edge {
    fn is_stale(&mut self, generation: Generation) -> bool {
        if generation > self.generation {
            self.generation = generation;
            self.listed.clear();
        }
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
                    listed.push(Listed { user, next: admission.head.next() });
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
                    for session in listed.iter_mut() {
                        assert!(event.seq <= session.next, "a gap before {} of {}", event.seq, events.entity);
                        assert!(event.seq == session.next, "{} of {} came twice", event.seq, events.entity);
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
            _ => {}
        }
    }
}
