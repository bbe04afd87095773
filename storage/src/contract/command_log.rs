//! The suite of [`CommandLog`], for a log of at least two shards that nobody else uses.

use std::future::Future as _;
use std::task::Poll;

use bytes::Bytes;
use panda_protocol::{Position, ShardId};

use crate::command_log::{CommandLog, ShardChange, ShardGroup as _, ShardReader as _};

const SHARD: ShardId = ShardId(1);

/// Runs every test on a new log.
pub(crate) async fn all<L: CommandLog>(make: impl Fn() -> L) {
    records_are_read_in_the_order_they_were_appended(make()).await;
    a_reader_waits_for_the_next_record(make()).await;
    a_reader_begins_where_it_is_told(make()).await;
    the_end_is_behind_the_last_record(make()).await;
    released_records_may_go_and_later_ones_stay(make()).await;
    a_group_of_one_owns_every_shard(make()).await;
    a_dropped_append_is_not_taken_back(make()).await;
}

fn record(number: u8) -> Bytes {
    Bytes::from(vec![number; 3])
}

async fn fill(log: &impl CommandLog, count: u8) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..count {
        positions.push(log.append(SHARD, record(number)).unwrap().await.unwrap());
    }
    positions
}

async fn records_are_read_in_the_order_they_were_appended(log: impl CommandLog) {
    let positions = fill(&log, 10).await;
    assert!(positions.is_sorted() && positions.iter().all(|position| position.epoch == log.epoch()));
    let mut reader = log.read(SHARD, None).await.unwrap();
    let mut records = Vec::new();
    while records.len() < 10 {
        let next = reader.next(3).await.unwrap();
        assert!((1..=3).contains(&next.len()));
        records.extend(next);
    }
    assert!(records.is_sorted_by_key(|record| record.time));
    let read: Vec<_> = records.iter().map(|record| (record.position, record.record.clone())).collect();
    assert_eq!(read, positions.into_iter().zip((0..10).map(record)).collect::<Vec<_>>());
}

async fn a_reader_waits_for_the_next_record(log: impl CommandLog) {
    let mut reader = log.read(SHARD, None).await.unwrap();
    {
        let mut next = std::pin::pin!(reader.next(5));
        assert!(std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await);
        log.append(ShardId(0), record(9)).unwrap().await.unwrap();
        log.append(SHARD, record(1)).unwrap().await.unwrap();
        assert_eq!(next.await.unwrap()[0].record, record(1));
    }
    // Dropping a wait loses nothing.
    drop(reader.next(5));
    log.append(SHARD, record(2)).unwrap().await.unwrap();
    assert_eq!(reader.next(5).await.unwrap()[0].record, record(2));
}

async fn a_reader_begins_where_it_is_told(log: impl CommandLog) {
    let positions = fill(&log, 5).await;
    let mut reader = log.read(SHARD, Some(positions[3])).await.unwrap();
    assert_eq!(reader.next(1).await.unwrap()[0].position, positions[3]);
    let end = log.end(SHARD).await.unwrap();
    let mut reader = log.read(SHARD, Some(end)).await.unwrap();
    let position = log.append(SHARD, record(7)).unwrap().await.unwrap();
    assert_eq!(reader.next(1).await.unwrap()[0].position, position);
    let beyond = Position { offset: position.offset + 10, ..position };
    assert!(log.read(SHARD, Some(beyond)).await.is_err());
}

async fn the_end_is_behind_the_last_record(log: impl CommandLog) {
    let empty = log.end(SHARD).await.unwrap();
    let positions = fill(&log, 3).await;
    assert!(empty <= positions[0]);
    let end = log.end(SHARD).await.unwrap();
    assert!(end > positions[2]);
    let next = log.append(SHARD, record(1)).unwrap().await.unwrap();
    assert!(next >= end);
}

async fn released_records_may_go_and_later_ones_stay(log: impl CommandLog) {
    let positions = fill(&log, 6).await;
    let mut reader = log.read(SHARD, None).await.unwrap();
    reader.next(4).await.unwrap();
    log.release(SHARD, positions[4]).await.unwrap();
    log.release(SHARD, positions[1]).await.unwrap();
    let mut reader = log.read(SHARD, Some(positions[4])).await.unwrap();
    assert_eq!(reader.next(9).await.unwrap().len(), 2);
}

async fn a_group_of_one_owns_every_shard(log: impl CommandLog) {
    let mut group = log.join(1);
    let mut owned = Vec::new();
    for _ in 0..log.shards() {
        match group.next().await.unwrap() {
            ShardChange::Assigned(shard) => owned.push(shard),
            ShardChange::Revoked(shard) => panic!("{shard} was revoked"),
        }
    }
    owned.sort();
    assert_eq!(owned, (0..log.shards()).map(ShardId).collect::<Vec<_>>());
}

async fn a_dropped_append_is_not_taken_back(log: impl CommandLog) {
    drop(log.append(SHARD, record(1)).unwrap());
    let mut reader = log.read(SHARD, None).await.unwrap();
    assert_eq!(reader.next(1).await.unwrap()[0].record, record(1));
}
