//! What an append costs, and what a start does. The figures are printed; `--nocapture` shows them.

use std::time::Duration;

use panda_protocol::TraceContext;
use panda_protocol::link::LinkId;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::*;
use crate::command_log::{RecordMark, ShardReader as _};
use crate::embedded::{DataFolder, EmbeddedEvents};
use crate::event_store::{Checkpoint, EventStore as _};
use crate::record_headers::Appender;

const RATE: usize = 1_000;
const SECONDS: usize = 5;
const BURST: usize = 40_000;

/// This process's time on processors.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold spaces; ticks are hundredths of a second.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// As edges append.
fn edges() -> RecordHeaders {
    Appender::Edge(LinkId(u64::MAX)).into()
}

fn record() -> Bytes {
    Bytes::from(vec![7; 200])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_quick() {
    let Some(server) = Server::find() else { return };
    for linger in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(2)] {
        // A machine that is busy with other tests holds a broker up for longer than clients should wait.
        let patience = GUARD;
        let log = KafkaLog::connect(&KafkaLogConfig { linger, patience, ..server.config() }, EPOCH).await.unwrap();
        println!("linger {linger:?}: {}", measure(&log, edges()).await);
    }
    let log = KafkaLog::connect(&KafkaLogConfig { patience: GUARD, ..server.config() }, EPOCH).await.unwrap();
    let traced = edges().traced(TraceContext::new([1; 16], [2; 8], 1));
    for (what, headers) in
        [("no header", NONE), ("who appends", edges()), ("that and a trace", traced), ("no header", NONE)]
    {
        println!("{what}: {}", measure(&log, headers).await);
    }
    server.end().await;
}

/// `cargo test --locked --workspace --lib -- --ignored --nocapture a_start_that_compares`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a test: it depends on the machine"]
async fn a_start_that_compares_the_last_records_of_many_shards() {
    const SHARDS: u16 = 512;
    const RECORDS: usize = 20;
    let Some(server) = Server::find() else { return };
    let config = KafkaLogConfig { shards: SHARDS, patience: GUARD, ..server.config() };
    let place = tempfile::tempdir().unwrap();
    let store = EmbeddedEvents::open(&DataFolder::open(place.path()).unwrap()).unwrap();
    let open = async || {
        let began = Instant::now();
        (KafkaLog::open(&config, &store).await.unwrap(), began.elapsed())
    };
    let (log, _) = open().await;
    for shard in (0..SHARDS).map(ShardId) {
        for _ in 0..RECORDS {
            log.append(shard, record(), RecordHeaders::default()).unwrap().await.unwrap();
        }
    }
    let (_, nothing) = open().await;
    for shard in (0..SHARDS).map(ShardId) {
        let mut reader = log.read(shard, Some(Position { epoch: 1, offset: RECORDS as u64 / 2 })).await.unwrap();
        let last = RecordMark::of(&reader.next(1).await.unwrap()[0]);
        store
            .write_checkpoint(shard, Checkpoint { position: last.behind(), rules: 1, last: Some(last) })
            .await
            .unwrap();
    }
    let (_, all) = open().await;
    println!("a start that compares nothing: {nothing:?}, the last records of {SHARDS} shards: {all:?}");
    server.end().await;
}

async fn measure(log: &KafkaLog, headers: RecordHeaders) -> String {
    log.append(ShardId(0), record(), headers).unwrap().await.unwrap();
    let before = on_processor();
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut appends = Vec::new();
    for number in 0..RATE * SECONDS {
        // Counted from when it was due.
        let due = tick.tick().await;
        let appending = log.append(ShardId(u16::try_from(number % 4).unwrap()), record(), headers).unwrap();
        appends.push(tokio::spawn(async move {
            appending.await.unwrap();
            Instant::now().duration_since(due)
        }));
    }
    let mut took: Vec<_> = futures_util::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();
    let steady = on_processor() - before;
    took.sort();
    let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let (before, began) = (on_processor(), Instant::now());
    let mut appends = Vec::new();
    while appends.len() < BURST {
        match log.append(ShardId(u16::try_from(appends.len() % 4).unwrap()), record(), headers) {
            Ok(appending) => appends.push(appending),
            Err(refused) => {
                assert_eq!(refused, AppendError::Full);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    for appending in appends {
        appending.await.unwrap();
    }
    let (burst, lasted) = (on_processor() - before, began.elapsed());
    let per_ten_thousand = |spent: Duration, count: usize| spent.as_secs_f64() * 10_000.0 / count as f64;
    assert!(half < Duration::from_secs(1), "a record is not held back");
    format!(
        "{RATE} appends/s: p50 {half:?}, p99 {most:?}, {:.2} s of processor per 10,000; burst: {:.0} appends/s, {:.2} s per 10,000",
        per_ten_thousand(steady, RATE * SECONDS),
        BURST as f64 / lasted.as_secs_f64(),
        per_ten_thousand(burst, BURST),
    )
}
