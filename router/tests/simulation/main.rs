//! Two and three owners of one shard, a store that loses and delays, crashes between any two
//! operations of it, resends over several edges: whatever happens, the outcome is a single owner's.
//!
//! `PANDA_SIM_SEED=n` replays one seed, `PANDA_SIM_SEEDS=n` runs so many.

mod checkpoints;
mod covered;
mod edge;
mod history;
mod owner;
mod reads;
mod reference;
mod rules;
mod stale_rows;
#[allow(dead_code, reason = "the router's test uses the rest of it")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Seeds that run at once.
const THREADS: usize = 2;

/// The panics that the rules are made to have are caught where they happen, and are many.
fn print_other_panics() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        if !panic.payload().is::<rules::Broken>() {
            print(panic);
        }
    }));
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn several_owners_and_crashes_end_like_a_single_owner() {
    let seeds = match variable("PANDA_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("PANDA_SIM_SEEDS").unwrap_or(1_000),
    };
    print_other_panics();
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(covered::Covered::default());
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while failed.load(Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match catch_unwind(|| world::World::new(seed).run()) {
                        Ok(covered) => total.lock().expect("no test panics while it adds").add(covered),
                        Err(_) => drop(failed.fetch_min(seed, Relaxed)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "replay it with PANDA_SIM_SEED={failed}");
    let total = total.into_inner().expect("no test panics while it adds");
    println!("{total:?}");
    if total.seeds >= 1_000 {
        total.check_reached();
    }
}
