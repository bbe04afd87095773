//! A state without server or terminal, and what it asks for.

mod making;
mod scripts;
mod start;

use panda_client::Update;
use panda_protocol::event::{Digest, EventBody, MessageFormat};
use panda_protocol::frame::{Admission, ChatEntry, InboxState, Signal, SignalKind, Start};
use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{Counter, EntityId, SessionId, Time};

use super::*;
use crate::chat::input::Input;
use crate::chat::request::{Act, Done, Entered, PageDone};

/// 2026-11-25, 12:00 UTC, in microseconds.
pub(in crate::chat) const NOON: u64 = 1_795_608_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

pub(in crate::chat) fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

pub(in crate::chat) const ADA: u8 = 1;
pub(in crate::chat) const BEN: u8 = 2;

pub(in crate::chat) fn chat(number: u8) -> ChatId {
    ChatId::group(user(ADA), DeviceId::NONE, Counter(number.into()))
}

/// An event; one a minute from noon on.
pub(in crate::chat) fn event(seq: u64, actor: u8, body: EventBody) -> Event {
    Event {
        seq: Seq(seq),
        time: Time(NOON + seq * 60_000_000),
        actor: user(actor),
        device: DeviceId::from_random([actor; 16]),
        counter: Counter(seq),
        digest: Digest::default(),
        target: None,
        body,
    }
}

pub(in crate::chat) fn message(seq: u64, actor: u8, text: &str) -> Event {
    event(seq, actor, EventBody::MessageSent { format: MessageFormat::Text, text: text.into() })
}

pub(in crate::chat) fn live(state: &mut State, chat: ChatId, event: &Event, now: Duration) {
    let update = Update::Event { entity: chat.into(), seq: event.seq, event: event.to_bytes() };
    state.update(update, now);
}

fn admission(head: u64) -> Admission {
    Admission {
        start: Start::Live,
        incarnation: Incarnation::default(),
        from: Seq(head + 1),
        head: Seq(head),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Default::default(),
    }
}

/// Ada's state, connected, with everybody's name.
pub(in crate::chat) fn ada() -> State {
    let me = Me { user: user(ADA), device: DeviceId::from_random([ADA; 16]), name: "ada".into() };
    let mut state = State::new(me, TransportKind::Quic, None, Naming::Loose);
    let inbox = InboxState { incarnation: Incarnation::default(), head: Seq(1), from: Seq(2), reset: false };
    let session = SessionId::from_random([1; 16]);
    state.update(Update::Connected { session, user: user(ADA), inbox, server: Some(0) }, SECOND);
    state.people.told(user(BEN), Some("ben".into()));
    drain(&mut state);
    news(&mut state);
    state
}

/// Ada is in a chat whose last events are these, and has read up to `read`.
pub(in crate::chat) fn enter(state: &mut State, chat: ChatId, name: &str, events: Vec<Event>, read: u64) {
    let head = events.last().map_or(0, |event| event.seq.0);
    let peer = name.strip_prefix('@').map(|name| (user(BEN), Some(name.to_owned())));
    state.done(Done::Chats(vec![ChatEntry { chat, joined: Seq(1), read: Seq(read) }]), SECOND);
    let entered = Entered { chat, name: name.into(), peer, admission: admission(head), after: None };
    state.done(Done::Entered(Box::new(entered)), SECOND);
    page(state, chat, Purpose::Newest, events);
}

pub(in crate::chat) fn page(state: &mut State, chat: ChatId, purpose: Purpose, events: Vec<Event>) {
    let ends = events.first().map(|event| event.seq).zip(events.last().map(|event| event.seq));
    let outcome = Ok(PageDone { ends, begins_at: Seq(1), events });
    state.done(Done::Page { chat, purpose, outcome }, SECOND);
}

/// All that it asks for by now.
pub(in crate::chat) fn drain(state: &mut State) -> Vec<Request> {
    std::iter::from_fn(|| state.next_request()).collect()
}

pub(in crate::chat) fn news(state: &mut State) -> Vec<News> {
    std::iter::from_fn(|| state.next_news()).collect()
}

fn notices(state: &mut State) -> Vec<String> {
    let words = |news| if let News::Notice(words) | News::Failed { words, .. } = news { Some(words) } else { None };
    news(state).into_iter().filter_map(words).collect()
}

