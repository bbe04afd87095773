//! A world of lanes, links and routers, moved on by a seeded chance.
//!
//! Lanes and routers are models: as strict as `LINK.md`, and no more able than it asks. Every channel delivers
//! in order and when chance says so. An owner answers admissions late, and hears goodbyes at once.
//!
//! In every second world owners look through the log's tail at once when interests are stated, and take no
//! question before: lanes must then see no gap at all. In the others a tail is looked through late, and a
//! lane may see a gap; it must be told of it by the tail then.

mod lanes;
mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use panda_protocol::link::{Events, LinkEvent};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const SHARDS: u16 = 2;
const LANES: u8 = 3;
const ROUTERS: usize = 2;
const ENTITIES: u8 = 5;

/// One router's term of a shard; it goes on believing in it until its successor is well known.
#[derive(Default)]
struct Term {
    generation: u64,
    interest: BTreeMap<EntityId, BTreeSet<LinkNumber>>,
    questions: VecDeque<(LinkNumber, Up)>,
    /// Links whose interests of before were stated, and told of: only they get watermarks.
    resumed: BTreeSet<LinkNumber>,
    /// Tails to be looked through: from and to where.
    tails: VecDeque<(LinkNumber, Option<usize>, usize)>,
}

struct Link {
    number: LinkNumber,
    router: usize,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

/// What a lane knows of an entity.
#[derive(Default)]
struct Listening {
    /// The next event, if it listens.
    next: Option<u64>,
    /// Admissions out.
    out: Vec<u64>,
    /// Nothing is delivered until this admission is answered.
    readmission: Option<u64>,
    /// It saw a gap, of which it is still to be told.
    gap: bool,
}

#[derive(Default)]
struct Lane {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    entities: BTreeMap<EntityId, Listening>,
    /// Reads out, and the term that gave a first part.
    reads: BTreeMap<u64, (EntityId, Option<Bytes>)>,
    generations: BTreeMap<ShardId, Generation>,
    questions: u64,
}

pub(super) struct World {
    chance: StdRng,
    core: Core,
    lanes: Vec<Lane>,
    links: Vec<Link>,
    next_link: LinkNumber,
    /// Entities of the commands of each shard.
    logs: Vec<Vec<EntityId>>,
    heads: BTreeMap<EntityId, u64>,
    /// Of each router, its terms.
    terms: Vec<BTreeMap<ShardId, Term>>,
    /// Who owns each shard, and its generation.
    owners: Vec<(usize, u64)>,
    proven: u64,
    late_tails: bool,
}

fn key(user: u8) -> EntityId {
    entity(user + 1)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            chance: StdRng::seed_from_u64(seed),
            core: Core::new(SHARDS, LANES),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            links: Vec::new(),
            next_link: 1,
            logs: vec![Vec::new(); usize::from(SHARDS)],
            heads: (0..ENTITIES).map(|n| (key(n), 0)).collect(),
            terms: (0..ROUTERS).map(|_| BTreeMap::new()).collect(),
            owners: vec![(0, 0); usize::from(SHARDS)],
            proven: 0,
            late_tails: seed % 2 == 1,
        };
        for shard in 0..SHARDS {
            world.take_over(ShardId(shard));
        }
        world
    }

    /// Events that a lane was shown where it expected them.
    pub(super) const fn proven(&self) -> u64 {
        self.proven
    }

    pub(super) fn step(&mut self) {
        let lane = self.chance.random_range(0..usize::from(LANES));
        let shard = ShardId(self.chance.random_range(0..SHARDS));
        let entity = key(self.chance.random_range(0..ENTITIES));
        match self.chance.random_range(0..1_000) {
            0..150 => self.lane_acts(lane, entity),
            150..300 => self.lane_up(lane),
            300..450 => self.link_up(),
            450..540 => self.owner_answers(shard),
            540..550 => self.owner_looks(shard),
            550..650 => self.event(entity),
            650..800 => self.link_down(),
            800..950 => self.lane_down(lane),
            950..965 => self.watermark(shard),
            965..975 => self.link_ends(),
            975..990 => self.link_opens(),
            990..995 => self.take_over(shard),
            _ => self.core.announced(shard, Generation(self.owners[usize::from(shard.0)].1)),
        }
        self.act();
    }

    /// Lets everything arrive, then looks at what came of it.
    pub(super) fn settle(&mut self) {
        for round in 0..2 {
            for shard in (0..SHARDS).map(ShardId) {
                self.core.announced(shard, Generation(self.owners[usize::from(shard.0)].1));
            }
            while self.links.len() < ROUTERS {
                self.link_opens();
            }
            self.deliver_all();
            if round == 0 {
                // An owner that believes in an interest that is none is told so with the next event.
                (0..ENTITIES).for_each(|n| self.event(key(n)));
            }
        }
        for (number, lane) in self.lanes.iter().enumerate() {
            assert!(lane.reads.is_empty(), "reads of lane {number} were answered");
            for (entity, one) in &lane.entities {
                assert!(one.out.is_empty() && one.readmission.is_none(), "lane {number} has its answers");
                assert!(!one.gap || one.next.is_none(), "lane {number} was told of what it missed");
                if let Some(next) = one.next {
                    assert_eq!(next, self.heads[entity] + 1, "lane {number} has all events of {entity:?}");
                }
            }
        }
        for n in 0..ENTITIES {
            let entity = key(n);
            let shard = entity.shard(SHARDS);
            let listen = |lane: &Lane| lane.entities.get(&entity).is_some_and(|one| one.next.is_some());
            let listeners = (0..LANES).filter(|lane| listen(&self.lanes[usize::from(*lane)])).collect::<Vec<_>>();
            let interests = &self.core.shards[usize::from(shard.0)].interests;
            let listed = interests.listeners(entity).map_or(Vec::new(), |lanes| lanes.iter().collect());
            assert_eq!(listed, listeners, "who listens is listed");
            let (owner, _) = self.owners[usize::from(shard.0)];
            let stated = self.terms[owner][&shard].interest.get(&entity).is_some_and(|links| !links.is_empty());
            assert_eq!(stated, !listeners.is_empty(), "the owner knows who listens");
        }
        assert!(self.core.reads.is_empty() && self.core.shards.iter().all(|shard| shard.reads == 0));
    }

    fn deliver_all(&mut self) {
        loop {
            let mut moved = false;
            for lane in 0..usize::from(LANES) {
                while !self.lanes[lane].up.is_empty() {
                    self.lane_up(lane);
                    self.act();
                    moved = true;
                }
            }
            for link in 0..self.links.len() {
                while let Some(up) = self.links[link].up.pop_front() {
                    self.router_takes(link, up);
                    moved = true;
                }
            }
            for shard in (0..SHARDS).map(ShardId) {
                let (owner, _) = self.owners[usize::from(shard.0)];
                while !self.terms[owner][&shard].questions.is_empty() {
                    self.owner_answers(shard);
                    moved = true;
                }
                while !self.terms[owner][&shard].tails.is_empty() {
                    self.owner_looks(shard);
                    moved = true;
                }
            }
            for link in 0..self.links.len() {
                while let Some(down) = self.links[link].down.pop_front() {
                    self.core.down(self.links[link].number, down);
                    self.act();
                    moved = true;
                }
            }
            for lane in 0..usize::from(LANES) {
                while !self.lanes[lane].down.is_empty() {
                    self.lane_down(lane);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// What the core asked for goes into the channels. A link that is gone takes nothing.
    fn act(&mut self) {
        while let Some(output) = self.core.next_output() {
            match output {
                Output::Down(lane, down) => self.lanes[usize::from(lane)].down.push_back(down),
                Output::Up(number, up) => {
                    if let Some(link) = self.links.iter_mut().find(|link| link.number == number) {
                        link.up.push_back(up);
                    }
                }
            }
        }
    }

    fn link_up(&mut self) {
        let links: Vec<usize> = (0..self.links.len()).collect();
        let Some(link) = links.choose(&mut self.chance).copied() else { return };
        if let Some(up) = self.links[link].up.pop_front() {
            self.router_takes(link, up);
        }
    }

    fn link_down(&mut self) {
        let links: Vec<usize> = (0..self.links.len()).collect();
        let Some(link) = links.choose(&mut self.chance).copied() else { return };
        if let Some(down) = self.links[link].down.pop_front() {
            self.core.down(self.links[link].number, down);
        }
    }

    /// What was on its way is lost.
    fn link_ends(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let place = self.chance.random_range(0..self.links.len());
        let Link { number, router, .. } = self.links.swap_remove(place);
        for term in self.terms[router].values_mut() {
            for links in term.interest.values_mut() {
                links.remove(&number);
            }
            term.questions.retain(|(of, _)| *of != number);
            term.resumed.remove(&number);
        }
        self.core.link_ended(number);
    }

    fn link_opens(&mut self) {
        let linked = |router: &usize| self.links.iter().any(|link| link.router == *router);
        let free: Vec<usize> = (0..ROUTERS).filter(|router| !linked(router)).collect();
        let Some(router) = free.choose(&mut self.chance).copied() else { return };
        let down = self.terms[router]
            .iter()
            .map(|(shard, term)| Down::Owner { shard: *shard, generation: Generation(term.generation) })
            .collect();
        self.links.push(Link { number: self.next_link, router, up: VecDeque::new(), down });
        self.next_link += 1;
    }

    /// Any router takes a shard over, the one that has it, too. An older owner goes on for now.
    fn take_over(&mut self, shard: ShardId) {
        let router = self.chance.random_range(0..ROUTERS);
        let (_, generation) = &mut self.owners[usize::from(shard.0)];
        *generation += 1;
        let generation = *generation;
        self.owners[usize::from(shard.0)] = (router, generation);
        self.terms[router].insert(shard, Term { generation, ..Term::default() });
        for link in self.links.iter_mut().filter(|link| link.router == router) {
            link.down.push_back(owner(shard, generation));
        }
    }
}
