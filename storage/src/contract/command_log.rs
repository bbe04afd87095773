//! The suite of [`CommandLog`], for a log of at least two shards that nobody else uses.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::task::Poll;

use bytes::Bytes;
use panda_protocol::link::LinkId;
use panda_protocol::{Position, ShardId, Time, TraceContext};

use crate::command_log::{AppendError, CommandLog, LogRecord, RecordMark, ShardChange, ShardGroup, ShardReader};
use crate::error::StoreError;
use crate::event_store::Checkpoint;
use crate::known_log::{self, KnownReader};
use crate::record_headers::{Appender, RecordHeaders};

const SHARD: ShardId = ShardId(1);
const NONE: RecordHeaders = RecordHeaders { from: None, trace: None };

/// Runs every test on a new log.
pub(crate) async fn all<L: CommandLog>(make: impl AsyncFn() -> L) {
    records_are_read_in_the_order_they_were_appended(make().await).await;
    records_bring_their_headers_and_no_others(make().await).await;
    a_reader_waits_for_the_next_record(make().await).await;
    a_reader_begins_where_it_is_told(make().await).await;
    the_end_is_behind_the_last_record(make().await).await;
    released_records_may_go_and_later_ones_stay(make().await).await;
    whoever_reads_on_behind_a_record_that_is_there_goes_on(make().await).await;
    whoever_reads_on_in_another_log_is_refused(make().await).await;
    a_group_of_one_owns_every_shard(make().await).await;
    a_dropped_append_is_not_taken_back(make().await).await;
    a_sender_keeps_its_order_without_waiting(make().await).await;
    two_readers_of_a_shard_each_read_all_of_it(make().await).await;
    what_is_read_from_an_older_epoch_begins_with_the_first_record(make().await).await;
    a_shard_that_is_not_there_is_refused(make().await).await;
}

/// Runs the tests of logs whose shards several members share, each on a new log.
pub(crate) async fn shared<L: CommandLog>(make: impl AsyncFn() -> L) {
    members_share_the_shards_and_one_that_leaves_hands_over(make().await).await;
}

/// Calls until the log answers: one that was just made may be away for a moment.
async fn answered<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Err(error) if error.is_retryable() => tokio::task::yield_now().await,
            answer => return answer.unwrap(),
        }
    }
}

async fn open<L: CommandLog>(log: &L, from: Option<Position>) -> L::Reader {
    answered(async || log.read(SHARD, from).await).await
}

async fn end(log: &impl CommandLog) -> Position {
    answered(async || log.end(SHARD).await).await
}

fn record(number: u8) -> Bytes {
    Bytes::from(vec![number; 3])
}

async fn fill(log: &impl CommandLog, count: u8) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..count {
        positions.push(log.append(SHARD, record(number), NONE).unwrap().await.unwrap());
    }
    positions
}

async fn records_are_read_in_the_order_they_were_appended(log: impl CommandLog) {
    let positions = fill(&log, 10).await;
    assert!(positions.is_sorted() && positions.iter().all(|position| position.epoch == log.epoch()));
    let mut reader = open(&log, None).await;
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

async fn read(reader: &mut impl ShardReader, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(reader.next(count - records.len()).await.unwrap());
    }
    records
}

async fn records_bring_their_headers_and_no_others(log: impl CommandLog) {
    let trace = TraceContext::new([0xa1; 16], [0xb2; 8], 1);
    let [edge, router] = [Appender::Edge(LinkId(7)), Appender::Router(u64::MAX)].map(RecordHeaders::from);
    let told = [edge.traced(trace), NONE, router, Appender::Admin.into(), NONE.traced(trace), edge];
    for headers in told {
        log.append(SHARD, record(1), headers).unwrap().await.unwrap();
    }
    for _ in 0..2 {
        let read = read(&mut open(&log, None).await, told.len()).await;
        assert_eq!(read.iter().map(|record| record.headers).collect::<Vec<_>>(), told);
        assert!(read.iter().all(|read| read.record == record(1)));
    }
}

async fn a_reader_waits_for_the_next_record(log: impl CommandLog) {
    let mut reader = open(&log, None).await;
    {
        let mut next = std::pin::pin!(reader.next(5));
        assert!(std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await);
        log.append(ShardId(0), record(9), NONE).unwrap().await.unwrap();
        log.append(SHARD, record(1), NONE).unwrap().await.unwrap();
        assert_eq!(next.await.unwrap()[0].record, record(1));
    }
    // Dropping a wait loses nothing.
    drop(reader.next(5));
    log.append(SHARD, record(2), NONE).unwrap().await.unwrap();
    assert_eq!(reader.next(5).await.unwrap()[0].record, record(2));
}

