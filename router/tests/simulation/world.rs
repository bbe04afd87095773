//! The scheduler: what happens next is drawn from the seed.

mod checks;
mod clients;
mod falls;
mod resume;

use std::collections::{HashMap, HashSet};

use panda_protocol::event::Event;
use panda_protocol::link::{CommandRecord, Record};
use panda_protocol::{EntityId, Generation, Position, Time, UserId};
use panda_router::fold::{self, RULES_FIRST};
use panda_router::shard::{GivenUp, Input};
use panda_storage::LogRecord;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::covered::Covered;
use super::edge::Edge;
use super::history;
use super::owner::{BUCKET_EVENTS, Owner};
use super::reads::Questions;
use super::rules::Release;
use super::support::store::MemoryStore;

pub(crate) const USERS: u8 = 4;
const EDGES: u64 = 2;
/// So long a router is out of the group before another epoch opens; microseconds.
const SESSION_TIMEOUT_US: u64 = 3_000_000;
/// The rules of the present release.
const RULES: u16 = 2;

pub(crate) struct World {
    random: StdRng,
    store: MemoryStore,
    /// The records of all epochs; those of the present one begin at `epoch_at`.
    log: Vec<LogRecord>,
    /// How many records there are.
    appended: usize,
    epoch: u32,
    epoch_at: usize,
    /// Whether this epoch, or one before, ended in the middle of its log.
    cut: bool,
    was_cut: bool,
    owners: Vec<Owner>,
    edges: Vec<Edge>,
    questions: Questions,
    routers: u64,
    /// Routers that were taken over and to which the group still assigns the shard.
    assigned: Vec<u64>,
    /// The version that holds at the log's end.
    rules: u16,
    /// Whether clients send what version 1 breaks on; it silences a chat until the release is mended, or for the
    /// rest of an epoch.
    breaks: bool,
    /// Whether the release gets mended, and whether it is: what is begun from then on.
    mends: bool,
    mended: bool,
    tokens: HashMap<u64, Position>,
    next_token: u64,
    /// The highest counter that a sender used, and the one that it believes to be applied last.
    senders: HashMap<(EntityId, UserId), (u64, u64)>,
    sent: Vec<(CommandRecord, u64)>,
    now: u64,
    log_time: u64,
    /// Of which entity something was damaged in which term.
    damaged: HashSet<(EntityId, Generation)>,
    covered: Covered,
}

