//! Power loss: a random history is cut at every write and sync, and what was acknowledged must be there.

#[path = "power_loss/disk.rs"]
mod disk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::{CutDisk, Stop};
use panda_protocol::{EntityId, Incarnation, Position, Seq, ShardId, Time, UserId};
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::embedded::events::{Options, disk::SyncPoint};
use panda_storage::{
    Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RowKey, SettledEffect, StateRow, StoreError,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Rows move into the index every few writes.
const OPTIONS: Options = Options { memory_bytes: 1_500, retry: Duration::from_millis(1) };
const CHATS: u8 = 3;
const ACTIONS: usize = 30;

fn chat(number: u8) -> EntityId {
    UserId::from_random([number; 16]).into()
}

fn inbox(number: u8) -> EntityId {
    UserId::from_random([100 + number; 16]).into()
}

/// What somebody was told, so what must be there from then on.
#[derive(Default)]
struct Promised {
    events: BTreeMap<(EntityId, u64), Bytes>,
    state_time: u64,
    checkpoint: u64,
    epoch: u32,
    incarnation: Option<Incarnation>,
}

async fn read(store: &EmbeddedEvents, entity: EntityId) -> Result<Vec<EventRow>, String> {
    let read = store.read_events(entity, Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await;
    read.map_err(|error| format!("events cannot be read: {error}"))
}

/// Compares the store with what was promised; what it shows is a promise too.
async fn check(store: &EmbeddedEvents, promised: &mut Promised) -> Result<(), String> {
    if store.epoch() <= promised.epoch {
        return Err(format!("epoch {} after {}", store.epoch(), promised.epoch));
    }
    if *promised.incarnation.get_or_insert_with(|| store.incarnation()) != store.incarnation() {
        return Err("another incarnation".into());
    }
    promised.epoch = store.epoch();
    let mut found = BTreeMap::new();
    for entity in (0..CHATS).flat_map(|number| [chat(number), inbox(number)]) {
        for (index, row) in read(store, entity).await?.into_iter().enumerate() {
            if row.seq.0 != index as u64 + 1 {
                return Err(format!("a hole before event {} of {entity}", row.seq));
            }
            found.insert((entity, row.seq.0), row.event);
        }
    }
    if let Some(lost) = promised.events.iter().find(|(key, event)| found.get(key) != Some(event)) {
        return Err(format!("lost event {lost:?}"));
    }
    let owed = store.owed_effects().await.map_err(|error| error.to_string())?;
    for ((entity, seq), event) in found.iter().filter(|(_, event)| event.starts_with(b"add")) {
        let taken = found.iter().any(|((other, _), body)| other != entity && body == &effect(event));
        if !taken && !owed.iter().any(|owed| owed.source == *entity && owed.source_seq.0 == *seq) {
            return Err(format!("event {seq} of {entity} lost its effect"));
        }
    }
    promised.events = found;
    let rows = store.read_state(chat(0), vec![row_key()]).await.map_err(|error| error.to_string())?;
    if rows[0].as_ref().map_or(0, |row| row.time.0) < promised.state_time {
        return Err("lost a synced state row".into());
    }
    let stored = store.checkpoint(ShardId(0)).await.map_err(|error| error.to_string())?;
    if stored.map_or(0, |stored| stored.position.offset) < promised.checkpoint {
        return Err("lost a checkpoint".into());
    }
    Ok(())
}

fn row_key() -> RowKey {
    RowKey { kind: 1, key: Bytes::from_static(b"row") }
}

fn effect(event: &Bytes) -> Bytes {
    Bytes::from([b"effect of ", &event[..]].concat())
}

fn batch(entity: EntityId, seq: u64, event: Bytes) -> EventBatch {
    let position = Position { epoch: 1, offset: seq };
    let row = EventRow { seq: Seq(seq), position, index: 0, count: 1, time: Time(seq), event };
    EventBatch { entity, rows: vec![row], owes: Vec::new(), settles: Vec::new() }
}

/// Does random things until an error.
async fn history(store: &EmbeddedEvents, random: &mut StdRng, promised: &mut Promised) -> Result<(), StoreError> {
    let mut heads: BTreeMap<EntityId, u64> = BTreeMap::new();
    for (entity, seq) in promised.events.keys() {
        heads.insert(*entity, *seq);
    }
    for _ in 0..ACTIONS {
        let number = random.random_range(0..CHATS);
        let (source, target) = (chat(number), inbox(number));
        let head = heads.entry(source).or_default();
        *head += 1;
        let source_seq = Seq(*head);
        match random.random_range(0..6) {
            0 => {
                let event = Bytes::from(format!("add {number} {source_seq}"));
                let mut write = batch(source, source_seq.0, event.clone());
                write.owes = vec![OwedEffect { source, source_seq, target, event: event.clone() }];
                store.write_events(write).await?;
                promised.events.insert((source, source_seq.0), event.clone());
                let seq = heads.entry(target).or_default();
                *seq += 1;
                let mut write = batch(target, *seq, effect(&event));
                write.settles = vec![SettledEffect { source, source_seq, target }];
                store.write_events(write).await?;
                promised.events.insert((target, *seq), effect(&event));
            }
            1 => {
                *head -= 1;
                let time = promised.state_time + 1;
                let row = StateRow { key: row_key(), value: Some(Bytes::from(vec![7; 50])), time: Time(time) };
                store.write_state(chat(0), vec![row]).await?;
                store.sync_state().await?;
                promised.state_time = time;
            }
            2 => {
                *head -= 1;
                let position = Position { epoch: 1, offset: promised.checkpoint + 1 };
                store.write_checkpoint(ShardId(0), Checkpoint { position, rules: 1 }).await?;
                promised.checkpoint += 1;
            }
            _ => {
                let event = Bytes::from(vec![b'x'; random.random_range(1..200)]);
                store.write_events(batch(source, source_seq.0, event.clone())).await?;
                promised.events.insert((source, source_seq.0), event);
            }
        }
    }
    Ok(())
}

/// One life after another, each cut somewhere; the first after `steps`. Whether that was before its end.
async fn lives(seed: u64, steps: usize, dropped: Option<SyncPoint>) -> Result<bool, String> {
    let mut random = StdRng::seed_from_u64(seed ^ (steps as u64) << 32);
    let mut disk = CutDisk::new(dropped);
    let mut promised = Promised::default();
    let mut was_cut = false;
    for life in 0..4 {
        disk.cut_after(match life {
            0 => Some(steps),
            3 => None,
            _ => Some(random.random_range(0..120)),
        });
        match EmbeddedEvents::open_on(Arc::new(disk.clone()), OPTIONS) {
            Ok(store) => {
                // A cut may hit the check's first reads; then only what it showed counts.
                let checked = check(&store, &mut promised).await;
                if !disk.is_cut() {
                    checked?;
                }
                let ended = history(&store, &mut random, &mut promised).await;
                if !disk.is_cut() {
                    ended.map_err(|error| format!("life {life}: {error}"))?;
                }
            }
            Err(error) if disk.is_cut() => drop(error),
            Err(error) => return Err(format!("life {life} cannot open: {error}")),
        }
        was_cut |= life == 0 && disk.is_cut();
        disk = disk.restart(match random.random_range(0..3) {
            0 => Stop::Power,
            1 => Stop::Torn(random.random_range(0..1_000)),
            _ => Stop::Kill,
        });
    }
    Ok(was_cut)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// Cuts the first life at every step until it ends by itself.
fn sweep(seed: u64, dropped: Option<SyncPoint>) -> Result<usize, String> {
    let runtime = runtime();
    let mut steps = 0;
    while runtime
        .block_on(lives(seed, steps, dropped))
        .map_err(|error| format!("seed {seed}, step {steps}: {error}"))?
    {
        steps += 1;
    }
    Ok(steps)
}

#[test]
fn every_promise_outlives_a_cut_at_every_write_and_sync() {
    for seed in 0..3 {
        let steps = sweep(seed, None).unwrap();
        assert!(steps > 50, "only {steps} steps");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_heals_by_itself() {
    for options in [OPTIONS, Options::default()] {
        let disk = CutDisk::new(None);
        let store = EmbeddedEvents::open_on(Arc::new(disk.clone()), options).unwrap();
        let event = |seq: u64| Bytes::from(format!("{seq:0100}"));
        for seq in 1..=50 {
            store.write_events(batch(chat(1), seq, event(seq))).await.unwrap();
        }
        disk.fill(true);
        for _ in 0..3 {
            let refused = store.write_events(batch(chat(1), 51, event(51))).await;
            assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
            assert!(store.last_error().is_some());
        }
        // The index may just be opened anew.
        let rows = loop {
            match store.read_events(chat(1), Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await {
                Ok(rows) => break rows,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        assert_eq!(rows.len(), 50);
        disk.fill(false);
        for seq in 51..=100 {
            // The index may need its next attempt first.
            while let Err(error) = store.write_events(batch(chat(1), seq, event(seq))).await {
                assert!(error.is_retryable(), "{error}");
                tokio::task::yield_now().await;
            }
        }
        drop(store);
        let store = EmbeddedEvents::open_on(Arc::new(disk.restart(Stop::Power)), options).unwrap();
        let rows = read(&store, chat(1)).await.unwrap();
        assert_eq!(
            rows.iter().map(|row| row.event.clone()).collect::<Vec<_>>(),
            (1..=100).map(event).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_damaged_journal_is_refused() {
    let disk = CutDisk::new(None);
    let store = EmbeddedEvents::open_on(Arc::new(disk.clone()), Options::default()).unwrap();
    for seq in 1..=9 {
        store.write_events(batch(chat(1), seq, Bytes::from(vec![0; 100]))).await.unwrap();
    }
    drop(store);
    disk.damage("journal-0000000000000001");
    let refused = EmbeddedEvents::open_on(Arc::new(disk), Options::default());
    assert!(matches!(refused, Err(StoreError::Corrupt(_))));
}

#[expect(clippy::print_stdout, reason = "shows what the missing sync costs")]
fn is_missed(point: SyncPoint) {
    let found = (0..20).find_map(|seed| sweep(seed, Some(point)).err());
    println!("without {point:?}: {}", found.unwrap_or_else(|| panic!("nobody missed the sync of {point:?}")));
}

#[test]
fn without_the_sync_of_commits_something_is_lost() {
    is_missed(SyncPoint::Commits);
}

#[test]
fn without_the_sync_of_a_new_file_something_is_lost() {
    is_missed(SyncPoint::Segment);
}

#[test]
fn without_the_sync_of_a_new_files_name_something_is_lost() {
    is_missed(SyncPoint::SegmentName);
}

#[test]
fn without_the_sync_of_what_was_recovered_something_is_lost() {
    is_missed(SyncPoint::Recovered);
}

#[test]
fn without_the_sync_of_the_index_something_is_lost() {
    is_missed(SyncPoint::Index);
}
