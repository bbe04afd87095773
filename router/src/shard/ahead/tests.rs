//! A new owner that loads an entity before an edge states its interest in it.

use std::collections::HashSet;

use bytes::Bytes;
use panda_protocol::codec::Writer;
use panda_protocol::event::{Digest, Event, EventBody};
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{CommandOrigin, CommandRecord, Down, LinkId, Record, Resume, Up};
use panda_protocol::{Counter, DeviceId, Generation, Incarnation, ShardId, Time, UserId};
use panda_storage::{Checkpoint, EventRow, LogRecord};

use super::super::{Input, Loaded, Output, ShardLimits};
use super::*;
use crate::fold::RULES_FIRST;
use crate::rows::{InboxHead, Row, RowId, RowValue};
use crate::rulebook::Rulebook;

/// The link that resumes.
const LINK: LinkId = LinkId(2);
/// The command whose event the owner before stored, and did not send.
const UNSENT: Position = at(20);
/// What a command of before that sets.
const KEY: &str = "k";

const fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

fn inbox(number: u8) -> EntityId {
    user(number).into()
}

/// An owner that begins at 5; its Takeover stands at 30.
fn owner() -> Shard {
    let start = Checkpoint { position: at(5), rules: RULES_FIRST, last: None };
    let generation = Generation::of(at(30));
    Shard::new(1, generation, Incarnation([7; 8]), start, ShardLimits::default(), Rulebook::default())
}

fn take(owner: &mut Shard, offset: u64, record: &Record) {
    let entry =
        LogRecord { position: at(offset), time: Time(1), record: record.to_bytes(), headers: Default::default() };
    owner.handle(Input::Records(vec![entry]));
}

/// Takes a command of an inbox that the owner must load for it; returns the rows to load.
fn command(owner: &mut Shard, offset: u64, number: u8, key: &'static str) -> Vec<RowId> {
    let body = CommandBody::SetSetting { key: key.into(), value: Bytes::from_static(b"v") };
    let mut command = Writer::with_capacity(16);
    body.encode(&mut command);
    let record = CommandRecord {
        origin: CommandOrigin { link: LinkId(1), token: 1 },
        entity: inbox(number),
        actor: user(number),
        device: DeviceId::from_random([number; 16]),
        counter: Counter(1),
        after: Counter(0),
        command: command.freeze(),
    };
    take(owner, offset, &Record::Command(record));
    match &owner.take_outputs()[..] {
        [Output::Load { wanted, .. }] => wanted.ids.clone(),
        other => panic!("{other:?} is not the load of an inbox"),
    }
}

/// A command of an inbox comes, of which the owner before stored more than the log was taken.
fn load(owner: &mut Shard, offset: u64, number: u8) {
    let ids = command(owner, offset, number, KEY);
    let head = InboxHead { position: UNSENT, ..InboxHead::default() };
    let head = Row { seq: Seq(3), time: Time(1), value: RowValue::Inbox(head) };
    let rows = ids.into_iter().map(|id| if id == RowId::Head { (id, Some(head.clone())) } else { (id, None) });
    owner.handle(Input::Loaded(inbox(number), Loaded { rows: rows.collect(), ..Loaded::default() }));
    owner.take_outputs();
}

/// Takes records that make nothing.
fn pass(owner: &mut Shard, offsets: std::ops::Range<u64>) {
    offsets.for_each(|offset| take(owner, offset, &Record::Rules { version: RULES_FIRST }));
}

/// Resumes, with a tail that names nothing. Returns what of the entities the link was told to admit anew;
/// none if it was told so of all.
fn resume(owner: &mut Shard, watermark: Position, entities: &[EntityId]) -> Option<HashSet<EntityId>> {
    let (generation, watermark) = (owner.generation(), Some(watermark));
    let resume = Resume { shard: ShardId(0), generation, watermark, last: true, entities: entities.to_vec() };
    owner.handle(Input::Up(LINK, Up::Resume(resume)));
    let mut outputs = owner.take_outputs();
    for output in &outputs {
        if let Output::ReadTail { tail, .. } = output {
            owner.handle(Input::TailRead(*tail, Some(HashSet::new())));
        }
    }
    outputs.extend(owner.take_outputs());
    let mut told = HashSet::new();
    for output in outputs {
        match output {
            Output::Send(LINK, Down::Head { entity, readmit: true, .. }) => drop(told.insert(entity)),
            Output::Readmit(LINK) => return None,
            Output::ReadTail { .. } => {}
            other => panic!("a resume asks for no {other:?}"),
        }
    }
    Some(told)
}

