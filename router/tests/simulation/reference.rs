//! What a single owner would make of a log: the fold alone, without a store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use panda_protocol::event::{Digest, Event, EventBody, Role};
use panda_protocol::frame::command_digest;
use panda_protocol::link::{Outcome, Record, Rejection};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Position, Seq, UserId};
use panda_router::fold::{self, Decision, RULES_FIRST};
use panda_router::rows::{Row, RowId};
use panda_router::rulebook::Apply;
use panda_storage::LogRecord;

use super::rules::{self, Release};

pub(crate) struct Reference {
    apply: Apply,
    pub(crate) rows: HashMap<EntityId, HashMap<RowId, Row>>,
    pub(crate) events: BTreeMap<(EntityId, Seq), (Position, Bytes)>,
    pub(crate) answers: HashMap<Position, Outcome>,
    firsts: HashMap<(EntityId, UserId, DeviceId, Counter, Digest), Seq>,
    /// The version that holds.
    pub(crate) rules: u16,
    epoch: u32,
    /// Where the rules panicked: nothing more of it is taken until a term begins behind that command,
    /// which is in the next epoch.
    poisoned: HashSet<EntityId>,
    /// Where owners whose release was not mended took nothing more, from the first command on which it breaks.
    broken: HashMap<EntityId, Position>,
    pub(crate) panics: usize,
    pub(crate) under_second: usize,
}

impl Reference {
    /// `release`: of an owner that decides in the end all that others left. `cut`: of an epoch that ended in the middle of its log, how far it was read in each entity.
    pub(crate) fn run(log: &[LogRecord], release: Release, cut: Option<&HashMap<EntityId, Position>>) -> Self {
        let mut reference = Self {
            apply: release.rulebook().apply,
            rows: HashMap::new(),
            events: BTreeMap::new(),
            answers: HashMap::new(),
            firsts: HashMap::new(),
            rules: RULES_FIRST,
            epoch: 0,
            poisoned: HashSet::new(),
            broken: HashMap::new(),
            panics: 0,
            under_second: 0,
        };
        let last = log.last().map_or(0, |record| record.position.epoch);
        for entry in log {
            let record = Record::from_bytes(entry.record.clone()).expect("a record");
            if let (Some(cut), Some(entity), true) = (cut, record.entity(), entry.position.epoch < last)
                && cut.get(&entity).is_none_or(|read| entry.position > *read)
            {
                continue;
            }
            reference.take(entry, record);
        }
        reference
    }

    fn take(&mut self, entry: &LogRecord, record: Record) {
        if let Record::Rules { version } = record {
            self.rules = self.rules.max(version);
        }
        let Some(entity) = record.entity() else { return };
        if entry.position.epoch > self.epoch {
            self.epoch = entry.position.epoch;
            self.poisoned.clear();
        }
        let rows = self.rows.entry(entity).or_default();
        let unknown = Outcome::Rejected(Rejection::new(ErrorCode::OutcomeUnknown));
        if self.poisoned.contains(&entity) {
            self.answers.insert(entry.position, unknown);
            return;
        }
        let decide = || (self.apply)(self.rules, &*rows, &record, entry.position, entry.time);
        let Ok(decided) = catch_unwind(AssertUnwindSafe(decide)) else {
            self.panics += 1;
            self.poisoned.insert(entity);
            self.answers.insert(entry.position, unknown);
            return;
        };
        match decided {
            Ok(events) => {
                self.under_second += usize::from(self.rules > RULES_FIRST);
                self.answers.insert(entry.position, Outcome::Applied(events[0].seq));
                for event in events {
                    if rules::breaks(self.rules, &event) {
                        self.broken.entry(entity).or_insert(entry.position);
                    }
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

    /// Whether an owner may have left the record undecided that another one applied.
    pub(crate) fn may_be_left(&self, entity: EntityId, position: Position) -> bool {
        self.broken.get(&entity).is_some_and(|first| *first <= position)
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

    fn events_up_to(&self, entity: EntityId, at: Seq) -> impl Iterator<Item = Event> {
        let events = self.events.range((entity, Seq(1))..=(entity, at.max(Seq(1))));
        let events = events.filter(move |((_, seq), _)| *seq <= at);
        events.map(|(_, (_, bytes))| Event::from_bytes(bytes).expect("an event"))
    }

    /// From which event on a member sees the chat as of `at`; none for who is not one.
    pub(crate) fn member_at(&self, chat: EntityId, user: UserId, at: Seq) -> Option<Seq> {
        self.events_up_to(chat, at).filter(|event| event.target == Some(user)).fold(None, |from, event| {
            match event.body {
                EventBody::MemberAdded { visible_from, .. } => Some(visible_from),
                EventBody::MemberRemoved => None,
                _ => from,
            }
        })
    }

    /// The role that the last event up to `at` gave a member.
    pub(crate) fn role_at(&self, chat: EntityId, user: UserId, at: Seq) -> Option<Role> {
        let of_user = self.events_up_to(chat, at).filter(|event| event.target == Some(user));
        of_user.fold(None, |before, event| match event.body {
            EventBody::MemberAdded { role, .. } | EventBody::RoleChanged { role } => Some(role),
            EventBody::MemberRemoved => None,
            _ => before,
        })
    }

    pub(crate) fn members_at(&self, chat: EntityId, at: Seq) -> u64 {
        self.events_up_to(chat, at).fold(0, |members, event| match event.body {
            EventBody::MemberAdded { .. } => members + 1,
            EventBody::MemberRemoved => members - 1,
            _ => members,
        })
    }

    pub(crate) fn name_at(&self, chat: EntityId, at: Seq) -> Bytes {
        self.events_up_to(chat, at).fold(Bytes::new(), |name, event| match event.body {
            EventBody::ChatCreated { name, .. } | EventBody::ChatRenamed { name } => {
                Bytes::copy_from_slice(name.as_bytes())
            }
            _ => name,
        })
    }

    /// The chats that an inbox ever told of, each with the event that made the user a member, if it is one.
    pub(crate) fn chats_at(&self, inbox: EntityId, at: Seq) -> BTreeMap<ChatId, Option<Seq>> {
        let mut chats = BTreeMap::new();
        for event in self.events_up_to(inbox, at) {
            match event.body {
                EventBody::ChatJoined { chat, source, .. } => drop(chats.insert(chat, Some(source))),
                EventBody::ChatLeft { chat, .. } => drop(chats.insert(chat, None)),
                _ => {}
            }
        }
        chats
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
