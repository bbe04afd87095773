//! A router that ends in the middle of its work, and edges that hear of the next owner sooner or later.
//!
//! What is drawn step by step meets this seldom: an edge whose watermark is ahead of the checkpoint, an
//! event behind it that was stored and not sent, and a new owner that loads its entity before the edge
//! states its interests.

use panda_protocol::codec::Writer;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{CommandOrigin, CommandRecord, LinkId};
use panda_protocol::{Counter, DeviceId, Generation, Time};
use panda_router::shard::Input;
use rand::Rng;

use super::super::reference::Reference;
use super::super::rules::BREAKING;
use super::clients::group;
use super::{EDGES, USERS, World, user};

/// Between two watermarks, and less than between two checkpoints, in microseconds.
const WATERMARK_US: u64 = 250_000;

impl World {
    /// Sessions are admitted by an owner, which ends at any point of what it does for the next commands;
    /// once the next owner has done all, they have everything.
    pub(super) fn fall(&mut self) {
        if self.owners.len() >= 2 || self.was_cut {
            return;
        }
        self.store.mend();
        let first = self.new_owner();
        self.calm(first);
        (0..4).for_each(|_| self.admit_by(first));
        self.calm(first);
        self.tick_of(first);
        for _ in 0..self.random.random_range(1..4) {
            (0..self.random.random_range(1..5)).for_each(|_| self.say());
            self.work(first, 120);
            self.tick_of(first);
        }
        (0..self.random.random_range(1..5)).for_each(|_| self.say());
        self.work(first, 60);
        self.end_of(first);
        self.mended = self.mends;
        if self.mends && self.random.random_bool(0.5) {
            // Nobody hears of one that does some of what the first one left.
            let second = self.new_owner();
            self.work(second, 400);
            self.tick_of(second);
            self.work(second, 100);
            self.end_of(second);
        }
        let next = self.new_owner();
        for edge in 0..EDGES {
            self.work(next, 40);
            self.hear(next, edge);
        }
        self.calm(next);
        self.check_live(&Reference::run(&self.log, self.last_release(), None));
    }

    /// Somebody says something from a new device: it is in order, whatever came before.
    fn say(&mut self) {
        let (actor, device) = (user(self.random.random_range(0..USERS)), DeviceId::from_random(self.random.random()));
        let breaks = self.mends && !self.mended && self.random.random_bool(0.3);
        let text = if breaks { BREAKING.into() } else { format!("{}", self.next_token) };
        let body = CommandBody::Send { format: MessageFormat::Text, text: text.as_str().into() };
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        self.command(CommandRecord {
            origin: CommandOrigin { link: LinkId(0), token: 0 },
            entity: group().into(),
            actor,
            device,
            counter: Counter(1),
            after: Counter(0),
            command: command.freeze(),
        });
    }

    fn new_owner(&mut self) -> Generation {
        self.routers += 1;
        self.own(self.routers, self.release())
    }

    fn end_of(&mut self, term: Generation) {
        self.owners.retain(|owner| owner.core.generation() != term);
        self.covered.crashes += 1;
    }

    fn tick_of(&mut self, term: Generation) {
        self.now += WATERMARK_US;
        let now = self.now;
        self.with_owner_of(term, |owner, _| owner.core.handle(Input::Tick(Time(now - owner.started))));
    }

    /// An owner does some of what there is to do; its log may be slower than its store.
    fn work(&mut self, term: Generation, steps_max: usize) {
        let records = self.random.random_range(0.02..0.2);
        for _ in 0..self.random.random_range(0..steps_max) {
            match self.random.random_range(0..3) {
                _ if self.random.random_bool(records) => self.read_by(term, 1),
                0 => drop(self.store.deliver()),
                _ => self.with_owner_of(term, |owner, random| owner.step_any(random)),
            }
        }
    }

    /// Everybody goes on until an owner has done all that there is to do.
    fn calm(&mut self, term: Generation) {
        for _ in 0..100_000 {
            match self.random.random_range(0..13) {
                0 => self.effect_kept(),
                1 => self.end(),
                2..=3 => self.read_by(term, 5),
                4 => self.tail(),
                5 => self.tick_of(term),
                6..=8 => drop(self.store.deliver()),
                _ => self.with_owner_of(term, |owner, random| owner.step_any(random)),
            }
            let owner = self.owners.iter().find(|owner| owner.core.generation() == term);
            if owner.expect("nobody takes over").is_done(self.log.len()) {
                return;
            }
        }
        panic!("it does not come to an end");
    }
}
