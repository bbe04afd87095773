//! A chat or an inbox of which something stored cannot be read: it alone is refused, until it is mended.

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::Time;
use panda_router::rebuild::rebuild;
use panda_router::rows::RowId;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog};
use panda_storage::{EpochStore, EventBatch, EventRow, EventStore, ShardReader as _, StateRow, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

async fn head_of<S: EventStore>(store: &S, entity: EntityId) -> StateRow {
    let rows = store.read_state(entity, vec![RowId::Head.key()]).await.expect("it can be read");
    rows.into_iter().next().flatten().expect("it was stored")
}

/// The head of an entity, which was stored, cannot be read any more.
async fn damage_head<S: EventStore>(store: &S, entity: EntityId) {
    let was = head_of(store, entity).await;
    let damaged = StateRow { value: Some(Default::default()), time: Time(was.time.0 + 1), ..was };
    store.write_state(entity, vec![damaged]).await.expect("it can be written");
}

async fn mend<S: EventStore>(store: &S, entity: EntityId) {
    let later = Time(head_of(store, entity).await.time.0 + 2);
    let rebuilt = rebuild(store, entity, Some(later)).await.expect("its events can be read");
    assert_ne!(rebuilt.mended, 0);
}

/// Does what one process does; nothing of it is left when it returns.
fn process<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("it starts");
    runtime.block_on(run)
}

async fn start_any<L: CommandLog, S: EventStore + EpochStore>(
    log: &L,
    store: &S,
    id: u64,
) -> (panda_router::Router, Edge<L>) {
    start_with(RouterConfig::new(id), log, store).await
}

impl<L: CommandLog> Edge<L> {
    /// As [`Edge::answer`], where copies of before are answered, too.
    async fn own_answer(&mut self, token: u64) -> Outcome {
        let answered = async {
            loop {
                if let Down::Answer(answer) = self.next().await
                    && answer.token == token
                {
                    return answer.outcome;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("it is answered")
    }
}

fn code(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Rejected(why) => Some(why.code),
        Outcome::Applied(_) => None,
    }
}

/// The chats that a user's inbox knows.
async fn chats<L: CommandLog>(edge: &mut Edge<L>, of: UserId) -> Result<usize, ErrorCode> {
    let query = ReadQuery::Chats { after: None, limit: 10 };
    let Down::Read(reply) = edge.ask(Up::Read(Read { token: 9, user: of, entity: of.into(), query })).await else {
        panic!("a listing was asked for")
    };
    // More: no; the head, one byte; how many.
    reply.body.map(|body| usize::from(body[2])).map_err(|why| why.code)
}

/// Three processes, each with the log and the store that `begin` gives: a chat and an inbox are made, are damaged, and
/// are mended. `log_stays`: the next process finds what waits in it.
fn a_damaged_chat_and_a_damaged_inbox<L: CommandLog, S: EventStore + EpochStore>(
    begin: impl Fn() -> (L, S),
    log_stays: bool,
) {
    let (ann, ben, cid) = (user(1), user(2), user(3));
    let [chat, sound] = process(async {
        let (log, store) = begin();
        let (router, mut edge) = start_any(&log, &store, 1).await;
        let chat = EntityId::from(edge.create(ann, vec![ben]).await);
        let sound = EntityId::from(edge.create(ben, vec![]).await);
        while chats(&mut edge, ben).await != Ok(2) {}
        drop(edge);
        router.stop().await.expect("it stops cleanly");
        damage_head(&store, chat).await;
        damage_head(&store, ben.into()).await;
        [chat, sound]
    });
    let other = process(async {
        let (log, store) = begin();
        let checkpoint = async || store.checkpoint(ShardId(0)).await.expect("it can be read").expect("it is there");
        let begins_at = checkpoint().await.position;
        let (mut router, mut edge) = start_any(&log, &store, 2).await;
        let refused = edge.admit(ann, chat).await.expect_err("it cannot be read");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Damaged, 60_000));
        let said = edge.command(chat, ann, 2, &say("is anybody here?"));
        assert_eq!(code(&edge.answer(said).await), Some(ErrorCode::Held));
        assert_eq!(chats(&mut edge, ben).await, Err(ErrorCode::Damaged));
        // All others go on; what they owe to the damaged inbox waits for it.
        let other = edge.create(cid, vec![ben]).await;
        let token = edge.command(sound, ben, 2, &say("here I am"));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(3)));
        while chats(&mut edge, cid).await != Ok(1) {}
        assert_eq!(router.metrics().damaged.get(), 2);
        let ended = tokio::time::timeout(Duration::from_millis(1_500), router.failed()).await;
        assert!(ended.is_err(), "it goes on: {ended:?}");
        // Longer than between two checkpoints.
        let held = checkpoint().await.position;
        let mut reader = log.read(ShardId(0), None).await.expect("it can be read");
        let records = reader.next(usize::MAX).await.expect("there are some");
        let first = records.into_iter().find(|entry| {
            let record = Record::from_bytes(entry.record.clone()).expect("a record");
            entry.position >= begins_at && record.entity() == Some(chat)
        });
        assert!(held <= first.expect("it was appended").position, "the next owner begins there");
        let metrics = router.metrics().clone();
        drop(edge);
        router.stop().await.expect("it stops cleanly");
        assert_eq!(metrics.damaged.get(), 0);
        other
    });
    process(async {
        let (log, store) = begin();
        mend(&store, chat).await;
        mend(&store, ben.into()).await;
        let (router, mut edge) = start_any(&log, &store, 3).await;
        // What waited is done, if it did; who sends it again learns of it.
        let head = if log_stays { Seq(4) } else { Seq(3) };
        assert_eq!(edge.admit(ben, chat).await, Ok(head));
        let said = edge.command(chat, ann, 2, &say("is anybody here?"));
        assert_eq!(edge.own_answer(said).await, Outcome::Applied(Seq(4)));
        let joined = async { while chats(&mut edge, ben).await != Ok(3) {} };
        tokio::time::timeout(PATIENCE, joined).await.expect("no effect was passed over");
        assert_eq!(edge.admit(ben, other.into()).await, Ok(Seq(3)));
        assert_eq!(router.metrics().damaged.get(), 0);
        drop(edge);
        router.stop().await.expect("it stops cleanly");
    });
}

