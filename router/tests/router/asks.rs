//! What an edge learns that asks what became of a command.

use std::collections::HashMap;
use std::time::Duration;

use panda_protocol::Position;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

impl Edge {
    /// Asks about a command of the chat's shard, as one whose answer did not come.
    async fn ask_about(&mut self, entity: EntityId, epoch: u32, offset: u64) -> Outcome {
        self.token += 1;
        let (token, position) = (self.token, Position { epoch, offset });
        self.up.send(Up::Ask { token, entity, position }).await.expect("the router lives");
        tokio::time::timeout(PATIENCE, self.answer(token)).await.expect("it is answered")
    }
}

/// Where each command of one sender stands, by its counter.
fn places(log: &MemoryLog) -> HashMap<u64, u64> {
    let records = log.records(ShardId(0)).into_iter();
    let place = |entry: panda_storage::LogRecord| match Record::from_bytes(entry.record).expect("a record") {
        Record::Command(command) => Some((command.counter.0, entry.position.offset)),
        _ => None,
    };
    records.filter_map(place).collect()
}

fn rejected(code: ErrorCode) -> Outcome {
    Outcome::Rejected(Rejection::new(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_knows_what_every_position_made_that_it_passed() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben) = (user(1), user(2));
    let chat = EntityId::from(edge.create(ann, vec![ben]).await);
    let token = edge.command(chat, ann, 2, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    // One who is no member, and one who is.
    let token = edge.command(chat, user(3), 1, &say("may I?"));
    assert!(matches!(edge.answer(token).await, Outcome::Rejected(_)));
    let refused = log.end(ShardId(0)).await.expect("the log answers").offset - 1;
    // More than one read of the store brings.
    for counter in 3..300 {
        let token = edge.command(chat, ann, counter, &say("again"));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(counter + 2)));
    }
    let places = places(&log);
    let created = log
        .records(ShardId(0))
        .into_iter()
        .find(|entry| matches!(Record::from_bytes(entry.record.clone()), Ok(Record::Command(_))))
        .expect("the chat was created")
        .position
        .offset;
    let end = log.end(ShardId(0)).await.expect("the log answers").offset;
    let check = async |edge: &mut Edge| {
        assert_eq!(edge.ask_about(chat, 1, created).await, Outcome::Applied(Seq(1)), "the first of its events");
        for counter in [2, 3, 150, 299] {
            let outcome = edge.ask_about(chat, 1, places[&counter]).await;
            assert_eq!(outcome, Outcome::Applied(Seq(counter + 2)));
        }
        assert_eq!(edge.ask_about(chat, 1, refused).await, rejected(ErrorCode::NotApplied));
        assert_eq!(edge.ask_about(user(9).into(), 1, refused).await, rejected(ErrorCode::NotApplied));
        // Another log, and a place that this one does not have.
        assert_eq!(edge.ask_about(chat, 0, created).await, rejected(ErrorCode::OutcomeUnknown));
        assert_eq!(edge.ask_about(chat, 2, created).await, rejected(ErrorCode::OutcomeUnknown));
        assert_eq!(edge.ask_about(chat, 1, end + 1_000).await, rejected(ErrorCode::OutcomeUnknown));
    };
    check(&mut edge).await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");

    // The next owner has nothing in memory.
    let (router, mut edge) = start_over(&log, &store, 2).await;
    check(&mut edge).await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
