//! What scripts say, and where it goes.

use super::*;

#[test]
fn what_a_script_says_goes_only_where_it_said_and_a_line_that_is_not_done_is_named() {
    let mut state = ada();
    state.naming = Naming::Exact;
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    let lines = ["/open te", "psst", "/remove @ben", "/open tea", "hi", "/nope"];
    let failed: Vec<u64> = lines
        .iter()
        .flat_map(|line| {
            state.typed(Input::parse(line), SECOND);
            news(&mut state)
        })
        .filter_map(|news| if let News::Failed { line, .. } = news { line } else { None })
        .collect();
    assert_eq!(failed, [1, 2, 3, 6]);
    assert_eq!(state.next_deed().map(|deed| deed.line), Some(5));
    assert_eq!(state.next_deed(), None);

    // It is put out of its chat, and into another one.
    let not_member = panda_protocol::ErrorCode::NotMember as u16;
    state.update(Update::Lost { entity: EntityId::from(chat(1)), code: not_member, resuming: false }, SECOND);
    enter(&mut state, chat(2), "trap", vec![message(1, BEN, "a")], 1);
    assert_eq!(state.rooms.open_id(), None);
    state.typed(Input::Say("secret".into()), SECOND);
    assert_eq!(state.next_deed(), None);
}

#[test]
fn what_a_script_asks_for_behind_what_it_did_has_that_in_it_whether_or_not_it_has_come() {
    let mut state = ada();
    state.naming = Naming::Exact;
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    for done in [
        Done::Said { chat: chat(1), line: 1, outcome: Ok(Seq(2)) },
        Done::Changed { chat: chat(1), line: 2, seq: Seq(3) },
    ] {
        state.done(done, SECOND);
    }
    drain(&mut state);
    state.typed(Input::History(5), SECOND);
    let purpose = Purpose::History(1);
    assert_eq!(drain(&mut state), [Request::Page { chat: chat(1), from: Seq(3), limit: 5, purpose }]);
}

#[test]
fn a_script_that_means_one_of_two_chats_of_a_name_is_told_how_to_say_which() {
    let mut state = ada();
    state.naming = Naming::Exact;
    for number in [1, 2] {
        enter(&mut state, chat(number), "tea", vec![message(1, ADA, "a")], 1);
    }
    state.typed(Input::Open("tea".into()), SECOND);
    let told = notices(&mut state).concat();
    assert!([1, 2].iter().all(|number| told.contains(&chat(*number).to_string())), "{told}");
    state.typed(Input::Open(chat(2).to_string()), SECOND);
    assert_eq!(state.rooms.open_id(), Some(chat(2)));
}

#[test]
fn while_a_chat_cannot_be_opened_a_script_names_the_one_that_it_means_by_its_id_or_its_user() {
    let direct = ChatId::direct(user(ADA), user(BEN));
    let script = || {
        let mut state = ada();
        state.naming = Naming::Exact;
        enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
        enter(&mut state, direct, "@ben", vec![message(1, ADA, "a")], 1);
        enter(&mut state, chat(2), "coffee", vec![message(1, ADA, "a")], 1);
        state
    };
    let opens = |state: &mut State, name: &str| {
        news(state);
        state.typed(Input::Open(name.into()), SECOND);
        notices(state)
    };
    let why = panda_protocol::ErrorCode::TooManySubscriptions.text();
    let not_let_in = |state: &mut State| {
        state.done(Done::Chats(vec![ChatEntry { chat: chat(3), joined: Seq(1), read: Seq(1) }]), SECOND);
        state.done(Done::NotEntered { chat: chat(3), is_gone: false, why: why.into() }, SECOND);
    };
    let cut_off = |state: &mut State| {
        enter(state, chat(3), "tea", vec![message(1, ADA, "a")], 1);
        let code = panda_protocol::ErrorCode::TooManySubscriptions as u16;
        state.update(Update::Lost { entity: chat(3).into(), code, resuming: false }, SECOND);
    };
    for shut in [&not_let_in as &dyn Fn(&mut State), &cut_off] {
        let mut state = script();
        shut(&mut state);
        let refused = opens(&mut state, "tea").concat();
        assert!(refused.contains("not certain: 1 of yours cannot be opened") && refused.contains(why), "{refused}");
        state.typed(Input::Say("secret".into()), SECOND);
        assert_eq!(state.next_deed(), None);
        let refused = opens(&mut state, &chat(3).to_string()).concat();
        assert!(refused.contains("cannot be opened: ") && refused.contains(why), "{refused}");
        for (name, chat) in [("@ben", direct), (&*chat(1).to_string(), chat(1))] {
            assert_eq!(opens(&mut state, name), Vec::<String>::new());
            assert_eq!(state.rooms.open_id(), Some(chat));
        }
        // The next connection lists the chats anew.
        state.done(Done::Chats(Vec::new()), SECOND);
        assert_eq!(opens(&mut state, "tea"), Vec::<String>::new());
        assert_eq!(state.rooms.open_id(), Some(chat(1)));
    }
    let mut state = script();
    state.done(Done::Chats(vec![ChatEntry { chat: chat(3), joined: Seq(1), read: Seq(1) }]), SECOND);
    state.done(Done::NotEntered { chat: chat(3), is_gone: true, why: "it was left".into() }, SECOND);
    assert_eq!(opens(&mut state, "tea"), Vec::<String>::new());
}
