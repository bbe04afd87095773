use panda_protocol::event::{EventBody, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::limits::CHAT_MEMBERS_MAX;
use panda_protocol::{ChatId, ErrorCode, Seq};
use panda_router::rows::{RowId, RowValue};

use super::log::{Log, add, code, done_by, group, remove, say, user};

fn role(member: u8, role: Role) -> CommandBody {
    CommandBody::SetRole { member: user(member), role }
}

fn name(name: &str) -> CommandBody {
    CommandBody::Rename { name: name.into() }
}

#[test]
fn members_speak_and_readers_and_strangers_do_not() {
    let mut log = Log::with_group();
    assert_eq!(log.command(2, group(), &say("hi")).expect("a member")[0].seq, Seq(5));
    assert_eq!(code(log.command(2, group(), &say(""))), ErrorCode::InvalidRequest);
    log.command(1, group(), &role(2, Role::Reader)).expect("the owner may");
    assert_eq!(code(log.command(2, group(), &say("hi"))), ErrorCode::Forbidden);
}

#[test]
fn for_who_never_was_a_member_a_chat_does_not_exist() {
    let mut log = Log::with_group();
    let direct = ChatId::direct(user(1), user(2)).into();
    log.command(1, direct, &CommandBody::CreateDirect { peer: user(2) }).expect("anybody may");
    let nowhere = ChatId::direct(user(7), user(8)).into();
    for chat in [nowhere, direct, group()] {
        for body in [say("hi"), say(""), add(Role::Member, &[9]), remove(&[9]), role(2, Role::Reader), name("x")] {
            assert_eq!(code(log.command(9, chat, &body)), ErrorCode::NotFound, "{body:?} to {chat}");
        }
    }
    log.command(1, group(), &remove(&[2])).expect("the owner may");
    for body in [say("hi"), add(Role::Member, &[9]), remove(&[3]), role(3, Role::Reader), name("x")] {
        assert_eq!(code(log.command(2, group(), &body)), ErrorCode::NotMember, "{body:?}");
    }
}

#[test]
fn time_rises_within_a_command_and_when_the_clock_stands() {
    let mut log = Log::with_group();
    let events = log.command(1, group(), &add(Role::Member, &[4, 5])).expect("the owner may");
    assert!(events[0].time < events[1].time);
    assert!(log.command(1, group(), &say("x")).expect("the owner may")[0].time > events[1].time);
}

#[test]
fn roles_bound_whom_one_adds_and_removes() {
    let mut log = Log::with_group();
    assert_eq!(code(log.command(2, group(), &add(Role::Reader, &[4]))), ErrorCode::Forbidden);
    log.command(1, group(), &role(2, Role::Admin)).expect("the owner may");
    assert_eq!(code(log.command(2, group(), &add(Role::Admin, &[4]))), ErrorCode::Forbidden);
    log.command(2, group(), &add(Role::Member, &[4])).expect("below its own role");
    assert_eq!(code(log.command(2, group(), &remove(&[1, 4]))), ErrorCode::Forbidden);
    assert_eq!(code(log.command(3, group(), &remove(&[4]))), ErrorCode::Forbidden);
    assert_eq!(log.command(3, group(), &remove(&[3])).expect("oneself")[0].target, Some(user(3)));
    assert_eq!(code(log.command(3, group(), &say("back"))), ErrorCode::NotMember);
    log.command(2, group(), &remove(&[4, 9])).expect("who is one is removed");
    assert_eq!(code(log.command(1, group(), &remove(&[]))), ErrorCode::InvalidRequest);
    assert_eq!(code(log.command(2, group(), &role(1, Role::Reader))), ErrorCode::Forbidden);
    assert_eq!(code(log.command(1, group(), &role(4, Role::Admin))), ErrorCode::NotFound);
    log.command(1, group(), &add(Role::Owner, &[5])).expect("an owner makes owners");
}

#[test]
fn a_new_member_sees_from_its_own_event_on_unless_history_is_given() {
    let mut log = Log::with_group();
    let events = log.command(1, group(), &add(Role::Member, &[4, 3, 5])).expect("the owner may");
    let seen = |index: usize| match events[index].body {
        EventBody::MemberAdded { visible_from, .. } => (events[index].target, events[index].seq, visible_from),
        _ => panic!("a member was added"),
    };
    assert_eq!(events.len(), 2);
    assert_eq!([seen(0), seen(1)], [(Some(user(4)), Seq(5), Seq(5)), (Some(user(5)), Seq(6), Seq(6))]);
    let all = CommandBody::AddMembers { role: Role::Member, with_history: true, members: vec![user(6)] };
    let events = log.command(1, group(), &all).expect("the owner may");
    assert!(matches!(events[0].body, EventBody::MemberAdded { visible_from: Seq(1), .. }));
}

#[test]
fn what_is_so_already_names_the_event_that_did_it() {
    let mut log = Log::with_group();
    assert_eq!(done_by(log.command(1, group(), &add(Role::Member, &[2]))), Seq(3));
    assert_eq!(done_by(log.command(1, group(), &role(2, Role::Member))), Seq(3));
    log.command(1, group(), &role(2, Role::Admin)).expect("the owner may");
    log.command(2, group(), &say("x")).expect("a member");
    assert_eq!(done_by(log.command(1, group(), &role(2, Role::Admin))), Seq(5));
    assert_eq!(done_by(log.command(1, group(), &name("tea"))), Seq(1));
    log.command(1, group(), &name("milk")).expect("the owner may");
    log.command(2, group(), &say("x")).expect("a member");
    assert_eq!(done_by(log.command(1, group(), &name("milk"))), Seq(7));
    assert_eq!(code(log.command(3, group(), &name("x"))), ErrorCode::Forbidden);
    log.command(1, group(), &remove(&[3])).expect("the owner may");
    assert_eq!(done_by(log.command(1, group(), &remove(&[3]))), Seq(9));
    let create = CommandBody::CreateGroup { name: "tea".into(), members: vec![] };
    assert_eq!(code(log.command(1, group(), &create)), ErrorCode::InvalidRequest);
}

#[test]
fn a_direct_chat_is_one_whoever_asks_and_nobody_comes_or_goes() {
    let mut log = Log::default();
    let chat = ChatId::direct(user(1), user(2)).into();
    let with = |peer| CommandBody::CreateDirect { peer: user(peer) };
    assert_eq!(code(log.command(1, chat, &with(1))), ErrorCode::InvalidRequest);
    assert_eq!(code(log.command(3, chat, &with(1))), ErrorCode::InvalidRequest);
    assert_eq!(log.command(1, chat, &with(2)).expect("anybody may").len(), 3);
    assert_eq!(done_by(log.command(2, chat, &with(1))), Seq(1));
    for body in [add(Role::Member, &[3]), remove(&[1]), role(2, Role::Reader), name("x")] {
        assert_eq!(code(log.command(1, chat, &body)), ErrorCode::Forbidden);
    }
    log.command(2, chat, &say("hi")).expect("both speak");
}

#[test]
fn a_chat_takes_no_command_of_an_inbox() {
    let mut log = Log::with_group();
    let body = CommandBody::SetSetting { key: "k".into(), value: "v".into() };
    assert_eq!(code(log.command(1, group(), &body)), ErrorCode::InvalidRequest);
}

#[test]
fn a_chat_takes_no_more_members_than_its_limit() {
    let mut log = Log::with_group();
    let rows = log.rows.get_mut(&group()).expect("it was made");
    let Some(RowValue::Chat(head)) = rows.get_mut(&RowId::Head).map(|row| &mut row.value) else { panic!("a head") };
    assert_eq!(head.members, 3);
    head.members = CHAT_MEMBERS_MAX - 2;
    assert_eq!(code(log.command(1, group(), &add(Role::Member, &[4, 5, 6]))), ErrorCode::LimitReached);
    log.command(1, group(), &add(Role::Member, &[2, 4, 5])).expect("one is a member already");
    assert_eq!(code(log.command(1, group(), &add(Role::Member, &[6]))), ErrorCode::LimitReached);
    assert_eq!(done_by(log.command(1, group(), &add(Role::Member, &[4]))), Seq(5));
    log.command(1, group(), &remove(&[2])).expect("the owner may");
    log.command(1, group(), &add(Role::Member, &[6])).expect("there is room again");
}
