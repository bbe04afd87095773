//! A whole router over a log and a store in memory, with one link.

mod admissions;
mod asks;
#[path = "../../../protocol/link-io/tests/support/certificates.rs"]
#[allow(dead_code, reason = "the tests of the links' own crate use the rest of it")]
mod certificates;
mod damage;
mod epochs;
mod known_log;
mod links;
mod listings;
mod loads;
mod moves;
mod new_log;
mod rebuild;
mod resume;
#[allow(dead_code, reason = "the simulation uses the rest of it")]
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod traces;

use std::sync::atomic::{AtomicU64, Ordering};

use panda_protocol::codec::{Reader, Writer};
use panda_protocol::event::{Event, EventBody, MessageFormat};
use panda_protocol::frame::{CommandBody, Direction};
use panda_protocol::link::{
    Admit, CommandOrigin, CommandRecord, Down, JOINING_USERS_MAX, LinkId, Outcome, Read, ReadQuery, Record, Rejection,
    Up,
};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Seq, ShardId, UserId};
use panda_router::fold::RULES_CURRENT;
use panda_router::shard::GivenUp;
use panda_router::{RouterConfig, RouterError, start};
use panda_storage::embedded::MemoryBoard;
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::{CommandLog, EpochStore, EventStore, RecordHeaders};
use tokio::sync::mpsc;

use support::log::MemoryLog;
use support::store::MemoryStore;

const LINK: LinkId = LinkId(7);

fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_random([number; 16])
}

struct Edge<L = MemoryLog> {
    log: L,
    up: mpsc::Sender<Up>,
    down: mpsc::Receiver<Vec<Down>>,
    waiting: Vec<Down>,
    token: u64,
    /// Of its commands.
    headers: RecordHeaders,
}

impl<L: CommandLog> Edge<L> {
    /// The next frame that is no news of a shard.
    async fn next(&mut self) -> Down {
        loop {
            match self.next_of_all().await {
                Down::Backlog { .. } | Down::Owner { .. } | Down::Watermark { .. } => {}
                down => return down,
            }
        }
    }

    async fn next_of_all(&mut self) -> Down {
        while self.waiting.is_empty() {
            self.waiting = self.down.recv().await.expect("the router lives");
        }
        self.waiting.remove(0)
    }

    async fn admit(&mut self, user: UserId, entity: EntityId) -> Result<Seq, Rejection> {
        self.token += 1;
        let admit = Admit { token: self.token, user, entity, cursor: None, member: None, opens: None };
        let Down::Admitted(admitted) = self.ask(Up::Admit(admit)).await else { panic!("an admission was asked for") };
        assert_eq!((admitted.token, admitted.entity), (self.token, entity));
        admitted.outcome.map(|admission| admission.head)
    }

    async fn create(&mut self, creator: UserId, members: Vec<UserId>) -> ChatId {
        let chat = ChatId::group(creator, device(creator.as_bytes()[1]), Counter(1));
        let create = CommandBody::CreateGroup { name: "tea".into(), members };
        let token = self.command(chat.into(), creator, 1, &create);
        assert_eq!(self.answer(token).await, Outcome::Applied(Seq(1)));
        chat
    }

    async fn read(&mut self, user: UserId, entity: EntityId, query: ReadQuery) -> Result<Reader, Rejection> {
        self.token += 1;
        let read = Read { token: self.token, user, entity, query };
        let Down::Read(reply) = self.ask(Up::Read(read)).await else { panic!("a read was asked for") };
        assert_eq!((reply.token, reply.last), (self.token, true));
        reply.body.map(Reader::new)
    }

    /// In how many chats the inbox's user is.
    async fn count(&mut self, user: UserId, inbox: EntityId) -> Result<u64, Rejection> {
        let body = self.read(user, inbox, ReadQuery::ChatCount).await;
        body.map(|mut body| body.varint().expect("a number"))
    }

    /// Whom of these users a command would add.
    async fn joining(
        &mut self,
        actor: UserId,
        entity: EntityId,
        counter: u64,
        users: &[UserId],
    ) -> Result<Vec<UserId>, Rejection> {
        let (device, counter) = (device(actor.as_bytes()[1]), Counter(counter));
        let body = self.read(actor, entity, ReadQuery::Joining { device, counter, users: users.to_vec() }).await;
        body.map(|mut body| body.list(JOINING_USERS_MAX, 16, Reader::value).expect("a list"))
    }

