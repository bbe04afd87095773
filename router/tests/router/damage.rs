//! A chat or an inbox of which something stored cannot be read: it alone is refused, until it is mended.

use std::time::Duration;

use panda_protocol::codec::Writer as Fields;
use panda_protocol::{Position, Time};
use panda_router::rows::RowId;
use panda_router::shard::load::{Wanted, flushed_key, load};
use panda_storage::embedded::{DataFolder, EmbeddedEvents};
use panda_storage::{EpochStore, EventBatch, EventRow, EventStore, StateRow, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A state row that cannot be read any more, and how it was.
struct Damage {
    entity: EntityId,
    was: StateRow,
}

impl Damage {
    /// Damages the head of an entity, which was stored.
    async fn head_of<S: EventStore>(store: &S, entity: EntityId) -> Self {
        let was = store.read_state(entity, vec![RowId::Head.key()]).await.expect("it can be read");
        let was = was.into_iter().next().flatten().expect("it was stored");
        let (value, time) = (Some(Default::default()), Time(was.time.0 + 1));
        let damaged = StateRow { value, time, ..was.clone() };
        store.write_state(entity, vec![damaged]).await.expect("it can be written");
        Self { entity, was }
    }

    async fn mend<S: EventStore>(self, store: &S) {
        let mended = StateRow { time: Time(self.was.time.0 + 2), ..self.was };
        store.write_state(self.entity, vec![mended]).await.expect("it can be written");
    }
}

async fn start_any<S: EventStore + EpochStore>(log: &MemoryLog, store: &S, id: u64) -> (panda_router::Router, Edge) {
    let config = RouterConfig::new(id);
    let router = start(config, log.clone(), store.clone(), MemoryBoard::default()).await.expect("it starts");
    while !router.ready() {
        tokio::task::yield_now().await;
    }
    let edge = attach(&router, log).await;
    (router, edge)
}

fn code(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Rejected(why) => Some(why.code),
        Outcome::Applied(_) => None,
    }
}

/// The chats that a user's inbox knows.
async fn chats(edge: &mut Edge, of: UserId) -> Result<usize, ErrorCode> {
    let query = ReadQuery::Chats { after: None, limit: 10 };
    let Down::Read(reply) = edge.ask(Up::Read(Read { token: 9, user: of, entity: of.into(), query })).await else {
        panic!("a listing was asked for")
    };
    // More: no; the head, one byte; how many.
    reply.body.map(|body| usize::from(body[2])).map_err(|why| why.code)
}

