//! Shards that move between routers under load: planned, by a stop, by a kill, and without the old owner's
//! knowledge. Edge and routers are joined by real connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use panda_link_io::open;
use panda_protocol::link::{LinkKey, Resume};
use panda_protocol::{Generation, Position};
use panda_router::Router;
use panda_router::listener::{LinkListener, ListenerLimits, Listening};
use panda_storage::{Ownership, OwnershipBoard, OwnershipWatch as _, StoreError};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::support::group::SharedLog;

const SHARDS: u16 = 4;
const CHATS: u8 = 8;
const KEY: LinkKey = LinkKey([5; 32]);
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    router: Router,
    listening: Listening,
}

struct Cluster {
    log: SharedLog,
    store: MemoryStore,
    edge: TestEdge,
    /// Who is to own each shard.
    owners: Vec<u64>,
}

impl Cluster {
    fn new() -> Self {
        let log = SharedLog::new(SHARDS);
        let edge = TestEdge { log: log.clone(), known: Arc::default() };
        Self { log, store: MemoryStore::new(1, true, BUCKET_EVENTS), edge, owners: vec![0; usize::from(SHARDS)] }
    }

    /// A router that has joined, and the edge's link to it.
    async fn node(&self, id: u64) -> Node {
        let board = MemoryBoard::default();
        let router =
            start(RouterConfig::new(id), self.log.clone(), self.store.clone(), board).await.expect("it starts");
        let listener = LinkListener::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port is free");
        let address = listener.address().expect("it is bound");
        let listening = listener.listen(&router, vec![KEY], ListenerLimits::default());
        self.edge.connect(address).await;
        Node { router, listening }
    }

    /// As a group does it: one after the other.
    fn move_shard(&mut self, shard: ShardId, to: u64) {
        let owner = &mut self.owners[usize::from(shard.0)];
        if *owner > 0 {
            self.log.revoke(*owner, shard);
        }
        *owner = to;
        self.log.assign(to, shard);
    }

    /// Gives the shards of a router that left to another one.
    async fn inherit(&mut self, left: u64, heir: u64) {
        until(|| !self.log.is_member(left)).await;
        for shard in
            (0..SHARDS).map(ShardId).filter(|shard| self.owners[usize::from(shard.0)] == left).collect::<Vec<_>>()
        {
            self.owners[usize::from(shard.0)] = heir;
            self.log.assign(heir, shard);
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, held).await.expect("it comes to hold");
}

/// An edge with a link to each router, and what it was told over them.
#[derive(Clone)]
struct TestEdge {
    log: SharedLog,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    generations: HashMap<ShardId, Generation>,
    waiting: HashMap<u64, Waiting>,
    token: u64,
    chats: Vec<EntityId>,
    /// Every event that came, by a current owner.
    events: BTreeMap<(EntityId, Seq), Bytes>,
}

struct Waiting {
    entity: EntityId,
    position: Position,
    answer: oneshot::Sender<Outcome>,
}

impl Known {
    fn is_current(&mut self, shard: ShardId, generation: Generation) -> bool {
        let known = self.generations.entry(shard).or_insert(generation);
        *known = generation.max(*known);
        *known == generation
    }