    fn command(&mut self, entity: EntityId, actor: UserId, counter: u64, body: &CommandBody) -> u64 {
        self.token += 1;
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        let record = Record::Command(CommandRecord {
            origin: CommandOrigin { link: LINK, token: self.token },
            entity,
            actor,
            device: device(actor.as_bytes()[1]),
            counter: Counter(counter),
            after: Counter(counter - 1),
            command: command.freeze(),
        });
        let appended = self.log.append(entity.shard(self.log.shards()), record.to_bytes(), self.headers);
        assert!(appended.is_ok());
        self.token
    }

    async fn answer(&mut self, token: u64) -> Outcome {
        loop {
            if let Down::Answer(answer) = self.next().await {
                assert_eq!(answer.token, token);
                return answer.outcome;
            }
        }
    }

    async fn ask(&mut self, up: Up) -> Down {
        self.up.send(up).await.expect("the router lives");
        loop {
            let down = self.next().await;
            if matches!(down, Down::Admitted(_) | Down::Read(_)) {
                return down;
            }
        }
    }
}

fn say(text: &'static str) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: text.into() }
}

async fn start_over(log: &MemoryLog, store: &MemoryStore, router: u64) -> (panda_router::Router, Edge) {
    start_with(RouterConfig { threads: 2, ..RouterConfig::new(router) }, log, store).await
}

async fn start_with<L: CommandLog, S: EventStore + EpochStore>(
    config: RouterConfig,
    log: &L,
    store: &S,
) -> (panda_router::Router, Edge<L>) {
    let router = start(config, log.clone(), store.clone(), MemoryBoard::default()).await.expect("it starts");
    while !router.ready() {
        tokio::task::yield_now().await;
    }
    let edge = attach(&router, log).await;
    (router, edge)
}

