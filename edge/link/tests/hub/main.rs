//! A hub over TCP: routers that break, move, lie and hang, and lanes that sleep.

#[path = "../../../../protocol/link-io/tests/support/certificates.rs"]
mod certificates;
mod failure;
mod router;
mod tls;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use panda_link::hub::{Hub, HubConfig, HubLane};
use panda_protocol::event::Role;
use panda_protocol::frame::{Admission, Start};
use panda_protocol::link::{Admit, Admitted, Down, Events, LinkEvent, LinkId, Resume, Up};
use panda_protocol::{EntityId, Generation, Incarnation, Position, Seq, SessionId, ShardId};
use panda_storage::OwnershipBoard as _;
use panda_storage::embedded::MemoryBoard;
use tokio::time::{Instant, timeout};

use self::router::{Accepted, FakeRouter, PATIENCE, entity_in, key, user};

const SHARDS: u16 = 2;

struct Edge {
    hub: Hub,
    lanes: Vec<HubLane>,
    /// Of each lane, what came and was not looked at.
    came: Vec<VecDeque<Down>>,
}

impl Edge {
    fn start(board: &MemoryBoard) -> Self {
        Self::start_with(board, vec![key(1)])
    }

    fn start_with(board: &MemoryBoard, keys: Vec<panda_protocol::link::LinkKey>) -> Self {
        let config = HubConfig { link: LinkId(7), keys, tls: None, shards: SHARDS, lanes: 2 };
        let (hub, lanes) = Hub::start(config, board.watch()).expect("it starts");
        let came = lanes.iter().map(|_| VecDeque::new()).collect();
        Self { hub, lanes, came }
    }

    async fn up(&self, lane: usize, up: Up) {
        timeout(PATIENCE, self.lanes[lane].up.send(up)).await.expect("the hub takes it").expect("the hub runs");
    }

    /// What comes next down a lane.
    async fn next(&mut self, lane: usize) -> Down {
        while self.came[lane].is_empty() {
            let came = timeout(PATIENCE, self.lanes[lane].down.recv()).await;
            self.came[lane].extend(came.expect("something comes").expect("the hub runs"));
        }
        self.came[lane].pop_front().expect("something came")
    }

    /// Frames down a lane up to one that fits.
    async fn until(&mut self, lane: usize, fits: impl Fn(&Down) -> bool) -> Vec<Down> {
        let mut downs = Vec::new();
        loop {
            let down = self.next(lane).await;
            let last = fits(&down);
            downs.push(down);
            if last {
                return downs;
            }
        }
    }

    async fn owner(&mut self, generation: u64) {
        for lane in 0..self.lanes.len() {
            self.until(lane, |down| matches!(down, Down::Owner { generation: of, .. } if of.0 == generation)).await;
        }
    }
}

fn admit(n: u8, entity: EntityId, token: u64) -> Up {
    Up::Admit(Admit { token, user: user(n), entity, cursor: None, member: None, opens: None })
}

fn admitted(entity: EntityId, token: u64, generation: u64, head: u64) -> Down {
    let admission = Admission {
        start: Start::Live,
        incarnation: Incarnation::default(),
        from: Seq(head + 1),
        head: Seq(head),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Bytes::new(),
    };
    Down::Admitted(Admitted { token, generation: Generation(generation), entity, outcome: Ok(admission) })
}

fn event(entity: EntityId, generation: u64, seq: u64) -> Down {
    let event = LinkEvent { seq: Seq(seq), ends: None, event: Bytes::from_static(b"event") };
    Down::Events(Events { generation: Generation(generation), entity, events: vec![event] })
}

async fn resumed(link: &mut Accepted) -> Resume {
    match link.next().await {
        Up::Resume(resume) => resume,
        up => panic!("{up:?} came before the interests were stated"),
    }
}

/// A lane listens to the entity from `head` on.
async fn listen(edge: &mut Edge, lane: u8, link: &mut Accepted, entity: EntityId, generation: u64, head: u64) {
    let token = 0x700 | u64::from(lane);
    edge.up(usize::from(lane), admit(1, entity, token)).await;
    assert_eq!(link.next().await, admit(1, entity, token));
    link.send(vec![admitted(entity, token, generation, head)]).await;
    edge.until(usize::from(lane), |down| matches!(down, Down::Admitted(_))).await;
}

