//! A server of a test's own, which `ops/cluster` starts, kills, pauses and removes.

use tokio::task::JoinSet;

use super::*;
use crate::contract::own_cluster::OwnCluster;

/// Ends a test that hangs.
const GUARD: Duration = Duration::from_secs(300);
/// The only node.
const NODE: &str = "cassandra-1";

/// Starts a server, where servers are wanted.
async fn start() -> Option<OwnCluster> {
    test_server("Cassandra", "PANDA_TEST_CASSANDRA")?;
    Some(OwnCluster::start("cassandra").await)
}

fn config(server: &OwnCluster) -> ScyllaConfig {
    ScyllaConfig {
        request_timeout: Duration::from_secs(2),
        ..ScyllaConfig::new(vec![server.address.clone()], "panda".into(), Replication::Simple { factor: 1 })
    }
}

fn entity(writer: u8, number: u64) -> EntityId {
    let mut bytes = [writer; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    UserId::from_random(bytes).into()
}

/// The events of one command.
fn command(first: u64, count: u8) -> Vec<EventRow> {
    let row = |index: u8| EventRow {
        seq: Seq(first + u64::from(index)),
        position: Position { epoch: 1, offset: first },
        index,
        count,
        time: Time(1_700_000_000_000_000 + first + u64::from(index)),
        event: format!("{index} of {count} from {first}").into(),
    };
    (0..count).map(row).collect()
}

fn batch(entity: EntityId, rows: Vec<EventRow>) -> EventBatch {
    EventBatch { entity, rows, owes: Vec::new(), settles: Vec::new() }
}

/// What one writer did to one entity until a write of it failed.
struct Written {
    entity: EntityId,
    /// In order; all answered.
    stored: Vec<EventRow>,
    /// The command that got an error, and was not repeated.
    interrupted: Option<Vec<EventRow>>,
}

/// Writes commands, until told to stop; after an error, to a new entity.
async fn keep_writing(store: ScyllaEvents, writer: u8, stop: Arc<std::sync::atomic::AtomicBool>) -> Vec<Written> {
    let mut written = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let entity = entity(writer, u64::try_from(written.len()).unwrap());
        let mut this = Written { entity, stored: Vec::new(), interrupted: None };
        let mut next = 1;
        while this.interrupted.is_none() && next < 4_000 && !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let count = 1 + u8::try_from(next % 40).unwrap();
            let rows = command(next, count);
            next += u64::from(count);
            match store.write_events(batch(entity, rows.clone())).await {
                Ok(()) => this.stored.extend(rows),
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    this.interrupted = Some(rows);
                    // Errors may come at once: no need to try a million times.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        written.push(this);
    }
    written
}

/// Calls until the store answers, whatever it refused before.
async fn until_healed<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_kills_and_no_half_command_looks_whole() {
    let Some(server) = start().await else { return };
    let test = async {
        let store = ScyllaEvents::open(&config(&server)).await.unwrap();
        let stop = Arc::default();
        let mut writers = JoinSet::new();
        for writer in 0..16 {
            writers.spawn(keep_writing(store.clone(), writer, Arc::clone(&stop)));
        }
        for _ in 0..2 {
            server.run("kill", NODE).await;
            store.read_events(entity(99, 0), Seq(1), ReadOrder::Forward, 1, 1).await.unwrap_err();
            server.run("restart", NODE).await;
            // The same store, opened long before.
            until_healed(async || store.write_events(batch(entity(99, 0), command(1, 1))).await).await;
        }
        server.run("kill", NODE).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let written: Vec<Written> = writers.join_all().await.into_iter().flatten().collect();
        server.run("restart", NODE).await;
        let interrupted = written.iter().filter(|written| written.interrupted.is_some()).count();
        assert!(interrupted >= 3, "kills met writes");
        for Written { entity, stored, interrupted } in written {
            let read = || store.read_events(entity, Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX);
            let found = until_healed(async || read().await).await;
            assert!(found.len() >= stored.len(), "{entity}: {} answered, {} found", stored.len(), found.len());
            assert_eq!(found[..stored.len()], stored);
            let rest = &found[stored.len()..];
            let interrupted = interrupted.unwrap_or_default();
            assert_eq!(rest, &interrupted[..rest.len()]);
            let looks_whole = rest.last().is_some_and(|last| last.index + 1 == last.count);
            assert_eq!(looks_whole, !rest.is_empty() && rest.len() == interrupted.len());
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_unavailable_and_what_it_does_late_changes_nothing_newer() {
    let Some(server) = start().await else { return };
    let test = async {
        let store = ScyllaEvents::open(&config(&server)).await.unwrap();
        let entity = entity(1, 0);
        let of = |text: &'static str, time: u64| {
            let row =
                EventRow { event: Bytes::from_static(text.as_bytes()), time: Time(time), ..command(1, 1).remove(0) };
            batch(entity, vec![row])
        };
        let state = |value: Option<&'static str>, time: u64| {
            let value = value.map(|value| Bytes::from_static(value.as_bytes()));
            vec![StateRow { key: RowKey { kind: 1, key: Bytes::new() }, value, time: Time(time) }]
        };
        store.write_events(of("first", 1)).await.unwrap();
        server.run("pause", NODE).await;
        // Each takes the time that a request has, so this is about ten seconds.
        for time in 2..=4 {
            assert!(store.write_events(of("late", time)).await.unwrap_err().is_retryable());
        }
        assert!(store.write_state(entity, state(Some("late"), 4)).await.unwrap_err().is_retryable());
        let read = || store.read_events(entity, Seq(1), ReadOrder::Forward, 1, 1);
        assert!(read().await.unwrap_err().is_retryable());
        server.run("resume", NODE).await;
        until_healed(async || store.write_events(of("newer", 5)).await).await;
        until_healed(async || store.write_state(entity, state(None, 5)).await).await;
        // Nothing that was sent before is still on its way behind these.
        for _ in 0..500 {
            let found = until_healed(async || read().await).await;
            assert_eq!(found[0].event, "newer");
            let rows = until_healed(async || store.read_state(entity, vec![state(None, 5)[0].key.clone()]).await).await;
            assert_eq!(rows, [state(None, 5).pop()]);
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("it heals without a hand");
}