#[test]
fn a_connection_asks_for_the_chats_and_each_chat_for_its_newest_events() {
    let mut state = ada();
    state.done(Done::Chats(vec![ChatEntry { chat: chat(1), joined: Seq(1), read: Seq(3) }]), SECOND);
    assert_eq!(drain(&mut state), [Request::Enter { chat: chat(1), after: None }]);
    state.done(Done::Chats(vec![ChatEntry { chat: chat(1), joined: Seq(1), read: Seq(3) }]), SECOND);
    assert_eq!(drain(&mut state), [], "it is known");
    let entered = Entered { chat: chat(1), name: "tea".into(), peer: None, admission: admission(7), after: None };
    state.done(Done::Entered(Box::new(entered)), SECOND);
    let newest = Request::Page { chat: chat(1), from: Seq(7), limit: PAGE_EVENTS, purpose: Purpose::Newest };
    assert_eq!(drain(&mut state), [newest]);
}

#[test]
fn what_came_before_the_answer_that_lets_in_is_not_lost() {
    let mut state = ada();
    let joined = EventBody::ChatJoined { chat: chat(1), source: Seq(1), role: Role::Member, visible_from: Seq(1) };
    let inbox = event(2, BEN, joined);
    state.update(Update::Event { entity: user(ADA).into(), seq: Seq(2), event: inbox.to_bytes() }, SECOND);
    assert_eq!(drain(&mut state), [Request::Enter { chat: chat(1), after: Some(Seq(1)) }]);
    live(&mut state, chat(1), &message(2, BEN, "early"), SECOND);
    assert!(news(&mut state).is_empty());
    let entered =
        Entered { chat: chat(1), name: "tea".into(), peer: None, admission: admission(2), after: Some(Seq(1)) };
    state.done(Done::Entered(Box::new(entered)), SECOND);
    let told = news(&mut state);
    assert!(matches!(&told[..], [News::Shown(_), News::Event { event, .. }] if event.seq == Seq(2)), "{told:?}");
}

#[test]
fn a_chat_that_nobody_lets_in_keeps_only_so_many_early_events() {
    let mut state = ada();
    state.done(Done::Chats(vec![ChatEntry { chat: chat(1), joined: Seq(1), read: Seq(0) }]), SECOND);
    for seq in 1..=2000 {
        live(&mut state, chat(1), &message(seq, BEN, "x"), SECOND);
    }
    let kept = state.rooms.room_mut(chat(1)).unwrap().take_early();
    assert_eq!((kept.len(), kept.last().unwrap().seq), (2000 - 1024, Seq(2000)));
}

#[test]
fn what_is_looked_at_is_read_and_what_is_not_is_counted() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a"), message(2, BEN, "b")], 1);
    enter(&mut state, chat(2), "coffee", vec![message(1, BEN, "a"), message(2, ADA, "b"), message(3, BEN, "c")], 0);
    let marks = |state: &mut State| -> Vec<Request> {
        drain(state).into_iter().filter(|request| matches!(request, Request::MarkRead { .. })).collect()
    };
    assert_eq!(marks(&mut state), [Request::MarkRead { chat: chat(1), read: Seq(2) }]);
    assert_eq!(state.rooms.room(chat(2)).unwrap().unread(user(ADA)), (2, false), "the own message is not unread");
    assert_eq!(state.rooms.open_room().unwrap().missed, Some((Seq(1), Seq(2))));

    live(&mut state, chat(1), &message(3, BEN, "c"), SECOND);
    assert_eq!(marks(&mut state), [], "one is on its way");
    state.done(Done::Marked { chat: chat(1), read: Some(Seq(2)) }, SECOND);
    assert_eq!(marks(&mut state), [], "one was sent just now");
    assert_eq!(state.due(SECOND), Some(2 * SECOND));
    state.tick(2 * SECOND);
    assert_eq!(marks(&mut state), [Request::MarkRead { chat: chat(1), read: Seq(3) }]);
    state.done(Done::Marked { chat: chat(1), read: Some(Seq(3)) }, 4 * SECOND);

    state.look(false, 4 * SECOND);
    live(&mut state, chat(1), &message(4, BEN, "d"), 4 * SECOND);
    assert_eq!(marks(&mut state), [], "nobody looks");
    state.look(true, 5 * SECOND);
    assert_eq!(marks(&mut state), [Request::MarkRead { chat: chat(1), read: Seq(4) }]);
}

