//! News as lines.

use std::collections::VecDeque;

use panda_protocol::UserId;
use panda_protocol::event::Event;

use crate::chat::input::HELP;
use crate::chat::state::{News, Room, Sentence, State, role_name, sentence};

/// News that wait for names; beyond, identifiers are printed.
const WAITING_MAX: usize = 10_000;

/// The lines of the news whose names are known, in the order in which they came.
pub(super) fn printable(waiting: &mut VecDeque<News>, state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(news) = waiting.front() {
        let is_told = users(news).iter().all(|user| state.people.is_settled(*user));
        if !is_told && waiting.len() <= WAITING_MAX && state.ended().is_none() {
            break;
        }
        if let Some(news) = waiting.pop_front() {
            lines.extend(told(&news, state));
        }
    }
    lines
}

/// Whose names a piece of news needs.
fn users(news: &News) -> Vec<UserId> {
    let of_event = |event: &Event| std::iter::once(event.actor).chain(event.target);
    match news {
        News::Event { event, .. } => of_event(event).collect(),
        News::History { events, .. } => events.iter().flat_map(of_event).collect(),
        News::Typing { user, .. } => vec![*user],
        News::Members { members, .. } => members.iter().map(|(user, _)| *user).collect(),
        News::Notice(_) | News::Failed { .. } | News::Shown(_) | News::Chats | News::Several { .. } | News::Help => {
            Vec::new()
        }
    }
}

/// A piece of news as lines.
pub(in crate::chat) fn told(news: &News, state: &State) -> Vec<String> {
    match news {
        News::Notice(words) | News::Failed { words, .. } | News::Shown(words) => vec![format!("* {words}")],
        News::Event { room, event } => line_of(state, room, event).into_iter().collect(),
        News::History { room, events } => events.iter().filter_map(|event| line_of(state, room, event)).collect(),
        News::Typing { room, user } => vec![format!("[{room}] {} is typing", state.people.name(*user))],
        News::Members { members, more } => {
            let member = |(user, role): &(UserId, _)| format!("  {} ({})", state.people.name(*user), role_name(*role));
            members.iter().map(member).chain(more.then(|| "  and more".to_owned())).collect()
        }
        News::Chats => chats(state, |_| true),
        News::Several { typed, chats: meant } => {
            let head = format!("* several chats are like {typed}; /open ID opens one:");
            std::iter::once(head).chain(chats(state, |room| meant.contains(&room.id))).collect()
        }
        News::Help => HELP.lines().map(str::to_owned).collect(),
    }
}

/// Some of the chats, each with its number in the list of all.
fn chats(state: &State, is_shown: impl Fn(&Room) -> bool) -> Vec<String> {
    let listed = state.rooms.by_activity();
    let numbered = (1..).zip(listed).filter(|(_, room)| is_shown(room));
    numbered
        .map(|(number, room): (usize, &Room)| {
            let mark = if state.rooms.open_id() == Some(room.id) { '>' } else { ' ' };
            let unread = match state.unread(room) {
                (0, _) => String::new(),
                (count, more) => format!(" ({count}{} unread)", if more { "+" } else { "" }),
            };
            format!("{mark} {number:>2} {} {}{unread}", room.id, room.name)
        })
        .collect()
}

fn line_of(state: &State, room: &str, event: &Event) -> Option<String> {
    sentence(&state.people, event).map(|sentence| match sentence {
        Sentence::Said(text) => format!("[{room}] {}: {text}", state.people.name(event.actor)),
        Sentence::Happened(words) => format!("[{room}] * {words}"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use panda_protocol::frame::{Signal, SignalKind};

    use super::*;
    use crate::chat::input::Input;
    use crate::chat::request::Done;
    use crate::chat::state::tests::{BEN, ada, chat, enter, live, message, news, user};

    const NOW: Duration = Duration::from_secs(1);
    const EVE: u8 = 3;

    #[test]
    fn lines_wait_for_names_and_keep_their_order() {
        let mut state = ada();
        enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
        news(&mut state);
        live(&mut state, chat(1), &message(2, EVE, "milk?"), NOW);
        live(&mut state, chat(1), &message(3, BEN, "lemon"), NOW);
        let mut waiting: VecDeque<News> = news(&mut state).into();
        assert!(printable(&mut waiting, &state).is_empty());
        state.done(Done::Named { user: user(EVE), name: Some("eve".into()) }, NOW);
        assert_eq!(printable(&mut waiting, &state), ["[tea] eve: milk?", "[tea] ben: lemon"]);
    }

    #[test]
    fn lines_do_not_wait_for_ever() {
        let mut state = ada();
        enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
        news(&mut state);
        let typing = News::Typing { room: "tea".into(), user: user(EVE) };
        let mut waiting: VecDeque<News> = std::iter::repeat_n(typing, WAITING_MAX + 1).collect();
        assert_eq!(printable(&mut waiting, &state).len(), 1);
        state.end(true);
        assert_eq!(printable(&mut waiting, &state).len(), WAITING_MAX);
    }

    #[test]
    fn everything_has_its_lines() {
        let mut state = ada();
        enter(&mut state, chat(1), "tea", vec![message(1, BEN, "a")], 1);
        enter(&mut state, chat(2), "coffee", vec![message(1, BEN, "a"), message(2, BEN, "b")], 0);
        news(&mut state);
        let listed = [format!("   1 {} coffee (2 unread)", chat(2)), format!(">  2 {} tea", chat(1))];
        assert_eq!(told(&News::Chats, &state), listed);
        state.typed(Input::Open("E".into()), NOW);
        let several: Vec<String> = news(&mut state).iter().flat_map(|news| told(news, &state)).collect();
        assert_eq!(several[1..], listed);
        assert_eq!(several[0], "* several chats are like E; /open ID opens one:");
        let members = News::Members { members: vec![(user(BEN), panda_protocol::event::Role::Admin)], more: true };
        assert_eq!(told(&members, &state), ["  ben (admin)", "  and more"]);
        let typing =
            Signal { chat: chat(1), user: Some(user(BEN)), kind: SignalKind::TYPING, payload: Default::default() };
        state.update(panda_client::Update::Signal(typing), NOW);
        let lines: Vec<String> = news(&mut state).iter().flat_map(|news| told(news, &state)).collect();
        assert_eq!(lines, ["[tea] ben is typing"]);
        assert_eq!(told(&News::Help, &state).len(), HELP.lines().count());
    }
}
