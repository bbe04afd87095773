use panda_protocol::frame::CommandBody;
use panda_protocol::link::{Answer, CommandOrigin, CommandRecord, Down, LinkId, Read, ReadQuery, Record, Up};
use panda_protocol::{ChatId, Counter, DeviceId, Generation, Incarnation, UserId};
use panda_storage::{Checkpoint, LogRecord};

use super::super::{Input, ShardLimits};
use super::*;
use crate::rulebook::Rulebook;

const OWN: u32 = 4;
const LINK: LinkId = LinkId(1);
const SECOND: u64 = 1_000_000;

fn at(offset: u64) -> Position {
    Position { epoch: OWN, offset }
}

fn user() -> UserId {
    UserId::from_random([1; 16])
}

fn chat() -> EntityId {
    ChatId::group(user(), DeviceId::from_random([1; 16]), Counter(1)).into()
}

fn shard() -> Shard {
    let start = Checkpoint { position: at(0), rules: crate::fold::RULES_FIRST, last: None };
    let limits = ShardLimits::default();
    Shard::new(7, Generation::of(at(0)), Incarnation(*b"in tests"), start, limits, Rulebook::default())
}

/// Creates the chat, or what is refused once it is there.
fn command(offset: u64, counter: u64) -> Input {
    let body = CommandBody::CreateGroup { name: "tea".into(), members: Vec::new() };
    let mut command = panda_protocol::codec::Writer::with_capacity(64);
    body.encode(&mut command);
    let record = Record::Command(CommandRecord {
        origin: CommandOrigin { link: LINK, token: counter },
        entity: chat(),
        actor: user(),
        device: DeviceId::from_random([1; 16]),
        counter: Counter(counter),
        after: Counter(counter - 1),
        command: command.freeze(),
    });
    Input::Records(vec![LogRecord {
        position: at(offset),
        time: Time(1_000 + offset),
        record: record.to_bytes(),
        headers: Default::default(),
    }])
}

/// Does the load that is asked for, of an entity that is not stored.
fn load(shard: &mut Shard) {
    let outputs = shard.take_outputs();
    let Some(Output::Load { entity, wanted }) =
        outputs.into_iter().find(|output| matches!(output, Output::Load { .. }))
    else {
        panic!("a load is asked for")
    };
    let rows = wanted.ids.into_iter().map(|id| (id, None)).collect();
    shard.handle(Input::Loaded(entity, Loaded { rows, ..Loaded::default() }));
}

/// A shard with the chat in memory, and nothing in flight.
fn shard_with_chat() -> Shard {
    let mut shard = shard();
    shard.handle(command(0, 1));
    load(&mut shard);
    shard.handle(Input::Written(chat()));
    let answers = answers(&mut shard);
    assert_eq!(answers.len(), 1);
    shard
}

fn answers(shard: &mut Shard) -> Vec<Answer> {
    let sent = shard.take_outputs().into_iter();
    sent.filter_map(|output| if let Output::Send(_, Down::Answer(answer)) = output { Some(answer) } else { None })
        .collect()
}

/// What the shard asks for is only which epoch is open.
fn asks_for_the_epoch(shard: &mut Shard) -> bool {
    matches!(shard.take_outputs()[..], [Output::ReadEpoch])
}

/// The store says at once which epoch is open.
fn open(shard: &mut Shard, open: u32) {
    let now = shard.now.0;
    read(shard, open, now);
}

fn read(shard: &mut Shard, open: u32, asked: u64) {
    shard.handle(Input::EpochRead { open, asked: Time(asked) });
}

fn given_up(shard: &mut Shard) -> bool {
    matches!(shard.take_outputs()[..], [Output::GiveUp(GivenUp::EpochOver { open: 5 })])
}