async fn a_reader_begins_where_it_is_told(log: impl CommandLog) {
    let positions = fill(&log, 5).await;
    let mut reader = open(&log, Some(positions[3])).await;
    assert_eq!(reader.next(1).await.unwrap()[0].position, positions[3]);
    let end = end(&log).await;
    let mut reader = open(&log, Some(end)).await;
    let position = log.append(SHARD, record(7), NONE).unwrap().await.unwrap();
    assert_eq!(reader.next(1).await.unwrap()[0].position, position);
    let beyond = Position { offset: position.offset + 10, ..position };
    assert!(log.read(SHARD, Some(beyond)).await.is_err());
}

async fn the_end_is_behind_the_last_record(log: impl CommandLog) {
    let empty = end(&log).await;
    let positions = fill(&log, 3).await;
    assert!(empty <= positions[0]);
    let end = end(&log).await;
    assert!(end > positions[2]);
    let next = log.append(SHARD, record(1), NONE).unwrap().await.unwrap();
    assert!(next >= end);
}

async fn released_records_may_go_and_later_ones_stay(log: impl CommandLog) {
    let positions = fill(&log, 6).await;
    let mut reader = open(&log, None).await;
    reader.next(4).await.unwrap();
    log.release(SHARD, positions[4]).await.unwrap();
    log.release(SHARD, positions[1]).await.unwrap();
    // The one before stays: an owner knows its log by it.
    let mut reader = open(&log, Some(positions[3])).await;
    let read = read(&mut reader, 3).await;
    assert_eq!(read.iter().map(|record| record.position).collect::<Vec<_>>(), positions[3..]);
    let first = open(&log, None).await.next(1).await.unwrap()[0].position;
    assert!(first <= positions[3]);
}

/// A checkpoint behind a record.
fn behind(record: &LogRecord) -> Checkpoint {
    let last = RecordMark::of(record);
    Checkpoint { position: last.behind(), rules: 1, last: Some(last) }
}

/// Opens behind a checkpoint, in a log that is known to reach a position, and compares.
async fn read_on<L: CommandLog>(
    log: &L,
    checkpoint: Checkpoint,
    reached: Option<Position>,
) -> Result<KnownReader<L::Reader>, StoreError> {
    let mut reader = loop {
        match known_log::read_on(log, SHARD, &checkpoint, reached).await {
            Err(error) if error.is_retryable() => tokio::task::yield_now().await,
            read => break read?,
        }
    };
    reader.compare().await?;
    Ok(reader)
}

async fn whoever_reads_on_behind_a_record_that_is_there_goes_on(log: impl CommandLog) {
    fill(&log, 6).await;
    let records = read(&mut open(&log, None).await, 6).await;
    for before in 0..5 {
        let checkpoint = behind(&records[before]);
        for checkpoint in [checkpoint, Checkpoint { last: None, ..checkpoint }] {
            for reached in [None, Some(records[0].position), Some(records[5].position)] {
                let mut reader = read_on(&log, checkpoint, reached).await.unwrap();
                let next = read(&mut reader, 1).await;
                assert_eq!(next[..], records[before + 1..=before + 1], "{checkpoint:?}, reached {reached:?}");
            }
        }
    }
    log.release(SHARD, behind(&records[3]).position).await.unwrap();
    let mut reader = read_on(&log, behind(&records[3]), Some(records[5].position)).await.unwrap();
    assert_eq!(read(&mut reader, 2).await[..], records[4..]);
    // Behind the last one nothing is there yet.
    let mut reader = read_on(&log, behind(&records[5]), None).await.unwrap();
    let position = log.append(SHARD, record(9), NONE).unwrap().await.unwrap();
    assert_eq!(read(&mut reader, 1).await[0].position, position);
}

async fn whoever_reads_on_in_another_log_is_refused(log: impl CommandLog) {
    fill(&log, 6).await;
    let records = read(&mut open(&log, None).await, 6).await;
    let checkpoint = behind(&records[3]);
    let mark = RecordMark::of(&records[3]);
    let time = Time(mark.time.0 + 1_000);
    let mut digest = mark.digest;
    digest[7] ^= 1;
    let elsewhere = RecordMark { position: records[2].position, ..mark };
    let with = |last| Checkpoint { last: Some(last), ..checkpoint };
    let mut others: Vec<_> = [RecordMark { time, ..mark }, RecordMark { digest, ..mark }, elsewhere]
        .map(|last| (with(last), "another"))
        .into();
    // A log that ends before, also before nothing but its end; and one that begins behind.
    let end = end(&log).await;
    let beyond = Position { offset: end.offset + 1, ..end };
    others
        .push((Checkpoint { position: beyond, rules: 1, last: Some(RecordMark { position: end, ..mark }) }, "ends at"));
    others.push((Checkpoint { position: beyond, rules: 1, last: None }, "ends at"));
    let refused = async |checkpoint, reached| match read_on(&log, checkpoint, reached).await.map(drop) {
        Err(StoreError::Misconfigured(why)) => why,
        other => panic!("{checkpoint:?}: {other:?}"),
    };
    let last = Some(records[5].position);
    for (other, word) in others {
        for reached in [None, last] {
            let why = refused(other, reached).await;
            assert!(why.contains(word) && why.contains("panda admin open-epoch"), "{why}");
        }
    }
    log.release(SHARD, end).await.unwrap();
    for reached in [None, last] {
        let why = refused(behind(&records[0]), reached).await;
        assert!(why.contains("not the log that was read") && why.contains("panda admin open-epoch"), "{why}");
    }
}