    /// Takes a frame; what is to go up for it.
    fn take(&mut self, down: Down) -> Vec<Up> {
        match down {
            Down::Owner { shard, generation } if self.is_current(shard, generation) => {
                let entities = self.chats.iter().copied().filter(|chat| chat.shard(SHARDS) == shard).collect();
                let asked = self.waiting.iter().filter(|(_, waiting)| waiting.entity.shard(SHARDS) == shard);
                let mut ups = vec![Up::Resume(Resume { shard, generation, watermark: None, last: true, entities })];
                ups.extend(asked.map(|(token, waiting)| {
                    let Waiting { entity, position, .. } = *waiting;
                    Up::Ask { token: *token, entity, position }
                }));
                ups
            }
            Down::Answer(answer) => {
                if let Some(entity) = self.waiting.get(&answer.token).map(|waiting| waiting.entity)
                    && self.is_current(entity.shard(SHARDS), answer.generation)
                    && let Some(waiting) = self.waiting.remove(&answer.token)
                {
                    waiting.answer.send(answer.outcome).expect("every answer is waited for");
                }
                Vec::new()
            }
            Down::Events(events) if self.is_current(events.entity.shard(SHARDS), events.generation) => {
                for event in events.events {
                    let first = self.events.entry((events.entity, event.seq)).or_insert_with(|| event.event.clone());
                    assert_eq!(*first, event.event, "an event is the same whoever tells it");
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

impl TestEdge {
    async fn connect(&self, address: std::net::SocketAddr) {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let link = open(stream, &KEY, LINK).await.expect("it opens");
        let (up, mut ups) = mpsc::channel(1_024);
        let (mut downs, mut down) = mpsc::channel::<Vec<Down>>(64);
        let known = Arc::clone(&self.known);
        tokio::spawn(async move {
            // It ends with its router.
            drop(link.carry(&mut ups, &mut downs).await);
        });
        tokio::spawn(async move {
            while let Some(batch) = down.recv().await {
                for frame in batch {
                    let to_say = known.lock().expect("not poisoned").take(frame);
                    for frame in to_say {
                        drop(up.send(frame).await);
                    }
                }
            }
        });
    }

    /// Appends a command and waits for what became of it; sends it again while nobody knows.
    async fn command(&self, entity: EntityId, actor: UserId, counter: u64, body: &CommandBody) -> Seq {
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        let command = command.freeze();
        loop {
            let answered = {
                let mut known = self.known.lock().expect("not poisoned");
                known.token += 1;
                let token = known.token;
                let record = Record::Command(CommandRecord {
                    origin: CommandOrigin { link: LINK, token },
                    entity,
                    actor,
                    device: device(actor.as_bytes()[1]),
                    counter: Counter(counter),
                    after: Counter(counter - 1),
                    command: command.clone(),
                });
                let appended = self.log.append(entity.shard(SHARDS), record.to_bytes(), Default::default());
                let appended = appended.expect("there is room");
                let position = appended.into_inner().expect("it is appended");
                let (answer, answered) = oneshot::channel();
                known.waiting.insert(token, Waiting { entity, position, answer });
                answered
            };
            match timeout(PATIENCE, answered).await.expect("every command is answered").expect("the edge lives") {
                Outcome::Applied(seq) => return seq,
                Outcome::Rejected(rejection) => assert_eq!(rejection.code, ErrorCode::OutcomeUnknown),
            }
        }
    }
}

/// What was sent, and what came of it.
struct Sent {
    chat: EntityId,
    answers: Vec<Seq>,
    stall: Duration,
}

/// People who each send in a chat of their own, one message after the other.
struct Load {
    stop: watch::Sender<bool>,
    senders: Vec<JoinHandle<Sent>>,
}

impl Load {
    fn start(edge: &TestEdge) -> Self {
        Self::start_at(edge, 1)
    }

    /// With people numbered from `first` on, who have sent nothing yet.
    fn start_at(edge: &TestEdge, first: u8) -> Self {
        let (stop, stopped) = watch::channel(false);
        let senders =
            (first..first + CHATS).map(|number| tokio::spawn(send(edge.clone(), user(number), stopped.clone())));
        Self { stop, senders: senders.collect() }
    }

    async fn end(self) -> Vec<Sent> {
        self.stop.send_replace(true);
        let mut sent = Vec::new();
        for sender in self.senders {
            sent.push(timeout(PATIENCE, sender).await.expect("it ends").expect("every command is answered"));
        }
        sent
    }
}

async fn send(edge: TestEdge, sender: UserId, stopped: watch::Receiver<bool>) -> Sent {
    let group = ChatId::group(sender, device(sender.as_bytes()[1]), Counter(1));
    let chat = EntityId::from(group);
    let create = CommandBody::CreateGroup { name: "tea".into(), members: vec![] };
    edge.command(chat, sender, 1, &create).await;
    edge.known.lock().expect("not poisoned").chats.push(chat);
    let (mut answers, mut stall) = (Vec::new(), Duration::ZERO);
    for counter in 2.. {
        let begun = Instant::now();
        answers.push(edge.command(chat, sender, counter, &say("hello")).await);
        stall = stall.max(begun.elapsed());
        if *stopped.borrow() {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Sent { chat, answers, stall }
}

/// Every command made one event, in its sender's order, and was answered with it; what listeners heard is
/// what is stored.
#[expect(clippy::print_stdout, reason = "a figure for who runs it with --nocapture")]
fn check(cluster: &Cluster, all: &[Sent], what: &str) {
    let stored = cluster.store.all();
    for sent in all {
        let messages: Vec<(Seq, u64)> = stored
            .events
            .range((sent.chat, Seq(0))..=(sent.chat, Seq(u64::MAX)))
            .map(|(_, row)| Event::from_bytes(&row.event).expect("canonical bytes"))
            .filter(|event| matches!(event.body, EventBody::MessageSent { .. }))
            .map(|event| (event.seq, event.counter.0))
            .collect();
        let expected: Vec<(Seq, u64)> = sent.answers.iter().copied().zip(2..).collect();
        assert_eq!(messages, expected, "{what}: each once, in order, as answered");
    }
    let known = cluster.edge.known.lock().expect("not poisoned");
    assert!(!known.events.is_empty(), "{what}: something was heard");
    for (place, heard) in &known.events {
        assert_eq!(stored.events.get(place).map(|row| &row.event), Some(heard), "{what}: only what is stored");
    }
    let (sum, stall) =
        (all.iter().map(|sent| sent.answers.len()).sum::<usize>(), all.iter().map(|sent| sent.stall).max());
    println!("{what}: {sum} messages, longest wait {stall:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_move_and_routers_that_stop_or_die_lose_double_and_reorder_nothing() {
    let mut cluster = Cluster::new();
    let mut nodes = HashMap::new();
    for id in 1..=3 {
        nodes.insert(id, cluster.node(id).await);
    }
    for shard in 0..SHARDS {
        cluster.move_shard(ShardId(shard), u64::from(shard) % 3 + 1);
    }
    let load = Load::start(&cluster.edge);
    for round in 0..24_u64 {
        let shard = ShardId(u16::try_from(round).expect("few") % SHARDS);
        let to = cluster.owners[usize::from(shard.0)] % 3 + 1;
        cluster.move_shard(shard, to);
        sleep(Duration::from_millis(40)).await;
    }
    let sent = load.end().await;
    check(&cluster, &sent, "moved");
    until(|| nodes.values().all(|node| node.router.ready())).await;
    assert_eq!(nodes.values().map(|node| node.router.metrics().shards.get()).sum::<i64>(), i64::from(SHARDS));

    let load = Load::start_at(&cluster.edge, 100);
    sleep(Duration::from_millis(100)).await;
    let Node { router, listening } = nodes.remove(&1).expect("it runs");
    router.stop().await.expect("it stops cleanly");
    cluster.inherit(1, 2).await;
    listening.stop().await;
    sleep(Duration::from_millis(100)).await;
    let sent = load.end().await;
    check(&cluster, &sent, "stopped");

    let load = Load::start_at(&cluster.edge, 200);
    sleep(Duration::from_millis(100)).await;
    drop(nodes.remove(&2));
    cluster.inherit(2, 3).await;
    sleep(Duration::from_millis(100)).await;
    let sent = load.end().await;
    check(&cluster, &sent, "killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_told_that_its_shards_are_anothers_changes_nothing() {
    let mut cluster = Cluster::new();
    let (older, newer) = (cluster.node(1).await, cluster.node(2).await);
    for shard in 0..SHARDS {
        cluster.move_shard(ShardId(shard), 1);
    }
    let load = Load::start(&cluster.edge);
    until(|| older.router.ready()).await;
    for shard in (0..SHARDS).map(ShardId) {
        cluster.log.assign(2, shard);
        cluster.owners[usize::from(shard.0)] = 2;
    }
    // Both believe to own all of them, and take them from each other.
    sleep(Duration::from_millis(1_500)).await;
    for shard in (0..SHARDS).map(ShardId) {
        cluster.log.revoke(1, shard);
    }
    until(|| older.router.metrics().shards.get() == 0).await;
    let sent = load.end().await;
    check(&cluster, &sent, "believed");
    until(|| newer.router.ready()).await;
    assert_eq!(newer.router.metrics().given_up.get() + older.router.metrics().given_up.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_comes_back_while_it_is_finished_runs_again() {
    let mut cluster = Cluster::new();
    let node = cluster.node(1).await;
    assert!(!node.router.ready(), "the group has not answered");
    cluster.log.count_on(1, true);
    until(|| node.router.ready()).await;
    cluster.move_shard(ShardId(0), 1);
    until(|| node.router.ready()).await;
    for _ in 0..20 {
        cluster.log.revoke(1, ShardId(0));
        cluster.log.assign(1, ShardId(0));
    }
    until(|| node.router.ready()).await;
    cluster.log.count_on(1, false);
    until(|| !node.router.ready()).await;
    cluster.log.count_on(1, true);
    until(|| node.router.ready()).await;
    let shards = node.router.metrics().shards.clone();
    until(|| shards.get() == 1).await;
    node.router.stop().await.expect("it stops cleanly");
    assert_eq!(shards.get(), 0);
    node.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_fails_or_names_a_shard_that_is_not_there_ends_the_router() {
    let mut cluster = Cluster::new();
    let mut node = cluster.node(1).await;
    cluster.move_shard(ShardId(0), 1);
    cluster.log.assign(1, ShardId(SHARDS));
    let error = timeout(PATIENCE, node.router.failed()).await.expect("it ends");
    assert_eq!(error.to_string(), format!("the group assigns shard {SHARDS}, and the log has {SHARDS} of them"));
    assert!(!cluster.log.is_member(1), "it has left the group");
    assert_eq!(node.router.metrics().shards.get(), 0);
}

/// A board that can be away.
#[derive(Clone, Default)]
struct AwayBoard {
    board: MemoryBoard,
    away: Arc<std::sync::atomic::AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl OwnershipBoard for AwayBoard {
    type Watch = <MemoryBoard as OwnershipBoard>::Watch;

    async fn announce(&self, ownership: Ownership) -> Result<(), StoreError> {
        if self.away.load(Ordering::Acquire) {
            self.refused.fetch_add(1, Ordering::AcqRel);
            return Err(StoreError::Unavailable("away".into()));
        }
        self.board.announce(ownership).await
    }

    fn watch(&self) -> Self::Watch {
        self.board.watch()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_announced_and_a_board_that_is_away_holds_nobody_up() {
    let (log, store, board) = (SharedLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS), AwayBoard::default());
    let address = "router-1.example:9700";
    let config = RouterConfig { link_address: Some(address.into()), ..RouterConfig::new(1) };
    let router = start(config, log.clone(), store, board.clone()).await.expect("it starts");
    let mut watch = board.watch();
    log.assign(1, ShardId(0));
    let first = timeout(PATIENCE, watch.next()).await.expect("it is announced").expect("the board is there");
    assert_eq!((first.shard, first.epoch, first.router, first.address.as_str()), (ShardId(0), 1, 1, address));

    board.away.store(true, Ordering::Release);
    for _ in 0..2 {
        log.revoke(1, ShardId(0));
        until(|| router.metrics().shards.get() == 0).await;
        let refused = board.refused.load(Ordering::Acquire);
        log.assign(1, ShardId(0));
        until(|| router.ready() && router.metrics().shards.get() == 1).await;
        until(|| board.refused.load(Ordering::Acquire) > refused).await;
    }
    let end = log.end(ShardId(0)).await.expect("the log is there");
    board.away.store(false, Ordering::Release);
    let last = timeout(PATIENCE, watch.next()).await.expect("it is announced").expect("the board is there");
    // The term before it ended without ever being announced.
    assert_eq!(last.generation, Generation::of(Position { offset: end.offset - 1, ..end }));
    router.stop().await.expect("it stops cleanly");

    let config = RouterConfig { link_address: Some("a".repeat(256)), ..RouterConfig::new(2) };
    let refused = start(config, log, MemoryStore::new(1, true, BUCKET_EVENTS), board).await;
    assert!(matches!(refused.err(), Some(RouterError::Address { bytes: 256 })));
}
