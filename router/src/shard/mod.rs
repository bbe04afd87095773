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

mod ahead;
mod ask;
mod checkpoint;
mod damage;
mod devices;
mod entity;
mod epoch;
mod flush;
mod given_up;
mod input;
mod interest;
mod limits;
pub mod load;
mod output;
mod pipeline;
mod progress;
mod reads;
mod resume;
mod room;
mod rules;
mod standing;
mod traced;

use std::collections::HashMap;

use panda_protocol::link::{Down, LinkId, Record, Up};
use panda_protocol::{EntityId, Generation, Incarnation, Time};
use panda_storage::{Checkpoint, LogRecord, RecordMark};

pub(crate) use self::epoch::SILENCE_US;
pub use self::given_up::GivenUp;
pub use self::input::{Input, Loaded};
pub use self::limits::ShardLimits;
pub use self::output::Output;
pub use self::traced::TracedRecord;

use self::ahead::Ahead;
use self::checkpoint::Checkpoints;
use self::damage::Damages;
use self::devices::Devices;
use self::entity::{Entity, Pending};
use self::interest::Interests;
use self::progress::Progress;
use self::rules::Rules;
use self::traced::Followed;
use crate::fold;
use crate::rulebook::Rulebook;

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
    /// Chats and inboxes that left memory because nothing went on in them.
    pub evictions: u64,
    /// Admissions to chats by a proof, without a row of their user.
    pub proven: u64,
    /// Admissions to chats and inboxes that are not in memory, without a load.
    pub unloaded: u64,
    /// Reads of the store for questions: loads of rows for them, pages of events, listings, outcomes.
    pub question_reads: u64,
}

/// One shard.
pub struct Shard {
    router: u64,
    generation: Generation,
    epoch: epoch::Epoch,
    incarnation: Incarnation,
    limits: ShardLimits,
    rulebook: Rulebook,
    /// Those that hold for the next record.
    rules: Rules,
    progress: Progress,
    checkpoints: Checkpoints,
    entities: hashbrown::HashMap<EntityId, Box<Entity>>,
    interests: Interests,
    tails: resume::Tails,
    ahead: Ahead,
    damages: Damages,
    devices: Devices,
    given_up: bool,
    queued: usize,
    /// Bytes of the records among what waits.
    queued_bytes: usize,
    waiting: reads::Waiting,
    reading: HashMap<u64, reads::Reading>,
    next_read: u64,
    asks: ask::Asks,
    now: Time,
    backlog_ms: u64,
    outputs: Vec<Output>,
    tells_traces: bool,
    figures: ShardFigures,
}

impl Shard {
    /// A shard that this router owns from its Takeover on, whose place is `generation`. It takes the
    /// log from `start` on.
    pub fn new(
        router: u64,
        generation: Generation,
        incarnation: Incarnation,
        start: Checkpoint,
        limits: ShardLimits,
        rulebook: Rulebook,
    ) -> Self {
        let mut shard = Self {
            router,
            generation,
            epoch: epoch::Epoch::new(start.position.epoch),
            incarnation,
            limits,
            rulebook,
            rules: Rules::new(start.rules),
            progress: Progress::new(start.position, start.last),
            checkpoints: Checkpoints::new(start.position),
            entities: Default::default(),
            interests: Default::default(),
            tails: Default::default(),
            ahead: Ahead::default(),
            damages: Damages::default(),
            devices: Default::default(),
            given_up: false,
            queued: 0,
            queued_bytes: 0,
            waiting: reads::Waiting::default(),
            reading: HashMap::new(),
            next_read: 0,
            asks: ask::Asks::default(),
            now: Time(0),
            backlog_ms: 0,
            outputs: Vec::new(),
            tells_traces: false,
            figures: ShardFigures::default(),
        };
        if start.rules > rulebook.newest {
            shard.give_up(GivenUp::UnknownRules { version: start.rules, known: rulebook.newest });
        }
        shard
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
            Input::Damaged { entity, read: None, .. } => self.damaged(entity),
            Input::Damaged { read: Some(read), .. } => self.read_damaged(read),
            Input::End(position) => self.end(position),
            Input::EffectAppended => self.progress.confirm(),
            Input::EpochRead { open, asked } => self.epoch_read(open, asked),
            Input::EpochOver(open) => self.epoch_over(open),
            Input::Checkpointed => self.checkpointed(),
            Input::TailRead(tail, touched) => self.tail_read(tail, touched),
            Input::Tick(now) => self.tick(now),
        }
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether further records may be read from the log.
    pub fn wants_records(&self) -> bool {
        self.queued < self.limits.queue_max
            && self.queued_bytes < self.limits.queue_bytes_max
            && self.progress.effects() < self.limits.effects_max
    }

    /// Whether nothing waits and everything is durable.
    pub fn is_idle(&self) -> bool {
        self.queued == 0 && self.progress.effects() == 0 && self.entities.values().all(|entity| entity.is_quiet())
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
        let mark = RecordMark::of(&record);
        let LogRecord { position, time, record, headers } = record;
        let bytes = record.len();
        let Some(record) = Record::from_bytes(record).ok().filter(fold::knows) else {
            return self.give_up(GivenUp::UnknownRecord);
        };
        match &record {
            Record::Takeover { router, .. } if *router != self.router && Generation::of(position) > self.generation => {
                return self.give_up(GivenUp::TakenOver { router: *router });
            }
            Record::Rules { version } if *version > self.rulebook.newest => {
                let known = self.rulebook.newest;
                return self.give_up(GivenUp::UnknownRules { version: *version, known });
            }
            _ => {}
        }
        match (record.entity(), &record) {
            (Some(entity), _) => {
                self.progress.take(mark);
                // Records that wait are decided under the rules that held where they stand.
                let (since, rules) = (self.now, self.rules.current());
                self.queued_bytes += bytes;
                let followed = headers.trace.map(|context| Box::new(Followed { context, from: headers.from }));
                self.enqueue(entity, Pending::Record { record, rules, position, time, since, bytes, followed });
            }
            (None, record) => {
                self.progress.pass(mark);
                if let Record::Rules { version } = record {
                    self.rules.raise(position, *version);
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
            Up::Forget { entity } => {
                self.interests.forget(link, entity, self.now, self.limits.lapsing_max);
            }
            Up::Signal { chat, user, kind, payload } => {
                let Some(interest) = self.interests.get_mut(EntityId::from(chat)) else { return };
                if interest.links.contains(&link) {
                    for to in &interest.links {
                        self.outputs
                            .push(Output::Send(*to, Down::Signal { chat, user, kind, payload: payload.clone() }));
                    }
                }
            }
            Up::Attach { user, device, session } => self.attach(link, user, device, session),
            Up::Detach { user, device, session } => self.detach(user, device, session),
            Up::Ask { token, entity, position } => {
                self.question(link, reads::Question::Ask(ask::Ask { token, entity, position }));
            }
            Up::Resume(resume) => self.resume(link, resume),
        }
    }

    fn link_closed(&mut self, link: LinkId) {
        self.interests.drop_link(link, self.now, self.limits.lapsing_max);
        self.detach_link(link);
        // A question that is still to be answered would state interest of a link that is gone.
        self.waiting.drop_link(link);
        self.asks.drop_link(link);
        for entity in self.entities.values_mut() {
            self.queued -= entity.drop_link(link);
        }
    }
}
