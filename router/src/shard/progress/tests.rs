//! The count against a model that looks at every position each time.

use std::collections::{BTreeMap, BTreeSet};

use panda_protocol::Time;
use proptest::prelude::*;

use super::*;

fn at(offset: u64) -> Position {
    Position { epoch: 3, offset }
}

/// The record at an offset.
fn record(offset: u64) -> RecordMark {
    RecordMark { position: at(offset), time: Time(offset / 3), digest: offset.to_le_bytes() }
}

/// Everything that was ever taken.
#[derive(Debug, Default)]
struct Model {
    taken: u64,
    /// Every offset, and that of the record before the start, if it is known.
    all: BTreeSet<u64>,
    /// Offset: whether it was released.
    records: BTreeMap<u64, bool>,
    /// Unconfirmed effects, the oldest first.
    effects: VecDeque<u64>,
    held: Vec<u64>,
    undecided: Vec<u64>,
}

impl Model {
    fn released(&self) -> u64 {
        let unreleased = self.records.iter().find(|(_, released)| !**released).map(|(offset, _)| *offset);
        unreleased.into_iter().chain(self.undecided.iter().copied()).min().unwrap_or(self.taken)
    }

    fn durable(&self) -> u64 {
        self.standing_out().next().unwrap_or(self.taken)
    }

    fn before_durable(&self) -> Option<RecordMark> {
        self.all.range(..self.durable()).next_back().copied().map(record)
    }

    fn standing_out(&self) -> impl Iterator<Item = u64> {
        let stands_out = |(offset, released): &(&u64, &bool)| {
            !**released || self.effects.contains(offset) || self.held.contains(offset)
        };
        self.records.iter().filter(stands_out).map(|(offset, _)| *offset)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A record so many offsets on, and whether something stands out of it.
    Take(u64, bool),
    /// Of those that are not released, the one at this place.
    Release(usize),
    /// An effect of the record so many offsets before or behind the end of what was taken.
    Owe(i64),
    Confirm,
    /// As Release.
    Hold(usize),
    /// As Release.
    LeaveUndecided(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop_oneof![9 => Just(0_u64), 1 => 1..2_000_u64], prop::bool::weighted(0.9))
            .prop_map(|(skip, outcome)| Step::Take(skip, outcome)),
        4 => (0..12_usize).prop_map(Step::Release),
        2 => (-20..6_i64).prop_map(Step::Owe),
        3 => Just(Step::Confirm),
        1 => prop_oneof![
            28 => Just(Step::Confirm),
            1 => (0..12_usize).prop_map(Step::Hold),
            1 => (0..12_usize).prop_map(Step::LeaveUndecided),
        ],
    ]
}

proptest! {
    #[test]
    fn it_knows_what_a_look_at_every_position_would_find(
        start in 0..50_u64,
        is_last_known: bool,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let last = start.checked_sub(1).filter(|_| is_last_known);
        let mut progress = Progress::new(at(start), last.map(record));
        let mut model = Model { taken: start, all: last.into_iter().collect(), ..Model::default() };
        let mut most = 0;
        for step in steps {
            match step {
                Step::Take(skip, outcome) => {
                    let offset = model.taken + skip;
                    model.records.insert(offset, !outcome);
                    model.all.insert(offset);
                    model.taken = offset + 1;
                    if outcome { progress.take(record(offset)) } else { progress.pass(record(offset)) }
                }
                Step::Release(place) => {
                    let mut unreleased = model.records.iter_mut().filter(|(_, released)| !**released);
                    if let Some((offset, released)) = unreleased.nth(place) {
                        *released = true;
                        progress.release(at(*offset));
                    }
                }
                Step::Owe(distance) => {
                    let offset = model.taken.saturating_add_signed(distance);
                    model.effects.push_back(offset);
                    progress.owe(at(offset));
                }
                Step::Hold(place) | Step::LeaveUndecided(place) => {
                    let mut unreleased = model.records.iter().filter(|(_, released)| !**released);
                    if let Some((offset, _)) = unreleased.nth(place) {
                        model.held.push(*offset);
                        if matches!(step, Step::Hold(_)) {
                            progress.hold(at(*offset));
                        } else {
                            model.undecided.push(*offset);
                            progress.leave_undecided(at(*offset));
                        }
                    }
                }
                Step::Confirm => {
                    model.effects.pop_front();
                    progress.confirm();
                }
            }
            // What was confirmed once is no matter any more: a model of only what stands out.
            let durable = progress.durable();
            model.records.retain(|offset, _| *offset >= durable.offset);
            prop_assert_eq!(progress.taken(), at(model.taken));
            prop_assert_eq!(progress.released(), at(model.released()));
            prop_assert_eq!(durable, at(model.durable()));
            prop_assert_eq!(progress.before_durable(), model.before_durable());
            prop_assert_eq!(progress.effects(), model.effects.len());
            most = most.max(model.standing_out().count());
            prop_assert!(progress.slots.len() <= SLOTS_MIN.max(2 * most), "{} slots", progress.slots.len());
            prop_assert!(durable <= progress.released() && progress.released() <= progress.taken());
        }
    }
}

#[test]
fn a_position_is_durable_once_it_is_released_and_its_effects_are_confirmed() {
    let mut progress = Progress::new(at(5), None);
    progress.take(record(5));
    progress.take(record(6));
    progress.owe(at(5));
    progress.release(at(6));
    assert_eq!((progress.durable(), progress.released()), (at(5), at(5)));
    progress.release(at(5));
    assert_eq!((progress.durable(), progress.released()), (at(5), at(7)));
    progress.confirm();
    assert_eq!((progress.durable(), progress.slots.len()), (at(7), 0));
}

#[test]
fn an_effect_of_a_record_that_comes_later_holds_it_up() {
    let mut progress = Progress::new(at(0), None);
    progress.owe(at(1));
    progress.take(record(0));
    progress.take(record(1));
    progress.release(at(0));
    progress.release(at(1));
    assert_eq!(progress.durable(), at(1));
    progress.confirm();
    assert_eq!(progress.durable(), at(2));
}

#[test]
fn the_record_before_what_is_not_durable_is_known_after_it_left_the_middle() {
    let mut progress = Progress::new(at(9), Some(record(7)));
    assert_eq!((progress.durable(), progress.before_durable()), (at(9), Some(record(7))));
    (9..13).for_each(|offset| progress.take(record(offset)));
    for offset in [10, 11] {
        progress.release(at(offset));
    }
    // As many as are kept: those in the middle leave.
    progress.take(record(13));
    assert_eq!(progress.slots.iter().map(|slot| slot.position.offset).collect::<Vec<_>>(), [9, 12, 13]);
    assert_eq!(progress.before_durable(), Some(record(7)));
    progress.release(at(9));
    assert_eq!((progress.durable(), progress.before_durable()), (at(12), Some(record(11))));
    progress.release(at(13));
    progress.release(at(12));
    assert_eq!((progress.durable(), progress.before_durable()), (at(14), Some(record(13))));
    // What makes nothing is a record, too.
    progress.pass(record(20));
    assert_eq!((progress.durable(), progress.before_durable()), (at(21), Some(record(20))));
}