#[tokio::test]
async fn frames_go_to_the_owner_of_their_shard_and_back_to_the_lanes_that_they_are_for() {
    let (board, one, other) = (MemoryBoard::default(), FakeRouter::listen(1).await, FakeRouter::listen(2).await);
    one.announce(&board, 0, 5).await;
    other.announce(&board, 1, 6).await;
    let mut edge = Edge::start(&board);
    let (mut to_one, mut to_other) = (one.accept().await, other.accept().await);
    to_one.own(0, 5).await;
    to_other.own(1, 6).await;
    assert!(resumed(&mut to_one).await.entities.is_empty());
    assert!(resumed(&mut to_other).await.entities.is_empty());
    for lane in 0..2 {
        // In whatever order.
        for _ in 0..2 {
            edge.until(lane, |down| matches!(down, Down::Owner { .. })).await;
        }
    }
    let (first, second) = (entity_in(ShardId(0), SHARDS).1, entity_in(ShardId(1), SHARDS).1);
    listen(&mut edge, 0, &mut to_one, first, 5, 3).await;
    listen(&mut edge, 1, &mut to_one, first, 5, 3).await;
    listen(&mut edge, 1, &mut to_other, second, 6, 8).await;
    to_one.send(vec![event(first, 5, 4)]).await;
    for lane in 0..2 {
        assert_eq!(edge.next(lane).await, event(first, 5, 4));
    }
    to_other.send(vec![event(second, 6, 9)]).await;
    assert_eq!(edge.next(1).await, event(second, 6, 9));
    let replaced = Down::Replaced { session: SessionId::from_random([1; 16]) };
    to_other.send(vec![replaced.clone()]).await;
    for lane in 0..2 {
        assert_eq!(edge.next(lane).await, replaced.clone());
    }
    edge.hub.stop().await;
    to_one.closed().await;
    to_other.closed().await;
}

