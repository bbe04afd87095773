//! A disk that fails: each call in turn, once, in a burst, or from there on until the next start. Who is
//! patient gets everything done, and what was acknowledged is there after that.

use bytes::Bytes;
use panda_protocol::Seq;
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::embedded::disk::SyncSite;
use panda_storage::{EventStore as _, ReadOrder, StoreError};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::LocalSet;

use crate::disk::{CutDisk, Faults, Stop};
use crate::history::{History, patiently};
use crate::promises::{Promises, Trouble, chat, command};
use crate::{LONG, OPTIONS, SHORT, Shape, any_stop, life, open, seeds};

/// A burst is over long before.
const TRIES_MAX: usize = 100_000;

/// Every so many histories one is long.
const LONG_EVERY: u64 = 10;

fn shape(seed: u64) -> Shape {
    if seed.is_multiple_of(LONG_EVERY) { LONG } else { SHORT }
}

fn faults(call: usize, random: &mut StdRng) -> Faults {
    match random.random_range(0..4) {
        0 | 1 => Faults::once(call, random.random()),
        2 => Faults::burst(call, random.random()),
        _ => Faults::for_good(call, random.random()),
    }
}

/// Opens the store, checks it and goes on with the history, though calls fail.
async fn patient_life(
    disk: &CutDisk,
    shape: Shape,
    random: &mut StdRng,
    promises: &mut Promises,
) -> Result<(), String> {
    let opened = patiently(TRIES_MAX, async || {
        open(disk, OPTIONS).inspect_err(|error| assert!(disk.has_failed(), "refused without a reason: {error}"))
    });
    let store = opened.await.map_err(|error| format!("cannot open: {error}"))?;
    let before = promises.clone();
    let checked = patiently(TRIES_MAX, async || {
        *promises = before.clone();
        match promises.check(&store).await {
            Ok(()) => Ok(Ok(())),
            Err(Trouble::Broken(text)) => Ok(Err(text)),
            Err(Trouble::Refused(error)) => Err(error),
        }
    });
    checked.await.map_err(|error| format!("cannot be read: {error}"))??;
    let written = History::run(&store, shape.commands, TRIES_MAX, random, promises).await;
    written.map_err(|error| format!("cannot be written: {error}"))?;
    healed(&store).await.map_err(|error| format!("has not healed: {error}"))
}

/// Waits until nothing is wrong any more.
async fn healed(store: &EmbeddedEvents) -> Result<(), StoreError> {
    patiently(TRIES_MAX, async || {
        store.sync_state().await?;
        store.last_error().map_or(Ok(()), |error| Err(StoreError::Unavailable(error)))
    })
    .await
}

/// A store that has a history, one life under faults from `call` on, and two without. Whether that call
/// was made.
async fn lives(seed: u64, call: usize) -> Result<bool, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut promises = Promises::default();
    let mut disk = CutDisk::new(None);
    // Half of them begin with nothing.
    if seed.is_multiple_of(2) {
        life(&disk, shape(seed), &mut random, &mut promises).await?;
        disk = disk.restart(any_stop(&mut random));
    }
    let mut random = StdRng::seed_from_u64(seed ^ (call as u64) << 32);
    let faults = faults(call, &mut random);
    let told = format!("{faults:?}");
    let for_good = faults.are_for_good();
    disk.fail(faults);
    let lived = match for_good {
        true => life(&disk, shape(seed), &mut random, &mut promises).await,
        false => patient_life(&disk, shape(seed), &mut random, &mut promises).await,
    };
    lived.map_err(|error| format!("under {told}: {error}"))?;
    let has_failed = disk.has_failed();
    for number in 0..2 {
        let stop = if number == 0 { any_stop(&mut random) } else { Stop::Power { seed: random.random() } };
        disk = disk.restart(stop);
        let lived = life(&disk, SHORT, &mut random, &mut promises).await;
        lived.map_err(|error| format!("life {number} after {told}, {stop:?}: {error}"))?;
    }
    Ok(has_failed)
}

#[tokio::test]
async fn a_sync_that_failed_is_not_made_good_by_one_before_the_next_file() {
    for seed in 0..20 {
        let disk = CutDisk::new(None);
        let store = open(&disk, OPTIONS).unwrap();
        let write = async |seq: u64| {
            let event = Bytes::from(vec![seed; 900]);
            store.write_events(command(chat(1), seq, vec![event])).await
        };
        // Memory becomes so full that the next write waits for the index, and then begins a file.
        disk.fail_sync(SyncSite::IndexFilled, usize::MAX);
        let mut seq = 1;
        while write(seq).await.is_ok() {
            assert!(seq < 100, "memory has no bound");
            seq += 1;
        }
        disk.fail_sync(SyncSite::IndexFilled, 0);
        disk.fail_sync(SyncSite::JournalName, 1);
        disk.fail_sync(SyncSite::JournalCommit, 1);
        patiently(TRIES_MAX, async || write(seq).await).await.unwrap();
        drop(store);
        let store = open(&disk.restart(Stop::Power { seed: seed.into() }), OPTIONS).unwrap();
        let rows = store.read_events(chat(1), Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await.unwrap();
        assert_eq!(rows.len() as u64, seq);
    }
}

#[test]
fn every_promise_outlives_a_failure_of_any_call() {
    for seed in seeds() {
        for call in 0.. {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let ended = LocalSet::new().block_on(&runtime, lives(seed, call));
            let has_failed = ended.unwrap_or_else(|error| panic!("seed {seed}, call {call}, {error}"));
            if !has_failed {
                assert!(call > 10 * shape(seed).commands, "only {call} calls");
                break;
            }
        }
    }
}
