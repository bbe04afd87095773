//! Which chat is open first.

use super::*;
use crate::chat::state::Start;

#[test]
fn the_chat_that_was_asked_for_at_the_start_is_opened_and_what_is_typed_waits_for_it() {
    let wanting = |name: &str| {
        let mut state = ada();
        state.start = Start::Waiting { wanted: Some(name.into()), until: None };
        let listed = |number| ChatEntry { chat: chat(number), joined: Seq(1), read: Seq(1) };
        state.done(Done::Chats(vec![listed(1), listed(2)]), SECOND);
        enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
        assert!(state.awaits_chat() && state.rooms.open_id().is_none());
        enter(&mut state, chat(2), "team", vec![message(2, ADA, "a")], 2);
        assert!(!state.awaits_chat());
        state
    };
    let mut state = wanting("tea");
    assert_eq!((state.rooms.open_id(), state.lacks_chat()), (Some(chat(1)), false));
    assert!(news(&mut state).contains(&News::Shown("open: tea".into())));
    for name in ["te", "coffee"] {
        let state = wanting(name);
        assert_eq!((state.rooms.open_id(), state.lacks_chat()), (None, true), "{name}");
    }
}

#[test]
fn the_first_chat_at_the_start_is_one_with_something_unread_else_the_newest() {
    let first = |read: u64| {
        let mut state = ada();
        let listed = |number, read| ChatEntry { chat: chat(number), joined: Seq(1), read: Seq(read) };
        state.done(Done::Chats(vec![listed(1, 9), listed(2, read), listed(3, 1)]), SECOND);
        for (number, seq, read) in [(1, 9, 9), (2, 5, read), (3, 1, 1)] {
            assert_eq!(state.rooms.open_id(), None, "not all is known");
            enter(&mut state, chat(number), "tea", vec![message(seq, BEN, "a")], read);
        }
        state.rooms.open_id()
    };
    assert_eq!(first(4), Some(chat(2)));
    assert_eq!(first(5), Some(chat(1)));
}

/// Ada asked for a chat at the start, and one of her two groups does not answer.
fn with_a_chat_that_does_not_answer(wanted: Option<&str>, naming: Naming) -> State {
    let mut state = ada();
    state.naming = naming;
    state.start = Start::Waiting { wanted: wanted.map(str::to_owned), until: None };
    let listed = |chat| ChatEntry { chat, joined: Seq(1), read: Seq(1) };
    let direct = ChatId::direct(user(ADA), user(BEN));
    state.done(Done::Chats([chat(1), chat(2), direct].map(listed).into()), SECOND);
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    enter(&mut state, direct, "@ben", vec![message(1, ADA, "a")], 1);
    state
}

#[test]
fn a_chat_that_does_not_answer_keeps_nobody_from_one_that_is_certain() {
    let direct = ChatId::direct(user(ADA), user(BEN));
    for naming in [Naming::Exact, Naming::Loose] {
        for (wanted, chat) in [(&*chat(1).to_string(), chat(1)), ("@ben", direct)] {
            let state = with_a_chat_that_does_not_answer(Some(wanted), naming);
            assert_eq!((state.rooms.open_id(), state.awaits_chat()), (Some(chat), false), "{wanted}");
        }
    }
    let mut state = with_a_chat_that_does_not_answer(None, Naming::Exact);
    let open = |name: &str| Input::Open(name.into());
    assert!(state.awaits_chat_for(&Input::Say("a".into())) && state.awaits_chat_for(&open("tea")));
    assert!(!state.awaits_chat_for(&open(&chat(1).to_string())) && !state.awaits_chat_for(&open("@ben")));
    assert!(!state.awaits_chat_for(&Input::Direct("@ben".into())));
    state.typed(open(&chat(1).to_string()), SECOND);
    state.tick(SECOND);
    assert!(!state.awaits_chat_for(&Input::Say("a".into())));
    assert!(state.awaits_chat_for(&Input::Chats), "not all can be listed");
    let why = state.awaited(&Input::Chats, SECOND);
    assert_eq!(why, "not all of your chats are known; 1 of yours cannot be opened now");
    state.naming = Naming::Loose;
    assert!(!state.awaits_chat_for(&Input::Chats));
}

#[test]
fn a_person_waits_some_seconds_for_a_chat_that_does_not_answer_and_a_script_is_told_which_one_it_is() {
    for wanted in [None, Some("tea")] {
        let mut state = with_a_chat_that_does_not_answer(wanted, Naming::Loose);
        assert!(state.awaits_chat());
        assert_eq!(state.due(SECOND), Some(6 * SECOND));
        state.tick(6 * SECOND);
        assert!(!state.awaits_chat() && state.rooms.open_id().is_some(), "{wanted:?}");
    }
    // Without a connection nothing can answer.
    let mut state = with_a_chat_that_does_not_answer(Some("tea"), Naming::Loose);
    state.update(Update::Disconnected { retry_in: Some(SECOND), code: None, reason: None }, SECOND);
    state.tick(60 * SECOND);
    assert!(state.awaits_chat());

    let mut state = with_a_chat_that_does_not_answer(Some("tea"), Naming::Exact);
    state.tick(6 * SECOND);
    assert!(state.awaits_chat() && state.rooms.open_id().is_none());
    let why = state.awaited(&Input::Say("a".into()), 6 * SECOND);
    assert!(why.starts_with("which chat is called tea is not certain: 1 of yours cannot be opened"), "{why}");
}

#[test]
fn what_a_line_waits_for_is_told() {
    let mut state = ada();
    state.naming = Naming::Exact;
    let say = Input::Say("a".into());
    assert_eq!(state.awaited(&say, SECOND), "the server has not listed your chats");
    state.done(Done::Chats(vec![ChatEntry { chat: chat(1), joined: Seq(1), read: Seq(1) }]), SECOND);
    let uncertain = "which chat it is for is not certain; 1 of yours cannot be opened now";
    assert_eq!(state.awaited(&say, SECOND), uncertain);
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    state.typed(say, SECOND);
    assert_eq!(state.awaited(&Input::Who, SECOND), "the server has not answered 1 of the lines before it");
    state.typed(Input::New { name: "cake".into(), members: Vec::new() }, SECOND);
    assert_eq!(state.awaited(&Input::Who, SECOND), "the chat that it is for is not made yet");
    state.update(Update::Disconnected { retry_in: Some(SECOND), code: None, reason: None }, SECOND);
    assert_eq!(state.awaited(&Input::Who, SECOND), "not connected, next attempt in 1 s");
}
