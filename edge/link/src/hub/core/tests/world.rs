//! A world of lanes, links and routers, moved on by a seeded chance.
//!
//! Lanes and routers are models: as strict as `LINK.md`, and no more able than it asks. Every channel delivers
//! in order and when chance says so. An owner answers admissions late, and hears goodbyes at once.
//!
//! In every second world owners look through the log's tail at once when interests are stated, and take no
//! question before: lanes must then see no gap at all. In the others a tail is looked through late, and a
//! lane may see a gap; it must be told of it by the tail then.

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

    // === lanes ===

    fn token(&mut self, lane: usize) -> u64 {
        self.lanes[lane].questions += 1;
        self.lanes[lane].questions << 8 | lane as u64
    }

    fn ask(&mut self, lane: usize, entity: EntityId) -> u64 {
        let token = self.token(lane);
        let admit = Admit { token, user: user(1), entity, cursor: None, member_at: None };
        self.lanes[lane].up.push_back(Up::Admit(admit));
        self.lanes[lane].entities.entry(entity).or_default().out.push(token);
        token
    }

    fn lane_acts(&mut self, lane: usize, entity: EntityId) {
        match self.chance.random_range(0..10) {
            0..4 => drop(self.ask(lane, entity)),
            4..6 => {
                let token = self.token(lane);
                self.lanes[lane].reads.insert(token, (entity, None));
                self.lanes[lane].up.push_back(Up::Read(Read { token, user: user(1), entity, query: ReadQuery::Info }));
            }
            6 => {
                // An answer did not come in time.
                let one = self.lanes[lane].entities.entry(entity).or_default();
                if let Some(token) = one.out.pop() {
                    self.gave_up(lane, entity, token);
                    self.goodbye(lane, entity);
                }
            }
            _ => {
                let one = self.lanes[lane].entities.entry(entity).or_default();
                if one.out.is_empty() && one.next.take().is_some() {
                    self.goodbye(lane, entity);
                }
            }
        }
    }

    /// Who waited for a new admission listens no more.
    fn gave_up(&mut self, lane: usize, entity: EntityId, token: u64) {
        let one = self.lanes[lane].entities.entry(entity).or_default();
        if one.readmission.take_if(|readmission| *readmission == token).is_some() {
            one.next = None;
        }
    }

    fn goodbye(&mut self, lane: usize, entity: EntityId) {
        let lane = &mut self.lanes[lane];
        if lane.entities.get(&entity).is_some_and(|one| one.out.is_empty() && one.next.is_none()) {
            lane.up.push_back(Up::Forget { entity });
        }
    }

    fn lane_up(&mut self, lane: usize) {
        if let Some(up) = self.lanes[lane].up.pop_front() {
            self.core.up(u8::try_from(lane).unwrap(), up);
        }
    }

    fn lane_down(&mut self, lane: usize) {
        let Some(down) = self.lanes[lane].down.pop_front() else { return };
        match down {
            Down::Owner { shard, generation } => {
                self.newest(lane, shard, generation);
                self.ask_again(lane, shard);
            }
            Down::Admitted(admitted) => self.lane_admitted(lane, &admitted),
            Down::Events(events) => {
                self.newest(lane, events.entity.shard(SHARDS), events.generation);
                for event in &events.events {
                    self.lane_event(lane, events.entity, event.seq.0);
                }
            }
            Down::Head { generation, entity, head, readmit } => {
                self.newest(lane, entity.shard(SHARDS), generation);
                if readmit {
                    self.readmit(lane, entity);
                } else if let Some(next) = self.lanes[lane].entities.get_mut(&entity).and_then(|one| one.next.as_mut())
                {
                    *next = (*next).max(head.0 + 1);
                }
            }
            Down::Readmit { shard, generation } => {
                self.newest(lane, shard, generation);
                let entities: Vec<EntityId> = self.lanes[lane].entities.keys().copied().collect();
                for entity in entities.into_iter().filter(|entity| entity.shard(SHARDS) == shard) {
                    self.readmit(lane, entity);
                }
            }
            Down::Read(reply) => {
                let Some((_, first)) = self.lanes[lane].reads.get_mut(&reply.token) else { return };
                let body = reply.body.expect("reads are not refused here");
                let first = first.get_or_insert_with(|| body.clone());
                assert_eq!(*first, body, "all parts are of one term");
                if reply.last {
                    self.lanes[lane].reads.remove(&reply.token);
                }
            }
            other => panic!("{other:?} is not for a lane"),
        }
    }

    /// What comes down is of the newest term that this lane knows.
    fn newest(&mut self, lane: usize, shard: ShardId, generation: Generation) {
        let known = self.lanes[lane].generations.entry(shard).or_default();
        assert!(*known <= generation, "a frame of an older term reached a lane");
        *known = generation;
    }

    fn ask_again(&mut self, lane: usize, shard: ShardId) {
        let lane = &mut self.lanes[lane];
        for (entity, one) in lane.entities.iter().filter(|(entity, _)| entity.shard(SHARDS) == shard) {
            for token in &one.out {
                let admit = Admit { token: *token, user: user(1), entity: *entity, cursor: None, member_at: None };
                lane.up.push_back(Up::Admit(admit));
            }
        }
        lane.reads.retain(|token, (entity, first)| {
            let here = entity.shard(SHARDS) == shard;
            if here && first.is_none() {
                let read = Read { token: *token, user: user(1), entity: *entity, query: ReadQuery::Info };
                lane.up.push_back(Up::Read(read));
            }
            !here || first.is_none()
        });
    }

    fn lane_admitted(&mut self, lane: usize, admitted: &Admitted) {
        let (entity, token) = (admitted.entity, admitted.token);
        self.newest(lane, entity.shard(SHARDS), admitted.generation);
        let one = self.lanes[lane].entities.entry(entity).or_default();
        let Some(place) = one.out.iter().position(|out| *out == token) else { return };
        one.out.remove(place);
        match &admitted.outcome {
            Ok(admission) => {
                let next = admission.head.0 + 1;
                let readmitted = one.readmission.take_if(|readmission| *readmission == token).is_some();
                match one.next {
                    Some(before) if !readmitted && one.readmission.is_none() => {
                        assert!(
                            before == next || (self.late_tails && before < next),
                            "lane {lane} has what stands before an admission: {before} of {next}"
                        );
                        one.gap |= before < next;
                    }
                    _ => one.gap = false,
                }
                if readmitted || one.readmission.is_none() {
                    one.next = Some(next);
                }
            }
            Err(_) => self.gave_up(lane, entity, token),
        }
        self.goodbye(lane, entity);
    }

    fn lane_event(&mut self, lane: usize, entity: EntityId, seq: u64) {
        let one = self.lanes[lane].entities.entry(entity).or_default();
        match &mut one.next {
            Some(next) if one.readmission.is_none() => {
                assert!(
                    *next == seq || (self.late_tails && *next < seq),
                    "lane {lane} misses or repeats events of {entity:?}: {seq} comes for {next}"
                );
                one.gap |= *next < seq;
                *next = seq + 1;
                self.proven += 1;
            }
            None if one.out.is_empty() => self.lanes[lane].up.push_back(Up::Forget { entity }),
            _ => {}
        }
    }

    fn readmit(&mut self, lane: usize, entity: EntityId) {
        if self.lanes[lane].entities.get(&entity).is_some_and(|one| one.next.is_some()) {
            let token = self.ask(lane, entity);
            let one = self.lanes[lane].entities.entry(entity).or_default();
            one.readmission = Some(token);
            one.gap = false;
        }
    }

    // === links and routers ===

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

    fn router_takes(&mut self, link: usize, up: Up) {
        let Link { number, router, .. } = self.links[link];
        let shard = up.shard(SHARDS);
        let Some(term) = self.terms[router].get_mut(&shard) else { return };
        match up {
            Up::Admit(_) | Up::Read(_) if !self.late_tails && !term.resumed.contains(&number) => {}
            Up::Admit(_) | Up::Read(_) => term.questions.push_back((number, up)),
            Up::Forget { entity } => {
                if let Some(links) = term.interest.get_mut(&entity) {
                    links.remove(&number);
                }
            }
            // It was stated to another term.
            Up::Resume(resume) if resume.generation.0 != term.generation => {}
            Up::Resume(resume) => {
                for entity in resume.entities {
                    term.interest.entry(entity).or_default().insert(number);
                }
                if resume.last {
                    let to = self.logs[usize::from(shard.0)].len();
                    let from = resume.watermark.map(|from| usize::try_from(from.offset).expect("it is small"));
                    term.tails.push_back((number, from, to));
                    if !self.late_tails {
                        self.owner_looks(shard);
                    }
                }
            }
            other => panic!("{other:?} is not sent here"),
        }
    }

    /// Tells a link what it may have missed.
    fn owner_looks(&mut self, shard: ShardId) {
        for router in 0..ROUTERS {
            let Some(term) = self.terms[router].get_mut(&shard) else { continue };
            let Some((number, from, to)) = term.tails.pop_front() else { continue };
            let Some(link) = self.links.iter_mut().find(|link| link.number == number) else { continue };
            term.resumed.insert(number);
            let generation = Generation(term.generation);
            let Some(from) = from else {
                link.down.push_back(Down::Readmit { shard, generation });
                continue;
            };
            let tail = self.logs[usize::from(shard.0)].get(from..to).unwrap_or_default();
            for entity in tail.iter().copied().collect::<BTreeSet<_>>() {
                if term.interest.get(&entity).is_some_and(|links| links.contains(&number)) {
                    link.down.push_back(Down::Head { generation, entity, head: Seq(0), readmit: true });
                }
            }
        }
    }

    /// The owner answers the question that waits longest. A zombie answers none: it does not reach the log.
    fn owner_answers(&mut self, shard: ShardId) {
        let (owner, _) = self.owners[usize::from(shard.0)];
        let Some(term) = self.terms[owner].get_mut(&shard) else { return };
        let Some((number, question)) = term.questions.pop_front() else { return };
        let generation = Generation(term.generation);
        let Some(link) = self.links.iter_mut().find(|link| link.number == number) else { return };
        match question {
            Up::Admit(admit) => {
                let outcome = if self.chance.random_bool(0.1) {
                    Err(Rejection::new(ErrorCode::NotMember))
                } else {
                    term.interest.entry(admit.entity).or_default().insert(number);
                    Ok(admission(self.heads[&admit.entity]))
                };
                let admitted = Admitted { token: admit.token, generation, entity: admit.entity, outcome };
                link.down.push_back(Down::Admitted(admitted));
            }
            Up::Read(read) => {
                for last in [false, true] {
                    let body = Ok(Bytes::copy_from_slice(&term.generation.to_be_bytes()));
                    link.down.push_back(Down::Read(ReadReply { token: read.token, last, body }));
                }
            }
            other => panic!("{other:?} is no question"),
        }
    }

    /// The owner stores an event and tells of it; on a full link only where the entity is.
    fn event(&mut self, entity: EntityId) {
        let shard = entity.shard(SHARDS);
        let seq = self.heads[&entity] + 1;
        self.heads.insert(entity, seq);
        self.logs[usize::from(shard.0)].push(entity);
        let (owner, generation) = self.owners[usize::from(shard.0)];
        let generation = Generation(generation);
        let interested = self.terms[owner].get(&shard).and_then(|term| term.interest.get(&entity));
        for number in interested.into_iter().flatten() {
            let Some(link) = self.links.iter_mut().find(|link| link.number == *number) else { continue };
            link.down.push_back(if self.chance.random_bool(0.1) {
                Down::Head { generation, entity, head: Seq(seq), readmit: self.chance.random_bool(0.5) }
            } else {
                let event = LinkEvent { seq: Seq(seq), ends: None, event: Bytes::new() };
                Down::Events(Events { generation, entity, events: vec![event] })
            });
        }
    }

    fn watermark(&mut self, shard: ShardId) {
        let (owner, generation) = self.owners[usize::from(shard.0)];
        let offset = self.logs[usize::from(shard.0)].len() as u64;
        let (generation, position) = (Generation(generation), Position { epoch: 1, offset });
        let Some(term) = self.terms[owner].get(&shard) else { return };
        for link in self.links.iter_mut().filter(|link| term.resumed.contains(&link.number)) {
            link.down.push_back(Down::Watermark { shard, generation, position });
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