fn set<const N: usize>(entities: [EntityId; N]) -> Option<HashSet<EntityId>> {
    Some(HashSet::from(entities))
}

#[test]
fn what_is_stored_further_than_the_log_was_taken_is_told_to_a_link_that_resumes() {
    let mut owner = owner();
    load(&mut owner, 5, 1);
    assert_eq!(resume(&mut owner, at(6), &[inbox(1), inbox(2)]), set([inbox(1)]));
}

#[test]
fn it_is_told_when_it_is_in_memory_no_more() {
    let mut owner = owner();
    load(&mut owner, 5, 1);
    owner.handle(Input::Tick(Time(60_000_000)));
    owner.take_outputs();
    assert_eq!(owner.resident(), 0);
    assert_eq!(resume(&mut owner, at(6), &[inbox(1)]), set([inbox(1)]));
}

#[test]
fn what_a_later_load_brings_is_told_too() {
    let mut owner = owner();
    let rows = command(&mut owner, 5, 1, KEY).into_iter().map(|id| (id, None)).collect();
    owner.handle(Input::Loaded(inbox(1), Loaded { rows, ..Loaded::default() }));
    owner.handle(Input::Written(inbox(1)));
    owner.take_outputs();
    assert_eq!(resume(&mut owner, at(6), &[inbox(1)]), set([]));
    // The owner before goes on meanwhile, until it hears that it is one no more.
    let rows = command(&mut owner, 6, 1, "other").into_iter().map(|id| (id, None)).collect();
    let event = Event {
        seq: Seq(2),
        time: Time(9),
        actor: user(1),
        device: DeviceId::from_random([9; 16]),
        counter: Counter(1),
        digest: Digest([0; 8]),
        target: None,
        body: EventBody::SettingChanged { new: false, key: KEY.into(), value: Bytes::new() },
    };
    let unsent =
        EventRow { seq: Seq(2), position: UNSENT, index: 0, count: 1, time: event.time, event: event.to_bytes() };
    owner.handle(Input::Loaded(inbox(1), Loaded { rows, events: vec![unsent], ..Loaded::default() }));
    owner.handle(Input::LinkClosed(LINK));
    owner.handle(Input::Written(inbox(1)));
    owner.take_outputs();
    assert_eq!(resume(&mut owner, at(7), &[inbox(1)]), set([inbox(1)]));
}

#[test]
fn nobody_is_told_of_what_the_tail_names_or_the_watermark_covers() {
    let mut owner = owner();
    load(&mut owner, 5, 1);
    assert_eq!(resume(&mut owner, at(21), &[inbox(1)]), set([]), "its event was sent");
    assert_eq!(resume(&mut owner, at(20), &[inbox(1)]), set([inbox(1)]), "it was not");
    pass(&mut owner, 6..21);
    assert_eq!(resume(&mut owner, at(6), &[inbox(1)]), set([]), "the tail would name it");
}

#[test]
fn too_many_to_be_told_apart_are_all_admitted_anew_until_the_log_was_taken_so_far() {
    let mut owner = owner();
    let numbers = 1..=u8::try_from(AHEAD_MAX).expect("few");
    numbers.for_each(|number| load(&mut owner, 5 + u64::from(number), number));
    let all: Vec<EntityId> = (1..9).map(inbox).collect();
    assert_eq!(resume(&mut owner, at(10), &all).map(|told| told.len()), Some(AHEAD_MAX));
    load(&mut owner, 15, 8);
    assert_eq!(resume(&mut owner, at(16), &all), None);
    assert_eq!(resume(&mut owner, at(21), &all), set([]), "whatever they are, their events were sent");
    pass(&mut owner, 16..21);
    assert_eq!(resume(&mut owner, at(16), &all), set([]));
    owner.handle(Input::Tick(Time(1)));
    assert_eq!((owner.ahead.entities.len(), owner.ahead.beyond), (0, None));
}
