//! Brokers of a test's own, which `ops/cluster` starts, kills and pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::command_log::{LogRecord, ShardChange, ShardGroup as _, ShardReader as _};
use crate::contract::own_cluster::OwnCluster;

/// Ends a test that hangs.
const GUARD: Duration = Duration::from_secs(300);
/// How often is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(20);
/// The only broker.
const BROKER: &str = "kafka-1";
const SHARDS: u16 = 4;

/// Starts a broker, where brokers are wanted.
async fn start() -> Option<OwnCluster> {
    test_server("Kafka", "PANDA_TEST_KAFKA")?;
    Some(OwnCluster::start("kafka").await)
}

fn config(server: &OwnCluster) -> KafkaLogConfig {
    KafkaLogConfig {
        append_timeout: Duration::from_secs(5),
        ..KafkaLogConfig::new(vec![server.address.clone()], SHARDS, 1)
    }
}

/// Calls until the log answers, whatever it refused before.
async fn until_healed<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn append(log: &KafkaLog, shard: ShardId, record: Bytes) -> Result<Position, AppendError> {
    log.append(shard, record, NONE)?.await
}

/// Appends until it is confirmed.
async fn until_appended(log: &KafkaLog, shard: ShardId) -> Position {
    loop {
        match append(log, shard, Bytes::from_static(b"again")).await {
            Ok(position) => return position,
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

type Outcome = Result<Position, AppendError>;

/// Appends numbered records to one shard, some at a time, until told to stop.
async fn keep_appending(log: KafkaLog, writer: u16, stop: Arc<AtomicBool>) -> Vec<(Bytes, Outcome)> {
    let shard = ShardId(writer % SHARDS);
    let mut outcomes = Vec::new();
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let records: Vec<_> = (0..8).map(|index| Bytes::from(format!("{writer}/{:08}", number + index))).collect();
        number += 8;
        let appending: Vec<_> = records.iter().map(|record| log.append(shard, record.clone(), NONE)).collect();
        for (record, appending) in records.into_iter().zip(appending) {
            let outcome = match appending {
                Ok(appending) => appending.await,
                Err(refused) => Err(refused),
            };
            outcomes.push((record, outcome));
        }
        // Refusals come at once: no need to try a million times.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    outcomes
}

async fn read_all(log: &KafkaLog, shard: ShardId) -> Vec<LogRecord> {
    let end = until_healed(async || log.end(shard).await).await;
    let mut reader = until_healed(async || log.read(shard, None).await).await;
    let mut records: Vec<LogRecord> = Vec::new();
    while records.last().map_or(0, |last| last.position.offset + 1) < end.offset {
        records.extend(reader.next(1_000).await.unwrap());
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_through_kills_and_pauses_are_in_the_log_once_or_not_as_they_were_told() {
    let Some(server) = start().await else { return };
    let test = async {
        let log = KafkaLog::connect(&config(&server), EPOCH).await.unwrap();
        let stop = Arc::default();
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            writers.spawn(keep_appending(log.clone(), writer, Arc::clone(&stop)));
        }
        for (down, up) in [("kill", "restart"), ("pause", "resume"), ("kill", "restart")] {
            until_appended(&log, ShardId(0)).await;
            server.run(down, BROKER).await;
            // From some moment on a record is refused at once, and whoever asks is told within his time.
            while !matches!(log.append(ShardId(0), Bytes::from_static(b"refused"), NONE), Err(AppendError::Unavailable))
            {
                tokio::time::sleep(LOOK).await;
            }
            assert!(log.state().refusing() > 0);
            assert!(log.end(ShardId(1)).await.unwrap_err().is_retryable());
            if down == "pause" {
                // Longer than a record may wait.
                tokio::time::sleep(Duration::from_secs(8)).await;
            }
            server.run(up, BROKER).await;
            for shard in 0..SHARDS {
                until_appended(&log, ShardId(shard)).await;
            }
            assert_eq!(log.state().refusing(), 0);
        }
        stop.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
        let mut places: BTreeMap<Bytes, Vec<Position>> = BTreeMap::new();
        let mut last_of: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for shard in 0..SHARDS {
            for record in read_all(&log, ShardId(shard)).await {
                if let Some(slash) = record.record.iter().position(|byte| *byte == b'/') {
                    let before = last_of.insert(record.record.slice(..slash), record.record.clone());
                    assert!(before.is_none_or(|before| before < record.record), "a writer keeps its order");
                }
                places.entry(record.record).or_default().push(record.position);
            }
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (record, outcome) in outcomes {
            let found = places.get(&record).map_or(&[][..], Vec::as_slice);
            let as_told = match outcome {
                Ok(position) => found == [position],
                Err(AppendError::Full | AppendError::Unavailable) => found.is_empty(),
                Err(AppendError::Unknown) => found.len() <= 1,
            };
            assert!(as_told, "{record:?} was told {outcome:?} and is at {found:?}");
            *counts.entry(outcome.map_or_else(|error| error.to_string(), |_| "confirmed".into())).or_default() += 1;
        }
        println!("{counts:?}");
        assert!(counts.len() >= 2, "faults met appends: {counts:?}");
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_brokers_are_away_at_the_start_connects_when_they_are_back() {
    let Some(server) = start().await else { return };
    let test = async {
        server.run("kill", BROKER).await;
        let config = config(&server);
        assert!(KafkaLog::connect(&config, EPOCH).await.err().expect("nobody is there").is_retryable());
        server.run("restart", BROKER).await;
        let log = until_healed(async || KafkaLog::connect(&config, EPOCH).await).await;
        until_appended(&log, ShardId(0)).await;
        // The log goes on where it was, after another restart, for a reader that was there before.
        let mut reader = log.read(ShardId(0), None).await.unwrap();
        let first = reader.next(1).await.unwrap();
        server.run("kill", BROKER).await;
        server.run("restart", BROKER).await;
        let position = until_appended(&log, ShardId(0)).await;
        let mut last = first[0].position;
        while last < position {
            last = reader.next(10).await.unwrap().last().unwrap().position;
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}

/// One that has no shards is not told by their loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_for_which_there_is_no_shard_knows_whether_it_is_in_its_group() {
    let Some(server) = start().await else { return };
    let test = async {
        let log = KafkaLog::connect(&KafkaLogConfig { shards: 1, ..config(&server) }, EPOCH).await.unwrap();
        let mut members = [log.join(1), log.join(2)];
        let mut assigned = 0;
        for member in &mut members {
            loop {
                match member.next().await.unwrap() {
                    ShardChange::Assigned(_) => assigned += 1,
                    ShardChange::Revoked(_) => assigned -= 1,
                    ShardChange::Joined => break,
                    ShardChange::Left => panic!("nobody was away"),
                }
            }
        }
        server.run("kill", BROKER).await;
        for member in &mut members {
            while member.next().await.unwrap() != ShardChange::Left {}
        }
        server.run("restart", BROKER).await;
        for member in &mut members {
            while member.next().await.unwrap() != ShardChange::Joined {}
        }
        assert!(assigned <= 1, "there is one shard");
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_do_not_hear_their_group_lose_their_shards_and_get_them_again() {
    let Some(server) = start().await else { return };
    let test = async {
        let log = KafkaLog::connect(&config(&server), EPOCH).await.unwrap();
        let mut member = log.join(1);
        let mut owned = BTreeSet::new();
        for pause in [false, true] {
            while owned.len() < usize::from(SHARDS) {
                match member.next().await.unwrap() {
                    ShardChange::Assigned(shard) => assert!(owned.insert(shard)),
                    ShardChange::Joined => {}
                    change => panic!("{change:?}, and nobody was away"),
                }
            }
            if pause {
                server.run("pause", BROKER).await;
            } else {
                server.run("kill", BROKER).await;
            }
            let mut left = false;
            while !owned.is_empty() {
                match member.next().await.unwrap() {
                    ShardChange::Revoked(shard) => assert!(owned.remove(&shard)),
                    ShardChange::Assigned(shard) => panic!("{shard} was assigned by nobody"),
                    ShardChange::Joined => assert!(!left),
                    ShardChange::Left => left = true,
                }
            }
            assert!(left, "it is told that it is out");
            server.run(if pause { "resume" } else { "restart" }, BROKER).await;
        }
        while owned.len() < usize::from(SHARDS) {
            if let ShardChange::Assigned(shard) = member.next().await.unwrap() {
                owned.insert(shard);
            }
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}