async fn attach<L: CommandLog>(router: &panda_router::Router, log: &L) -> Edge<L> {
    let (up, ups) = mpsc::channel(64);
    let (downs, down) = mpsc::channel(64);
    router.attach(LINK, ups, downs).await;
    // The log may hold commands of an earlier attachment: no token is given twice.
    static TOKENS: AtomicU64 = AtomicU64::new(0);
    let token = TOKENS.fetch_add(1_000, Ordering::Relaxed);
    Edge { log: log.clone(), up, down, waiting: Vec::new(), token, headers: Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_become_events_and_answers_and_pages_and_a_restart_remembers_them() {
    let (log, store) = (MemoryLog::new(4), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben) = (user(1), user(2));
    let chat = edge.create(ann, vec![ben]).await;
    assert_eq!(edge.admit(ben, chat.into()).await, Ok(Seq(3)));
    assert_eq!(edge.admit(user(3), chat.into()).await.expect_err("a stranger").code, ErrorCode::NotFound);

    let token = edge.command(chat.into(), ann, 2, &say("hello"));
    let Down::Events(events) = edge.next().await else { panic!("the event comes before the answer") };
    let event = Event::from_bytes(&events.events[0].event).expect("canonical bytes");
    assert!(matches!(event.body, EventBody::MessageSent { text, .. } if text.as_str() == "hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));

    let page = ReadQuery::Page { direction: Direction::Forward, from: Seq(1), limit: 10 };
    let read = Read { token: 92, user: ben, entity: chat.into(), query: page };
    let Down::Read(reply) = edge.ask(Up::Read(read.clone())).await else { panic!("a page was asked for") };
    let before = reply.body.expect("ben may read");
    let listed = Read { query: ReadQuery::Chats { after: None, limit: 10 }, entity: ben.into(), ..read.clone() };
    // The effect follows the event through the log; more: no; head 1, one entry.
    let joined = async {
        loop {
            let Down::Read(reply) = edge.ask(Up::Read(listed.clone())).await else { panic!("a listing was asked for") };
            let body = reply.body.expect("the own inbox");
            if body[..3] == [0, 1, 1] {
                return;
            }
            assert_eq!(body[..3], [0, 0, 0]);
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), joined).await.expect("ben is told of the chat");
    assert!(router.ready());
    drop(edge);
    router.stop().await.expect("it stops cleanly");

    let (router, mut edge) = start_over(&log, &store, 2).await;
    let Down::Read(reply) = edge.ask(Up::Read(read)).await else { panic!("a page was asked for") };
    assert_eq!(reply.body.expect("ben may read"), before);
    let token = edge.command(chat.into(), ann, 2, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// The identifier of a direct chat follows from its two users: what a third one is told must not depend on whether
/// there is one.
#[tokio::test(flavor = "multi_thread")]
async fn for_who_never_was_a_member_a_chat_does_not_exist_and_who_was_one_is_told() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben, eve) = (user(1), user(2), user(3));
    let (direct, nowhere) = (EntityId::from(ChatId::direct(ann, ben)), EntityId::from(ChatId::direct(ann, eve)));
    let token = edge.command(direct, ann, 1, &CommandBody::CreateDirect { peer: ben });
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(1)));
    let group = EntityId::from(edge.create(ann, vec![ben]).await);
    let token = edge.command(group, ann, 2, &CommandBody::RemoveMembers { members: vec![ben] });
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    let queries = [
        ReadQuery::Page { direction: Direction::Forward, from: Seq(1), limit: 1 },
        ReadQuery::Page { direction: Direction::Forward, from: Seq(1), limit: 0 },
        ReadQuery::Members { after: None, limit: 1 },
        ReadQuery::Info,
        ReadQuery::CatchUp { from: Seq(1), limit: 1 },
    ];
    for (user, chat, code) in [
        (eve, direct, ErrorCode::NotFound),
        (ben, nowhere, ErrorCode::NotFound),
        (eve, group, ErrorCode::NotFound),
        (ben, group, ErrorCode::NotMember),
    ] {
        assert_eq!(edge.admit(user, chat).await.expect_err("no member").code, code);
        // One who was removed catches up to the removal.
        for query in queries.iter().take(if user == ben && chat == group { 4 } else { 5 }) {
            let read = Read { token: 9, user, entity: chat, query: query.clone() };
            let Down::Read(reply) = edge.ask(Up::Read(read)).await else { panic!("it was asked for") };
            assert_eq!(reply.body.expect_err("no member").code, code, "{query:?} of {chat}");
        }
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_learns_in_how_many_chats_a_user_is_and_whom_a_command_would_add() {
    let (log, store) = (MemoryLog::new(4), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben, cleo, dora) = (user(1), user(2), user(3), user(4));
    let chat = edge.create(ann, vec![ben, cleo]).await;
    let token = edge.command(chat.into(), ann, 2, &CommandBody::RemoveMembers { members: vec![ben] });
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(5)));
    // What a chat does to inboxes follows through the log.
    for (of, chats) in [(ben, 0), (cleo, 1), (dora, 0)] {
        let counted = async { while edge.count(ann, of.into()).await != Ok(chats) {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), counted).await.expect("its inbox is told");
    }
    let everybody = vec![ann, ben, cleo, dora];
    let direct = ChatId::direct(ann, dora);
    for (actor, chat, counter, added) in [
        (ann, chat, 3, vec![ben, dora]),
        // Applied before, whatever it was.
        (ann, chat, 2, vec![]),
        // Its own answer tells it that it may not, or that there is no such chat for it.
        (cleo, chat, 1, vec![]),
        (ben, chat, 1, vec![]),
        (dora, chat, 1, vec![]),
        (ann, direct, 1, everybody.clone()),
    ] {
        assert_eq!(edge.joining(actor, chat.into(), counter, &everybody).await, Ok(added), "{actor} with {counter}");
    }
    let wrong = edge.count(ann, chat.into()).await.expect_err("a chat is in no chats");
    assert_eq!(wrong.code, ErrorCode::InvalidRequest);
    let wrong = edge.joining(ann, ben.into(), 1, &[cleo]).await.expect_err("an inbox has no members");
    assert_eq!(wrong.code, ErrorCode::InvalidRequest);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_too_old_for_a_shard_leaves_the_group_and_says_so() {
    let (log, store) = (MemoryLog::new(2), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (mut router, mut edge) = start_over(&log, &store, 1).await;
    let newer = Record::Rules { version: RULES_CURRENT + 1 };
    log.append(ShardId(0), newer.to_bytes(), Default::default()).expect("there is room").await.expect("it is appended");
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), router.failed());
    let error = ended.await.expect("the shard is given up");
    assert!(matches!(error, RouterError::GivenUp { shard: ShardId(0), .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(sentence.contains("left the group: upgrade it, and start it again"), "{sentence}");
    assert_eq!(router.metrics().given_up.get(), 1);
    // The shard that it could have run is not kept from the others.
    assert_eq!(router.metrics().shards.get(), 0);
    while edge.down.recv().await.is_some() {}
    router.stop().await.expect("nothing is left to stop");
}

/// What of the log need not be kept is deleted beside the checkpoints, not between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_deletes_nothing_holds_no_checkpoint_up() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    log.hang_releases();
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let chat = edge.create(user(1), vec![]).await;
    let three_checkpoints = async {
        for counter in 2..5 {
            let token = edge.command(chat.into(), user(1), counter, &say("on and on"));
            assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
            let end = log.end(ShardId(0)).await.expect("the log answers");
            while store.read_checkpoint(ShardId(0)).is_none_or(|checkpoint| checkpoint.position < end) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), three_checkpoints).await.expect("each is written");
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
