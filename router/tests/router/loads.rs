//! What a load brings, and how many there are at once.

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::event::{ChatKind, Role};
use panda_protocol::{Position, Time};
use panda_router::rows::{ChatHead, MemberRow, Row, RowId, RowValue};
use panda_router::shard::load::{Wanted, flushed_cell, load, read_scan};
use panda_storage::{EventBatch, EventRow, EventStore as _, RowKey, StateRow, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

const fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

fn wanted(owing_from: Position) -> Wanted {
    Wanted { ids: vec![RowId::Member(user(1))], base: None, owing_from, bucket_events: BUCKET_EVENTS }
}

/// Stores an event, made by the record whose offset is its number.
async fn store_event(store: &MemoryStore, chat: EntityId, seq: Seq, event: Bytes) {
    let row = EventRow { seq, position: at(seq.0), index: 0, count: 1, time: Time(seq.0), event };
    let batch = EventBatch { entity: chat, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
    store.write_events(batch).await.expect("it is in memory");
}

async fn store_head(store: &MemoryStore, chat: EntityId, seq: Seq) {
    let head = ChatHead { position: at(seq.0), kind: ChatKind::Direct, name: "tea".into(), named: Seq(1), members: 2 };
    let row = Row { seq, time: Time(seq.0), value: RowValue::Chat(head) };
    let row = StateRow { key: RowId::Head.key(), value: Some(row.to_bytes()), time: row.time };
    store.write_state(chat, vec![row]).await.expect("it is in memory");
}

/// Says that every row is stored through an event.
async fn store_flushed(store: &MemoryStore, chat: EntityId, through: Seq) {
    store.write_state(chat, vec![flushed_cell(through, Time(through.0))]).await.expect("it is in memory");
}

fn damage(loaded: Result<panda_router::shard::Loaded, StoreError>) -> String {
    match loaded {
        Err(StoreError::Corrupt(why)) => why,
        other => panic!("{other:?} is no damage"),
    }
}

/// An event that was stored before the flushed cell, and of which nobody knows what it owes.
#[tokio::test]
async fn a_skipped_event_that_cannot_be_read_is_not_passed_over() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    store_event(&store, chat, Seq(1), Bytes::new()).await;
    store_head(&store, chat, Seq(1)).await;
    store_flushed(&store, chat, Seq(1)).await;
    load(&store, chat, wanted(at(2))).await.expect("nobody asks what it owes");
    let why = damage(load(&store, chat, wanted(at(1))).await);
    assert!(why.starts_with("event 1 of"), "{why}");
}

#[tokio::test]
async fn a_head_and_events_that_do_not_reach_what_is_said_to_be_stored_are_damage() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    store_flushed(&store, chat, Seq(2)).await;
    let why = damage(load(&store, chat, wanted(at(9))).await);
    assert_eq!(why, format!("the head of {chat} is at event 0, and its rows are stored through 2"));
    store_head(&store, chat, Seq(1)).await;
    let why = damage(load(&store, chat, wanted(at(9))).await);
    assert_eq!(why, format!("the head of {chat} is at event 1, and its rows are stored through 2"));
    store_head(&store, chat, Seq(2)).await;
    let why = damage(load(&store, chat, wanted(at(9))).await);
    assert_eq!(why, format!("the rows of {chat} are stored through event 2, and that is not there"));
    store_event(&store, chat, Seq(2), Bytes::new()).await;
    load(&store, chat, wanted(at(9))).await.expect("they go together");
}

/// A checkpoint that is held for a week has the messages of a week behind it.
#[tokio::test]
async fn of_what_is_skipped_a_load_keeps_what_owes_something() {
    const EVENTS: u64 = 10_002;
    const JOINS: [u64; 2] = [5_000, EVENTS];
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    for seq in (1..=EVENTS).map(Seq) {
        let joins = JOINS.contains(&seq.0);
        let event = Event {
            seq,
            time: Time(seq.0),
            actor: user(1),
            device: device(1),
            counter: Counter(seq.0),
            digest: Default::default(),
            target: joins.then_some(user(3)),
            body: if joins {
                EventBody::MemberAdded { role: Role::Member, visible_from: seq }
            } else {
                EventBody::MessageSent { format: MessageFormat::Text, text: "on and on".into() }
            },
        };
        store_event(&store, chat, seq, event.to_bytes()).await;
    }
    store_head(&store, chat, Seq(EVENTS)).await;
    store_flushed(&store, chat, Seq(EVENTS)).await;
    let loaded = load(&store, chat, wanted(at(1))).await.expect("all of it can be read");
    assert_eq!(loaded.owing.iter().map(|(position, _)| *position).collect::<Vec<_>>(), JOINS.map(at));
    let loaded = load(&store, chat, wanted(at(JOINS[0] + 1))).await.expect("all of it can be read");
    assert_eq!(loaded.owing.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_loads_so_many_at_once_and_the_others_wait() {
    const AT_ONCE: usize = 4;
    const USERS: u8 = 60;
    let (log, store) = (MemoryLog::new(3), MemoryStore::new(1, true, BUCKET_EVENTS));
    let config = RouterConfig { threads: 2, loads_max: AT_ONCE, ..RouterConfig::new(1) };
    let (router, mut edge) = start_with(config, &log, &store).await;
    store.hold_reads(true);
    let set = CommandBody::SetSetting { key: "theme".into(), value: Bytes::from_static(b"dark") };
    let mut tokens: Vec<u64> = Vec::new();
    for number in 1..=USERS {
        tokens.push(edge.command(user(number).into(), user(number), 1, &set));
    }
    let all_begun = async {
        while router.metrics().loads.get() < u64::from(USERS) || store.reads_waiting_max() < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_begun).await.expect("all are asked for");
    assert_eq!(router.metrics().reads.get(), u64::from(USERS), "each load is a read of the store");
    assert_eq!(router.metrics().question_reads.get(), 0, "commands are no questions");
    store.hold_reads(false);
    let all_answered = async {
        while !tokens.is_empty() {
            if let Down::Answer(answer) = edge.next().await {
                assert_eq!(answer.outcome, Outcome::Applied(Seq(1)));
                tokens.retain(|token| *token != answer.token);
            }
        }
    };
    tokio::time::timeout(PATIENCE, all_answered).await.expect("each has its turn");
    assert_eq!(store.reads_waiting_max(), AT_ONCE);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[test]
fn a_scan_leaves_out_no_row_that_it_cannot_read() {
    let member = MemberRow { role: Role::Member, joined: Seq(1), visible_from: Seq(1), ended: None };
    let row = Row { seq: Seq(1), time: Time(1), value: RowValue::Member(member) };
    let id = RowId::Member(user(1));
    let sound = StateRow { key: id.key(), value: Some(row.to_bytes()), time: Time(1) };
    assert_eq!(read_scan(vec![sound.clone()]).expect("it can be read"), [(id.clone(), row)]);
    let longer = RowKey { key: [&id.key().key[..], &[0]].concat().into(), ..id.key() };
    for damaged in [
        StateRow { value: Some(Bytes::new()), ..sound.clone() },
        StateRow { value: None, ..sound.clone() },
        StateRow { key: longer, ..sound.clone() },
        StateRow { key: RowKey { kind: 99, ..id.key() }, ..sound.clone() },
    ] {
        let read = read_scan(vec![sound.clone(), damaged]);
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
}
