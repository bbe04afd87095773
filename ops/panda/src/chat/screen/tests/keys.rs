//! What keys do.

use super::*;
use crate::chat::request::{Act, Deed, PageDone, Purpose, Request};
use crate::chat::screen::conversation::Scroll;
use crate::chat::state::tests::{drain, page};

const NONE: KeyModifiers = KeyModifiers::NONE;

fn long_talk() -> State {
    let mut state = ada();
    enter(&mut state, chat(1), "tea", (51..=100).map(|seq| message(seq, BEN, &format!("line {seq}"))).collect(), 100);
    drain(&mut state);
    state
}

fn said(state: &mut State) -> Vec<String> {
    let text = |deed: Deed| if let Act::Say(text) = deed.act { Some(text.to_string()) } else { None };
    std::iter::from_fn(|| state.next_deed()).filter_map(text).collect()
}

#[test]
fn a_line_is_sent_and_a_command_done() {
    let (mut state, mut view) = (tea_party(), View::new());
    types(&mut view, &mut state, "hello");
    press(&mut view, &mut state, KeyCode::Enter, NONE);
    assert_eq!(said(&mut state), ["hello"]);
    assert_eq!(view.editor.text(), "");
    types(&mut view, &mut state, "/open ben");
    press(&mut view, &mut state, KeyCode::Enter, NONE);
    assert_eq!(state.rooms.open_id(), Some(chat(2)));
    types(&mut view, &mut state, "/quit");
    press(&mut view, &mut state, KeyCode::Enter, NONE);
    assert!(state.ended().is_some());
}

#[test]
fn a_paste_of_many_lines_is_never_sent_by_itself_and_no_command() {
    let (mut state, mut view) = (tea_party(), View::new());
    view.paste("/quit\nrm -rf\n", &mut state, NOW);
    assert!(said(&mut state).is_empty() && state.ended().is_none());
    press(&mut view, &mut state, KeyCode::Enter, NONE);
    assert_eq!(said(&mut state), ["/quit\nrm -rf"]);
    assert!(state.ended().is_none());
}

#[test]
fn what_is_typed_before_a_chat_is_open_stays() {
    let (mut state, mut view) = (ada(), View::new());
    types(&mut view, &mut state, "early");
    enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
    view.follow(&mut state, NOW);
    assert_eq!(view.editor.text(), "early");
}

#[test]
fn texts_that_were_not_sent_are_kept_of_so_many_chats() {
    let (mut state, mut view) = (ada(), View::new());
    for number in 0..=101 {
        enter(&mut state, chat(number), &number.to_string(), vec![message(1, BEN, "a")], 1);
        state.open(chat(number), NOW);
        view.follow(&mut state, NOW);
        types(&mut view, &mut state, "x");
    }
    let kept = (0..101).filter(|number| {
        state.open(chat(*number), NOW);
        view.follow(&mut state, NOW);
        !view.editor.text().is_empty()
    });
    assert_eq!(kept.count(), 1);
}

#[test]
fn each_chat_keeps_what_was_not_sent() {
    let (mut state, mut view) = (tea_party(), View::new());
    screen(&mut state, &mut view, 80, 24);
    types(&mut view, &mut state, "for tea");
    press(&mut view, &mut state, KeyCode::Tab, NONE);
    assert_eq!((state.rooms.open_id(), view.editor.text()), (Some(chat(2)), ""));
    types(&mut view, &mut state, "for ben");
    press(&mut view, &mut state, KeyCode::Char('1'), KeyModifiers::ALT);
    assert_eq!((state.rooms.open_id(), view.editor.text()), (Some(chat(1)), "for tea"));
    press(&mut view, &mut state, KeyCode::BackTab, NONE);
    assert_eq!(view.editor.text(), "for ben");
}

#[test]
fn looking_back_stays_in_place_while_messages_come_and_reads_nothing() {
    let (mut state, mut view) = (long_talk(), View::new());
    screen(&mut state, &mut view, 80, 24);
    press(&mut view, &mut state, KeyCode::PageUp, NONE);
    let before = screen(&mut state, &mut view, 80, 24);
    view.seen(&mut state, NOW);
    live(&mut state, chat(1), &message(101, BEN, "news"), NOW);
    let after = screen(&mut state, &mut view, 80, 24);
    let pane = |shown: &[String]| -> Vec<String> {
        shown[1..22].iter().filter_map(|line| line.split_once('│').map(|(_, pane)| pane.to_owned())).collect()
    };
    assert_eq!(pane(&before), pane(&after));
    assert!(!drain(&mut state).iter().any(|request| matches!(request, Request::MarkRead { .. })));
    press(&mut view, &mut state, KeyCode::Esc, NONE);
    assert_eq!(view.scroll, Scroll::End);
    assert!(screen(&mut state, &mut view, 80, 24)[21].contains("news"));
    view.seen(&mut state, NOW);
    assert!(drain(&mut state).iter().any(|request| matches!(request, Request::MarkRead { .. })));
}

