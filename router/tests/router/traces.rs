//! Who appended a record, and in whose trace, as it stands in the log.

use panda_protocol::TraceContext;
use panda_router::new_log::{begin_shards, make_whole};
use panda_storage::{Appender, LogRecord};

use super::*;

const ROUTER: u64 = 0x1f;

/// The effects of a log of one shard, once there are so many.
async fn effects(log: &MemoryLog, count: usize) -> Vec<LogRecord> {
    loop {
        let is_effect = |entry: &LogRecord| matches!(Record::from_bytes(entry.record.clone()), Ok(Record::Effect(_)));
        let effects: Vec<LogRecord> = log.records(ShardId(0)).into_iter().filter(is_effect).collect();
        if effects.len() >= count {
            return effects;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_and_effects_name_their_router_and_effects_have_their_commands_context() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, ROUTER).await;
    let from = RecordHeaders::from(Appender::Router(ROUTER));
    assert_eq!(log.records(ShardId(0))[0].headers, from, "the Takeover");
    let trace = TraceContext::new([0xa1; 16], [0xb2; 8], 0);
    edge.headers = RecordHeaders::from(Appender::Edge(LINK)).traced(trace);
    edge.create(user(1), vec![user(2)]).await;
    for effect in effects(&log, 2).await {
        assert_eq!(effect.headers, from.traced(trace));
    }
    edge.headers = RecordHeaders::default();
    let chat = ChatId::direct(user(1), user(3)).into();
    let token = edge.command(chat, user(1), 1, &CommandBody::CreateDirect { peer: user(3) });
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(1)));
    for effect in &effects(&log, 4).await[2..] {
        assert_eq!(effect.headers, from, "of a command that nobody follows");
    }
    router.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_makes_a_store_whole_for_a_new_log_says_that_it_was_no_router() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    log.lose_effects();
    let (router, mut edge) = start_over(&log, &store, ROUTER).await;
    edge.create(user(1), vec![user(2)]).await;
    router.stop().await.expect("it stops");
    let next = MemoryLog::of_epoch(1, 2, 9_000_000);
    let made = make_whole(&store, &next).await.expect("it is in memory");
    begin_shards(&store, &next, made.newest).await.expect("it is in memory");
    let records = next.records(ShardId(0));
    assert_eq!((made.effects, records.len()), (2, 3));
    assert!(records.iter().all(|record| record.headers == Appender::Admin.into()), "{records:?}");
}
