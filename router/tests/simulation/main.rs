//! Two and three owners of one shard, a store that loses and delays, crashes between any two
//! operations of it, resends over several edges: whatever happens, the outcome is a single owner's.
//!
//! `PANDA_SIM_SEED=n` replays one seed, `PANDA_SIM_SEEDS=n` runs so many.

mod edge;
mod owner;
mod reference;
#[allow(dead_code, reason = "the router's test uses the rest of it")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::catch_unwind;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn several_owners_and_crashes_end_like_a_single_owner() {
    let seeds = match variable("PANDA_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("PANDA_SIM_SEEDS").unwrap_or(1_000),
    };
    let mut total = world::Covered::default();
    for seed in seeds {
        match catch_unwind(|| world::World::new(seed).run()) {
            Ok(covered) => total.add(covered),
            Err(_) => panic!("replay it with PANDA_SIM_SEED={seed}"),
        }
    }
    println!("{total:?}");
    if total.seeds >= 1_000 {
        total.check_reached();
    }
}