#[test]
fn what_was_read_on_another_device_is_read_here() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
    enter(&mut state, chat(2), "coffee", vec![message(1, BEN, "a"), message(2, BEN, "b")], 0);
    let moved = event(3, ADA, EventBody::ReadMoved { chat: chat(2), read: Seq(1) });
    state.update(Update::Event { entity: user(ADA).into(), seq: Seq(3), event: moved.to_bytes() }, SECOND);
    assert_eq!(state.rooms.room(chat(2)).unwrap().unread(user(ADA)), (1, false));
}

#[test]
fn typing_is_told_at_most_every_three_seconds_and_its_end_once() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    drain(&mut state);
    let told = |is_typing| vec![Request::Typing { chat: chat(1), is_typing }];
    state.compose(true, SECOND);
    assert_eq!(drain(&mut state), told(true));
    state.compose(true, 3 * SECOND);
    assert_eq!(drain(&mut state), []);
    state.compose(true, 4 * SECOND);
    assert_eq!(drain(&mut state), told(true));
    state.compose(false, 4 * SECOND);
    assert_eq!(drain(&mut state), told(false));
    state.compose(false, 5 * SECOND);
    assert_eq!(drain(&mut state), []);
}

#[test]
fn somebody_who_typed_is_forgotten_after_a_message() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    let typing = Signal { chat: chat(1), user: Some(user(BEN)), kind: SignalKind::TYPING, payload: Default::default() };
    state.update(Update::Signal(typing), SECOND);
    assert_eq!(state.rooms.open_room().unwrap().typists(2 * SECOND).count(), 1);
    assert_eq!(state.due(2 * SECOND), Some(7 * SECOND));
    live(&mut state, chat(1), &message(2, BEN, "b"), 2 * SECOND);
    assert_eq!(state.rooms.open_room().unwrap().typists(2 * SECOND).count(), 0);
}

#[test]
fn what_is_typed_keeps_its_order_and_a_refusal_says_why() {
    let mut state = ada();
    state.typed(Input::Say("to nobody".into()), SECOND);
    assert_eq!(notices(&mut state), ["not sent: no chat is open: /new makes one, /open opens one"]);
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    state.typed(Input::Say("one".into()), SECOND);
    state.typed(Input::Add { members: vec!["@ben".into()], with_history: false }, SECOND);
    state.typed(Input::Say("two".into()), SECOND);
    let deeds: Vec<Deed> = std::iter::from_fn(|| state.next_deed()).collect();
    let [one, two] = match &deeds[..] {
        [
            Deed { act: Act::Say(_), line: one, .. },
            Deed { act: Act::Add { .. }, .. },
            Deed { act: Act::Say(_), line: two, .. },
        ] => [*one, *two],
        _ => panic!("{deeds:?}"),
    };
    let outcome = Err("Your role does not allow this.".into());
    state.done(Done::Said { chat: chat(1), line: one, outcome }, SECOND);
    live(&mut state, chat(1), &message(2, ADA, "two"), SECOND);
    state.done(Done::Said { chat: chat(1), line: two, outcome: Ok(Seq(2)) }, SECOND);
    assert_eq!(notices(&mut state), ["not sent: Your role does not allow this."]);
    let drafts = state.rooms.open_room().unwrap().timeline.drafts();
    assert_eq!(drafts.iter().map(|draft| &*draft.text).collect::<Vec<_>>(), ["one"]);
    assert!(state.dismiss());
    state.typed(Input::Say("x".repeat(TEXT_BYTES_MAX + 1)), SECOND);
    assert_eq!(notices(&mut state), ["not sent: a message has at most 16 KiB; say it in parts"]);
    assert_eq!(state.next_deed(), None);
}

#[test]
fn what_is_said_behind_a_chat_that_was_not_found_goes_to_nobody_once() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    enter(&mut state, chat(2), "team", vec![message(2, ADA, "a")], 2);
    let say = |state: &mut State, text: &str| {
        state.typed(Input::Say(text.into()), SECOND);
        state.next_deed().is_some()
    };
    for name in ["nobody", "t"] {
        state.typed(Input::Open(name.into()), SECOND);
        assert!(!say(&mut state, "psst"), "{name}");
        let last = notices(&mut state).pop();
        assert_eq!(last.as_deref(), Some("not sent: that chat is not open; the next goes to tea"));
        assert!(say(&mut state, "psst"));
    }
    state.typed(Input::Open("nobody".into()), SECOND);
    state.typed(Input::Open("1".into()), SECOND);
    assert!(say(&mut state, "hi") && state.rooms.open_id() == Some(chat(2)), "the newest is the first");
    state.typed(Input::Direct("@ben".into()), SECOND);
    assert!(!say(&mut state, "for ben"), "he is not there yet");
    state.typed(Input::Direct("@ben".into()), SECOND);
    state.done(Done::Made { chat: chat(3), line: state.last_line() }, SECOND);
    enter(&mut state, chat(3), "@ben", vec![message(3, ADA, "a")], 3);
    assert!(say(&mut state, "for ben") && state.rooms.open_id() == Some(chat(3)));
}

