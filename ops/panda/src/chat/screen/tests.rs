//! Screens as a person sees them, without a terminal.

mod keys;

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::civil::date;
use jiff::tz::TimeZone;
use panda_client::{Reason, TransportKind, Update};
use panda_protocol::ChatId;
use panda_protocol::event::{ChatKind, Event, EventBody};
use panda_protocol::frame::{Signal, SignalKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, CellWidth as _};

use super::Clock;
use super::view::View;
use crate::chat::input::Input;
use crate::chat::request::Done;
use crate::chat::state::State;
use crate::chat::state::tests::{ADA, BEN, ada, chat, enter, event, live, message};

const NOW: Duration = Duration::from_secs(1);

fn clock() -> Clock {
    Clock { now: NOW, zone: TimeZone::UTC, today: date(2026, 11, 25) }
}

/// What is drawn, cell by cell.
fn buffer(state: &mut State, view: &mut View, width: u16, height: u16) -> Buffer {
    view.follow(state, NOW);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| super::draw::draw(frame, state, view, &clock())).unwrap();
    terminal.backend().buffer().clone()
}

/// What is drawn, as lines.
fn screen(state: &mut State, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(state, view, width, height);
    let line = |y: u16| {
        let (mut line, mut x) = (String::new(), 0);
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += symbol.cell_width().max(1);
        }
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

fn press(view: &mut View, state: &mut State, code: KeyCode, modifiers: KeyModifiers) {
    view.key(KeyEvent::new(code, modifiers), state, &clock());
    view.follow(state, NOW);
}

fn types(view: &mut View, state: &mut State, text: &str) {
    for character in text.chars() {
        press(view, state, KeyCode::Char(character), KeyModifiers::NONE);
    }
}

fn tea_party() -> State {
    let mut state = ada();
    let made = event(1, BEN, EventBody::ChatCreated { kind: ChatKind::Group, name: "tea".into() });
    let yesterday = |mut event: Event| {
        event.time.0 -= 86_400_000_000;
        event
    };
    let said = vec![
        yesterday(made),
        yesterday(message(2, BEN, "milk or lemon?")),
        message(3, ADA, "lemon, and a word about the kettle, which sings again"),
        message(4, BEN, "日本語 🍃"),
    ];
    enter(&mut state, chat(1), "tea", said, 3);
    enter(&mut state, chat(2), "@ben", vec![message(1, BEN, "psst"), message(2, BEN, "there?")], 0);
    state
}

#[test]
fn a_conversation_fills_a_screen() {
    let (mut state, mut view) = (tea_party(), View::new());
    types(&mut view, &mut state, "half a line");
    let typing = Signal {
        chat: chat(1),
        user: Some(crate::chat::state::tests::user(BEN)),
        kind: SignalKind::TYPING,
        payload: Default::default(),
    };
    state.update(Update::Signal(typing), NOW);
    let expected = [
        " tea                                                   ada · QUIC · connected ●",
        "1 tea               12:04│",
        "2 @ben            2 12:02│─── the beginning of tea ─────────────────────────────",
        "                         │─── yesterday, Tuesday, 24 November 2026 ─────────────",
        "                         │12:01          — ben made this chat",
        "                         │12:02        ben milk or lemon?",
        "                         │─── today, Wednesday, 25 November 2026 ───────────────",
        "                         │12:03 ✓      ada lemon, and a word about the kettle,",
        "                         │                 which sings again",
        "                         │─── new ──────────────────────────────────────────────",
        "                         │12:04        ben 日本語 🍃",
        "── ben is typing… ───────┴──────────────────────────────────────────────────────",
        "> half a line",
    ];
    assert_eq!(screen(&mut state, &mut view, 80, 13), expected);
}

#[test]
fn what_is_sent_and_what_was_refused_can_be_told_apart() {
    let (mut state, mut view) = (tea_party(), View::new());
    state.typed(Input::Say("on its way".into()), NOW);
    state.typed(Input::Say("too much".into()), NOW);
    state.done(Done::Said { chat: chat(1), line: 2, outcome: Err("You may not.".into()) }, NOW);
    let shown = screen(&mut state, &mut view, 80, 8);
    let expected = [
        "1 tea               12:04│12:04        ben 日本語 🍃",
        "2 @ben            2 12:02│      …      ada on its way",
        "                         │      ✗      ada too much",
        "                         │                 not sent: You may not. Up brings it",
        "                         │                 back, Esc drops it.",
        "── not sent: You may not. ──────────────────────────────────────────────────────",
        ">",
    ];
    assert_eq!(shown[1..], expected);
    press(&mut view, &mut state, KeyCode::Esc, KeyModifiers::NONE);
    assert!(!screen(&mut state, &mut view, 80, 8).iter().any(|line| line.contains("too much")));
}

#[test]
fn somebody_without_chats_hears_what_to_do_and_who_is_not_connected_when_it_goes_on() {
    let (mut state, mut view) = (ada(), View::new());
    let lost = |reason| Update::Disconnected { code: None, retry_in: Some(Duration::from_secs(4)), reason };
    state.update(lost(None), NOW);
    let expected = [
        " Panda                        ada · QUIC · not connected, next attempt in 4 s ●",
        "                         │",
        "                         │ No chat is open.",
        "                         │",
        "                         │ /dm @user talks to somebody",
        "                         │ /new NAME @user ... makes a group",
        "                         │ /help lists what there is",
        "─────────────────────────┴──────────────────────────────────────────────────────",
        ">",
    ];
    assert_eq!(screen(&mut state, &mut view, 80, 9), expected);
    let reason = Reason { is_certificate: true, text: "the server's certificate is refused".into() };
    state.update(lost(Some(reason)), NOW);
    let bar = &screen(&mut state, &mut view, 120, 9)[0];
    assert!(bar.contains("next attempt in 4 s: the server's certificate is refused ●"), "{bar}");
    state.update(Update::Connecting { attempt: 2, transport: TransportKind::WebSocket }, NOW);
    let shown = screen(&mut state, &mut view, 120, 9);
    assert!(shown[0].contains("WebSocket · connecting, attempt 2"), "{shown:#?}");
    assert!(shown[7].contains("connecting by WebSocket instead, because QUIC's certificate is refused"), "{shown:#?}");
}

#[test]
fn a_small_screen_keeps_what_matters() {
    let (mut state, mut view) = (tea_party(), View::new());
    let expected = [" tea +2           ●", "ben", " 日本語 🍃", "────────────────────", ">"];
    assert_eq!(screen(&mut state, &mut view, 20, 5), expected);
}

#[test]
fn no_size_is_too_small_and_none_too_large() {
    let (mut state, mut view) = (tea_party(), View::new());
    types(&mut view, &mut state, "日本語\u{301} of some length, and more of it");
    press(&mut view, &mut state, KeyCode::Char('j'), KeyModifiers::CONTROL);
    for width in (0..40).chain([60, 80, 120, 500]) {
        for height in (0..12).chain([200]) {
            screen(&mut state, &mut view, width, height);
            press(&mut view, &mut state, KeyCode::PageUp, KeyModifiers::NONE);
            screen(&mut state, &mut view, width, height);
            press(&mut view, &mut state, KeyCode::F(1), KeyModifiers::NONE);
            screen(&mut state, &mut view, width, height);
            press(&mut view, &mut state, KeyCode::PageDown, KeyModifiers::NONE);
            press(&mut view, &mut state, KeyCode::Esc, KeyModifiers::NONE);
        }
    }
}

#[test]
fn nobody_writes_on_anothers_terminal() {
    let (mut state, mut view) = (ada(), View::new());
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}x";
    state.done(Done::Named { user: crate::chat::state::tests::user(BEN), name: Some(evil.into()) }, NOW);
    let named = event(1, BEN, EventBody::ChatRenamed { name: evil.into() });
    enter(&mut state, chat(1), evil, vec![named, message(2, BEN, evil)], 0);
    state.notice(evil);
    view.paste(evil, &mut state, NOW);
    for (width, height) in [(120, 20), (60, 12), (20, 5)] {
        for cell in buffer(&mut state, &mut view, width, height).content() {
            let is_obeyed = |character: char| character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character);
            assert!(!cell.symbol().contains(is_obeyed), "{:?}", cell.symbol());
        }
    }
}