#[test]
fn the_line_above_what_is_new_stands_where_nobody_looked_and_nowhere_else() {
    let (mut state, mut view) = (long_talk(), View::new());
    let news_at = |shown: Vec<String>| shown.iter().position(|line| line.contains("── new ──"));
    live(&mut state, chat(1), &message(101, BEN, "seen"), NOW);
    assert_eq!(news_at(screen(&mut state, &mut view, 80, 24)), None);
    state.look(false, NOW);
    live(&mut state, chat(1), &message(102, BEN, "not seen"), NOW);
    live(&mut state, chat(1), &message(103, BEN, "nor this"), NOW);
    assert_eq!(news_at(screen(&mut state, &mut view, 80, 24)), Some(19));
}

#[test]
fn scrolling_to_the_top_loads_what_is_older_and_down_again_ends_at_the_end() {
    let (mut state, mut view) = (long_talk(), View::new());
    screen(&mut state, &mut view, 80, 24);
    view.seen(&mut state, NOW);
    assert_eq!(drain(&mut state), [], "the top is not in sight");
    for _ in 0..5 {
        press(&mut view, &mut state, KeyCode::PageUp, NONE);
    }
    let top = screen(&mut state, &mut view, 80, 24);
    assert!(top[1].contains("loading what is older") && top[21].contains("line 69"), "{top:#?}");
    view.seen(&mut state, NOW);
    assert!(matches!(drain(&mut state)[..], [Request::Page { from: panda_protocol::Seq(50), .. }]));
    for _ in 0..5 {
        press(&mut view, &mut state, KeyCode::PageDown, NONE);
    }
    assert_eq!(view.scroll, Scroll::End);
}

#[test]
fn the_first_row_says_who_speaks_and_the_beginning_since_when_one_is_there() {
    let (mut state, mut view) = (long_talk(), View::new());
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown[1].contains("ben line 80"), "{shown:#?}");
    assert!(!shown[2].contains("ben"), "one breath, one name: {shown:#?}");
    live(&mut state, chat(1), &message(101, BEN, &"long ".repeat(300)), NOW);
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown[1].contains("ben long") && !shown[2].contains("ben"), "{shown:#?}");
    let outcome = Ok(PageDone { ends: None, begins_at: panda_protocol::Seq(51), events: Vec::new() });
    state.done(Done::Page { chat: chat(1), purpose: Purpose::Older, outcome }, NOW);
    for _ in 0..10 {
        press(&mut view, &mut state, KeyCode::PageUp, NONE);
    }
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown[1].contains("you see tea from when you joined"), "{shown:#?}");
}

#[test]
fn history_is_shown_from_its_first_event_on_and_goes_on_into_what_was_there() {
    let (mut state, mut view) = (long_talk(), View::new());
    let history = |state: &mut State, seqs: std::ops::RangeInclusive<u64>| {
        let events: Vec<Event> = seqs.map(|seq| message(seq, BEN, &format!("line {seq}"))).collect();
        page(state, chat(1), Purpose::History(1), events);
    };
    screen(&mut state, &mut view, 80, 24);
    history(&mut state, 66..=100);
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown[1].ends_with("line 66") && shown[21].ends_with("line 86"), "{shown:#?}");
    history(&mut state, 31..=100);
    let shown = screen(&mut state, &mut view, 80, 24);
    let at = |text: &str| shown.iter().position(|line| line.ends_with(text)).unwrap_or_else(|| panic!("{shown:#?}"));
    assert_eq!((at("line 31"), at("line 49")), (3, 21), "{shown:#?}");
    history(&mut state, 96..=100);
    assert!(screen(&mut state, &mut view, 80, 24)[21].ends_with("line 100"));
    assert_eq!(view.scroll, Scroll::End, "all of it is in sight");
}

#[test]
fn help_lies_over_everything_until_a_key_is_pressed() {
    let (mut state, mut view) = (tea_party(), View::new());
    types(&mut view, &mut state, "/help");
    press(&mut view, &mut state, KeyCode::Enter, NONE);
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown.iter().any(|line| line.contains("/dm @user")), "{shown:#?}");
    press(&mut view, &mut state, KeyCode::PageDown, NONE);
    let further = screen(&mut state, &mut view, 80, 24);
    assert!(further.iter().any(|line| line.contains("/quit")), "{further:#?}");
    types(&mut view, &mut state, "x");
    assert!(view.overlay.is_none());
    assert_eq!(view.editor.text(), "x");
}

#[test]
fn ctrl_c_empties_the_line_first_and_then_ends() {
    let (mut state, mut view) = (tea_party(), View::new());
    types(&mut view, &mut state, "never mind");
    press(&mut view, &mut state, KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(view.editor.text().is_empty() && state.ended().is_none());
    press(&mut view, &mut state, KeyCode::Up, NONE);
    assert_eq!(view.editor.text(), "never mind", "it can be had again");
    press(&mut view, &mut state, KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut view, &mut state, KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(state.ended().is_some());
}

#[test]
fn a_sentence_goes_after_a_while() {
    let (mut state, mut view) = (tea_party(), View::new());
    state.notice("look here");
    view.follow(&mut state, NOW);
    assert_eq!(view.notice(NOW), Some("look here"));
    let gone = view.due(NOW).unwrap();
    assert_eq!((view.notice(gone), view.due(gone)), (None, None));
}
