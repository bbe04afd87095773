//! The scheduler: what happens next is drawn from the seed.

use std::collections::HashMap;

use panda_protocol::codec::Writer;
use panda_protocol::event::{Event, MessageFormat, Role};
use panda_protocol::frame::{CommandBody, Direction};
use panda_protocol::link::{Admit, CommandOrigin, CommandRecord, Down, LinkId, Outcome, Read, ReadQuery, Record, Up};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Position, Seq, Time, UserId};
use panda_router::fold::RULES_FIRST;
use panda_router::rows::RowValue;
use panda_router::shard::{GivenUp, Input, load::flushed_key};
use panda_storage::LogRecord;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checkpoints;
use super::edge::Edge;
use super::owner::{BUCKET_EVENTS, Owner};
use super::reads::Questions;
use super::reference::Reference;
use super::rules::{self, BREAKING};
use super::support::store::MemoryStore;

pub(crate) const USERS: u8 = 4;
const EDGES: u64 = 2;
/// The rules of the present release.
const RULES: u16 = 2;

/// What the seeds met, so that a run shows that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Covered {
    pub(crate) seeds: usize,
    records: usize,
    events: usize,
    crashes: usize,
    takeovers: usize,
    delivered: usize,
    acks: usize,
    /// Commands of which a bucket's end made two writes.
    crossings: usize,
    /// Those of which a crash left the lower write alone.
    half_commands: usize,
    /// Owners that met rules which they do not know.
    outdated: usize,
    /// Events made under the second version.
    under_second: usize,
    /// Commands on which the rules panicked.
    panics: usize,
    /// Owners that took their shard again.
    again: usize,
    /// Reads that were answered.
    reads: usize,
    /// Reads and admissions that were refused.
    refusals: usize,
    /// Takeovers that began at a checkpoint, behind the epoch's first record.
    checkpoints: usize,
}

impl Covered {
    pub(crate) fn add(&mut self, other: Self) {
        self.seeds += 1;
        self.records += other.records;
        self.events += other.events;
        self.crashes += other.crashes;
        self.takeovers += other.takeovers;
        self.delivered += other.delivered;
        self.acks += other.acks;
        self.crossings += other.crossings;
        self.half_commands += other.half_commands;
        self.outdated += other.outdated;
        self.under_second += other.under_second;
        self.panics += other.panics;
        self.again += other.again;
        self.reads += other.reads;
        self.refusals += other.refusals;
        self.checkpoints += other.checkpoints;
    }

    /// A fault that no seed meets is not tested.
    pub(crate) fn check_reached(&self) {
        for (count, what) in [
            (self.crashes, "crashes"),
            (self.takeovers, "takeovers"),
            (self.delivered, "delivered events"),
            (self.acks, "answers"),
            (self.crossings, "commands over a bucket's end"),
            (self.half_commands, "commands stored in part"),
            (self.outdated, "owners of older rules"),
            (self.under_second, "events under the second rules"),
            (self.panics, "panics of the rules"),
            (self.again, "owners that took their shard again"),
            (self.reads, "reads"),
            (self.refusals, "refusals of reads"),
            (self.checkpoints, "starts from a checkpoint"),
        ] {
            assert!(count >= 100, "{what} were met {count} times only");
        }
    }
}

pub(crate) struct World {
    random: StdRng,
    store: MemoryStore,
    /// The records of all epochs; those of the present one begin at `epoch_at`.
    log: Vec<LogRecord>,
    /// How many records there are.
    appended: usize,
    epoch: u32,
    epoch_at: usize,
    owners: Vec<Owner>,
    edges: Vec<Edge>,
    questions: Questions,
    routers: u64,
    /// Routers that were taken over and to which the group still assigns the shard.
    assigned: Vec<u64>,
    /// The version that holds at the log's end.
    rules: u16,
    /// Whether clients send what version 1 breaks on; it silences a chat for the rest of an epoch.
    breaks: bool,
    tokens: HashMap<u64, Position>,
    next_token: u64,
    /// The highest counter that a sender used, and the one that it believes to be applied last.
    senders: HashMap<(EntityId, UserId), (u64, u64)>,
    sent: Vec<(CommandRecord, u64)>,
    now: u64,
    log_time: u64,
    covered: Covered,
}

