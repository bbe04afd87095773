//! A shard that another router takes over while the group still assigns it to this one.

use std::time::Duration;

use panda_protocol::Generation;

use super::*;

async fn append(log: &MemoryLog, record: Record) {
    log.append(ShardId(0), record.to_bytes(), Default::default())
        .expect("there is room")
        .await
        .expect("it is appended");
}

impl Edge {
    async fn owner(&mut self) -> Generation {
        loop {
            if let Down::Owner { generation, .. } = self.next_of_all().await {
                return generation;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stays_assigned_is_taken_again_and_goes_on() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben) = (user(1), user(2));
    let chat = edge.create(ann, vec![ben]).await;
    assert_eq!(edge.admit(ben, chat.into()).await, Ok(Seq(3)));
    let mut before = Generation(0);
    for round in 2..5 {
        append(&log, Record::Takeover { router: 99, rules_max: RULES_CURRENT }).await;
        // Told to a shard that is nobody's: the edge has to say it again.
        edge.up.send(Up::Forget { entity: chat.into() }).await.expect("the link is open");
        let again = tokio::time::timeout(Duration::from_secs(20), edge.owner()).await;
        let generation = again.expect("the shard is taken again");
        assert!(generation > before, "terms rise");
        before = generation;
        // The new term knows what the one before stored.
        assert_eq!(edge.admit(ben, chat.into()).await, Ok(Seq(round + 1)));
        let token = edge.command(chat.into(), ann, round, &say("hello"));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(round + 2)));
    }
    assert_eq!(router.metrics().shards.get(), 1);
    assert_eq!(router.metrics().given_up.get(), 0, "nobody has to look");
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_was_taken_over_stops_without_taking_its_shard_again() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, edge) = start_over(&log, &store, 1).await;
    append(&log, Record::Takeover { router: 99, rules_max: RULES_CURRENT }).await;
    while router.metrics().shards.get() > 0 {
        tokio::task::yield_now().await;
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let end = log.end(ShardId(0)).await.expect("the log is there");
    assert!(end.offset <= 3, "at most the first term, the other router's and one that began before the stop");
}
