//! Rows of a chat or an inbox that are damaged, and made anew from its events.

use bytes::Bytes;
use panda_protocol::{Position, Time};
use panda_router::rebuild::{Rebuilt, rebuild};
use panda_router::rows::RowId;
use panda_router::shard::load::flushed_key;
use panda_storage::{EventBatch, EventStore as _, RowKey, StateRow, StoreError};

use super::*;

/// What the clock of another log shows, behind everything that the first one's did.
const LATER: u64 = 2_000_000;

/// A chat with a member, one who was, and messages, and the inbox of the member; all rows are stored.
async fn used(store: &MemoryStore) -> [EntityId; 2] {
    let (log, ann, ben, cid) = (MemoryLog::new(1), user(1), user(2), user(3));
    let (router, mut edge) = start_over(&log, store, 1).await;
    let chat = edge.create(ann, vec![ben, cid]).await;
    let removed = edge.command(chat.into(), ann, 2, &CommandBody::RemoveMembers { members: vec![cid] });
    assert_eq!(edge.answer(removed).await, Outcome::Applied(Seq(5)));
    let said = edge.command(chat.into(), ben, 1, &say("here I am"));
    assert_eq!(edge.answer(said).await, Outcome::Applied(Seq(6)));
    let theme = CommandBody::SetSetting { key: "theme".into(), value: Bytes::from_static(b"dark") };
    let set = edge.command(ben.into(), ben, 1, &theme);
    assert!(matches!(edge.answer(set).await, Outcome::Applied(_)));
    while edge.admit(ben, ben.into()).await != Ok(Seq(2)) {}
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    [chat.into(), ben.into()]
}

/// What the rows of an entity say.
fn rows(store: &MemoryStore, entity: EntityId) -> Vec<(RowKey, Option<Bytes>)> {
    let state = store.all().state.into_iter().filter(|((of, _), row)| *of == entity && row.value.is_some());
    state.map(|((_, key), row)| (key, row.value)).collect()
}

fn refusal(rebuilt: Result<Rebuilt, StoreError>) -> String {
    match rebuilt {
        Err(StoreError::Corrupt(why)) => why,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_damaged_lost_or_nobodys_are_as_the_events_say_again() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let entities = used(&store).await;
    for entity in entities {
        let sound = rows(&store, entity);
        let nothing = Rebuilt { mended: 0, ..rebuild(&store, entity, None).await.expect("all can be read") };
        assert_eq!(rebuild(&store, entity, None).await.expect("all can be read"), nothing);
        assert_eq!((rows(&store, entity), nothing.rows), (sound.clone(), sound.len() as u64 - 1));
        // Every other row is garbage, and those between are gone; the flushed cell is among them.
        for (place, (key, _)) in sound.iter().enumerate() {
            store.change(|replica| {
                let row = (entity, key.clone());
                if place % 2 == 0 {
                    replica.state.get_mut(&row).expect("it is there").value = Some(Bytes::from_static(b"\xff"));
                } else {
                    replica.state.remove(&row);
                }
            });
        }
        let nobodys = StateRow { key: RowId::Member(user(9)).key(), value: Some(Bytes::new()), time: Time(1) };
        store.write_state(entity, vec![nobodys]).await.expect("it is in memory");
        let mended = rebuild(&store, entity, None).await.expect("events can be read");
        assert_eq!(mended, Rebuilt { mended: sound.len() as u64 + 1, ..nothing });
        assert_eq!(rows(&store, entity), sound);
        assert_eq!(rebuild(&store, entity, None).await.expect("all can be read"), nothing);
    }
    // Whatever comes next wins over what was written now.
    let log = MemoryLog::of_epoch(1, 2, LATER);
    let (router, mut edge) = start_over(&log, &store, 2).await;
    let said = edge.command(entities[0], user(2), 2, &say("still here"));
    assert_eq!(edge.answer(said).await, Outcome::Applied(Seq(7)));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let sound = rows(&store, entities[0]);
    assert_eq!(rebuild(&store, entities[0], None).await.expect("all can be read").mended, 0);
    assert_eq!(rows(&store, entities[0]), sound);
}

/// Rows made of the others would give their numbers away.
#[tokio::test(flavor = "multi_thread")]
async fn where_events_are_damaged_or_missing_no_row_is_written() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let [chat, _] = used(&store).await;
    store.change(|replica| drop(replica.state.remove(&(chat, RowId::Head.key()))));
    let (events, state) = (store.all().events, store.all().state);
    let lost = |seq| {
        store.change(|replica| {
            replica.events.clone_from(&events);
            replica.events.remove(&(chat, seq));
        });
    };
    lost(Seq(6));
    let why = refusal(rebuild(&store, chat, None).await);
    assert_eq!(why, format!("{chat} has rows of event 6, and its events end at 5"));
    lost(Seq(5));
    let why = refusal(rebuild(&store, chat, None).await);
    assert_eq!(why, format!("event 5 of {chat} is missing, and 6 is there"));
    // Also if nothing says through which event rows are stored.
    lost(Seq(6));
    store.change(|replica| drop(replica.state.remove(&(chat, flushed_key()))));
    let why = refusal(rebuild(&store, chat, None).await);
    assert_eq!(why, format!("{chat} has rows of event 6, and its events end at 5"));
    store.change(|replica| {
        replica.events.clone_from(&events);
        replica.events.get_mut(&(chat, Seq(3))).expect("it is there").event = Bytes::from_static(b"\xff");
    });
    let why = refusal(rebuild(&store, chat, None).await);
    assert!(why.starts_with(&format!("event 3 of {chat}: ")), "{why}");
    let (left, flushed) = (store.all().state, (chat, flushed_key()));
    assert!(state.iter().filter(|(key, _)| **key != flushed).eq(left.iter()));
}

