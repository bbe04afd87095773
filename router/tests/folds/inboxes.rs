use panda_protocol::event::{Event, EventBody, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::limits::SETTINGS_MAX;
use panda_protocol::{ErrorCode, Seq};
use panda_router::fold::Decision;

use super::log::{Log, add, code, done_by, group, remove, say, user};

fn read(to: u64) -> CommandBody {
    CommandBody::MarkRead { chat: group().chat().expect("a chat"), read: Seq(to) }
}

fn set(key: &str, value: &'static str) -> CommandBody {
    CommandBody::SetSetting { key: key.into(), value: value.into() }
}

/// Events of a chat that add user 4, remove it and add it again.
fn changes(log: &mut Log) -> Vec<Event> {
    let bodies = [add(Role::Member, &[4]), remove(&[4]), add(Role::Reader, &[4])];
    bodies.iter().map(|body| log.command(1, group(), body).expect("the owner may").remove(0)).collect()
}

#[test]
fn an_effect_is_taken_once_and_in_the_order_of_its_source() {
    let mut log = Log::with_group();
    let changes = changes(&mut log);
    let joined = log.effect(group(), &changes[0]).expect("never refused");
    assert!(matches!(joined[0].body, EventBody::ChatJoined { source: Seq(5), role: Role::Member, .. }));
    assert_eq!(log.effect(group(), &changes[0]), Err(Decision::EffectTaken));
    assert!(matches!(log.effect(group(), &changes[1]).expect("new")[0].body, EventBody::ChatLeft { .. }));
    log.effect(group(), &changes[2]).expect("new");
    for stale in &changes {
        assert_eq!(log.effect(group(), stale), Err(Decision::EffectTaken));
    }
}

#[test]
fn reading_moves_forward_in_a_chat_that_one_is_in() {
    let mut log = Log::with_group();
    let inbox = user(4).into();
    assert_eq!(code(log.command(4, inbox, &read(3))), ErrorCode::NotMember);
    let changes = changes(&mut log);
    log.effect(group(), &changes[0]).expect("never refused");
    log.command(4, inbox, &read(3)).expect("forward");
    assert_eq!(done_by(log.command(4, inbox, &read(2))), Seq(3));
    log.effect(group(), &changes[1]).expect("never refused");
    assert_eq!(code(log.command(4, inbox, &read(9))), ErrorCode::NotMember);
}

#[test]
fn settings_are_set_replaced_removed_and_limited() {
    let mut log = Log::default();
    let inbox = user(4).into();
    assert_eq!(code(log.command(5, inbox, &set("k", "v"))), ErrorCode::Forbidden);
    assert_eq!(code(log.command(4, inbox, &set("", "v"))), ErrorCode::InvalidRequest);
    assert_eq!(code(log.command(4, inbox, &say("x"))), ErrorCode::InvalidRequest);
    assert_eq!(done_by(log.command(4, inbox, &set("k", ""))), Seq(0));
    for number in 0..SETTINGS_MAX {
        log.command(4, inbox, &set(&number.to_string(), "v")).expect("below the limit");
    }
    assert_eq!(code(log.command(4, inbox, &set("one more", "v"))), ErrorCode::LimitReached);
    log.command(4, inbox, &set("7", "w")).expect("it has a value already");
    log.command(4, inbox, &set("7", "")).expect("it is removed");
    log.command(4, inbox, &set("one more", "v")).expect("there is room again");
}
