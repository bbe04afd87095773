use bytes::Bytes;
use panda_protocol::codec::Writer;
use panda_protocol::frame::{CommandBody, Direction};
use panda_protocol::link::{
    Admit, Admitted, Answer, CommandOrigin, CommandRecord, Down, Outcome, Read, ReadQuery, ReadReply, Resume, Up,
};
use panda_protocol::{Counter, DeviceId, Generation, Incarnation, Seq, ShardId, Time, UserId};
use panda_storage::{Checkpoint, LogRecord};

use super::super::{Input, Loaded, Output, ShardLimits};
use super::*;
use crate::fold::RULES_FIRST;
use crate::rows::{InboxHead, Row, RowId, RowValue};
use crate::rulebook::Rulebook;

pub(in crate::shard) const LINK: LinkId = LinkId(1);
/// Behind the first records, so that there is something to begin at.
const START: Position = at(5);

pub(in crate::shard) const fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

pub(in crate::shard) fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

fn inbox(number: u8) -> EntityId {
    user(number).into()
}

pub(in crate::shard) fn shard() -> Shard {
    let start = Checkpoint { position: START, rules: RULES_FIRST, last: None };
    let limits = ShardLimits { damaged_max: 2, ..ShardLimits::default() };
    Shard::new(1, Generation::of(START), Incarnation([7; 8]), start, limits, Rulebook::default())
}

/// A command of an inbox, with its offset as its token.
pub(in crate::shard) fn command(shard: &mut Shard, offset: u64, number: u8, counter: u64) {
    let body = CommandBody::SetSetting { key: format!("{counter}").as_str().into(), value: Bytes::from_static(b"v") };
    let mut command = Writer::with_capacity(16);
    body.encode(&mut command);
    let record = Record::Command(CommandRecord {
        origin: CommandOrigin { link: LINK, token: offset },
        entity: inbox(number),
        actor: user(number),
        device: DeviceId::from_random([number; 16]),
        counter: Counter(counter),
        after: Counter(counter - 1),
        command: command.freeze(),
    });
    let entry =
        LogRecord { position: at(offset), time: Time(1), record: record.to_bytes(), headers: Default::default() };
    shard.handle(Input::Records(vec![entry]));
}

pub(in crate::shard) fn damage(shard: &mut Shard, number: u8) {
    shard.handle(Input::Damaged { entity: inbox(number), read: None, why: "a test".into() });
}

fn read(shard: &mut Shard, token: u64, number: u8) {
    let query = ReadQuery::Page { direction: Direction::Forward, from: Seq(1), limit: 1 };
    shard.handle(Input::Up(LINK, Up::Read(Read { token, user: user(number), entity: inbox(number), query })));
}

fn admit(shard: &mut Shard, token: u64, number: u8) {
    let (user, entity) = (user(number), inbox(number));
    shard.handle(Input::Up(LINK, Up::Admit(Admit { token, user, entity, cursor: None, member: None, opens: None })));
}

/// A link that was told all before the start states its interest in an inbox.
pub(in crate::shard) fn resume(shard: &mut Shard, link: LinkId, number: u8) {
    let (generation, watermark, entities) = (shard.generation(), Some(START), vec![inbox(number)]);
    let resume = Resume { shard: ShardId(0), generation, watermark, last: true, entities };
    shard.handle(Input::Up(link, Up::Resume(resume)));
}

/// Loads what is asked for and says where the log ends; returns what else there is to do.
pub(in crate::shard) fn go_on(shard: &mut Shard, end: u64) -> Vec<Output> {
    let mut rest = Vec::new();
    loop {
        let outputs = shard.take_outputs();
        if outputs.is_empty() {
            return rest;
        }
        for output in outputs {
            match output {
                Output::AskEnd => shard.handle(Input::End(at(end))),
                Output::Load { entity, wanted } => {
                    let head = InboxHead { position: at(4), ..InboxHead::default() };
                    let head = Row { seq: Seq(300), time: Time(1), value: RowValue::Inbox(head) };
                    let row = |id| if id == RowId::Head { (id, Some(head.clone())) } else { (id, None) };
                    let rows = wanted.ids.into_iter().map(row).collect();
                    shard.handle(Input::Loaded(entity, Loaded { rows, ..Loaded::default() }));
                }
                Output::Write(batches) => shard.handle(Input::Written(batches[0].entity)),
                other => rest.push(other),
            }
        }
    }
}

