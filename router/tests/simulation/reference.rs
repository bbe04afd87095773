//! What a single owner would make of a log: the fold alone, without a store.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use panda_protocol::event::{Digest, Event, EventBody};
use panda_protocol::frame::command_digest;
use panda_protocol::link::{Outcome, Record};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Position, Seq, UserId};
use panda_router::fold::{self, Decision};
use panda_router::rows::{Row, RowId};
use panda_storage::LogRecord;

#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) rows: HashMap<EntityId, HashMap<RowId, Row>>,
    pub(crate) events: BTreeMap<(EntityId, Seq), (Position, Bytes)>,
    pub(crate) answers: HashMap<Position, Outcome>,
    firsts: HashMap<(EntityId, UserId, DeviceId, Counter, Digest), Seq>,
}

impl Reference {
    pub(crate) fn run(log: &[LogRecord]) -> Self {
        let mut reference = Self::default();
        for record in log {
            reference.take(record);
        }
        reference
    }

    fn take(&mut self, entry: &LogRecord) {
        let record = Record::from_bytes(entry.record.clone()).expect("a record");
        let Some(entity) = record.entity() else { return };
        let rows = self.rows.entry(entity).or_default();
        match fold::apply(1, rows, &record, entry.position, entry.time) {
            Ok(events) => {
                self.answers.insert(entry.position, Outcome::Applied(events[0].seq));
                for event in events {
                    fold::advance(rows, entity, &event, entry.position);
                    let key = (entity, event.actor, event.device, event.counter, event.digest);
                    self.firsts.entry(key).or_insert(event.seq);
                    self.events.insert((entity, event.seq), (entry.position, event.to_bytes()));
                }
            }
            Err(Decision::Duplicate(seq)) => drop(self.answers.insert(entry.position, Outcome::Applied(seq))),
            Err(Decision::Rejected(why)) => drop(self.answers.insert(entry.position, Outcome::Rejected(why))),
            Err(Decision::AlreadyApplied | Decision::EffectTaken) => {}
        }
    }

    /// The seq that the command of a record made first, wherever it was applied.
    pub(crate) fn first(&self, record: &Record) -> Option<Seq> {
        let Record::Command(command) = record else { return None };
        let digest = command_digest(&command.command);
        self.firsts.get(&(command.entity, command.actor, command.device, command.counter, digest)).copied()
    }

    /// Whether a user may get an event: a member before it, or named by it.
    pub(crate) fn may_see(&self, entity: EntityId, user: UserId, seq: Seq) -> bool {
        if entity.chat().is_none() {
            return entity.inbox() == Some(user);
        }
        let mut member = false;
        for ((_, at), (_, bytes)) in self.events.range((entity, Seq(1))..=(entity, seq)) {
            let event = Event::from_bytes(bytes).expect("an event");
            if event.target == Some(user) {
                match event.body {
                    EventBody::MemberAdded { .. } => member = true,
                    EventBody::MemberRemoved if *at < seq => member = false,
                    _ => {}
                }
            }
        }
        member
    }

    /// Whether the user's inbox says what the chat says.
    pub(crate) fn check_inbox(&self, chat: ChatId, user: UserId, member: bool) {
        let row = self.rows.get(&user.into()).and_then(|rows| rows.get(&RowId::InboxChat(chat)));
        let joined = match row.map(|row| &row.value) {
            Some(panda_router::rows::RowValue::InboxChat(entry)) => entry.joined.is_some(),
            _ => false,
        };
        assert_eq!(joined, member, "the inbox of {user} knows whether it is in {chat}");
    }
}