#[test]
fn an_owner_that_did_not_hear_from_its_log_asks_before_it_begins_anything_in_the_store() {
    let mut shard = shard();
    shard.set_now(Time(2 * SECOND - 1));
    assert!(!shard.doubts());
    shard.set_now(Time(2 * SECOND));
    shard.handle(command(0, 1));
    assert!(asks_for_the_epoch(&mut shard));
    open(&mut shard, OWN);
    load(&mut shard);
    // The load is built on once it is known that nothing was stored since.
    assert!(asks_for_the_epoch(&mut shard));
    open(&mut shard, OWN);
    assert!(asks_for_the_epoch(&mut shard), "the write, too, is asked for");
    open(&mut shard, OWN);
    assert!(matches!(shard.take_outputs()[..], [Output::Write(_)]));
    shard.handle(Input::Written(chat()));
    assert!(asks_for_the_epoch(&mut shard), "nothing is let out before");
    open(&mut shard, OWN + 1);
    assert!(given_up(&mut shard));
}

#[test]
fn answers_that_need_no_write_wait_for_the_store_too() {
    let mut shard = shard_with_chat();
    shard.set_now(Time(2 * SECOND));
    shard.handle(command(1, 2));
    assert!(asks_for_the_epoch(&mut shard));
    open(&mut shard, OWN);
    assert_eq!(answers(&mut shard).len(), 1);
}

#[test]
fn a_read_waits_for_the_store_because_another_log_may_have_said_where_it_ends() {
    let mut shard = shard_with_chat();
    shard.set_now(Time(2 * SECOND));
    let read = Read { token: 9, user: user(), entity: chat(), query: ReadQuery::Info };
    shard.handle(Input::Up(LINK, Up::Read(read)));
    assert!(matches!(shard.take_outputs()[..], [Output::AskEnd]));
    shard.handle(Input::End(at(1)));
    assert!(asks_for_the_epoch(&mut shard));
    open(&mut shard, OWN + 1);
    assert!(given_up(&mut shard));
}

#[test]
fn what_the_store_said_before_the_process_stood_still_is_asked_anew() {
    let mut shard = shard();
    shard.set_now(Time(2 * SECOND));
    shard.handle(command(0, 1));
    assert!(asks_for_the_epoch(&mut shard));
    shard.set_now(Time(4 * SECOND));
    read(&mut shard, OWN, 2 * SECOND);
    assert!(asks_for_the_epoch(&mut shard));
    // The store was asked late, because another question was under way: it counts from then.
    shard.set_now(Time(7 * SECOND));
    read(&mut shard, OWN, 5 * SECOND + 1);
    load(&mut shard);
}

#[test]
fn a_doubt_ends_once_the_log_was_heard_for_a_session_timeout_and_the_store_says_so() {
    let mut shard = shard_with_chat();
    shard.set_now(Time(2 * SECOND));
    for half in 4..=10 {
        assert!(shard.doubts(), "silent until 2 s, and the store was asked before 5 s");
        shard.handle(Input::Tick(Time(half * SECOND / 2)));
        shard.handle(Input::End(at(1)));
        while shard.take_outputs().iter().any(|output| matches!(output, Output::ReadEpoch)) {
            open(&mut shard, OWN);
        }
    }
    assert!(!shard.doubts());
    shard.handle(command(1, 2));
    assert_eq!(answers(&mut shard).len(), 1, "nothing is asked before it is answered");
}

#[test]
fn a_log_that_answers_once_ends_no_doubt() {
    let mut shard = shard_with_chat();
    shard.handle(Input::Tick(Time(2 * SECOND)));
    shard.handle(Input::End(at(1)));
    assert!(shard.doubts());
}

#[test]
fn a_log_that_answers_all_the_time_is_all_that_is_asked() {
    let mut shard = shard_with_chat();
    for tenth in 1..100 {
        shard.handle(Input::Tick(Time(tenth * SECOND / 10)));
        assert!(!shard.doubts());
        let outputs = shard.take_outputs();
        assert!(!outputs.iter().any(|output| matches!(output, Output::ReadEpoch)));
        if outputs.iter().any(|output| matches!(output, Output::AskEnd)) {
            shard.handle(Input::End(at(1)));
        }
    }
}