/// What came down for each token: the code, or none for a good answer.
fn told(outputs: &[Output]) -> Vec<(u64, Option<ErrorCode>)> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Send(_, Down::Answer(Answer { token, outcome: Outcome::Applied(_), .. })) => Some((*token, None)),
        Output::Send(_, Down::Answer(Answer { token, outcome: Outcome::Rejected(why), .. })) => {
            Some((*token, Some(*why)))
        }
        Output::Send(_, Down::Admitted(Admitted { token, outcome, .. })) => Some((*token, outcome.clone().err())),
        Output::Send(_, Down::Read(ReadReply { token, body, .. })) => Some((*token, body.clone().err())),
        _ => None,
    });
    let told = told.inspect(|(_, why)| {
        if let Some(why) = why.filter(|why| matches!(why.code, ErrorCode::Damaged | ErrorCode::Held)) {
            assert_eq!(why.retry_after_ms, RETRY_AFTER_MS);
        }
    });
    told.map(|(token, why)| (token, why.map(|why| why.code))).collect()
}

/// Whether the link was told to admit its listeners of an inbox anew.
fn readmitted(outputs: &[Output], number: u8) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Send(_, Down::Head { entity, readmit: true, .. }) if *entity == inbox(number))
    })
}

/// How far the shard says that it is stored, in these seconds.
fn checkpoint(shard: &mut Shard, seconds: std::ops::Range<u64>) -> Option<Position> {
    let mut position = None;
    for half in 2 * seconds.start..2 * seconds.end {
        shard.handle(Input::Tick(Time((half + 1) * 500_000)));
        for output in go_on(shard, 100) {
            match output {
                Output::Checkpoint(checkpoint) => {
                    position = Some(checkpoint.position);
                    shard.handle(Input::Checkpointed);
                }
                Output::Flush { entity, .. } => shard.handle(Input::Flushed(entity)),
                _ => {}
            }
        }
    }
    position
}

#[test]
fn a_damaged_entity_is_refused_alone_and_its_first_record_holds_the_checkpoint() {
    let shard = &mut shard();
    command(shard, 6, 1, 1);
    assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
    damage(shard, 1);
    command(shard, 7, 2, 1);
    for offset in 8..90 {
        command(shard, offset, 1, offset);
    }
    let outputs = go_on(shard, 90);
    let (applied, refused): (Vec<_>, Vec<_>) = told(&outputs).into_iter().partition(|(_, code)| code.is_none());
    assert_eq!(applied, [(7, None)], "the other one goes on");
    assert!(refused.iter().all(|(_, code)| *code == Some(ErrorCode::Held)), "{refused:?}");
    assert_eq!(refused.len(), 83, "each is told");
    assert_eq!(shard.queued + shard.queued_bytes, 0, "nothing of them is kept");
    assert_eq!(checkpoint(shard, 0..6), Some(at(6)), "the next owner begins at the first of them");
    command(shard, 90, 2, 2);
    assert_eq!(checkpoint(shard, 6..12), None);
    assert!(shard.is_idle(), "a stop does not wait for it");
}

#[test]
fn questions_about_a_damaged_entity_are_refused_and_the_next_owner_may_be_asked() {
    let shard = &mut shard();
    admit(shard, 100, 1);
    let load = loop {
        match &shard.take_outputs()[..] {
            [Output::AskEnd] => shard.handle(Input::End(START)),
            other => break matches!(other, [Output::Load { .. }]),
        }
    };
    assert!(load, "the first question loads");
    damage(shard, 1);
    read(shard, 101, 1);
    shard.handle(Input::Up(LINK, Up::Ask { token: 102, entity: inbox(1), position: at(4) }));
    read(shard, 103, 2);
    let outputs = go_on(shard, START.offset);
    let [.., Output::ReadEvents { read: 1, .. }] = outputs[..] else { panic!("{outputs:?} reads for who may") };
    let expected = [(100, ErrorCode::Damaged), (101, ErrorCode::Damaged), (102, ErrorCode::Held)];
    assert_eq!(told(&outputs), expected.map(|(token, code)| (token, Some(code))));
    assert_eq!(checkpoint(shard, 0..3), None, "no record of it is held");
}