#[test]
fn a_damaged_row_ends_no_router_and_loses_nothing() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    a_damaged_chat_and_a_damaged_inbox(|| (log.clone(), store.clone()), true);
}

/// In one process the log is memory: a command that was held is gone with it, and what is owed is not.
#[test]
fn a_damaged_row_of_the_embedded_store_ends_no_process_and_loses_nothing_that_was_acked() {
    static SECONDS: AtomicU64 = AtomicU64::new(1);
    let place = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(place.path()).expect("it opens");
    let begin = || {
        let store = EmbeddedEvents::open(&folder).expect("it opens");
        let clock = || Time(SECONDS.fetch_add(1, Ordering::Relaxed) * 1_000_000);
        (EmbeddedLog::new(1, store.epoch(), clock), store)
    };
    a_damaged_chat_and_a_damaged_inbox(begin, false);
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

/// What an edge would get it could not send, and it would end whole sessions for it or wait without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_an_event_that_is_damaged_or_missing_is_refused_and_the_chat_goes_on() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let ann = user(1);
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let chat = EntityId::from(edge.create(ann, vec![user(2)]).await);
    for counter in 2..5 {
        let token = edge.command(chat, ann, counter, &say("hello"));
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");

    let (router, mut edge) = start_over(&log, &store, 2).await;
    assert_eq!(edge.admit(ann, chat).await, Ok(Seq(6)));
    let page = |direction, from, limit| ReadQuery::Page { direction, from: Seq(from), limit };
    let sound = [
        page(Direction::Forward, 1, 4),
        page(Direction::Backward, 4, 256),
        page(Direction::Backward, 7, 1),
        page(Direction::Forward, 7, 1),
    ];
    let hurt = [
        ReadQuery::CatchUp { from: Seq(4), limit: 256 },
        ReadQuery::CatchUp { from: Seq(5), limit: 1 },
        page(Direction::Backward, 9, 2),
        page(Direction::Forward, 1, 256),
    ];
    let row = store.all().events[&(chat, Seq(5))].clone();
    let of_another = store.all().events[&(chat, Seq(4))].event.clone();
    let mut cut = row.event.clone();
    cut.truncate(20);
    for (time, event) in [(1, Some(Default::default())), (2, Some(cut)), (3, Some(of_another)), (4, None)] {
        match event {
            Some(event) => {
                let rows = vec![EventRow { time: Time(row.time.0 + time), event, ..row.clone() }];
                let batch = EventBatch { entity: chat, rows, owes: Vec::new(), settles: Vec::new() };
                store.write_events(batch).await.expect("it is in memory");
            }
            None => store.lose_event(chat, Seq(5)),
        }
        for (query, refused) in
            sound.iter().map(|query| (query, None)).chain(hurt.iter().map(|query| (query, Some(ErrorCode::Damaged))))
        {
            let read = Read { token: 9, user: ann, entity: chat, query: query.clone() };
            let Down::Read(reply) = edge.ask(Up::Read(read)).await else { panic!("a page was asked for") };
            assert_eq!(reply.body.err().map(|why| why.code), refused, "{query:?}");
        }
    }
    // The last one there was.
    store.lose_event(chat, Seq(6));
    let read = Read { token: 9, user: ann, entity: chat, query: ReadQuery::CatchUp { from: Seq(6), limit: 256 } };
    let Down::Read(reply) = edge.ask(Up::Read(read)).await else { panic!("a page was asked for") };
    assert_eq!(reply.body.expect_err("it is missing").code, ErrorCode::Damaged);
    let token = edge.command(chat, ann, 5, &say("here I am"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(7)));
    assert_eq!(router.metrics().damaged.get(), 1);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// Its next event would be numbered as one that is stored, and written over it.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_inbox_whose_head_is_lost_or_too_old_nothing_is_written_over() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (ann, inbox) = (user(1), EntityId::from(user(1)));
    let set = |key: &'static str| CommandBody::SetSetting { key: key.into(), value: Bytes::from_static(b"v") };
    let mut heads = Vec::new();
    for (counter, key) in [(1, "one"), (2, "two")] {
        let (router, mut edge) = start_any(&log, &store, counter).await;
        let token = edge.command(inbox, ann, counter, &set(key));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(counter)));
        drop(edge);
        router.stop().await.expect("it stops cleanly");
        heads.push(head_of(&store, inbox).await);
    }
    let [old, sound] = &heads[..] else { panic!("there are two") };
    let events = store.all().events;
    for (round, value) in [(1, None), (2, old.value.clone())] {
        let row = StateRow { value, time: Time(sound.time.0 + round), ..sound.clone() };
        store.write_state(inbox, vec![row]).await.expect("it is in memory");
        let (router, mut edge) = start_any(&log, &store, 2 + round).await;
        let token = edge.command(inbox, ann, 3, &set("three"));
        assert_eq!(code(&edge.own_answer(token).await), Some(ErrorCode::Held));
        drop(edge);
        router.stop().await.expect("it stops cleanly");
        assert_eq!(store.all().events, events);
    }
    let row = StateRow { time: Time(sound.time.0 + 3), ..sound.clone() };
    store.write_state(inbox, vec![row]).await.expect("it is in memory");
    let (router, mut edge) = start_any(&log, &store, 5).await;
    assert_eq!(edge.admit(ann, inbox).await, Ok(Seq(3)), "what waited is done once");
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// It says so of every row, and a person who starts routers again would change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_used_is_no_damage_of_an_entity_and_ends_the_router() {
    let (ann, inbox) = (user(1), EntityId::from(user(1)));
    for loaded in [false, true] {
        let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
        let (mut router, mut edge) = start_any(&log, &store, 1).await;
        if loaded {
            let set = CommandBody::SetSetting { key: "theme".into(), value: Bytes::from_static(b"dark") };
            let token = edge.command(inbox, ann, 1, &set);
            assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(1)));
        }
        store.alter();
        // Of what is loaded, a page reads events.
        let query = ReadQuery::Page { direction: Direction::Backward, from: Seq(1), limit: 1 };
        edge.up.send(Up::Read(Read { token: 9, user: ann, entity: inbox, query })).await.expect("the router lives");
        let ended = tokio::time::timeout(PATIENCE, router.failed()).await.expect("it ends");
        assert!(matches!(ended, RouterError::Store(StoreError::Unusable(_))), "{ended:?}");
        assert_eq!(router.metrics().damaged.get(), 0);
    }
}
