//! A log that was lost, and what is made of the store before another one takes its place.

use std::time::Duration;

use panda_protocol::event::Role;
use panda_protocol::{Position, Time};
use panda_router::new_log::{MadeWhole, begin_shards, make_whole};
use panda_router::rows::RowId;
use panda_storage::{Checkpoint, EventBatch, EventRow, EventStore as _, ReadOrder, StateRow, StoreError};

use super::*;

const SHARDS: u16 = 3;
/// What the clock of another log shows, behind everything that the first one's did.
const LATER: u64 = 2_000_000;

fn store() -> MemoryStore {
    MemoryStore::new(5, true, BUCKET_EVENTS)
}

async fn rows(store: &MemoryStore, entity: EntityId) -> Vec<EventRow> {
    store.read_events(entity, Seq(1), ReadOrder::Forward, 99, usize::MAX).await.expect("it is in memory")
}

/// Which events of chats an inbox took, in its order: those that add, and those that remove.
async fn taken(store: &MemoryStore, of: UserId) -> Vec<(Seq, bool)> {
    let rows = rows(store, of.into()).await;
    let body = |row: EventRow| Event::from_bytes(&row.event).expect("canonical bytes").body;
    let taken = rows.into_iter().map(body).map(|body| match body {
        EventBody::ChatJoined { source, .. } => (source, true),
        EventBody::ChatLeft { source, .. } => (source, false),
        other => panic!("an inbox without commands: {other:?}"),
    });
    taken.collect()
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn effects(log: &MemoryLog) -> usize {
    let records = (0..SHARDS).flat_map(|shard| log.records(ShardId(shard)));
    records.filter(|record| matches!(Record::from_bytes(record.record.clone()), Ok(Record::Effect(_)))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_the_lost_log_reaches_every_inbox_once_and_in_order() {
    let (lost, store) = (MemoryLog::new(SHARDS), store());
    let (router, mut edge) = start_over(&lost, &store, 1).await;
    let (ann, ben, cid, dan) = (user(1), user(2), user(3), user(4));
    let chat = edge.create(ann, vec![ben, cid]).await;
    until("inboxes hear of the chat", async || {
        taken(&store, ann).await.len() + taken(&store, ben).await.len() + taken(&store, cid).await.len() == 3
    })
    .await;
    // From here on the log confirms effects and nobody reads them.
    lost.lose_effects();
    let add = |members| CommandBody::AddMembers { role: Role::Member, with_history: false, members };
    let remove = |members| CommandBody::RemoveMembers { members };
    let commands = [remove(vec![ben]), add(vec![ben, dan]), say("all here?"), remove(vec![cid])];
    for (counter, command) in (2..).zip(&commands) {
        let token = edge.command(chat.into(), ann, counter, command);
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    assert_eq!(taken(&store, dan).await, []);

    let log = MemoryLog::of_epoch(SHARDS, 2, LATER);
    let newest = rows(&store, chat.into()).await.last().expect("it has events").time;
    let expected = MadeWhole { entities: 4, members: 4, effects: 4, newest, damaged: Default::default() };
    assert_eq!(make_whole(&store, &log).await.expect("nothing is away"), expected);
    // Cut short there, and run again.
    assert_eq!(make_whole(&store, &log).await.expect("nothing is away"), expected);
    assert_eq!(effects(&log), 8);
    begin_shards(&store, &log, newest).await.expect("nothing is away");

    let (router, mut edge) = start_over(&log, &store, 2).await;
    until("what was owed is taken", async || {
        taken(&store, ben).await.len() == 3
            && taken(&store, cid).await.len() == 2
            && taken(&store, dan).await.len() == 1
    })
    .await;
    let token = edge.command(chat.into(), ann, 6, &say("all here."));
    assert!(matches!(edge.answer(token).await, Outcome::Applied(Seq(10))));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    assert_eq!(taken(&store, ben).await, [(Seq(3), true), (Seq(5), false), (Seq(6), true)]);
    assert_eq!(taken(&store, cid).await, [(Seq(4), true), (Seq(9), false)]);
    assert_eq!(taken(&store, dan).await, [(Seq(7), true)]);
    let times: Vec<Time> = rows(&store, chat.into()).await.iter().map(|row| row.time).collect();
    assert!(times.is_sorted_by(|one, other| one < other) && times[9].0 > LATER, "{times:?}");

    // Nothing is owed any more.
    let again = MemoryLog::of_epoch(SHARDS, 3, LATER);
    let whole = make_whole(&store, &again).await.expect("nothing is away");
    assert_eq!((whole.entities, whole.members, whole.effects, effects(&again)), (5, 4, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_holds_is_everybodys_and_what_it_owes_is_appended() {
    let (lost, store) = (MemoryLog::new(SHARDS), store());
    let (router, mut edge) = start_over(&lost, &store, 1).await;
    let (ann, ben, eve) = (user(1), user(2), user(5));
    let chat = edge.create(ann, vec![ben]).await;
    until("inboxes hear of the chat", async || taken(&store, ann).await.len() + taken(&store, ben).await.len() == 2)
        .await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");

    // A whole command that adds eve, and half of the next one.
    let last = rows(&store, chat.into()).await.pop().expect("it has events");
    let next = |ahead: u64, index, count| {
        let mut event = Event::from_bytes(&last.event).expect("canonical bytes");
        (event.seq, event.time, event.target) = (Seq(last.seq.0 + ahead), Time(last.time.0 + ahead), Some(eve));
        event.counter = Counter(ahead + 1);
        let position = Position { offset: last.position.offset + ahead, ..last.position };
        EventRow { seq: event.seq, time: event.time, position, index, count, event: event.to_bytes() }
    };
    let rows = vec![next(1, 0, 1), next(2, 0, 2)];
    let (whole, half) = (rows[0].seq, rows[1].seq);
    store.leave_on_one(EventBatch { entity: chat.into(), rows, owes: Vec::new(), settles: Vec::new() });
    assert!(!store.is_durable(chat.into(), whole));

    let log = MemoryLog::of_epoch(SHARDS, 2, LATER);
    let made = make_whole(&store, &log).await.expect("nothing is away");
    // The half command's row stays, and what comes to its place must be later.
    assert_eq!((made.effects, made.newest), (1, Time(last.time.0 + 2)));
    assert!(store.is_durable(chat.into(), whole));
    assert!(!store.is_durable(chat.into(), half));
    let (router, edge) = start_over(&log, &store, 2).await;
    until("eve hears of the chat", async || taken(&store, eve).await == [(whole, true)]).await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(start_paused = true)]
async fn a_log_begins_with_the_rules_in_force_and_behind_every_event() {
    let (store, log) = (store(), MemoryLog::of_epoch(SHARDS, 2, LATER));
    let checkpoint = Checkpoint { position: Position { epoch: 1, offset: 9 }, rules: 1, last: None };
    store.write_checkpoint(ShardId(1), checkpoint).await.expect("it is in memory");
    begin_shards(&store, &log, Time(LATER - 1)).await.expect("nothing is away");
    for shard in (0..SHARDS).map(ShardId) {
        let records = log.records(shard);
        assert_eq!(records.len(), 1);
        assert_eq!(Record::from_bytes(records[0].record.clone()), Ok(Record::Rules { version: 1 }));
    }
    // Before its clock is known, nothing is known.
    log.give_nothing_once();
    begin_shards(&store, &log, Time(LATER)).await.expect("nothing is away");
    assert!((0..SHARDS).all(|shard| log.records(ShardId(shard)).len() == 2));
    // Its clock goes on by one with each record: the fourth is the first behind this event.
    begin_shards(&store, &log, Time(LATER + 2)).await.expect("nothing is away");
    assert!((0..SHARDS).all(|shard| log.records(ShardId(shard)).len() == 4));
    // That is not waited for.
    let far = begin_shards(&store, &log, Time(LATER + 601_000_000)).await;
    assert!(matches!(&far, Err(StoreError::Misconfigured(why)) if why.contains("600 s behind")), "{far:?}");
}

/// What is damaged is named, and keeps nothing else from being made whole.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_chats_and_inboxes_are_named_and_all_others_get_what_they_are_owed() {
    let (lost, store) = (MemoryLog::new(SHARDS), store());
    let (router, mut edge) = start_over(&lost, &store, 1).await;
    let (ann, ben, cid, dan, eve) = (user(1), user(2), user(3), user(4), user(5));
    let (first, second) = (edge.create(ann, vec![ben]).await, edge.create(cid, vec![dan]).await);
    until("inboxes hear of the chats", async || {
        let mut taken_by = Vec::new();
        for of in [ann, ben, cid, dan] {
            taken_by.push(taken(&store, of).await.len());
        }
        taken_by == [1; 4]
    })
    .await;
    lost.lose_effects();
    let add = |members| CommandBody::AddMembers { role: Role::Member, with_history: false, members };
    let adds = [(first, ann, add(vec![eve])), (second, cid, add(vec![ann, ben, eve]))];
    for (chat, by, add) in &adds {
        let token = edge.command((*chat).into(), *by, 2, add);
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let named = |whole: &MadeWhole| whole.damaged.named().map(|(entity, _)| entity).collect::<Vec<_>>();

    // All of one chat, and of an inbox to which the other one owes.
    store.damage(first.into());
    store.damage(ben.into());
    let log = MemoryLog::of_epoch(SHARDS, 2, LATER);
    let whole = make_whole(&store, &log).await.expect("nothing is away");
    let mut expected = [EntityId::from(first), ben.into()];
    expected.sort_unstable();
    assert_eq!(named(&whole), expected);
    assert_eq!((whole.effects, effects(&log)), (2, 2), "ann and eve join the second");

    // One row of a member: the others are compared.
    store.mend();
    let damaged = StateRow { key: RowId::Member(cid).key(), value: Some(Default::default()), time: Time(LATER) };
    store.write_state(second.into(), vec![damaged]).await.expect("it is in memory");
    let log = MemoryLog::of_epoch(SHARDS, 2, LATER);
    let whole = make_whole(&store, &log).await.expect("nothing is away");
    assert_eq!(named(&whole), [EntityId::from(second)]);
    assert!(whole.damaged.to_string().starts_with("1 chat or inbox is damaged: "), "{}", whole.damaged);
    assert_eq!((whole.effects, effects(&log)), (4, 4), "ben, too, and eve the first one");
}

/// Of a damaged chat, too, whatever some replica holds must lose against what comes to its place.
#[tokio::test]
async fn the_newest_event_of_a_damaged_chat_is_known_as_far_as_its_rows_can_be_read() {
    let store = store();
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    for seq in 1..=1_200 {
        let position = Position { epoch: 1, offset: seq };
        // None of them is an event.
        let event = Default::default();
        let row = EventRow { seq: Seq(seq), position, index: 0, count: 1, time: Time(seq), event };
        let batch = EventBatch { entity: chat, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
        store.write_events(batch).await.expect("it is in memory");
    }
    let newest = async || {
        let whole = make_whole(&store, &MemoryLog::of_epoch(SHARDS, 2, LATER)).await.expect("nothing is away");
        assert_eq!(whole.damaged.named().count(), 1);
        whole.newest
    };
    assert_eq!(newest().await, Time(1_200));
    store.damage_event(chat, Seq(600));
    assert_eq!(newest().await, Time(1_200), "behind a row that cannot be read");
    store.damage_event(chat, Seq(1_100));
    assert_eq!(newest().await, Time(512), "before it");
    let head = StateRow { key: RowId::Head.key(), value: Some(Default::default()), time: Time(1_150) };
    store.write_state(chat, vec![head]).await.expect("it is in memory");
    assert_eq!(newest().await, Time(1_150), "as its head was written");
}
