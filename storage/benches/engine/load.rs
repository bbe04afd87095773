//! The work.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Position, Seq, Time, UserId};
use panda_storage::EventRow;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engines::Engine;

const WRITERS: usize = 64;
const CHATS: usize = 10_000;
const EVENT_BYTES: usize = 300;
const READS: usize = 20_000;
pub(crate) const LAST: usize = 50;

/// What one run found. Pairs are p50 and p99.
pub(crate) struct Run {
    pub(crate) events_a_second: f64,
    pub(crate) append_ms: [f64; 2],
    pub(crate) open_ms: f64,
    pub(crate) read_ms: [f64; 2],
    pub(crate) bytes_an_event: f64,
}

pub(crate) async fn measure<E: Engine>(events: usize) -> Run {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let engine = Arc::new(E::open(&folder));
    let begun = Instant::now();
    let (append_ms, counts) = append(&engine, events).await;
    let took = begun.elapsed();
    Arc::into_inner(engine).unwrap().close().await;
    let bytes = bytes_of(&folder);
    let begun = Instant::now();
    let engine = E::open(&folder);
    let open_ms = ms(begun);
    let read_ms = read(&engine, &counts).await;
    engine.close().await;
    Run {
        events_a_second: events as f64 / took.as_secs_f64(),
        append_ms,
        open_ms,
        read_ms,
        bytes_an_event: bytes as f64 / events as f64,
    }
}

/// Each writer has chats of its own and waits until its event is durable before it makes the next. Returns how many
/// events each chat got, too.
async fn append<E: Engine>(engine: &Arc<E>, events: usize) -> ([f64; 2], Vec<u64>) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let engine = Arc::clone(engine);
        let share = events / WRITERS + usize::from(writer < events % WRITERS);
        writers.spawn(async move {
            let mut random = SmallRng::seed_from_u64(writer as u64);
            let mine: Vec<usize> = (writer..CHATS).step_by(WRITERS).collect();
            let mut counts = vec![0_u64; CHATS];
            let mut waits = Vec::with_capacity(share);
            for _ in 0..share {
                let chat = mine[random.random_range(0..mine.len())];
                counts[chat] += 1;
                let row = event(counts[chat], &mut random);
                let begun = Instant::now();
                engine.append(entity(chat), row).await;
                waits.push(ms(begun));
            }
            (waits, counts)
        });
    }
    let (mut waits, mut counts) = (Vec::new(), vec![0; CHATS]);
    for (some, counted) in writers.join_all().await {
        waits.extend(some);
        counts.iter_mut().zip(counted).for_each(|(count, more)| *count += more);
    }
    (percentiles(waits), counts)
}

async fn read<E: Engine>(engine: &E, counts: &[u64]) -> [f64; 2] {
    let mut random = SmallRng::seed_from_u64(7);
    let mut waits = Vec::with_capacity(READS);
    for _ in 0..READS {
        let chat = random.random_range(0..CHATS);
        let begun = Instant::now();
        let found = engine.last(entity(chat)).await;
        waits.push(ms(begun));
        assert_eq!(found as u64, counts[chat].min(LAST as u64), "what was acknowledged is there");
    }
    percentiles(waits)
}

fn entity(chat: usize) -> EntityId {
    ChatId::group(UserId::from_random([1; 16]), DeviceId::NONE, Counter(chat as u64 + 1)).into()
}

/// Bytes that nothing can make shorter, as a sealed or a compressed text.
fn event(seq: u64, random: &mut SmallRng) -> EventRow {
    let mut bytes = vec![0; EVENT_BYTES];
    random.fill_bytes(&mut bytes);
    let (position, time) = (Position { epoch: 1, offset: seq }, Time(1_700_000_000_000_000 + seq));
    EventRow { seq: Seq(seq), position, index: 0, count: 1, time, event: bytes.into() }
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1_000.0
}

fn percentiles(mut waits: Vec<f64>) -> [f64; 2] {
    waits.sort_by(f64::total_cmp);
    [waits[waits.len() / 2], waits[waits.len() * 99 / 100]]
}

fn bytes_of(folder: &Path) -> u64 {
    let bytes = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        folder if folder.is_dir() => bytes_of(&entry.path()),
        file => file.len(),
    };
    fs::read_dir(folder).unwrap().map(|entry| bytes(entry.unwrap())).sum()
}
