//! One shard: the commands of its chats and inboxes, in the order of the log.
//!
//! This is the core, without I/O, clock or runtime: [`Shard::handle`] takes what happened, and
//! [`Shard::take_outputs`] gives what is to be done. The driver does it over a log, a store and links.
//!
//! ```text
//!   record / read ─▶ queue of its entity ─▶ rows loaded? ─▶ apply ─▶ building batch
//!                                               │ no                    │ no write in flight
//!                                               ▼                       ▼
//!                                             Load                    Write ─▶ durable ─▶ release:
//!                                                                        events, answers, reads, effects
//! ```
//!
//! Rows in memory run ahead of what is durable; everything that leaves the shard waits behind the
//! write of what it is built on, in order. `released <= applied`.

mod entity;
mod flush;
mod given_up;
pub mod load;
mod pipeline;
mod reads;
mod resume;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hashbrown::hash_map::Entry;
use panda_protocol::link::{Admit, Down, Effect, LinkId, Read, Record, Up};
use panda_protocol::{
    DeviceId, EntityId, ErrorCode, Generation, Incarnation, Position, Seq, SessionId, ShardId, Time, UserId,
};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::{EventBatch, EventRow, LogRecord, ReadOrder, StateRow};
use smallvec::SmallVec;

pub use self::given_up::GivenUp;

use self::entity::{Entity, Pending};
use self::load::Wanted;
use crate::fold::{self, RULES_FIRST};
use crate::rows::RowId;
use crate::rulebook::Rulebook;

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Records and reads that may wait in memory; above it no further record is read from the log.
    pub queue_max: usize,
    /// Reads and admissions that may wait; above it they are refused.
    pub reads_max: usize,
    /// Entities kept in memory when nothing goes on in them.
    pub entities_max: usize,
    /// Rows of one entity kept in memory when they are stored.
    pub rows_max: usize,
    /// Effects that the log has not confirmed; above it no further record is read.
    pub effects_max: usize,
    /// Events of one partition of the event store, which no write may leave.
    pub bucket_events: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            queue_max: 16_384,
            reads_max: 16_384,
            entities_max: 4_096,
            rows_max: 4_096,
            effects_max: 16_384,
            bucket_events: BUCKET_EVENTS,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Records of the log, in order.
    Records(Vec<LogRecord>),
    /// A frame of a link.
    Up(LinkId, Up),
    /// A link is no more.
    LinkClosed(LinkId),
    /// The rows that [`Output::Load`] asked for.
    Loaded(EntityId, Loaded),
    /// The batch of [`Output::Write`] is durable.
    Written(EntityId),
    /// The rows of [`Output::Flush`] are stored, and the flushed cell behind them.
    Flushed(EntityId),
    /// The events that [`Output::ReadEvents`] asked for.
    EventsRead(u64, Vec<EventRow>),
    /// The rows that [`Output::ScanRows`] asked for.
    RowsScanned(u64, Vec<StateRow>),
    /// The log's end, asked for by [`Output::AskEnd`].
    End(Position),
    /// The effect of [`Output::AppendEffect`] is in the log.
    EffectAppended,
    /// The entities of the records that [`Output::ReadTail`] asked for; none if the log has them no more.
    TailRead(LinkId, Option<HashSet<EntityId>>),
    /// Time went on; about ten times a second. Microseconds of any clock that does not go back.
    Tick(Time),
    /// A read of the store failed for good: refuse what waits for it.
    ReadFailed(u64),
}

/// What a load brought.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rows as of `head` or later.
    pub rows: Vec<(RowId, Option<crate::rows::Row>)>,
    /// The first load of the entity also brings rows that events behind the flushed cell changed:
    /// they are to be flushed again.
    pub dirty: Vec<RowId>,
    /// A later load: events of another owner, from the base up to the newest of these rows.
    pub events: Vec<EventRow>,
    /// Stored events whose effects may not have been appended.
    pub owing: Vec<(Seq, Bytes)>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Load these rows; the first time also whatever lies behind the flushed cell.
    Load {
        /// Of this entity.
        entity: EntityId,
        /// What to bring.
        wanted: Wanted,
    },
    /// Write these batches in order and say [`Input::Written`] once all are durable.
    Write(Vec<EventBatch>),
    /// Store rows, then the flushed cell.
    Flush {
        /// Of this entity.
        entity: EntityId,
        /// These rows.
        rows: Vec<StateRow>,
        /// Through this event.
        through: Seq,
        /// That event's time.
        time: Time,
    },
    /// Read events.
    ReadEvents {
        /// Repeated in the answer.
        read: u64,
        /// Of this entity.
        entity: EntityId,
        /// From here.
        from: Seq,
        /// Which way.
        order: ReadOrder,
        /// At most so many.
        limit: usize,
    },
    /// Read live rows of a kind.
    ScanRows {
        /// Repeated in the answer.
        read: u64,
        /// Of this entity.
        entity: EntityId,
        /// The kind.
        kind: u8,
        /// Behind this key.
        after: Option<Bytes>,
    },
    /// Send a frame down a link.
    Send(LinkId, Down),
    /// Append to the log; one at a time, in order.
    AppendEffect(Effect),
    /// Ask where the log ends now.
    AskEnd,
    /// Read which entities the records from one position to before another are of, for a link.
    ReadTail {
        /// Repeated in the answer.
        link: LinkId,
        /// The first.
        from: Position,
        /// Behind the last.
        to: Position,
    },
    /// Tell a link that nobody knows what it missed.
    Readmit(LinkId),
    /// Tell the edges how long the oldest command waits, in milliseconds; 0: no longer.
    Backlog(u64),
    /// Give the shard up: nothing more is taken in or let out.
    GiveUp(GivenUp),
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardFigures {
    /// Events released.
    pub events: u64,
    /// Commands answered, by outcome.
    pub applied: u64,
    /// Commands refused.
    pub rejected: u64,
    /// Commands answered as before.
    pub duplicates: u64,
    /// Commands on which `apply` panicked.
    pub panics: u64,
    /// Writes.
    pub writes: u64,
    /// Loads.
    pub loads: u64,
}

