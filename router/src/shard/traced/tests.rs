use panda_protocol::frame::CommandBody;
use panda_protocol::link::{CommandOrigin, CommandRecord, Effect, LinkId, Record, Rejection};
use panda_protocol::{ChatId, Counter, DeviceId, ErrorCode, Generation, Incarnation, Seq, UserId};
use panda_storage::{Checkpoint, LogRecord, RecordHeaders};

use super::super::{Input, Loaded, Output, ShardLimits};
use super::*;
use crate::fold::RULES_FIRST;
use crate::rulebook::Rulebook;

const EDGE: Appender = Appender::Edge(LinkId(7));
const MEMBERS: [u8; 3] = [2, 3, 4];

fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

fn chat() -> EntityId {
    ChatId::group(user(1), DeviceId::from_random([1; 16]), Counter(1)).into()
}

fn context(flags: u8) -> TraceContext {
    TraceContext::new([0xa1; 16], [0xb2; 8], flags).expect("no zeros")
}

fn shard(tells: bool) -> Shard {
    shard_from(at(0), tells)
}

/// Of an owner whose Takeover stands there.
fn shard_from(takeover: Position, tells: bool) -> Shard {
    let start = Checkpoint { position: at(0), rules: RULES_FIRST, last: None };
    let limits = ShardLimits::default();
    let mut shard = Shard::new(7, Generation::of(takeover), Incarnation([7; 8]), start, limits, Rulebook::default());
    if tells {
        shard.tell_traces();
    }
    shard
}

fn record(offset: u64, record: &Record, trace: Option<TraceContext>) -> Input {
    let headers = RecordHeaders::from(EDGE).traced(trace);
    let (position, time) = (at(offset), Time(1_000 + offset));
    Input::Records(vec![LogRecord { position, time, record: record.to_bytes(), headers }])
}

/// Makes the chat, with three others in it.
fn create(counter: u64) -> Record {
    let body = CommandBody::CreateGroup { name: "tea".into(), members: MEMBERS.map(user).to_vec() };
    let mut command = panda_protocol::codec::Writer::with_capacity(64);
    body.encode(&mut command);
    Record::Command(CommandRecord {
        origin: CommandOrigin { link: LinkId(7), token: counter },
        entity: chat(),
        actor: user(1),
        device: DeviceId::from_random([1; 16]),
        counter: Counter(counter),
        after: Counter(counter - 1),
        command: command.freeze(),
    })
}

/// Does what is asked for: loads at `now + 10`, writes at `now + 20`. Returns what leaves the shard.
fn go_on(shard: &mut Shard, now: u64) -> Vec<Output> {
    let mut left = Vec::new();
    loop {
        let outputs = shard.take_outputs();
        if outputs.is_empty() {
            return left;
        }
        for output in outputs {
            match output {
                Output::Load { entity, wanted } => {
                    shard.set_now(Time(now + 10));
                    let rows = wanted.ids.into_iter().map(|id| (id, None)).collect();
                    shard.handle(Input::Loaded(entity, Loaded { rows, ..Loaded::default() }));
                }
                Output::Write(batches) => {
                    shard.set_now(Time(now + 20));
                    shard.handle(Input::Written(batches[0].entity));
                }
                output => left.push(output),
            }
        }
    }
}

fn traced(outputs: &[Output]) -> Vec<&TracedRecord> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Traced(record) = output { Some(&**record) } else { None })
        .collect()
}

fn effects(outputs: &[Output]) -> Vec<(&Effect, Option<TraceContext>)> {
    let effects = outputs.iter().filter_map(|output| match output {
        Output::AppendEffect(effect, trace) => Some((effect, *trace)),
        _ => None,
    });
    effects.collect()
}

#[test]
fn a_sampled_command_is_told_once_it_is_out_with_the_moments_of_its_way() {
    let mut shard = shard(true);
    shard.set_now(Time(100));
    shard.handle(record(3, &create(1), Some(context(1))));
    let outputs = go_on(&mut shard, 100);
    let [told] = traced(&outputs)[..] else { panic!("one is told: {outputs:?}") };
    assert_eq!((told.context, told.from, told.entity, told.position), (context(1), Some(EDGE), chat(), at(3)));
    assert_eq!((told.logged, told.decided, told.stored), (Time(1_003), Time(110), Time(120)));
    assert_eq!(told.outcome, Some(Outcome::Applied(Seq(1))));
    let place = |is: fn(&Output) -> bool| outputs.iter().position(is).expect("it is there");
    let answered = place(|output| matches!(output, Output::Send(_, Down::Answer(_))));
    assert!(answered < place(|output| matches!(output, Output::Traced(_))), "it is out by then");
}

