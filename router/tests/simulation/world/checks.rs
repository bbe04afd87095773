//! Whether rows, events and answers are a single owner's.

use std::collections::HashMap;

use panda_protocol::event::Event;
use panda_protocol::link::{Admitted, Answer, Down, Outcome, ReadReply, Record};
use panda_protocol::{ErrorCode, Generation};
use panda_router::rows::{RowId, RowValue};
use panda_router::shard::load::flushed_key;

use super::super::reference::Reference;
use super::super::{checkpoints, history};
use super::World;

impl World {
    /// Nothing leaves before it is stored, all of its command included.
    pub(super) fn check_durable(&self, down: &Down) {
        if let Down::Events(events) = down {
            for event in &events.events {
                let durable = self.store.is_durable(events.entity, event.seq);
                assert!(durable, "{} of {} was released before it was stored", event.seq, events.entity);
            }
        }
    }

    /// Nothing is refused as damaged but what was, while this owner had the shard.
    pub(super) fn check_damaged(&self, term: Generation, down: &Down) {
        let (Down::Answer(Answer { token, outcome: Outcome::Rejected(why), .. })
        | Down::Admitted(Admitted { token, outcome: Err(why), .. })
        | Down::Read(ReadReply { token, body: Err(why), .. })) = down
        else {
            return;
        };
        if matches!(why.code, ErrorCode::Held | ErrorCode::Damaged) {
            let entity = self.questions.entity_of(*token);
            assert!(self.damaged.contains(&(entity, term)), "{entity} is sound, and {down:?} says that it is not");
        }
    }

    pub(super) fn check(&mut self) {
        let history = history::of(&self.store.all().events);
        let mut cut = HashMap::new();
        for ((entity, _), row) in history.iter().filter(|(_, row)| row.position.epoch < self.epoch) {
            cut.insert(*entity, row.position);
        }
        let reference = Reference::run(&self.log, self.last_release(), self.was_cut.then_some(&cut));
        self.check_store(&reference);
        self.check_edges(&reference);
        self.check_live(&reference);
        self.check_inboxes(&reference);
        let (reads, refusals, damaged) = self.questions.check(&reference);
        self.covered.reads += reads;
        self.covered.unreadable += damaged;
        self.covered.refusals += refusals;
        self.covered.records += self.log.len() - self.epoch_at;
        self.covered.events = reference.events.len();
        self.covered.under_second = reference.under_second;
        self.covered.panics = reference.panics;
    }

    pub(super) fn check_store(&self, reference: &Reference) {
        let stored = self.store.all();
        let history = history::of(&stored.events);
        let mut left = stored.events.iter().filter(|(at, _)| !history.contains_key(at));
        let by_zombies = left.all(|(_, row)| self.was_cut && row.position.epoch < self.epoch);
        assert!(by_zombies, "only the owner of an epoch that is over leaves rows behind");
        let events: Vec<_> = history.iter().map(|(at, row)| (*at, row.position, row.event.clone())).collect();
        let expected: Vec<_> = reference.events.iter().map(|(at, (p, event))| (*at, *p, event.clone())).collect();
        assert_eq!(events, expected, "the stored events are a single owner's");
        for (entity, expected) in &reference.rows {
            let found = checkpoints::load_rows(&self.store, *entity, expected.keys());
            for (id, row) in expected {
                assert_eq!(found.get(id), Some(row), "{id:?} of {entity} is a single owner's");
            }
        }
        let stored = stored.state.keys().filter(|(_, key)| *key != flushed_key());
        for (entity, key) in stored {
            let expected = reference.rows.get(entity).is_some_and(|rows| rows.keys().any(|id| id.key() == *key));
            assert!(expected, "{key:?} of {entity} is no row of a single owner");
        }
    }

    pub(super) fn check_edges(&mut self, reference: &Reference) {
        for edge in &mut self.edges {
            for answer in edge.answers.drain(..) {
                let position = self.tokens[&answer.token];
                let (command, _) = self.sent.iter().find(|(_, token)| *token == answer.token).expect("it was sent");
                let first = reference.first(&Record::Command(command.clone()));
                self.covered.acks += 1;
                match answer.outcome {
                    Outcome::Applied(seq) => assert_eq!(Some(seq), first, "an ack names the first seq"),
                    // It was applied before, or an owner that can read what is stored decides it.
                    Outcome::Rejected(why) if why.code == ErrorCode::Held => self.covered.held += 1,
                    Outcome::Rejected(why) if why.code == ErrorCode::OutcomeUnknown => {
                        let applied = matches!(reference.answers.get(&position), Some(Outcome::Applied(_)));
                        let left = reference.may_be_left(command.entity, position);
                        assert!(!applied || left, "what is in its window is known at {position}");
                    }
                    rejected => match reference.answers.get(&position) {
                        Some(expected) => assert_eq!(&rejected, expected, "at {position}"),
                        None => assert!(self.was_cut, "{position} was read by nobody"),
                    },
                }
            }
            for (entity, seq, bytes) in edge.events.drain(..) {
                let expected = reference.events.get(&(entity, seq)).map(|(_, event)| event);
                assert_eq!(Some(&bytes), expected, "a released event is stored");
            }
            for (entity, seq, user) in edge.delivered.drain(..) {
                assert!(reference.may_see(entity, user, seq), "{user} got {seq} of {entity} after its removal");
                self.covered.delivered += 1;
            }
        }
    }

    /// Every change of membership has reached the inbox of whom it concerns.
    pub(super) fn check_inboxes(&self, reference: &Reference) {
        for (entity, rows) in &reference.rows {
            let Some(chat) = entity.chat() else { continue };
            for (id, row) in rows {
                if let (RowId::Member(user), RowValue::Member(member)) = (id, &row.value) {
                    reference.check_inbox(chat, *user, member.ended.is_none());
                }
            }
        }
        assert!(reference.events.values().all(|(_, bytes)| Event::from_bytes(bytes).is_ok()));
    }
}
