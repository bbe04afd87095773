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
    let token = edge.command(chat.into(), ann, 2, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(3)));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
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