#[test]
fn listeners_of_a_damaged_entity_are_told_before_a_watermark_passes_what_is_held() {
    let shard = &mut shard();
    resume(shard, LINK, 1);
    assert!(!readmitted(&go_on(shard, START.offset), 1));
    command(shard, 6, 1, 1);
    assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
    damage(shard, 1);
    let outputs = shard.take_outputs();
    assert!(matches!(outputs[0], Output::Send(LINK, Down::Head { readmit: true, .. })), "{outputs:?}");
    // A link that states its interest later was not there to be told.
    resume(shard, LinkId(2), 1);
    assert!(readmitted(&go_on(shard, START.offset), 1));
}

/// A shard with a write of inbox 1 in flight.
fn shard_that_writes() -> Shard {
    let mut shard = shard();
    command(&mut shard, 6, 1, 1);
    let load = shard.take_outputs();
    let [Output::Load { wanted, .. }] = &load[..] else { panic!("{load:?} is no load") };
    let rows = wanted.ids.iter().map(|id| (id.clone(), None)).collect();
    shard.handle(Input::Loaded(inbox(1), Loaded { rows, ..Loaded::default() }));
    let write = shard.take_outputs();
    assert!(matches!(write[..], [Output::Write(_)]), "{write:?}");
    shard
}

#[test]
fn a_row_that_is_damaged_leaves_alone_what_was_applied_before_it_was_needed() {
    let shard = &mut shard_that_writes();
    // It needs the row of another setting.
    command(shard, 7, 1, 2);
    assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
    damage(shard, 1);
    assert!(told(&shard.take_outputs()).is_empty(), "answers leave in order");
    shard.handle(Input::Written(inbox(1)));
    assert_eq!(told(&go_on(shard, 8)), [(6, None), (7, Some(ErrorCode::Held))]);
    assert_eq!(checkpoint(shard, 0..6), Some(at(7)));
}

/// Who was admitted only now was not told with those who listened.
#[test]
fn an_admission_that_a_damage_overtook_is_refused() {
    let shard = &mut shard_that_writes();
    admit(shard, 100, 1);
    assert!(go_on(shard, 7).is_empty(), "it waits for the write");
    command(shard, 7, 1, 2);
    assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
    damage(shard, 1);
    shard.handle(Input::Written(inbox(1)));
    let expected = [(6, None), (100, Some(ErrorCode::Damaged)), (7, Some(ErrorCode::Held))];
    assert_eq!(told(&go_on(shard, 8)), expected);
    assert!(!shard.interests.listens(LINK, inbox(1)));
}

#[test]
fn what_cannot_be_read_for_a_page_is_refused_and_commands_go_on() {
    let shard = &mut shard();
    read(shard, 100, 1);
    let outputs = go_on(shard, START.offset);
    let [Output::ReadEvents { read, entity, .. }] = outputs[..] else { panic!("{outputs:?} is no read") };
    shard.handle(Input::Damaged { entity, read: Some(read), why: "a test".into() });
    assert_eq!(told(&shard.take_outputs()), [(100, Some(ErrorCode::Damaged))]);
    command(shard, 6, 1, 1);
    assert_eq!(told(&go_on(shard, 7)), [(6, None)]);
}

#[test]
fn a_shard_of_which_too_much_is_damaged_is_given_up() {
    let shard = &mut shard();
    for number in 1..=3 {
        command(shard, 5 + u64::from(number), number, 1);
        assert!(matches!(shard.take_outputs()[..], [Output::Load { .. }]));
        damage(shard, number);
        let gave_up = shard.take_outputs().iter().any(|output| {
            matches!(output, Output::GiveUp(why) if why.is_for_good() && *why == GivenUp::Damaged { entities: 2 })
        });
        assert_eq!(gave_up, number == 3);
    }
}