#[test]
fn what_is_refused_is_told_with_its_code_and_needs_no_write() {
    let mut shard = shard(true);
    shard.handle(record(3, &create(1), None));
    assert!(traced(&go_on(&mut shard, 0)).is_empty());
    shard.set_now(Time(500));
    shard.handle(record(4, &create(2), Some(context(1))));
    let outputs = go_on(&mut shard, 500);
    let [told] = traced(&outputs)[..] else { panic!("one is told: {outputs:?}") };
    let Some(Outcome::Rejected(Rejection { code, .. })) = told.outcome else { panic!("{told:?} is refused") };
    assert_eq!((code, told.decided, told.stored), (ErrorCode::InvalidRequest, Time(500), Time(500)));
}

#[test]
fn an_effect_is_in_the_context_of_the_command_that_made_it_sampled_or_not() {
    for trace in [None, Some(context(0)), Some(context(1))] {
        let mut shard = shard(false);
        shard.handle(record(3, &create(1), trace));
        let outputs = go_on(&mut shard, 0);
        let effects = effects(&outputs);
        assert_eq!(effects.len(), 1 + MEMBERS.len());
        assert!(effects.iter().all(|(_, of)| *of == trace), "{effects:?}");
    }
}

#[test]
fn an_effect_of_a_sampled_trace_is_told_with_the_event_that_it_made_and_again_without_one() {
    let mut from = shard(false);
    from.handle(record(3, &create(1), Some(context(1))));
    let outputs = go_on(&mut from, 0);
    let (effect, trace) = effects(&outputs)[0];
    let mut shard = shard(true);
    for (offset, outcome) in [(9, Some(Outcome::Applied(Seq(1)))), (10, None)] {
        shard.handle(record(offset, &Record::Effect(effect.clone()), trace));
        let outputs = go_on(&mut shard, 0);
        let [told] = traced(&outputs)[..] else { panic!("one is told: {outputs:?}") };
        assert_eq!((told.entity, told.position, told.outcome), (effect.target, at(offset), outcome));
    }
}

#[test]
fn nothing_is_told_of_what_is_not_sampled_or_where_nobody_asked_for_it() {
    for (tells, trace) in [(true, None), (true, Some(context(0))), (true, Some(context(2))), (false, Some(context(1)))]
    {
        let mut shard = shard(tells);
        shard.handle(record(3, &create(1), trace));
        assert!(traced(&go_on(&mut shard, 0)).is_empty(), "{tells} {trace:?}");
    }
}

#[test]
fn what_stands_before_the_owners_takeover_is_told_as_what_may_have_been_told_before() {
    let mut shard = shard_from(at(4), true);
    for (offset, again) in [(3, true), (5, false)] {
        shard.handle(record(offset, &create(1), Some(context(1))));
        let outputs = go_on(&mut shard, 0);
        let [told] = traced(&outputs)[..] else { panic!("one is told: {outputs:?}") };
        assert_eq!((told.position, told.again), (at(offset), again));
    }
}

#[test]
fn an_effect_that_is_held_for_a_damaged_inbox_is_not_told_as_released_and_a_command_is_with_its_refusal() {
    let effect =
        Effect { source: chat(), source_seq: Seq(1), target: user(2).into(), event: bytes::Bytes::from_static(b"x") };
    for (offset, record_of, code) in [(3, Record::Effect(effect), None), (4, create(1), Some(ErrorCode::Held))] {
        let mut shard = shard(true);
        shard.handle(record(offset, &record_of, Some(context(1))));
        let entity = record_of.entity().expect("it is of an entity");
        assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
        shard.handle(Input::Damaged { entity, read: None, why: "it is damaged".into() });
        let outputs = go_on(&mut shard, 0);
        let codes = traced(&outputs).into_iter().map(|told| match told.outcome {
            Some(Outcome::Rejected(rejection)) => rejection.code,
            other => panic!("{other:?} is no refusal"),
        });
        assert!(codes.eq(code), "{outputs:?}");
    }
}