pub(crate) fn user(number: u8) -> UserId {
    UserId::from_random([number + 1; 16])
}

fn device(user: UserId) -> DeviceId {
    DeviceId::from_random(*user.as_bytes())
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            breaks: random.random_bool(0.2),
            random,
            store: MemoryStore::new(seed ^ 0x5eed, false, BUCKET_EVENTS),
            log: Vec::new(),
            appended: 0,
            epoch: 1,
            epoch_at: 0,
            owners: Vec::new(),
            edges: (0..EDGES).map(|_| Edge::default()).collect(),
            questions: Questions::default(),
            routers: 0,
            assigned: Vec::new(),
            rules: RULES_FIRST,
            tokens: HashMap::new(),
            next_token: 0,
            senders: HashMap::new(),
            sent: Vec::new(),
            now: 0,
            log_time: 1_000,
            covered: Covered::default(),
        }
    }

    pub(crate) fn run(mut self) -> Covered {
        for epoch in 0..2 {
            let steps = self.random.random_range(150..700);
            for _ in 0..steps {
                self.step();
            }
            self.settle();
            self.check();
            if epoch == 0 {
                // The next epoch opens when nothing of this one is left.
                self.owners.clear();
                self.store.lose();
                self.epoch += 1;
                self.epoch_at = self.log.len();
                self.assigned.clear();
                // What holds is said again where the log begins anew.
                self.append(&Record::Rules { version: self.rules });
            }
        }
        self.covered
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..=9 => self.client(),
            10..=12 => self.resend(),
            13..=16 => self.admit(),
            17 => self.question(),
            35 => self.question(),
            18 if self.random.random_bool(0.2) => self.take_again(),
            18 if self.owners.is_empty() || self.random.random_bool(0.4) => self.takeover(),
            19 if self.random.random_bool(0.4) => self.crash(),
            19 => self.raise_rules(),
            20..=29 => drop(self.store.deliver()),
            30 => {
                self.now += self.random.random_range(100_000..4_000_000);
                let now = Time(self.now);
                self.with_owner(|owner, _| owner.core.handle(Input::Tick(now)));
            }
            31..=34 => self.effect(),
            36 => self.end(),
            37..=50 => self.read(),
            51..=52 => self.store.lose(),
            53..=69 => drop(self.store.deliver()),
            _ => self.with_owner(|owner, random| {
                if !owner.tasks.is_empty() {
                    owner.step(random.random_range(0..owner.tasks.len()));
                }
            }),
        }
    }

    fn with_owner(&mut self, act: impl FnOnce(&mut Owner, &mut StdRng)) {
        if self.owners.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.owners.len());
        act(&mut self.owners[index], &mut self.random);
        let end = self.end_of_log();
        let downs = self.owners[index].act(&self.store, end);
        self.covered.crossings += std::mem::take(&mut self.owners[index].crossings);
        for (link, down) in downs {
            self.check_durable(&down);
            self.questions.take(&down, &self.store);
            self.edges[usize::try_from(link.0).expect("small")].take(down);
        }
        if let Some(why) = self.owners[index].given_up {
            let owner = self.owners.swap_remove(index);
            self.gave_up(&owner, why);
        }
        self.learn();
    }

    fn gave_up(&mut self, owner: &Owner, why: GivenUp) {
        match why {
            GivenUp::TakenOver { router } => {
                assert_ne!(router, owner.router, "nobody takes a shard from itself");
                self.assigned.push(owner.router);
            }
            GivenUp::UnknownRules { version, known } => {
                assert_eq!((version, known), (RULES, RULES_FIRST), "only an older release does not know the rules");
                self.covered.outdated += 1;
            }
            GivenUp::UnknownRecord => panic!("every record of this log is known"),
        }
    }

    /// Nothing leaves before it is stored, all of its command included.
    fn check_durable(&self, down: &Down) {
        if let Down::Events(events) = down {
            for event in &events.events {
                let durable = self.store.is_durable(events.entity, event.seq);
                assert!(durable, "{} of {} was released before it was stored", event.seq, events.entity);
            }
        }
    }

    fn end_of_log(&self) -> Position {
        Position { epoch: self.epoch, offset: (self.appended - self.epoch_at) as u64 }
    }

    fn append(&mut self, record: &Record) -> Position {
        // The log's clock stands still at times, and goes back.
        self.log_time = (self.log_time + self.random.random_range(0..2_000)).saturating_sub(300);
        let position = self.end_of_log();
        self.log.push(LogRecord { position, time: Time(self.log_time), record: record.to_bytes() });
        self.appended += 1;
        position
    }

    fn command(&mut self, mut command: CommandRecord) {
        self.next_token += 1;
        let link = LinkId(self.random.random_range(0..EDGES));
        command.origin = CommandOrigin { link, token: self.next_token };
        let position = self.append(&Record::Command(command.clone()));
        self.tokens.insert(self.next_token, position);
        self.questions.commands.insert(self.next_token, command.entity);
        self.sent.push((command, self.next_token));
    }

    fn client(&mut self) {
        let actor = user(self.random.random_range(0..USERS));
        let other = user(self.random.random_range(0..USERS));
        let group = ChatId::group(user(0), device(user(0)), Counter(1));
        let mut entity = EntityId::from(group);
        let text =
            if self.breaks && self.random.random_bool(0.15) { BREAKING.into() } else { format!("{}", self.next_token) };
        let body = match self.random.random_range(0..20) {
            0..=1 => CommandBody::CreateGroup { name: "g".into(), members: vec![user(1), user(2)] },
            2 => {
                entity = ChatId::direct(actor, other).into();
                CommandBody::CreateDirect { peer: other }
            }
            3..=5 => CommandBody::AddMembers { role: Role::Member, with_history: false, members: vec![other, user(3)] },
            6..=8 => CommandBody::RemoveMembers { members: vec![other] },
            9 => CommandBody::SetRole { member: other, role: Role::Admin },
            10 => CommandBody::Rename { name: text.as_str().into() },
            11 => {
                entity = actor.into();
                CommandBody::SetSetting { key: "k".into(), value: text.into_bytes().into() }
            }
            12 => {
                entity = actor.into();
                CommandBody::MarkRead { chat: group, read: Seq(self.random.random_range(1..9)) }
            }
            13 => {
                entity = ChatId::direct(actor, other).into();
                CommandBody::Send { format: MessageFormat::Text, text: text.as_str().into() }
            }
            _ => CommandBody::Send { format: MessageFormat::Text, text: text.as_str().into() },
        };
        let actor = if matches!(body, CommandBody::CreateGroup { .. }) { user(0) } else { actor };
        let (highest, after) = self.senders.get(&(entity, actor)).copied().unwrap_or_default();
        let create = matches!(body, CommandBody::CreateGroup { .. });
        let (counter, after) = if create { (1, 0) } else { (highest.max(1) + 1, after) };
        // Half of the time the sender does not wait for the answer before.
        let after = if !create && highest > 1 && self.random.random_bool(0.5) { highest } else { after };
        self.senders.entry((entity, actor)).or_default().0 = counter.max(highest);
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        self.command(CommandRecord {
            origin: CommandOrigin { link: LinkId(0), token: 0 },
            entity,
            actor,
            device: device(actor),
            counter: Counter(counter),
            after: Counter(after),
            command: command.freeze(),
        });
    }

    /// A copy of any command comes again, over any edge.
    fn resend(&mut self) {
        if !self.sent.is_empty() {
            let index = self.random.random_range(0..self.sent.len());
            self.command(self.sent[index].0.clone());
        }
    }

    /// Senders learn from answers how to go on.
    fn learn(&mut self) {
        let answers: Vec<_> = self.edges.iter().flat_map(|edge| edge.answers.iter()).collect();
        let Some(answer) = answers.last() else { return };
        let Some((command, _)) = self.sent.iter().find(|(_, token)| *token == answer.token) else { return };
        let applied = match answer.outcome {
            Outcome::Applied(_) => command.counter.0,
            Outcome::Rejected(why) if why.code == ErrorCode::OutOfOrder => {
                why.details.map_or(0, |details| details.counter.0)
            }
            Outcome::Rejected(_) => return,
        };
        let believed = &mut self.senders.entry((command.entity, command.actor)).or_default().1;
        *believed = applied.max(*believed);
    }

    fn admit(&mut self) {
        let user = user(self.random.random_range(0..USERS));
        let group = ChatId::group(self::user(0), device(self::user(0)), Counter(1));
        let entity = if self.random.random_bool(0.2) { user.into() } else { group.into() };
        let edge = self.random.random_range(0..EDGES);
        self.next_token += 1;
        let token = self.next_token;
        self.edges[usize::try_from(edge).expect("small")].asked.insert(token, (entity, user));
        self.questions.ask(token, entity, user, None);
        let admit = Admit { token, user, entity, cursor: None, member_at: None };
        self.with_owner(|owner, _| owner.core.handle(Input::Up(LinkId(edge), Up::Admit(admit))));
    }

    /// A read, of an owner or a zombie.
    fn question(&mut self) {
        let user = user(self.random.random_range(0..USERS));
        let mut entity = EntityId::from(ChatId::group(self::user(0), device(self::user(0)), Counter(1)));
        let (from, limit) = (Seq(self.random.random_range(1..20)), self.random.random_range(1..8));
        let query = match self.random.random_range(0..6) {
            0 => ReadQuery::Page { direction: Direction::Forward, from, limit },
            1 => ReadQuery::Page { direction: Direction::Backward, from, limit },
            2 => ReadQuery::CatchUp { from, limit },
            3 => ReadQuery::Members { after: None, limit: 100 },
            4 => ReadQuery::Info,
            _ => {
                entity = user.into();
                ReadQuery::Chats { after: None, limit: 100 }
            }
        };
        let edge = LinkId(self.random.random_range(0..EDGES));
        self.next_token += 1;
        let token = self.next_token;
        if !self.owners.is_empty() {
            self.questions.ask(token, entity, user, Some(query.clone()));
            let read = Read { token, user, entity, query };
            self.with_owner(|owner, _| owner.core.handle(Input::Up(edge, Up::Read(read))));
        }
    }

    fn takeover(&mut self) {
        if self.owners.len() >= 3 {
            return;
        }
        self.routers += 1;
        // Now and then a router of an older release; it gives up where it meets newer rules.
        let newest = if self.random.random_bool(0.2) { RULES_FIRST } else { RULES };
        self.own(self.routers, newest);
    }

    fn own(&mut self, router: u64, newest: u16) {
        self.covered.takeovers += 1;
        let position = self.append(&Record::Takeover { router, rules_max: newest });
        let owner = Owner::new(router, position, self.epoch_at, rules::release(newest), &self.store);
        self.covered.checkpoints += usize::from(owner.next > self.epoch_at);
        self.owners.push(owner);
    }

    /// A router to which the group still assigns the shard begins another term.
    fn take_again(&mut self) {
        if self.owners.len() < 3
            && let Some(router) = self.assigned.pop()
        {
            self.covered.again += 1;
            self.own(router, RULES);
        }
    }

    fn raise_rules(&mut self) {
        if self.random.random_bool(0.1) {
            self.rules = RULES;
            self.append(&Record::Rules { version: RULES });
        }
    }

    fn crash(&mut self) {
        if self.owners.is_empty() {
            return;
        }
        self.covered.crashes += 1;
        let index = self.random.random_range(0..self.owners.len());
        self.owners.swap_remove(index);
        self.covered.half_commands += self.store.half_commands();
    }

    fn effect(&mut self) {
        if self.owners.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.owners.len());
        let Some(effect) = self.owners[index].effects.pop_front() else { return };
        self.append(&Record::Effect(effect));
        // The confirmation gets lost at times with the owner; the record stays.
        if self.random.random_bool(0.1) {
            self.owners.swap_remove(index);
            return;
        }
        self.owners[index].core.handle(Input::EffectAppended);
    }

    fn end(&mut self) {
        self.with_owner(|owner, _| {
            if let Some(end) = owner.ends.pop_front() {
                owner.core.handle(Input::End(end));
            }
        });
    }

    fn read(&mut self) {
        let count = self.random.random_range(1..6);
        let log = std::mem::take(&mut self.log);
        self.with_owner(|owner, _| {
            if owner.core.wants_records() {
                let records: Vec<LogRecord> = log[owner.next..].iter().take(count).cloned().collect();
                owner.next += records.len();
                owner.core.handle(Input::Records(records));
            }
        });
        self.log = log;
    }

    /// No more commands and crashes: one owner takes over and brings everything to an end.
    fn settle(&mut self) {
        while self.owners.len() >= 3 {
            self.crash();
        }
        self.routers += 1;
        self.own(self.routers, RULES);
        for step in 0..200_000 {
            // A calm while at first, in which sessions listen and members come and go.
            if step < 600 && step % 20 == 0 {
                self.client();
                self.admit();
                self.question();
            }
            match self.random.random_range(0..12) {
                0 => self.effect_kept(),
                1 => self.end(),
                2 => self.read(),
                3 => {
                    self.now += 500_000;
                    let now = Time(self.now);
                    self.with_owner(|owner, _| owner.core.handle(Input::Tick(now)));
                }
                4..=6 => drop(self.store.deliver()),
                _ => self.with_owner(|owner, random| {
                    if !owner.tasks.is_empty() {
                        owner.step(random.random_range(0..owner.tasks.len()));
                    }
                }),
            }
            let at_end = |owner: &Owner| {
                owner.next == self.log.len()
                    && owner.tasks.is_empty()
                    && owner.effects.is_empty()
                    && owner.ends.is_empty()
            };
            if step >= 600 && self.owners.len() == 1 && at_end(&self.owners[0]) && self.owners[0].core.is_idle() {
                while self.store.deliver() {}
                return;
            }
        }
        panic!("it does not come to an end");
    }

    fn effect_kept(&mut self) {
        let index = self.random.random_range(0..self.owners.len());
        let Some(effect) = self.owners[index].effects.pop_front() else { return };
        self.append(&Record::Effect(effect));
        self.owners[index].core.handle(Input::EffectAppended);
    }

    fn check(&mut self) {
        let reference = Reference::run(&self.log);
        self.check_store(&reference);
        self.check_edges(&reference);
        self.check_inboxes(&reference);
        let (reads, refusals) = self.questions.check(&reference);
        self.covered.reads += reads;
        self.covered.refusals += refusals;
        self.covered.records += self.log.len() - self.epoch_at;
        self.covered.events = reference.events.len();
        self.covered.under_second = reference.under_second;
        self.covered.panics = reference.panics;
    }

    fn check_store(&self, reference: &Reference) {
        let stored = self.store.all();
        let events: Vec<_> = stored.events.iter().map(|(at, row)| (*at, row.position, row.event.clone())).collect();
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
            let expected = reference.rows[entity].keys().any(|id| id.key() == *key);
            assert!(expected, "{key:?} of {entity} is no row of a single owner");
        }
    }

    fn check_edges(&mut self, reference: &Reference) {
        for edge in &mut self.edges {
            for answer in edge.answers.drain(..) {
                let position = self.tokens[&answer.token];
                let (command, _) = self.sent.iter().find(|(_, token)| *token == answer.token).expect("it was sent");
                let first = reference.first(&Record::Command(command.clone()));
                self.covered.acks += 1;
                match answer.outcome {
                    Outcome::Applied(seq) => assert_eq!(Some(seq), first, "an ack names the first seq"),
                    Outcome::Rejected(why) if why.code == ErrorCode::OutcomeUnknown => {
                        let applied = matches!(reference.answers.get(&position), Some(Outcome::Applied(_)));
                        assert!(!applied, "what is in its window is known at {position}");
                    }
                    rejected => assert_eq!(Some(&rejected), reference.answers.get(&position), "at {position}"),
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
    fn check_inboxes(&self, reference: &Reference) {
        for (entity, rows) in &reference.rows {
            let Some(chat) = entity.chat() else { continue };
            for (id, row) in rows {
                if let (panda_router::rows::RowId::Member(user), RowValue::Member(member)) = (id, &row.value) {
                    reference.check_inbox(chat, *user, member.ended.is_none());
                }
            }
        }
        assert!(reference.events.values().all(|(_, bytes)| Event::from_bytes(bytes).is_ok()));
    }
}