#[test]
fn older_events_are_asked_for_once_and_not_beyond_the_beginning() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(5, BEN, "e")], 5);
    drain(&mut state);
    state.load_older();
    state.load_older();
    let older = Request::Page { chat: chat(1), from: Seq(4), limit: PAGE_EVENTS, purpose: Purpose::Older };
    assert_eq!(drain(&mut state), [older]);
    page(&mut state, chat(1), Purpose::Older, (1..=4).map(|seq| message(seq, BEN, "x")).collect());
    assert!(!state.rooms.open_room().unwrap().has_older());
    state.load_older();
    assert_eq!(drain(&mut state), []);
}

#[test]
fn another_store_makes_the_chat_begin_anew() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(5, BEN, "e")], 5);
    drain(&mut state);
    let admission = Admission { start: Start::Reset, ..admission(2) };
    state.update(Update::Resumed { chat: chat(1), admission }, SECOND);
    assert_eq!(state.rooms.open_room().unwrap().timeline.events().count(), 0);
    let newest = Request::Page { chat: chat(1), from: Seq(2), limit: PAGE_EVENTS, purpose: Purpose::Newest };
    assert_eq!(drain(&mut state), [newest]);
}

#[test]
fn an_expired_token_is_replaced_by_logging_in_again() {
    let mut state = ada();
    state.update(Update::TokenNeeded, SECOND);
    assert_eq!(drain(&mut state), [Request::LogIn]);
    state.done(Done::Token("newer".into()), SECOND);
    assert_eq!((drain(&mut state), state.token.as_deref()), (vec![Request::Refresh], Some("newer")));
    state.done(Done::Failed("logging in again failed".into()), SECOND);
    assert_eq!(notices(&mut state), ["logging in again failed"]);
}

#[test]
fn who_was_removed_has_no_chat_any_more_and_a_session_that_ended_ends_it_all() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(5, BEN, "e")], 5);
    news(&mut state);
    let not_member = panda_protocol::ErrorCode::NotMember as u16;
    state.update(Update::Lost { entity: EntityId::from(chat(1)), code: not_member, resuming: false }, SECOND);
    assert_eq!(notices(&mut state), ["you are no longer in tea"]);
    assert_eq!(state.rooms.open_id(), None);
    assert!(state.ended().is_none());
    let code = panda_protocol::ErrorCode::Replaced as u16;
    state.update(Update::Ended { code, text: Default::default() }, SECOND);
    assert_eq!(notices(&mut state).len(), 1);
    assert_eq!(state.ended(), Some(ExitCode::FAILURE));
}

#[test]
fn a_person_who_enters_something_without_a_connection_does_not_wait_for_the_next_attempt() {
    let mut state = ada();
    state.typed(Input::Nothing, SECOND);
    assert!(!state.hurries(), "there is one");
    state.update(Update::Disconnected { retry_in: Some(20 * SECOND), code: None, reason: None }, SECOND);
    state.typed(Input::Nothing, SECOND);
    assert_eq!([state.hurries(), state.hurries()], [true, false]);
    state.naming = Naming::Exact;
    state.typed(Input::Nothing, SECOND);
    assert!(!state.hurries(), "a script does not know of it");
}

#[test]
fn in_a_direct_chat_nobody_is_added_and_nobody_leaves() {
    let mut state = ada();
    let direct = ChatId::direct(user(ADA), user(BEN));
    enter(&mut state, direct, "@ben", vec![message(1, ADA, "a")], 1);
    for line in ["/add @eve", "/remove @ben", "/leave"] {
        state.typed(Input::parse(line), SECOND);
        assert_eq!(notices(&mut state), ["a direct chat keeps its two members; /new makes a group"], "{line}");
    }
    assert_eq!((state.next_deed(), state.unanswered()), (None, 0));
}