/// A record that waits in the log may have been taken by it before a person wrote the row.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_written_by_hand_is_written_over_only_where_all_that_comes_is_later() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let [chat, _] = used(&store).await;
    let sound = rows(&store, chat);
    let newest = store.all().events[&(chat, Seq(6))].time;
    for value in [None, Some(Bytes::new())] {
        let by_hand = Time(newest.0 + 7);
        store.change(|replica| {
            let row = replica.state.get_mut(&(chat, RowId::Head.key())).expect("it is there");
            (row.value, row.time) = (value.clone(), by_hand);
        });
        for from in [None, Some(Time(by_hand.0 + 1))] {
            let why = refusal(rebuild(&store, chat, from).await);
            assert!(why.starts_with(&format!("Head of {chat} was written or deleted so late")), "{why}");
        }
        let mended = rebuild(&store, chat, Some(Time(by_hand.0 + 2))).await.expect("all that comes is later");
        assert_eq!((mended.mended, rows(&store, chat)), (1, sound.clone()));
    }
}

/// What only a minority holds is made the majority's before rows speak of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_events_are_everywhere_before_rows_are_made_of_them() {
    let store = MemoryStore::new(1, true, BUCKET_EVENTS);
    let [chat, _] = used(&store).await;
    let mut last = store.all().events[&(chat, Seq(6))].clone();
    let mut event = Event::from_bytes(&last.event).expect("canonical bytes");
    (event.seq, event.time, event.counter) = (Seq(7), Time(last.time.0 + 1), Counter(2));
    (last.seq, last.time, last.event) = (event.seq, event.time, event.to_bytes());
    last.position = Position { offset: last.position.offset + 1, ..last.position };
    let batch = EventBatch { entity: chat, rows: vec![last], owes: Vec::new(), settles: Vec::new() };
    store.leave_on_one(batch);
    // A read asks two of three.
    while rebuild(&store, chat, None).await.expect("all can be read").events == 6 {}
    assert!(store.is_durable(chat, Seq(7)));
}
