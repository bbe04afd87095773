//! The log that an event store knows, and others.

use panda_protocol::Time;

use super::*;
use crate::command_log::{RecordMark, ShardReader as _};
use crate::embedded::{DataFolder, EmbeddedEvents};
use crate::epoch_store::{EpochStore as _, LogEpoch, LogIdentity};
use crate::event_store::{Checkpoint, EventStore as _};

fn store(place: &tempfile::TempDir) -> EmbeddedEvents {
    EmbeddedEvents::open(&DataFolder::open(place.path()).unwrap()).unwrap()
}

async fn open_epoch(config: &KafkaLogConfig, store: &EmbeddedEvents) -> Result<LogEpoch, StoreError> {
    loop {
        match NextEpoch::prepare(config, store).await {
            // Brokers that have just started may still load what they know of groups.
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
            next => return next?.open(store).await,
        }
    }
}

async fn refusal(config: &KafkaLogConfig, store: &EmbeddedEvents) -> String {
    match KafkaLog::open(config, store).await {
        Err(StoreError::Misconfigured(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// Removes a topic and waits until the brokers know it no more.
async fn remove(server: &Server, topic: &str) {
    let admin = server.admin();
    admin.get().unwrap().delete_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    while identity::ask(&admin, topic, Duration::from_secs(3)).is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_refused_until_an_epoch_is_opened() {
    let Some(server) = Server::find() else { return };
    let (config, place) = (server.config(), tempfile::tempdir().unwrap());
    let test = async {
        let store = store(&place);
        let log = KafkaLog::open(&config, &store).await.unwrap();
        assert_eq!(log.epoch(), 1);
        let known = store.log_epoch().await.unwrap().unwrap();
        let position = log.append(ShardId(1), Bytes::from_static(b"old"), NONE).unwrap().await.unwrap();
        drop(log);
        // The same again, from where the store is.
        let behind = Position { offset: position.offset + 1, ..position };
        store.write_checkpoint(ShardId(1), Checkpoint { position: behind, rules: 1, last: None }).await.unwrap();
        assert_eq!(KafkaLog::open(&config, &store).await.unwrap().epoch(), 1);
        remove(&server, &config.topic).await;
        let why = refusal(&config, &store).await;
        assert!(why.contains("panda admin open-epoch") && why.contains(&known.log.topic), "{why}");
        let opened = open_epoch(&config, &store).await.unwrap();
        assert_eq!((opened.epoch, opened.log.cluster), (2, known.log.cluster));
        let log = KafkaLog::open(&config, &store).await.unwrap();
        let next = log.append(ShardId(1), Bytes::from_static(b"new"), NONE).unwrap().await.unwrap();
        assert_eq!(next, Position { epoch: 2, offset: 0 });
        // What is stored of the old log is before all of this one.
        let mut reader = log.read(ShardId(1), Some(behind)).await.unwrap();
        assert_eq!(crate::command_log::ShardReader::next(&mut reader, 1).await.unwrap()[0].position, next);
    };
    tokio::time::timeout(GUARD, test).await.expect("the test ends");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_or_begins_behind_what_is_stored_is_refused() {
    let Some(server) = Server::find() else { return };
    let (config, place) = (server.config(), tempfile::tempdir().unwrap());
    let test = async {
        let store = store(&place);
        let log = KafkaLog::open(&config, &store).await.unwrap();
        for _ in 0..4 {
            log.append(ShardId(2), Bytes::from_static(b"x"), NONE).unwrap().await.unwrap();
        }
        let beyond = log.release(ShardId(2), Position { epoch: 1, offset: 99 }).await;
        assert!(matches!(beyond, Err(StoreError::Corrupt(_))), "{beyond:?}");
        let at = |epoch, offset| Checkpoint { position: Position { epoch, offset }, rules: 1, last: None };
        store.write_checkpoint(ShardId(2), at(1, 2)).await.unwrap();
        log.release(ShardId(2), Position { epoch: 1, offset: 2 }).await.unwrap();
        KafkaLog::open(&config, &store).await.unwrap();
        log.release(ShardId(2), Position { epoch: 1, offset: 4 }).await.unwrap();
        let why = refusal(&config, &store).await;
        assert!(why.contains("holds 3 to 4") && why.contains("panda admin open-epoch"), "{why}");
        store.write_checkpoint(ShardId(2), at(1, 5)).await.unwrap();
        let why = refusal(&config, &store).await;
        assert!(why.contains("is stored to 1:5"), "{why}");
        // The same topic may go on as the next epoch's log.
        let next = NextEpoch::prepare(&config, &store).await.unwrap();
        assert_eq!(next.log().epoch(), 2);
        // Somebody else is faster.
        let opened = open_epoch(&config, &store).await.unwrap();
        assert_eq!((opened.epoch, KafkaLog::open(&config, &store).await.unwrap().epoch()), (2, 2));
        let late = next.open(&store).await.unwrap();
        assert_eq!(late, opened);
        // One of an epoch that is not open.
        store.write_checkpoint(ShardId(2), at(9, 0)).await.unwrap();
        assert!(refusal(&config, &store).await.contains("is stored to 9:0"));
    };
    tokio::time::timeout(GUARD, test).await.expect("the test ends");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_another_record_before_a_checkpoint_is_refused_until_an_epoch_is_opened() {
    let Some(server) = Server::find() else { return };
    let (config, place) = (server.config(), tempfile::tempdir().unwrap());
    let test = async {
        let (store, shard) = (store(&place), ShardId(3));
        let log = KafkaLog::open(&config, &store).await.unwrap();
        for number in 0..6 {
            log.append(shard, Bytes::from(vec![number; 300]), RecordHeaders::default()).unwrap().await.unwrap();
        }
        let mut reader = log.read(shard, None).await.unwrap();
        let mut marks = Vec::new();
        while marks.len() < 6 {
            marks.extend(reader.next(6).await.unwrap().iter().map(RecordMark::of));
        }
        let write = async |last: RecordMark| {
            let checkpoint = Checkpoint { position: last.behind(), rules: 1, last: Some(last) };
            store.write_checkpoint(shard, checkpoint).await.unwrap();
        };
        let is_whole = async || {
            KafkaLog::open(&config, &store).await.unwrap();
            let whole = open_epoch(&config, &store).await.unwrap_err();
            assert!(matches!(&whole, StoreError::Misconfigured(why) if why.contains("start the routers")), "{whole}");
        };
        write(marks[0]).await;
        is_whole().await;
        // Another topic may have got other records at the same places and moments.
        let digest = marks[0].digest;
        write(RecordMark { digest, ..marks[1] }).await;
        let why = refusal(&config, &store).await;
        assert!(why.contains("another record at 1:1") && why.contains("panda admin open-epoch"), "{why}");
        log.release(shard, marks[2].behind()).await.unwrap();
        write(marks[2]).await;
        is_whole().await;
        write(RecordMark { time: Time(marks[3].time.0 - 1_000), ..marks[3] }).await;
        let why = refusal(&config, &store).await;
        assert!(why.contains("another record at 1:3") && why.contains("panda admin open-epoch"), "{why}");
        assert_eq!(open_epoch(&config, &store).await.unwrap().epoch, 2);
        assert_eq!(KafkaLog::open(&config, &store).await.unwrap().epoch(), 2);
    };
    tokio::time::timeout(GUARD, test).await.expect("the test ends");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_epoch_is_opened_while_a_router_is_in_the_group() {
    let Some(server) = Server::find() else { return };
    let (config, place) = (server.config(), tempfile::tempdir().unwrap());
    let test = async {
        let store = store(&place);
        drop(KafkaLog::open(&config, &store).await.unwrap());
        let known = store.log_epoch().await.unwrap();
        let whole = open_epoch(&config, &store).await.unwrap_err();
        assert!(matches!(&whole, StoreError::Misconfigured(why) if why.contains("start the routers")), "{whole}");
        remove(&server, &config.topic).await;
        let next = NextEpoch::prepare(&config, &store).await.unwrap();
        assert_eq!((next.after(), next.log().epoch()), (known.as_ref(), 2));
        let log = KafkaLog::connect(&config, 1).await.unwrap();
        let mut member = log.join(1);
        crate::command_log::ShardGroup::next(&mut member).await.unwrap();
        for refused in [open_epoch(&config, &store).await, next.open(&store).await] {
            let refused = refused.unwrap_err();
            let stop = matches!(&refused, StoreError::Misconfigured(why) if why.contains("stop every router"));
            assert!(stop, "{refused}");
        }
        assert_eq!(store.log_epoch().await.unwrap(), known);
        let end = log.ended();
        drop((member, log));
        assert!(end.wait(Duration::from_secs(20)).await);
        assert_eq!(next.open(&store).await.unwrap().epoch, 2);
    };
    tokio::time::timeout(GUARD, test).await.expect("the test ends");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_router_is_let_in_before_an_import_has_ended() {
    let Some(server) = Server::find() else { return };
    let (config, place) = (server.config(), tempfile::tempdir().unwrap());
    let test = async {
        let store = store(&place);
        let digest = "5a".repeat(32);
        let importing = LogEpoch { epoch: 7, log: LogIdentity::of_archive(digest.clone()) };
        assert_eq!(store.open_log_epoch(None, importing.clone()).await.unwrap(), importing);
        let why = refusal(&config, &store).await;
        assert!(why.contains("panda admin import") && why.contains(&digest), "{why}");
        let next = NextEpoch::prepare(&config, &store).await.unwrap();
        assert_eq!(next.log().epoch(), 8);
        assert!(refusal(&config, &store).await.contains("panda admin import"));
        next.open(&store).await.unwrap();
        assert_eq!(KafkaLog::open(&config, &store).await.unwrap().epoch(), 8);
    };
    tokio::time::timeout(GUARD, test).await.expect("the test ends");
    server.end().await;
}
