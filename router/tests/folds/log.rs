//! A log of one entity after another, folded in memory.

use std::collections::HashMap;

use panda_protocol::codec::Writer;
use panda_protocol::event::{Event, MessageFormat, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{CommandOrigin, CommandRecord, Effect, LinkId, Record};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Position, Seq, Time, UserId};
use panda_router::fold::{self, Decision};
use panda_router::rows::{Row, RowId};

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) rows: HashMap<EntityId, HashMap<RowId, Row>>,
    counters: HashMap<(EntityId, UserId), u64>,
    offset: u64,
}

pub(crate) fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

pub(crate) fn device(user: UserId) -> DeviceId {
    DeviceId::from_random(*user.as_bytes())
}

pub(crate) fn say(text: &str) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: text.into() }
}

pub(crate) fn add(role: Role, members: &[u8]) -> CommandBody {
    CommandBody::AddMembers { role, with_history: false, members: members.iter().map(|number| user(*number)).collect() }
}

pub(crate) fn remove(members: &[u8]) -> CommandBody {
    CommandBody::RemoveMembers { members: members.iter().map(|number| user(*number)).collect() }
}

/// The group that user 1 makes first.
pub(crate) fn group() -> EntityId {
    ChatId::group(user(1), device(user(1)), Counter(1)).into()
}

pub(crate) fn code(outcome: Result<Vec<Event>, Decision>) -> ErrorCode {
    match outcome {
        Err(Decision::Rejected(rejection)) => rejection.code,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// The event that a `nothing_to_do` names.
pub(crate) fn done_by(outcome: Result<Vec<Event>, Decision>) -> Seq {
    match outcome {
        Err(Decision::Rejected(rejection)) if rejection.code == ErrorCode::NothingToDo => {
            rejection.details.expect("it names the event").seq
        }
        other => panic!("nothing_to_do was expected, not {other:?}"),
    }
}

impl Log {
    /// With the group of user 1 (owner), in which 2 and 3 are members: events 1 to 4.
    pub(crate) fn with_group() -> Self {
        let mut log = Self::default();
        let members = vec![user(2), user(3), user(2), user(1)];
        let create = CommandBody::CreateGroup { name: "tea".into(), members };
        assert_eq!(log.command(1, group(), &create).expect("anybody may").len(), 4);
        log
    }

    pub(crate) fn record(&mut self, record: &Record) -> Result<Vec<Event>, Decision> {
        self.offset += 1;
        let position = Position { epoch: 1, offset: self.offset };
        self.record_at(record, position)
    }

    pub(crate) fn record_at(&mut self, record: &Record, position: Position) -> Result<Vec<Event>, Decision> {
        let entity = record.entity().expect("of an entity");
        let rows = self.rows.entry(entity).or_default();
        let events = fold::apply(1, rows, record, position, Time(1_000))?;
        for event in &events {
            fold::advance(rows, entity, event, position);
        }
        Ok(events)
    }

    /// The user's next command of the entity, from its one device.
    pub(crate) fn command(&mut self, actor: u8, entity: EntityId, body: &CommandBody) -> Result<Vec<Event>, Decision> {
        let last = self.counters.get(&(entity, user(actor))).copied().unwrap_or_default();
        let outcome = self.numbered(actor, entity, last + 1, last, body);
        if outcome.is_ok() {
            self.counters.insert((entity, user(actor)), last + 1);
        }
        outcome
    }

    pub(crate) fn numbered(
        &mut self,
        actor: u8,
        entity: EntityId,
        counter: u64,
        after: u64,
        body: &CommandBody,
    ) -> Result<Vec<Event>, Decision> {
        self.record(&command(actor, entity, counter, after, body))
    }

    pub(crate) fn effect(&mut self, source: EntityId, event: &Event) -> Result<Vec<Event>, Decision> {
        let target = event.target.expect("it names a user").into();
        self.record(&Record::Effect(Effect { source, source_seq: event.seq, target, event: event.to_bytes() }))
    }
}

pub(crate) fn command(actor: u8, entity: EntityId, counter: u64, after: u64, body: &CommandBody) -> Record {
    let mut bytes = Writer::with_capacity(64);
    body.encode(&mut bytes);
    Record::Command(CommandRecord {
        origin: CommandOrigin { link: LinkId(1), token: counter },
        entity,
        actor: user(actor),
        device: device(user(actor)),
        counter: Counter(counter),
        after: Counter(after),
        command: bytes.freeze(),
    })
}