#[test]
fn a_pile_of_marks_and_a_word_of_16_kib_stay_usable() {
    let (mut state, mut view) = (ada(), View::new());
    let pile = format!("e{}", "\u{301}".repeat(8000));
    enter(&mut state, chat(1), "tea", vec![message(1, BEN, &pile), message(2, BEN, &"x".repeat(16 * 1024))], 2);
    live(&mut state, chat(1), &message(3, BEN, "still here"), NOW);
    let shown = screen(&mut state, &mut view, 80, 24);
    assert!(shown.iter().any(|line| line.contains("still here")));
    for _ in 0..40 {
        press(&mut view, &mut state, KeyCode::PageUp, KeyModifiers::NONE);
    }
    let buffer = buffer(&mut state, &mut view, 80, 24);
    let piled = buffer.content().iter().find(|cell| cell.symbol().starts_with('e') && cell.symbol().len() > 1).unwrap();
    assert!(piled.symbol().len() <= 32, "a pile is cut");
}

#[test]
fn the_list_keeps_the_open_chat_in_sight() {
    let (mut state, mut view) = (ada(), View::new());
    let chats: Vec<ChatId> = (1..=30).map(chat).collect();
    for (number, id) in chats.iter().enumerate() {
        enter(&mut state, *id, &format!("room {number}"), vec![message(100 - number as u64, BEN, "x")], 0);
    }
    state.open(chats[29], NOW);
    let shown = screen(&mut state, &mut view, 80, 12);
    assert!(shown[9].starts_with("  room 29"), "{shown:#?}");
    assert!(shown[1].contains("room 21"), "{shown:#?}");
}

#[test]
fn a_long_sentence_is_shown_to_its_end_and_help_is_wrapped_on_a_narrow_screen() {
    let (mut state, mut view) = (tea_party(), View::new());
    state.notice("one two three four five six seven eight nine ten eleven");
    let shown = screen(&mut state, &mut view, 40, 12);
    assert_eq!(shown[9..], ["one two three four five six seven", "eight nine ten eleven ──────────────────", ">"]);
    press(&mut view, &mut state, KeyCode::F(1), KeyModifiers::NONE);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(screen(&mut state, &mut view, 40, 12));
        press(&mut view, &mut state, KeyCode::PageDown, KeyModifiers::NONE);
    }
    for words in ["direct chat with somebody", "misleading name", "by the end of its ID"] {
        let last = words.rsplit(' ').next().unwrap();
        assert!(seen.iter().any(|line| line.contains(last)), "{words}: {seen:#?}");
    }
}
