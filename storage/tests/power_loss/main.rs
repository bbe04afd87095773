//! Power loss: a random history of writes, some at the same time, is cut at every write and sync, in
//! several lives one after another, and what was acknowledged must be there. So it must if any call of
//! the disk fails (`faults`).
//!
//! `PANDA_SIM_SEED=n` runs one history, `PANDA_HISTORIES=n` so many: 3,000 take an hour.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

mod disk;
mod faults;
mod history;
mod promises;
mod sites;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::{CutDisk, Stop};
use history::History;
use panda_protocol::Seq;
use panda_storage::embedded::disk::SyncSite;
use panda_storage::embedded::events::Options;
use panda_storage::embedded::{DataFolder, EmbeddedEvents};
use panda_storage::{EventStore, ReadOrder, StoreError};
use promises::{Promises, Trouble, chat, command};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::LocalSet;

/// Rows move into the index every few writes.
// No history here may depend on how fast it runs.
const OPTIONS: Options = Options {
    memory_bytes: 6_000,
    retry: Duration::from_millis(1),
    rest: Duration::MAX,
    resting_bytes: 1,
    spacing: Duration::ZERO,
};

/// What a seed's lives are like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Commands of each chat in a life.
    commands: usize,
    /// The later lives are cut among so many steps.
    later_steps: usize,
    options: Options,
}

/// Writes enough to fill the index several times.
const LONG: Shape = Shape { commands: 7, later_steps: 150, options: OPTIONS };
/// Is nearly always cut while the store is made or opened.
const SHORT: Shape = Shape { commands: 1, later_steps: 14, options: OPTIONS };
/// Moves rows into the index in whatever pause there is between two writes.
const RESTLESS: Shape = Shape { commands: 2, later_steps: 60, options: Options { rest: Duration::ZERO, ..OPTIONS } };

/// Every so many seeds one is long.
const LONG_EVERY: u64 = 20;

fn shape(seed: u64) -> Shape {
    if seed.is_multiple_of(LONG_EVERY) { LONG } else { SHORT }
}

/// Histories that are cut at every step.
fn seeds() -> Range<u64> {
    let variable = |name| Some(std::env::var(name).ok()?.parse().expect("a number"));
    match variable("PANDA_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("PANDA_HISTORIES").unwrap_or(2 * LONG_EVERY),
    }
}

fn open(disk: &CutDisk, options: Options) -> Result<EmbeddedEvents, StoreError> {
    let folder = DataFolder::open_on(Arc::new(disk.clone()), Path::new("/var/panda/data"))?;
    EmbeddedEvents::open_with(&folder, options)
}

/// Opens the store, checks it and goes on with the history, until its end or the cut.
async fn life(disk: &CutDisk, shape: Shape, random: &mut StdRng, promises: &mut Promises) -> Result<(), String> {
    let store = match open(disk, shape.options) {
        Ok(store) => store,
        Err(_) if disk.is_cut() => return Ok(()),
        Err(error) => return Err(format!("cannot open: {error}")),
    };
    match promises.check(&store).await {
        Ok(()) => {}
        Err(Trouble::Refused(_)) if disk.is_cut() => return Ok(()),
        Err(Trouble::Refused(error)) => return Err(format!("cannot be read: {error}")),
        Err(Trouble::Broken(text)) => return Err(text),
    }
    match History::run(&store, shape.commands, 0, random, promises).await {
        Err(error) if !disk.is_cut() => Err(format!("cannot be written: {error}")),
        _ => Ok(()),
    }
}

/// One life after another, each cut somewhere; the first after `steps`. Whether that was before its end.
async fn lives(seed: u64, shape: Shape, steps: usize, disk: &mut CutDisk) -> Result<bool, String> {
    let mut random = StdRng::seed_from_u64(seed ^ (steps as u64) << 32);
    let mut promises = Promises::default();
    let mut was_cut = false;
    for number in 0..4 {
        disk.cut_after(match number {
            0 => Some(steps),
            3 => None,
            _ => Some(random.random_range(0..shape.later_steps)),
        });
        life(disk, shape, &mut random, &mut promises).await.map_err(|error| format!("life {number}: {error}"))?;
        was_cut |= number == 0 && disk.is_cut();
        *disk = disk.restart(any_stop(&mut random));
    }
    Ok(was_cut)
}

fn any_stop(random: &mut StdRng) -> Stop {
    match random.random_range(0..3) {
        0 => Stop::Kill { forgets: random.random() },
        _ => Stop::Power { seed: random.random() },
    }
}

fn run(seed: u64, shape: Shape, steps: usize, disk: &mut CutDisk) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ended = LocalSet::new().block_on(&runtime, lives(seed, shape, steps, disk));
    ended.map_err(|error| format!("seed {seed}, step {steps}, {error}"))
}

#[test]
fn every_promise_outlives_a_cut_at_every_write_and_sync() {
    let mut synced = BTreeSet::new();
    for seed in seeds() {
        for steps in 0.. {
            let mut disk = CutDisk::new(None);
            let was_cut = run(seed, shape(seed), steps, &mut disk).unwrap();
            synced.extend(disk.synced());
            if !was_cut {
                assert!(steps > 10 * shape(seed).commands, "only {steps} steps");
                break;
            }
        }
    }
    // None is there that this test does not cut at, unless only a few histories were asked for.
    assert!(synced.len() == SyncSite::ALL.len() || seeds().count() < 10, "{synced:?}");
}

#[test]
fn every_promise_outlives_a_cut_while_rows_move_in_a_pause() {
    // How many steps a life has depends on where its pauses are, so each is cut at as many as the longest may have.
    for seed in seeds().take(10) {
        for steps in 0..RESTLESS.later_steps {
            run(seed, RESTLESS, steps, &mut CutDisk::new(None)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_heals_by_itself() {
    for options in [OPTIONS, Options { rest: Duration::MAX, ..Options::default() }] {
        let disk = CutDisk::new(None);
        let store = open(&disk, options).unwrap();
        let event = |seq: u64| Bytes::from(format!("{seq:0100}"));
        let write = async |seq: u64| store.write_events(command(chat(1), seq, vec![event(seq)])).await;
        for seq in 1..=50 {
            write(seq).await.unwrap();
        }
        disk.fill(true);
        for _ in 0..3 {
            let refused = write(51).await;
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
            while let Err(error) = write(seq).await {
                assert!(error.is_retryable(), "{error}");
                tokio::task::yield_now().await;
            }
        }
        drop(store);
        let store = open(&disk.restart(Stop::Power { seed: 0 }), options).unwrap();
        let rows = store.read_events(chat(1), Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await.unwrap();
        assert_eq!(rows.into_iter().map(|row| row.event).collect::<Vec<_>>(), (1..=100).map(event).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_damaged_journal_is_refused() {
    let disk = CutDisk::new(None);
    let store = open(&disk, Options::default()).unwrap();
    for seq in 1..=9 {
        store.write_events(command(chat(1), seq, vec![Bytes::from(vec![0; 100])])).await.unwrap();
    }
    drop(store);
    disk.damage("/var/panda/data/events/journal-0000000000000001");
    assert!(matches!(open(&disk, Options::default()), Err(StoreError::Unusable(_))));
}