#[tokio::test]
async fn a_link_that_broke_opens_again_and_states_what_is_listened_to() {
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await);
    router.announce(&board, 0, 5).await;
    let mut edge = Edge::start(&board);
    let mut link = router.accept().await;
    link.own(0, 5).await;
    resumed(&mut link).await;
    edge.owner(5).await;
    let entity = entity_in(ShardId(0), SHARDS).1;
    listen(&mut edge, 0, &mut link, entity, 5, 3).await;
    let (shard, generation, position) = (ShardId(0), Generation(5), Position { epoch: 1, offset: 9 });
    link.send(vec![Down::Watermark { shard, generation, position }, event(entity, 5, 4)]).await;
    assert_eq!(edge.next(0).await, event(entity, 5, 4), "watermarks stay at the hub");
    link.end().await;

    let mut link = router.accept().await;
    // Nothing is asked before the owner has said that it is one; the lane asks it again then.
    edge.up(1, admit(1, entity, 0x901)).await;
    link.own(0, 5).await;
    let resume = Resume { shard, generation, watermark: Some(position), last: true, entities: vec![entity] };
    assert_eq!(resumed(&mut link).await, resume);
    edge.owner(5).await;
    link.send(vec![event(entity, 5, 5)]).await;
    assert_eq!(edge.next(0).await, event(entity, 5, 5));
    edge.up(0, Up::Forget { entity }).await;
    assert_eq!(link.next().await, Up::Forget { entity });
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_shard_that_moved_is_served_by_its_new_owner_and_the_old_one_is_heard_no_more() {
    let (board, old, new) = (MemoryBoard::default(), FakeRouter::listen(1).await, FakeRouter::listen(2).await);
    old.announce(&board, 0, 5).await;
    let mut edge = Edge::start(&board);
    let mut to_old = old.accept().await;
    to_old.own(0, 5).await;
    resumed(&mut to_old).await;
    edge.owner(5).await;
    let entity = entity_in(ShardId(0), SHARDS).1;
    listen(&mut edge, 0, &mut to_old, entity, 5, 3).await;

    new.announce(&board, 0, 9).await;
    let mut to_new = new.accept().await;
    to_new.own(0, 9).await;
    assert_eq!(resumed(&mut to_new).await.entities, [entity]);
    edge.owner(9).await;
    // The zombie goes on for a while.
    to_old.own(0, 5).await;
    to_old.send(vec![event(entity, 5, 4)]).await;
    to_old.send(vec![Down::Replaced { session: SessionId::from_random([2; 16]) }]).await;
    edge.until(0, |down| matches!(down, Down::Replaced { .. })).await.into_iter().for_each(|down| {
        assert!(matches!(down, Down::Replaced { .. }), "{down:?} is a zombie's");
    });
    to_new.send(vec![event(entity, 9, 4)]).await;
    assert_eq!(edge.next(0).await, event(entity, 9, 4));
    // Questions go to the new one.
    edge.up(0, admit(1, entity, 0x900)).await;
    assert_eq!(to_new.next().await, admit(1, entity, 0x900));
    // A router that owns nothing is let go after a while.
    to_old.closed().await;
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_bad_address_slows_nobody_down() {
    let (board, silent, good) = (MemoryBoard::default(), FakeRouter::listen(1).await, FakeRouter::listen(2).await);
    silent.announce(&board, 0, 5).await;
    let mut edge = Edge::start(&board);
    let _silent = silent.accept_silently().await;
    let started = Instant::now();
    good.announce(&board, 1, 6).await;
    let link = good.accept().await;
    link.own(1, 6).await;
    edge.owner(6).await;
    // The other one's opening may take 5 s.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_router_that_hangs_is_left_and_tried_again() {
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await);
    router.announce(&board, 0, 5).await;
    let mut edge = Edge::start(&board);
    let hanging = router.accept_and_hang().await;
    let link = router.accept().await;
    link.own(0, 5).await;
    edge.owner(5).await;
    drop(hanging);
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_router_that_knows_only_the_previous_secret_is_reached() {
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await.with_keys(vec![key(2)]));
    router.announce(&board, 0, 5).await;
    let mut edge = Edge::start_with(&board, vec![key(1), key(2)]);
    router.accept().await.own(0, 5).await;
    edge.owner(5).await;
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_lane_that_sleeps_gets_a_head_and_holds_nobody_up() {
    const EVENTS: u64 = 40_000;
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await);
    router.announce(&board, 0, 5).await;
    let mut edge = Edge::start(&board);
    let mut link = router.accept().await;
    link.own(0, 5).await;
    resumed(&mut link).await;
    edge.owner(5).await;
    let entity = entity_in(ShardId(0), SHARDS).1;
    for lane in 0..2 {
        listen(&mut edge, lane, &mut link, entity, 5, 0).await;
    }
    let mut next = 1;
    for from in (1..=EVENTS).step_by(1_000) {
        link.send((from..from + 1_000).map(|seq| event(entity, 5, seq)).collect()).await;
        while next < from + 1_000 {
            next = taken(&[edge.next(0).await], next);
        }
    }
    // The other one wakes up: some events, without a gap, then where the entity is.
    let mut next = 1;
    let head = loop {
        match edge.next(1).await {
            Down::Head { head, readmit, .. } => {
                assert!(!readmit, "no right has ended");
                break head;
            }
            down => next = taken(&[down], next),
        }
    };
    assert!(next < EVENTS && head == Seq(EVENTS), "{next} came, then {head}");
    edge.hub.stop().await;
}

/// What is next behind these events. That another shard has no owner is said between them after a while.
fn taken(downs: &[Down], mut next: u64) -> u64 {
    for down in downs.iter().filter(|down| !matches!(down, Down::Backlog { .. })) {
        let Down::Events(events) = down else { panic!("{down:?} is no event") };
        for event in &events.events {
            assert_eq!(event.seq, Seq(next));
            next += 1;
        }
    }
    next
}

#[tokio::test]
async fn a_dropped_hub_closes_its_links_and_a_wrong_number_of_lanes_is_refused() {
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await);
    router.announce(&board, 0, 5).await;
    let Edge { hub, lanes, .. } = Edge::start(&board);
    let link = router.accept().await;
    drop(hub);
    link.closed().await;
    drop(lanes);
    for lanes in [0, 65] {
        let config = HubConfig { link: LinkId(7), keys: vec![key(1)], tls: None, shards: SHARDS, lanes };
        assert!(Hub::start(config, board.watch()).is_err());
    }
}
