//! Routers whose log is, or is not, the one up to whose checkpoint the store holds a shard.

use std::time::Duration;

use panda_storage::{LogRecord, RecordMark, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SHARD: ShardId = ShardId(0);

/// A router that makes a chat, or goes on in it, and stops: everything is stored then.
async fn talk(log: &MemoryLog, store: &MemoryStore, counter: u64) {
    let (router, mut edge) = start_over(log, store, 1).await;
    let ann = user(1);
    if counter == 1 {
        edge.create(ann, vec![]).await;
    } else {
        let chat = ChatId::group(ann, device(1), Counter(1));
        let token = edge.command(chat.into(), ann, counter, &say("hello"));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(counter + 1)));
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// The sentence with which a router ends.
async fn refusal(log: &MemoryLog, store: &MemoryStore) -> String {
    let ended = match start(RouterConfig::new(1), log.clone(), store.clone(), MemoryBoard::default()).await {
        Ok(mut router) => tokio::time::timeout(PATIENCE, router.failed()).await.expect("it ends by itself"),
        Err(error) => error,
    };
    assert!(matches!(ended, RouterError::Store(StoreError::Misconfigured(_))), "{ended:?}");
    ended.to_string()
}

/// The record before the shard's checkpoint, as the store has it and as the log does.
fn last(log: &MemoryLog, store: &MemoryStore) -> (RecordMark, LogRecord) {
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let before = usize::try_from(stored.position.offset - 1).expect("a short log");
    (stored.last.expect("it names the record before"), log.records(SHARD).swap_remove(before))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_goes_on_behind_the_record_that_the_store_names() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    for counter in 1..4 {
        talk(&log, &store, counter).await;
        let (stored, record) = last(&log, &store);
        assert_eq!(stored, RecordMark::of(&record));
        assert_eq!(record.position.offset + 1, log.end(SHARD).await.expect("the log answers").offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_another_record_there_or_ends_before_is_refused_with_the_command_that_helps() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let (mark, _) = last(&log, &store);
    let time = panda_protocol::Time(mark.time.0 + 1);
    for other in [RecordMark { digest: [7; 8], ..mark }, RecordMark { time, ..mark }] {
        store.change(|replica| {
            replica.checkpoints.insert(SHARD, panda_storage::Checkpoint { last: Some(other), ..stored });
        });
        let events = store.all().events;
        let why = refusal(&log, &store).await;
        let record = format!("has another record at {}", mark.position);
        assert!(why.contains(&record) && why.contains("'panda admin open-epoch'"), "{why}");
        assert_eq!(store.all().events, events);
    }
    store.change(|replica| {
        replica.checkpoints.insert(SHARD, stored);
    });
    // The Takeover is its only record.
    let why = refusal(&MemoryLog::new(1), &store).await;
    assert!(why.contains("its log ends at 1:1") && why.contains("'panda admin open-epoch'"), "{why}");
    talk(&log, &store, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_a_last_record_is_begun_at_as_before() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    store.change(|replica| {
        replica.checkpoints.values_mut().for_each(|checkpoint| checkpoint.last = None);
    });
    talk(&log, &store, 2).await;
    assert_eq!(last(&log, &store).0, RecordMark::of(&last(&log, &store).1));
}
