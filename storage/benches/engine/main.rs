//! The embedded event store, and the same promises over fjall, under the same work: 64 writers who each wait until what
//! they wrote is durable, then an opening, then reads of a chat's last events. Prints a table for `storage/ENGINE.md`.
//!
//!     cargo bench --locked --workspace --bench engine
//!
//! Data go to the folder that `TMPDIR` names, and are gone afterwards: it has to be on a disk, and the disk is what is
//! measured. `PANDA_BENCH_EVENTS` is how many events are written (400,000), each time for each engine in turn.
#![expect(clippy::unwrap_used, reason = "an engine that fails ends its measurement")]
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod engines;
mod load;

use engines::{Engine, Fjall, Ours};
use load::{Run, measure};

/// Each engine this often, in turn: what else the machine does meets both.
const RUNS: usize = 3;
const EVENTS: usize = 400_000;

/// What a row of the table shows: its name, how it is taken from a run, and whether more of it is better.
type Figure = (&'static str, fn(&Run) -> f64, bool);

const FIGURES: [Figure; 7] = [
    ("durable events a second", |run| run.events_a_second, true),
    ("one event, p50, ms", |run| run.append_ms[0], false),
    ("one event, p99, ms", |run| run.append_ms[1], false),
    ("opening, ms", |run| run.open_ms, false),
    ("a chat's last 50 events, p50, ms", |run| run.read_ms[0], false),
    ("a chat's last 50 events, p99, ms", |run| run.read_ms[1], false),
    ("bytes on disk an event", |run| run.bytes_an_event, false),
];

fn main() {
    let events = std::env::var("PANDA_BENCH_EVENTS").map_or(EVENTS, |events| events.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut ours, mut fjall) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        // Whoever comes second may find the disk busy with what the first one left.
        if run % 2 == 1 {
            ours.push(runtime.block_on(measure::<Ours>(events)));
            fjall.push(runtime.block_on(measure::<Fjall>(events)));
        } else {
            fjall.push(runtime.block_on(measure::<Fjall>(events)));
            ours.push(runtime.block_on(measure::<Ours>(events)));
        }
        let a_second = [&ours, &fjall].map(|runs| shown(runs[run - 1].events_a_second));
        println!(
            "run {run} of {RUNS}: {} {}, {} {} events a second",
            Ours::NAME,
            a_second[0],
            Fjall::NAME,
            a_second[1]
        );
    }
    println!("\n| medians of {RUNS} runs, {events} events | {} | {} | better by |", Ours::NAME, Fjall::NAME);
    println!("|---|---|---|---|");
    for (name, figure, more_is_better) in FIGURES {
        let (ours, fjall) = (median(&ours, figure), median(&fjall, figure));
        let ratio = if more_is_better { ours / fjall } else { fjall / ours };
        println!("| {name} | {} | {} | {ratio:.2} |", shown(ours), shown(fjall));
    }
}

fn median(runs: &[Run], figure: fn(&Run) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn shown(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.3}") }
}
