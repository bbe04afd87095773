//! Routers that outlive the epoch of their log.

use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
/// An owner that did not hear from its log for so long doubts that its epoch is open.
const SILENCE: Duration = Duration::from_millis(2_100);

async fn ended(router: &mut panda_router::Router) -> RouterError {
    tokio::time::timeout(PATIENCE, router.failed()).await.expect("it ends by itself")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_was_cut_off_while_an_epoch_was_opened_stores_nothing_more_and_says_why() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    store.open_epoch(1);
    let (mut router, mut edge) = start_over(&log, &store, 1).await;
    let ann = user(1);
    let chat = edge.create(ann, vec![]).await;
    log.silence();
    tokio::time::sleep(SILENCE).await;
    let stored = store.all().events;
    store.open_epoch(2);
    edge.command(chat.into(), ann, 2, &say("hello"));
    let error = ended(&mut router).await;
    assert!(matches!(error, RouterError::GivenUp { why: GivenUp::EpochOver { open: 2 }, .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(
        sentence.contains("epoch 2 of the log was opened while this router did not hear from its log"),
        "{sentence}"
    );
    assert!(sentence.ends_with("this router has left the group: start it again"), "{sentence}");
    assert_eq!(store.all().events, stored);
    while let Some(downs) = edge.down.recv().await {
        assert!(!downs.iter().any(|down| matches!(down, Down::Answer(_) | Down::Events(_))), "{downs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_was_cut_off_goes_on_in_an_epoch_that_is_open_still() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    store.open_epoch(1);
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let ann = user(1);
    let chat = edge.create(ann, vec![]).await;
    log.silence();
    tokio::time::sleep(SILENCE).await;
    store.hold_epoch(true);
    let (stored, asked) = (store.all().events, store.epoch_reads());
    let token = edge.command(chat.into(), ann, 2, &say("hello"));
    let is_asked = async {
        while store.epoch_reads() == asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_asked).await.expect("the store is asked which epoch is open");
    assert_eq!(store.all().events, stored, "nothing is stored before it answers");
    while let Ok(downs) = edge.down.try_recv() {
        assert!(!downs.iter().any(|down| matches!(down, Down::Answer(_) | Down::Events(_))), "{downs:?}");
    }
    store.hold_epoch(false);
    let answer = tokio::time::timeout(PATIENCE, edge.answer(token)).await.expect("it goes on");
    assert_eq!(answer, Outcome::Applied(Seq(3)));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_in_the_store_until_its_epoch_is_over_is_not_sent() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    store.open_epoch(1);
    let (mut router, mut edge) = start_over(&log, &store, 1).await;
    let ann = user(1);
    let chat = edge.create(ann, vec![]).await;
    store.hold_writes(true);
    let highest = store.highest(chat.into());
    let waiting = store.writes_waiting();
    edge.command(chat.into(), ann, 2, &say("hello"));
    let waits = async {
        while store.writes_waiting() == waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("the write waits for its place");
    // What is known of the epoch grows old.
    store.hold_epoch(true);
    log.silence();
    tokio::time::sleep(SILENCE).await;
    store.open_epoch(2);
    store.hold_writes(false);
    store.hold_epoch(false);
    let error = ended(&mut router).await;
    assert!(matches!(error, RouterError::GivenUp { why: GivenUp::EpochOver { open: 2 }, .. }), "{error:?}");
    assert_eq!(store.highest(chat.into()), highest);
}

/// Who opened the epoch had looked at the group before this router came.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_nobody_saw_come_ends_although_its_log_answers() {
    let (log, store) = (MemoryLog::new(2), MemoryStore::new(1, true, BUCKET_EVENTS));
    store.open_epoch(1);
    let (mut router, mut edge) = start_over(&log, &store, 1).await;
    edge.create(user(1), vec![]).await;
    store.open_epoch(2);
    let error = ended(&mut router).await;
    assert!(matches!(error, RouterError::GivenUp { why: GivenUp::EpochOver { open: 2 }, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_comes_back_to_its_group_behind_its_epoch_takes_nothing_over() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    store.open_epoch(2);
    let started = start(RouterConfig::new(1), log.clone(), store.clone(), MemoryBoard::default()).await;
    let error = match started {
        Ok(mut router) => ended(&mut router).await,
        Err(error) => error,
    };
    assert!(matches!(error, RouterError::GivenUp { why: GivenUp::EpochOver { open: 2 }, .. }), "{error:?}");
    assert_eq!(log.end(ShardId(0)).await.expect("the log answers").offset, 0, "it appended nothing");
}
