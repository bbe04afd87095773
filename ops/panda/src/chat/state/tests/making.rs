//! Chats that the person makes.

use super::*;

#[test]
fn what_is_typed_in_lines_waits_for_a_chat_that_is_made_until_it_is_open_or_is_not_made() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
    assert!(!state.awaits_chat());
    let making = Input::New { name: "cake".into(), members: Vec::new() };
    state.typed(making.clone(), SECOND);
    assert!(state.awaits_chat());
    state.done(Done::Made { chat: chat(3), line: 1 }, SECOND);
    assert!(state.awaits_chat(), "it is made and not open yet");
    enter(&mut state, chat(3), "cake", vec![message(1, ADA, "a")], 1);
    assert!(!state.awaits_chat() && state.rooms.open_id() == Some(chat(3)));
    state.typed(making, SECOND);
    assert_eq!(state.unanswered(), 1);
    state.done(Done::Undone { line: 2, why: "too many chats".into() }, SECOND);
    assert_eq!(state.unanswered(), 0);
    assert!(!state.awaits_chat());
}

#[test]
fn of_two_chats_that_are_made_at_once_each_answers_its_line_and_the_last_one_is_opened() {
    let made = |order: [u8; 2], is_entered_at_once: bool| {
        let mut state = ada();
        enter(&mut state, chat(9), "tea", vec![message(1, ADA, "a")], 1);
        for name in ["a", "b"] {
            state.typed(Input::New { name: name.into(), members: Vec::new() }, SECOND);
        }
        let entered = |state: &mut State, number: u8| {
            enter(state, chat(number), ["a", "b"][usize::from(number) - 1], vec![message(1, ADA, "a")], 1);
        };
        for number in order {
            state.done(Done::Made { chat: chat(number), line: number.into() }, SECOND);
            if is_entered_at_once {
                entered(&mut state, number);
            }
        }
        for number in order.into_iter().filter(|_| !is_entered_at_once) {
            entered(&mut state, number);
        }
        assert_eq!((state.unanswered(), state.awaits_chat()), (0, false), "{order:?}");
        state.typed(Input::Say("for b".into()), SECOND);
        assert_eq!(state.next_deed().map(|deed| deed.chat), Some(chat(2)), "{order:?}");
    };
    for order in [[1, 2], [2, 1]] {
        made(order, true);
        made(order, false);
    }
}

#[test]
fn what_is_said_for_a_chat_that_is_being_made_goes_to_no_other_one_that_begins_meanwhile() {
    let mut state = ada();
    state.done(Done::Chats(Vec::new()), SECOND);
    state.typed(Input::New { name: "b".into(), members: Vec::new() }, SECOND);
    enter(&mut state, chat(1), "trap", vec![message(1, BEN, "a")], 1);
    state.typed(Input::Say("for b".into()), SECOND);
    assert_eq!((state.next_deed(), state.rooms.open_id()), (None, None));
    // One that is opened by hand is the last that was asked for.
    state.typed(Input::Open("trap".into()), SECOND);
    state.done(Done::Made { chat: chat(2), line: 1 }, SECOND);
    enter(&mut state, chat(2), "b", vec![message(1, ADA, "a")], 1);
    assert_eq!((state.rooms.open_id(), state.unanswered()), (Some(chat(1)), 0));
}

#[test]
fn a_chat_that_was_made_is_opened_and_neighbours_are_reached_around_the_ends() {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
    state.typed(Input::New { name: "coffee".into(), members: Vec::new() }, SECOND);
    state.done(Done::Made { chat: chat(2), line: 1 }, SECOND);
    enter(&mut state, chat(2), "coffee", vec![message(9, BEN, "a")], 9);
    assert_eq!(state.rooms.open_id(), Some(chat(2)));
    assert_eq!(state.rooms.by_activity().iter().map(|room| &*room.name).collect::<Vec<_>>(), ["coffee", "tea"]);
    state.open_neighbour(1, SECOND);
    assert_eq!(state.rooms.open_id(), Some(chat(1)));
    state.open_neighbour(1, SECOND);
    assert_eq!(state.rooms.open_id(), Some(chat(2)));
    state.open_neighbour(-1, SECOND);
    assert_eq!(state.rooms.open_id(), Some(chat(1)));
}