async fn a_group_of_one_owns_every_shard(log: impl CommandLog) {
    let mut group = log.join(1);
    let mut owned = Vec::new();
    loop {
        match group.next().await.unwrap() {
            ShardChange::Assigned(shard) => owned.push(shard),
            ShardChange::Joined => break,
            change => panic!("{change:?} of the only member"),
        }
    }
    owned.sort();
    assert_eq!(owned, (0..log.shards()).map(ShardId).collect::<Vec<_>>());
}

async fn a_dropped_append_is_not_taken_back(log: impl CommandLog) {
    drop(log.append(SHARD, record(1), NONE).unwrap());
    let mut reader = open(&log, None).await;
    assert_eq!(reader.next(1).await.unwrap()[0].record, record(1));
}

async fn a_sender_keeps_its_order_without_waiting(log: impl CommandLog) {
    let mut reader = open(&log, None).await;
    let appending: Vec<_> = (0..200).map(|number| log.append(SHARD, record(number), NONE).unwrap()).collect();
    let positions = futures_util::future::join_all(appending).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let read = read(&mut reader, 200).await;
    assert_eq!(read.iter().map(|record| record.position).collect::<Vec<_>>(), positions);
    assert!(read.iter().map(|read| &read.record).eq(&(0..200).map(record).collect::<Vec<_>>()));
}

async fn two_readers_of_a_shard_each_read_all_of_it(log: impl CommandLog) {
    let positions = fill(&log, 4).await;
    let mut one = open(&log, None).await;
    let mut other = open(&log, Some(positions[1])).await;
    assert_eq!(read(&mut one, 1).await[0].position, positions[0]);
    assert_eq!(read(&mut other, 3).await[0].position, positions[1]);
    drop(other);
    assert_eq!(read(&mut one, 3).await[2].position, positions[3]);
    // Read anew, again and again, each from its own place.
    for from in [2, 0, 3, 1] {
        let mut again = open(&log, Some(positions[from])).await;
        assert_eq!(read(&mut again, 1).await[0].position, positions[from]);
    }
    let position = log.append(SHARD, record(9), NONE).unwrap().await.unwrap();
    assert_eq!(read(&mut one, 1).await[0].position, position);
}

async fn what_is_read_from_an_older_epoch_begins_with_the_first_record(log: impl CommandLog) {
    let first = fill(&log, 2).await[0];
    let older = Position { epoch: log.epoch() - 1, offset: 77 };
    assert_eq!(open(&log, Some(older)).await.next(1).await.unwrap()[0].position, first);
    let later = Position { epoch: log.epoch() + 1, offset: 0 };
    assert!(matches!(log.read(SHARD, Some(later)).await, Err(StoreError::Corrupt(_))));
}

async fn a_shard_that_is_not_there_is_refused(log: impl CommandLog) {
    let none = ShardId(log.shards());
    assert_eq!(log.append(none, record(1), NONE).err(), Some(AppendError::Unavailable));
    assert!(log.end(none).await.is_err());
    assert!(log.read(none, None).await.is_err());
    let somewhere = Position { epoch: log.epoch(), offset: 1 };
    assert!(log.release(none, somewhere).await.is_err());
}

/// Notes what a member is told.
fn note(owned: &mut BTreeSet<ShardId>, change: Result<ShardChange, StoreError>) {
    match change.unwrap() {
        ShardChange::Assigned(shard) => assert!(owned.insert(shard), "{shard} was assigned twice"),
        ShardChange::Revoked(shard) => assert!(owned.remove(&shard), "{shard} was revoked and not owned"),
        ShardChange::Joined | ShardChange::Left => {}
    }
}

async fn members_share_the_shards_and_one_that_leaves_hands_over(log: impl CommandLog) {
    let all = usize::from(log.shards());
    let (mut one, mut other) = (log.join(1), log.join(2));
    let (mut ones, mut others) = (BTreeSet::new(), BTreeSet::new());
    // One of them may have had them all at first.
    while (ones.len(), others.len()) != (all / 2, all / 2) {
        tokio::select! {
            change = one.next() => note(&mut ones, change),
            change = other.next() => note(&mut others, change),
        }
    }
    assert!(ones.is_disjoint(&others));
    drop(other);
    while ones.len() != all {
        note(&mut ones, one.next().await);
    }
}
