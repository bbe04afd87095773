use bytes::Bytes;
use panda_protocol::link::{Record, Up};
use panda_protocol::{Generation, Incarnation, Time, UserId};
use panda_storage::{Checkpoint, LogRecord};

use super::super::load::Wanted;
use super::super::{Input, Loaded, ShardLimits};
use super::*;
use crate::rows::{InboxHead, Row, RowId, RowValue};
use crate::rulebook::Rulebook;

const LINK: LinkId = LinkId(1);
/// Behind the last record that the shard took.
const TAKEN: Position = Position { epoch: 3, offset: 10 };
const HEAD: Seq = Seq(5);

fn entity() -> EntityId {
    UserId::from_random([1; 16]).into()
}

fn at(offset: u64) -> Position {
    Position { offset, ..TAKEN }
}

fn shard() -> Shard {
    let start = Checkpoint { position: TAKEN, rules: crate::fold::RULES_FIRST, last: None };
    let limits = ShardLimits { reads_max: 100, ..ShardLimits::default() };
    Shard::new(7, Generation::of(TAKEN), Incarnation(*b"in tests"), start, limits, Rulebook::default())
}

fn ask(shard: &mut Shard, token: u64, offset: u64) {
    shard.handle(Input::Up(LINK, Up::Ask { token, entity: entity(), position: at(offset) }));
}

/// Says where the log ends, and loads the entity. Returns what else there is to do.
fn go_on(shard: &mut Shard, end: Position) -> Vec<Output> {
    let mut rest = Vec::new();
    loop {
        let outputs = shard.take_outputs();
        if outputs.is_empty() {
            return rest;
        }
        for output in outputs {
            match output {
                Output::AskEnd => shard.handle(Input::End(end)),
                Output::Load { wanted: Wanted { ids, .. }, .. } => {
                    assert_eq!(ids, [RowId::Head]);
                    let value = RowValue::Inbox(InboxHead { position: at(9), ..InboxHead::default() });
                    let head = Row { seq: HEAD, time: Time(5), value };
                    let loaded = Loaded { rows: vec![(RowId::Head, Some(head))], ..Loaded::default() };
                    shard.handle(Input::Loaded(entity(), loaded));
                }
                other => rest.push(other),
            }
        }
    }
}

/// The event of each offset from 5 to 9.
fn events() -> Vec<EventRow> {
    let row = |seq| EventRow {
        seq: Seq(seq),
        position: at(seq + 4),
        index: 0,
        count: 1,
        time: Time(seq),
        event: Bytes::new(),
    };
    (1..=HEAD.0).rev().map(row).collect()
}

fn answers(outputs: Vec<Output>) -> Vec<(u64, Outcome)> {
    outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Send(LINK, Down::Answer(answer)) => Some((answer.token, answer.outcome)),
            _ => None,
        })
        .collect()
}

fn reads(outputs: &[Output]) -> Vec<u64> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::ReadEvents { read, from: HEAD, order: ReadOrder::Backward, .. } => Some(*read),
            _ => None,
        })
        .collect()
}

fn unknown() -> Outcome {
    Outcome::Rejected(Rejection::new(ErrorCode::OutcomeUnknown))
}

#[test]
fn a_position_that_the_shard_has_not_passed_is_answered_once_it_has() {
    let mut shard = shard();
    ask(&mut shard, 1, 11);
    assert!(go_on(&mut shard, at(12)).is_empty(), "records before it are still to be taken");
    let rules = |offset| LogRecord {
        position: at(offset),
        time: Time(offset),
        record: Record::Rules { version: 1 }.to_bytes(),
        headers: Default::default(),
    };
    shard.handle(Input::Records(vec![rules(10)]));
    assert!(go_on(&mut shard, at(12)).is_empty());
    shard.handle(Input::Records(vec![rules(11)]));
    let outputs = go_on(&mut shard, at(12));
    let [read] = reads(&outputs)[..] else { panic!("the store is asked: {outputs:?}") };
    shard.handle(Input::EventsRead(read, events()));
    let nothing = Outcome::Rejected(Rejection::new(ErrorCode::NotApplied));
    assert_eq!(answers(shard.take_outputs()), [(1, nothing)]);
}

#[test]
fn a_position_that_the_log_does_not_have_is_unknown_at_once() {
    let mut shard = shard();
    ask(&mut shard, 1, 10);
    assert_eq!(answers(go_on(&mut shard, TAKEN)), [(1, unknown())]);
}

#[test]
fn however_many_ask_few_read_the_store_and_each_is_answered_once() {
    let mut shard = shard();
    for token in 0..100 {
        ask(&mut shard, token, 5 + token % 5);
    }
    let mut outputs = go_on(&mut shard, TAKEN);
    let mut answered = Vec::new();
    let mut under_way = 0_usize;
    loop {
        let started = reads(&outputs);
        under_way += started.len();
        assert!(under_way <= READING_MAX);
        answered.extend(answers(outputs));
        if under_way == 0 {
            break;
        }
        for read in started {
            under_way -= 1;
            shard.handle(Input::EventsRead(read, events()));
        }
        outputs = shard.take_outputs();
    }
    answered.sort_by_key(|(token, _)| *token);
    let expected: Vec<_> = (0..100).map(|token| (token, Outcome::Applied(Seq(1 + token % 5)))).collect();
    assert_eq!(answered, expected);
}

#[test]
fn beyond_the_limit_and_without_the_store_the_outcome_is_unknown_and_never_unavailable() {
    let mut shard = shard();
    for token in 0..=100 {
        ask(&mut shard, token, 5);
    }
    assert_eq!(answers(go_on(&mut shard, TAKEN)), [(100, unknown())]);

    let mut shard = self::shard();
    ask(&mut shard, 1, 5);
    let [read] = reads(&go_on(&mut shard, TAKEN))[..] else { panic!("the store is asked") };
    shard.handle(Input::ReadFailed(read));
    assert_eq!(answers(shard.take_outputs()), [(1, unknown())]);
}

#[test]
fn who_waits_for_its_turn_is_forgotten_with_its_link() {
    let mut shard = shard();
    for token in 0..100 {
        ask(&mut shard, token, 5);
    }
    let started = reads(&go_on(&mut shard, TAKEN));
    assert_eq!((started.len(), shard.asks.len()), (READING_MAX, 100 - READING_MAX));
    shard.handle(Input::LinkClosed(LINK));
    assert_eq!(shard.asks.len(), 0);
}