/// One shard.
pub struct Shard {
    router: u64,
    generation: Generation,
    incarnation: Incarnation,
    limits: ShardLimits,
    rulebook: Rulebook,
    /// The version that holds for the next record.
    rules: u16,
    entities: hashbrown::HashMap<EntityId, Entity>,
    interest: hashbrown::HashMap<EntityId, Interest>,
    devices: hashbrown::HashMap<UserId, SmallVec<[Attached; 1]>>,
    /// From where the log is read.
    start: Position,
    given_up: bool,
    /// Behind the last record taken.
    consumed: Position,
    queued: usize,
    waiting: reads::Waiting,
    reading: HashMap<u64, reads::Reading>,
    next_read: u64,
    effects_pending: usize,
    now: Time,
    backlog_ms: u64,
    outputs: Vec<Output>,
    figures: ShardFigures,
}

/// Links that listen to an entity; it outlives the entity's stay in memory.
#[derive(Default)]
struct Interest {
    links: SmallVec<[LinkId; 2]>,
    /// The last event that they were told of.
    told: Seq,
}

struct Attached {
    device: DeviceId,
    link: LinkId,
    session: SessionId,
}

impl Shard {
    /// A shard that this router owns from its Takeover on, whose place is `generation`.
    pub fn new(
        router: u64,
        generation: Generation,
        incarnation: Incarnation,
        start: Position,
        limits: ShardLimits,
        rulebook: Rulebook,
    ) -> Self {
        Self {
            router,
            generation,
            incarnation,
            limits,
            rulebook,
            rules: RULES_FIRST,
            entities: Default::default(),
            interest: Default::default(),
            devices: Default::default(),
            start,
            given_up: false,
            consumed: start,
            queued: 0,
            waiting: reads::Waiting::default(),
            reading: HashMap::new(),
            next_read: 0,
            effects_pending: 0,
            now: Time(0),
            backlog_ms: 0,
            outputs: Vec::new(),
            figures: ShardFigures::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input) {
        if self.given_up {
            return;
        }
        match input {
            Input::Records(records) => records.into_iter().for_each(|record| self.record(record)),
            Input::Up(link, up) => self.up(link, up),
            Input::LinkClosed(link) => self.link_closed(link),
            Input::Loaded(entity, loaded) => self.loaded(entity, loaded),
            Input::Written(entity) => self.written(entity),
            Input::Flushed(entity) => self.flushed(entity),
            Input::EventsRead(read, events) => self.events_read(read, events),
            Input::RowsScanned(read, rows) => self.rows_scanned(read, rows),
            Input::ReadFailed(read) => self.read_failed(read),
            Input::End(position) => self.end(position),
            Input::EffectAppended => self.effects_pending = self.effects_pending.saturating_sub(1),
            Input::TailRead(link, touched) => self.tail_read(link, touched),
            Input::Tick(now) => self.tick(now),
        }
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether further records may be read from the log.
    pub fn wants_records(&self) -> bool {
        self.queued < self.limits.queue_max && self.effects_pending < self.limits.effects_max
    }

    /// Whether nothing waits and everything is durable.
    pub fn is_idle(&self) -> bool {
        self.queued == 0 && self.effects_pending == 0 && self.entities.values().all(Entity::is_quiet)
    }

    /// This owner's term.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Figures since the start.
    pub fn figures(&self) -> ShardFigures {
        self.figures
    }

    /// How many entities are in memory.
    pub fn resident(&self) -> usize {
        self.entities.len()
    }

    fn record(&mut self, record: LogRecord) {
        if self.given_up {
            return;
        }
        let LogRecord { position, time, record } = record;
        let Some(record) = Record::from_bytes(record).ok().filter(fold::knows) else {
            return self.give_up(GivenUp::UnknownRecord);
        };
        self.consumed = Position { offset: position.offset + 1, ..position };
        match &record {
            Record::Takeover { router, .. } if *router != self.router && Generation::of(position) > self.generation => {
                return self.give_up(GivenUp::TakenOver { router: *router });
            }
            Record::Rules { version } if *version > self.rulebook.newest => {
                let known = self.rulebook.newest;
                return self.give_up(GivenUp::UnknownRules { version: *version, known });
            }
            // Records that wait are decided under the rules that held where they stand.
            Record::Rules { version } => self.rules = self.rules.max(*version),
            Record::Takeover { .. } => {}
            Record::Command(_) | Record::Effect(_) => {
                if let Some(entity) = record.entity() {
                    let (since, rules) = (self.now, self.rules);
                    self.enqueue(entity, Pending::Record { record, rules, position, time, since });
                }
            }
        }
        self.admit_waiting_reads();
    }

    /// Nothing more is taken in or let out: what is released from here on is another owner's matter.
    fn give_up(&mut self, reason: GivenUp) {
        self.given_up = true;
        if self.backlog_ms > 0 {
            self.outputs.push(Output::Backlog(0));
        }
        self.outputs.push(Output::GiveUp(reason));
    }

    fn enqueue(&mut self, id: EntityId, pending: Pending) {
        self.queued += 1;
        self.entities.entry(id).or_default().queue.push_back(pending);
        self.run(id);
    }

    fn up(&mut self, link: LinkId, up: Up) {
        match up {
            Up::Admit(admit) => self.question(link, reads::Question::Admit(admit)),
            Up::Read(read) => self.question(link, reads::Question::Read(read)),
            Up::Forget { entity } => self.forget(link, entity),
            Up::Signal { chat, user, kind, payload } => {
                let Some(interest) = self.interest.get(&EntityId::from(chat)) else { return };
                if interest.links.contains(&link) {
                    for to in &interest.links {
                        self.outputs
                            .push(Output::Send(*to, Down::Signal { chat, user, kind, payload: payload.clone() }));
                    }
                }
            }
            Up::Attach { user, device, session } => self.attach(link, user, device, session),
            Up::Detach { user, device, session } => self.detach(user, device, session),
            // A position alone does not name the sender's window: the sender asks with its counter.
            Up::Ask { token, .. } => self.answer_unknown(link, token),
            Up::Resume(resume) => self.resume(link, resume),
        }
    }

    fn attach(&mut self, link: LinkId, user: UserId, device: DeviceId, session: SessionId) {
        let attached = self.devices.entry(user).or_default();
        if let Some(older) = attached.iter_mut().find(|attached| attached.device == device) {
            if older.session != session {
                self.outputs.push(Output::Send(older.link, Down::Replaced { session: older.session }));
            }
            *older = Attached { device, link, session };
        } else {
            attached.push(Attached { device, link, session });
        }
    }

    fn detach(&mut self, user: UserId, device: DeviceId, session: SessionId) {
        if let Entry::Occupied(mut entry) = self.devices.entry(user) {
            entry.get_mut().retain(|attached| attached.device != device || attached.session != session);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    fn forget(&mut self, link: LinkId, entity: EntityId) {
        if let Entry::Occupied(mut entry) = self.interest.entry(entity) {
            entry.get_mut().links.retain(|interested| *interested != link);
            if entry.get().links.is_empty() {
                entry.remove();
            }
        }
    }

    fn link_closed(&mut self, link: LinkId) {
        self.interest.retain(|_, interest| {
            interest.links.retain(|interested| *interested != link);
            !interest.links.is_empty()
        });
        self.devices.retain(|_, attached| {
            attached.retain(|attached| attached.link != link);
            !attached.is_empty()
        });
        // A question that is still to be answered would state interest of a link that is gone.
        self.waiting.drop_link(link);
        for entity in self.entities.values_mut() {
            self.queued -= entity.drop_link(link);
        }
    }

    fn answer_unknown(&mut self, link: LinkId, token: u64) {
        let rejection = panda_protocol::link::Rejection::new(ErrorCode::OutcomeUnknown);
        self.outputs.push(Output::Send(
            link,
            Down::Answer(panda_protocol::link::Answer {
                token,
                generation: self.generation,
                outcome: panda_protocol::link::Outcome::Rejected(rejection),
            }),
        ));
    }
}

/// The shard that a frame of a link goes to, among `shards`.
pub fn shard_of(up: &Up, shards: u16) -> ShardId {
    match up {
        Up::Admit(Admit { entity, .. })
        | Up::Read(Read { entity, .. })
        | Up::Forget { entity }
        | Up::Ask { entity, .. } => entity.shard(shards),
        Up::Signal { chat, .. } => EntityId::from(*chat).shard(shards),
        Up::Attach { user, .. } | Up::Detach { user, .. } => EntityId::from(*user).shard(shards),
        Up::Resume(resume) => resume.shard,
    }
}
