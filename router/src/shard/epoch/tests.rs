use panda_protocol::event::Role;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{
    Admit, Answer, CommandOrigin, CommandRecord, Down, LinkId, Membership, Read, ReadQuery, Record, Up,
};
use panda_protocol::{ChatId, Counter, Cursor, DeviceId, Generation, Incarnation, Seq, UserId};
use panda_storage::{Checkpoint, LogRecord};

use super::super::{Input, ShardLimits};
use super::*;
use crate::rows::{RowId, Rows};
use crate::rulebook::Rulebook;
use crate::shard::standing::Standing;

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

/// What is sent to the link, as far as it is about the chat.
fn sent_to(shard: &mut Shard, to: LinkId) -> Vec<Down> {
    let sent = shard.take_outputs().into_iter();
    sent.filter_map(|output| match output {
        Output::Send(link, down @ (Down::Admitted(_) | Down::Head { .. })) if link == to => Some(down),
        _ => None,
    })
    .collect()
}

/// New work passes what is held once a doubt is over: a load finds what another owner stored, and whoever listens is told
/// before an admission leaves that was decided without it.
#[test]
fn who_is_admitted_behind_a_later_head_that_was_told_is_admitted_anew() {
    const OTHER: LinkId = LinkId(2);
    let mut shard = shard_with_chat();
    let gone = shard.entities.remove(&chat()).unwrap();
    let head = gone.standing().unwrap();
    let mut later = gone.row(&RowId::Head).cloned().unwrap();
    (later.seq, later.time) = (Seq(later.seq.0 + 2), Time(later.time.0 + 2));
    let inbox = EntityId::from(user());
    for (entity, standing) in [(chat(), head), (inbox, Standing { head: Seq(1), rights: Seq(1) })] {
        shard.interests.listen(LINK, entity, 10).unwrap().told = standing.head;
        shard.interests.note_standing(entity, standing);
    }
    // The doubt begins at 2 s, and ends with a question that is put to the store from 5 s on.
    for half in 4..=8 {
        shard.handle(Input::Tick(Time(half * SECOND / 2)));
        shard.handle(Input::End(at(1)));
        while shard.take_outputs().iter().any(|output| matches!(output, Output::ReadEpoch)) {
            open(&mut shard, OWN);
        }
    }
    shard.handle(Input::Tick(Time(46 * SECOND / 10)));
    let member = Membership { at: head.head, role: Role::Member, visible_from: Seq(1) };
    let cursor = Some(Cursor { incarnation: Incarnation(*b"in tests"), seq: head.head });
    for (entity, member) in [(inbox, None), (chat(), Some(member))] {
        let admit = Admit { token: 1, user: user(), entity, cursor, member, opens: None };
        shard.handle(Input::Up(OTHER, Up::Admit(admit)));
    }
    // The question to the log that was under way, and the one that is for both admissions.
    for _ in 0..2 {
        shard.handle(Input::End(at(1)));
        open(&mut shard, OWN);
    }
    assert_eq!(sent_to(&mut shard, OTHER), [], "both are held, the second one behind the first");
    shard.set_now(Time(51 * SECOND / 10));
    open(&mut shard, OWN);
    assert!(!shard.doubts());
    assert_eq!(sent_to(&mut shard, OTHER).len(), 1, "the inbox's");
    shard.handle(command(1, 2));
    let Some(Output::Load { wanted, .. }) =
        shard.take_outputs().into_iter().find(|output| matches!(output, Output::Load { .. }))
    else {
        panic!("the chat is loaded")
    };
    let rows = wanted.ids.into_iter().map(|id| (id.clone(), (id == RowId::Head).then(|| later.clone()))).collect();
    shard.handle(Input::Loaded(chat(), Loaded { rows, ..Loaded::default() }));
    let told = sent_to(&mut shard, LINK);
    assert!(matches!(told[..], [Down::Head { head, readmit: true, .. }] if head == later.seq), "{told:?}");
    open(&mut shard, OWN);
    let sent = sent_to(&mut shard, OTHER);
    let [Down::Admitted(admitted), Down::Head { entity, readmit: true, .. }] = &sent[..] else {
        panic!("an admission that is behind what was told is not left so: {sent:?}")
    };
    assert_eq!((admitted.outcome.as_ref().unwrap().head, *entity), (head.head, chat()));
}