async fn a_damaged_chat_and_a_damaged_inbox<S: EventStore + EpochStore>(store: &S) {
    let log = MemoryLog::new(1);
    let (ann, ben, cid) = (user(1), user(2), user(3));
    let (router, mut edge) = start_any(&log, store, 1).await;
    let chat = EntityId::from(edge.create(ann, vec![ben]).await);
    let sound = EntityId::from(edge.create(ben, vec![]).await);
    while chats(&mut edge, ben).await != Ok(2) {}
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let begins_at = store.checkpoint(ShardId(0)).await.expect("it can be read").expect("there is one").position;

    let damages = [Damage::head_of(store, chat).await, Damage::head_of(store, ben.into()).await];
    let (mut router, mut edge) = start_any(&log, store, 2).await;
    let refused = edge.admit(ann, chat).await.expect_err("it cannot be read");
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Damaged, 60_000));
    let said = edge.command(chat, ann, 2, &say("is anybody here?"));
    assert_eq!(code(&edge.answer(said).await), Some(ErrorCode::Held));
    assert_eq!(chats(&mut edge, ben).await, Err(ErrorCode::Damaged));
    // All others go on; what they owe to the damaged inbox waits for it in the log.
    let other = edge.create(cid, vec![ben]).await;
    let token = edge.command(sound, ben, 2, &say("here I am"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(3)));
    while chats(&mut edge, cid).await != Ok(1) {}
    assert_eq!(router.metrics().damaged.get(), 2);
    let ended = tokio::time::timeout(Duration::from_millis(1_500), router.failed()).await;
    assert!(ended.is_err(), "it goes on: {ended:?}");
    // Longer than between two checkpoints.
    let held = store.checkpoint(ShardId(0)).await.expect("it can be read").expect("there is one").position;
    let first = log.records(ShardId(0)).into_iter().find(|entry| {
        let record = Record::from_bytes(entry.record.clone()).expect("a record");
        entry.position >= begins_at && record.entity() == Some(chat)
    });
    assert!(held <= first.expect("it was appended").position, "the next owner begins there");
    let metrics = router.metrics().clone();
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    assert_eq!(metrics.damaged.get(), 0);

    for damage in damages {
        damage.mend(store).await;
    }
    let (router, mut edge) = start_any(&log, store, 3).await;
    // What waited is done; who sends it again learns of it.
    assert_eq!(edge.admit(ben, chat).await, Ok(Seq(4)));
    let said = edge.command(chat, ann, 2, &say("is anybody here?"));
    let answered = async {
        loop {
            // The first copy is answered, too.
            if let Down::Answer(answer) = edge.next().await
                && answer.token == said
            {
                return answer.outcome;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, answered).await.expect("it is answered"), Outcome::Applied(Seq(4)));
    let joined = async { while chats(&mut edge, ben).await != Ok(3) {} };
    tokio::time::timeout(PATIENCE, joined).await.expect("no effect was passed over");
    assert_eq!(edge.admit(ben, other.into()).await, Ok(Seq(3)));
    assert_eq!(router.metrics().damaged.get(), 0);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_ends_no_router_and_loses_nothing() {
    a_damaged_chat_and_a_damaged_inbox(&MemoryStore::new(1, true, BUCKET_EVENTS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_of_the_embedded_store_ends_no_router_and_loses_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(place.path()).expect("it opens");
    let store = EmbeddedEvents::open(&folder).expect("it opens");
    a_damaged_chat_and_a_damaged_inbox(&store).await;
}

/// A listing that leaves out what it cannot read would say that somebody is no member.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_with_a_damaged_row_is_refused_and_the_chat_goes_on() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (ann, ben) = (user(1), user(2));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let chat = EntityId::from(edge.create(ann, vec![ben]).await);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let row = StateRow { key: RowId::Member(ben).key(), value: Some(Default::default()), time: Time(9_000_000) };
    store.write_state(chat, vec![row]).await.expect("it is in memory");

    let (router, mut edge) = start_over(&log, &store, 2).await;
    let query = ReadQuery::Members { after: None, limit: 10 };
    let Down::Read(reply) = edge.ask(Up::Read(Read { token: 9, user: ann, entity: chat, query })).await else {
        panic!("a listing was asked for")
    };
    assert_eq!(reply.body.expect_err("ben's row cannot be read").code, ErrorCode::Damaged);
    let token = edge.command(chat, ann, 2, &say("here I am"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    assert_eq!(router.metrics().damaged.get(), 1);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// An event that was stored before the flushed cell, and of which nobody knows what it owes.
#[tokio::test]
async fn a_skipped_event_that_cannot_be_read_is_not_passed_over() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    let position = Position { epoch: 1, offset: 7 };
    let row = EventRow { seq: Seq(1), position, index: 0, count: 1, time: Time(5), event: Default::default() };
    let batch = EventBatch { entity: chat, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
    store.write_events(batch).await.expect("it is in memory");
    let mut through = Fields::with_capacity(8);
    through.value(&Seq(1));
    let cell = StateRow { key: flushed_key(), value: Some(through.freeze()), time: Time(5) };
    store.write_state(chat, vec![cell]).await.expect("it is in memory");
    let wanted = |owing_from| Wanted { ids: vec![RowId::Head], base: None, owing_from, bucket_events: BUCKET_EVENTS };
    load(&store, chat, wanted(Position { offset: 8, ..position })).await.expect("nobody asks what it owes");
    let refused = load(&store, chat, wanted(position)).await;
    assert!(matches!(&refused, Err(StoreError::Corrupt(why)) if why.starts_with("event 1 of")), "{refused:?}");
}