pub(crate) fn user(number: u8) -> UserId {
    UserId::from_random([number + 1; 16])
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let breaks = random.random_bool(0.35);
        Self {
            breaks,
            mends: breaks && random.random_bool(0.6),
            mended: false,
            random,
            store: MemoryStore::new(seed ^ 0x5eed, false, BUCKET_EVENTS),
            log: Vec::new(),
            appended: 0,
            epoch: 1,
            epoch_at: 0,
            cut: false,
            was_cut: false,
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
            damaged: HashSet::new(),
            covered: Covered::default(),
        }
    }

    pub(crate) fn run(mut self) -> Covered {
        for epoch in 0..2 {
            let steps = self.random.random_range(if epoch == 0 { 50..700 } else { 150..700 });
            for _ in 0..steps {
                self.step();
            }
            // The log of the first epoch may be gone before it was read to its end.
            self.cut = epoch == 0 && self.random.random_bool(0.5);
            self.was_cut |= self.cut;
            if !self.cut {
                self.settle();
                self.check();
            }
            if epoch == 0 {
                self.open_epoch();
            }
        }
        self.covered
    }

    /// Another log goes on. No router is in the group, so none was heard for a session timeout, and what
    /// any of them wrote has ended; those that live have fetched records of the log that is gone. Who opens
    /// the epoch reads every tail from all replicas and writes it again.
    fn open_epoch(&mut self) {
        self.now += SESSION_TIMEOUT_US;
        self.log_time += SESSION_TIMEOUT_US;
        let (random, cut, appended) = (&mut self.random, self.cut, self.appended);
        self.owners.retain(|_| cut && random.random_bool(0.7));
        for owner in &mut self.owners {
            owner.fetched = (owner.next + random.random_range(0..40)).min(appended);
            // The driver asks the store before it appends one.
            owner.effects.clear();
            owner.pause(&self.store);
            owner.paused = random.random_range(0..300);
        }
        self.store.lose();
        self.store.repair();
        self.epoch += 1;
        self.store.open_epoch(self.epoch);
        self.epoch_at = self.appended;
        self.assigned.clear();
        // What holds is said again where the log begins anew, and what is owed still.
        self.append(&Record::Rules { version: self.rules });
        for ((entity, _), row) in history::of(&self.store.all().events) {
            let event = Event::from_bytes(&row.event).expect("an event");
            for effect in fold::effects(entity, &event, &row.event) {
                self.append(&Record::Effect(effect));
            }
        }
        self.covered.cuts += usize::from(cut);
    }

    /// Owners of the open epoch.
    fn current(&self) -> usize {
        self.owners.iter().filter(|owner| owner.epoch == self.epoch).count()
    }

    fn step(&mut self) {
        self.unpause();
        self.mended |= self.mends && self.random.random_bool(0.0005);
        match self.random.random_range(0..100) {
            0..=9 => self.client(),
            10..=12 => self.resend(),
            13..=16 => self.admit(),
            17 => self.question(),
            35 => self.question(),
            18 if self.random.random_bool(0.2) => self.take_again(),
            18 if self.current() == 0 || self.random.random_bool(0.4) => self.takeover(),
            19 if self.random.random_bool(0.4) => self.crash(),
            19 => self.raise_rules(),
            20..=29 => drop(self.store.deliver()),
            30 => {
                self.now += self.random.random_range(100_000..4_000_000);
                self.tick();
            }
            31..=34 => self.effect(),
            36 => self.end(),
            37..=50 => self.read(),
            51..=52 => self.store.lose(),
            53..=69 => drop(self.store.deliver()),
            70 => self.hear_somebody(),
            71..=72 => self.tail(),
            73 if self.random.random_bool(0.2) => self.break_link(),
            73 if self.random.random_bool(0.3) => self.fall(),
            74 if self.random.random_bool(0.15) => self.damage(),
            75 if self.random.random_bool(0.3) => self.store.mend(),
            _ => self.with_owner(Owner::step_any),
        }
    }

    fn unpause(&mut self) {
        self.owners.iter_mut().for_each(|owner| owner.paused = owner.paused.saturating_sub(1));
    }

    fn tick(&mut self) {
        let now = self.now;
        self.with_owner(|owner, _| owner.core.handle(Input::Tick(Time(now - owner.started))));
    }

    fn with_owner(&mut self, act: impl FnOnce(&mut Owner, &mut StdRng)) {
        if self.owners.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.owners.len());
        self.with_owner_at(index, act);
    }

    /// As long as the term lasts.
    fn with_owner_of(&mut self, term: Generation, act: impl FnOnce(&mut Owner, &mut StdRng)) {
        if let Some(index) = self.owners.iter().position(|owner| owner.core.generation() == term) {
            self.with_owner_at(index, act);
        }
    }

    fn with_owner_at(&mut self, index: usize, act: impl FnOnce(&mut Owner, &mut StdRng)) {
        let owner = &mut self.owners[index];
        if owner.paused > 0 {
            return;
        }
        let now = Time(self.now - owner.started);
        let (term, before) = (owner.core.generation(), owner.core.figures());
        owner.core.set_now(now);
        if let Some(input) = owner.late.pop() {
            owner.core.handle(input);
        }
        act(owner, &mut self.random);
        if self.mends {
            self.covered.mended += usize::try_from(owner.core.figures().panics - before.panics).expect("few");
        }
        self.covered.evictions += usize::try_from(owner.core.figures().evictions - before.evictions).expect("few");
        self.covered.proven += usize::try_from(owner.core.figures().proven - before.proven).expect("few");
        self.covered.unloaded += usize::try_from(owner.core.figures().unloaded - before.unloaded).expect("few");
        let end = self.end_of_log();
        let downs = self.owners[index].act(&self.store, end, now);
        self.covered.crossings += std::mem::take(&mut self.owners[index].crossings);
        for (link, down) in downs {
            self.check_durable(&down);
            self.check_damaged(term, &down);
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
                if owner.epoch == self.epoch {
                    self.assigned.push(owner.router);
                }
            }
            GivenUp::UnknownRules { version, known } => {
                assert_eq!((version, known), (RULES, RULES_FIRST), "only an older release does not know the rules");
                self.covered.outdated += 1;
            }
            GivenUp::EpochOver { open } => {
                assert!(open == self.epoch && owner.epoch < open, "only a zombie's epoch is over");
                self.covered.epochs_over += 1;
            }
            GivenUp::UnknownRecord => panic!("every record of this log is known"),
            GivenUp::Outrun => panic!("the core does not open its log"),
            GivenUp::Damaged { .. } => panic!("there are not so many entities"),
        }
    }

    fn end_of_log(&self) -> Position {
        Position { epoch: self.epoch, offset: (self.appended - self.epoch_at) as u64 }
    }

    fn append(&mut self, record: &Record) -> Position {
        // The log's clock stands still at times, and goes back.
        self.log_time = (self.log_time + self.random.random_range(0..2_000)).saturating_sub(300);
        let position = self.end_of_log();
        self.log.push(LogRecord {
            position,
            time: Time(self.log_time),
            record: record.to_bytes(),
            headers: Default::default(),
        });
        self.appended += 1;
        position
    }

    fn takeover(&mut self) {
        if self.current() >= 3 {
            return;
        }
        self.routers += 1;
        // Now and then a router of an older release; it gives up where it meets newer rules. Nobody goes back to one
        // that breaks.
        let older = self.random.random_bool(0.2) && !self.mended;
        let release = if older { Release::Older } else { self.release() };
        self.own(self.routers, release);
    }

    /// What is begun now, unless it is older.
    fn release(&self) -> Release {
        if self.mended { Release::Mended } else { Release::Present }
    }

    /// What decides in the end.
    fn last_release(&self) -> Release {
        if self.mends { Release::Mended } else { Release::Present }
    }

    fn own(&mut self, router: u64, release: Release) -> Generation {
        self.covered.takeovers += 1;
        let position = self.append(&Record::Takeover { router, rules_max: release.newest() });
        let mut owner = Owner::new(router, position, (&self.log, self.epoch_at), release.rulebook(), &self.store);
        owner.started = self.now;
        self.covered.checkpoints += usize::from(owner.next > self.epoch_at);
        let term = owner.core.generation();
        self.owners.push(owner);
        self.damaged.extend(self.store.damaged().into_iter().map(|entity| (entity, term)));
        term
    }

    /// A router to which the group still assigns the shard begins another term.
    fn take_again(&mut self) {
        if self.current() < 3
            && let Some(router) = self.assigned.pop()
        {
            self.covered.again += 1;
            self.own(router, self.release());
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
        if self.owners[index].epoch < self.epoch {
            return;
        }
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
        let end = self.end_of_log();
        self.with_owner(|owner, _| {
            if let Some(asked) = owner.ends.pop_front() {
                // The log that an owner of an older epoch asks is gone: another one answers under its name.
                let other = Position { epoch: owner.epoch, ..end };
                owner.core.handle(Input::End(if owner.epoch < end.epoch { other } else { asked }));
            }
        });
    }

    fn read(&mut self) {
        if !self.owners.is_empty() {
            let owner = self.random.random_range(0..self.owners.len());
            self.read_by(self.owners[owner].core.generation(), 5);
        }
    }

    fn read_by(&mut self, term: Generation, records_max: usize) {
        let count = self.random.random_range(1..=records_max);
        let log = std::mem::take(&mut self.log);
        let epoch_at = self.epoch_at;
        self.with_owner_of(term, |owner, _| {
            if owner.core.wants_records() {
                let fetched = owner.fetched.min(log.len());
                let mut records: Vec<LogRecord> = log[owner.next..fetched].iter().take(count).cloned().collect();
                if records.is_empty() && owner.fetched < usize::MAX {
                    // Another log goes on under the name of the one that is gone.
                    let other = log[epoch_at..].iter().skip(owner.next - owner.epoch_at).take(count);
                    records.extend(other.cloned());
                    for record in &mut records {
                        record.position.epoch = owner.epoch;
                    }
                    owner.fetched += records.len();
                }
                owner.next += records.len();
                owner.core.handle(Input::Records(records));
            }
        });
        self.log = log;
    }

    /// What is stored of a chat or an inbox cannot be read until it is mended.
    fn damage(&mut self) {
        let whose = user(self.random.random_range(0..USERS));
        let entity = if self.random.random_bool(0.5) { clients::group().into() } else { whose.into() };
        self.store.damage(entity);
        self.damaged.extend(self.owners.iter().map(|owner| (entity, owner.core.generation())));
        self.covered.damages += 1;
    }

    /// No more commands and crashes: one owner takes over and brings everything to an end.
    fn settle(&mut self) {
        while self.current() >= 3 {
            self.crash();
        }
        self.store.mend();
        self.routers += 1;
        self.own(self.routers, self.release());
        for step in 0..200_000 {
            self.unpause();
            if step == 600 {
                let epoch = self.epoch;
                self.owners.retain(|owner| owner.epoch == epoch);
                if self.mends && !self.mended {
                    self.mended = true;
                    self.routers += 1;
                    self.own(self.routers, Release::Mended);
                }
            }
            // A calm while at first, in which sessions listen and members come and go.
            if step < 600 && step % 20 == 0 {
                self.client();
                self.admit();
                self.hear_somebody();
                self.question();
            }
            match self.random.random_range(0..13) {
                12 => self.tail(),
                0 => self.effect_kept(),
                1 => self.end(),
                2 => self.read(),
                3 => {
                    self.now += 500_000;
                    self.tick();
                }
                4..=6 => drop(self.store.deliver()),
                _ => self.with_owner(Owner::step_any),
            }
            if step >= 600 && self.owners.len() == 1 && self.owners[0].is_done(self.log.len()) {
                if self.hear_last() {
                    continue;
                }
                while self.store.deliver() {}
                return;
            }
        }
        panic!("it does not come to an end");
    }

    fn effect_kept(&mut self) {
        let index = self.random.random_range(0..self.owners.len());
        if self.owners[index].epoch < self.epoch {
            return;
        }
        let Some(effect) = self.owners[index].effects.pop_front() else { return };
        self.append(&Record::Effect(effect));
        self.owners[index].core.handle(Input::EffectAppended);
    }
}
