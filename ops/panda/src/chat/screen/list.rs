//! The chats at the left: the one in which something happened last first.

use panda_protocol::event::Event;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::Clock;
use super::conversation::DIM;
use super::wrap::{columns, cut};
use crate::chat::state::{Room, State};

/// The highest number that is shown of what is unread.
const UNREAD_SHOWN_MAX: usize = 99;
/// The list has room for the time of the last event from so many columns on.
const TIME_FROM_COLUMNS: u16 = 24;

/// Columns of the list on a screen of a width; 0 if there is no room for it.
pub(super) const fn width(screen: u16) -> u16 {
    match screen {
        0..60 => 0,
        60..80 => 18,
        80..120 => 26,
        _ => 34,
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, clock: &Clock) {
    let rooms = state.rooms.by_activity();
    let open = rooms.iter().position(|room| Some(room.id) == state.rooms.open_id());
    let height = usize::from(area.height);
    // The open chat is always in sight.
    let top = open.map_or(0, |open| (open + 1).saturating_sub(height));
    let width = area.width.saturating_sub(1);
    for (y, (at, room)) in (area.y..area.bottom()).zip(rooms.iter().enumerate().skip(top)) {
        let line = row(room, at, state, clock, width);
        frame.buffer_mut().set_line(area.x, y, &line, width);
        if Some(at) == open {
            let selected = Rect { y, height: 1, width, ..area };
            frame.buffer_mut().set_style(selected, Style::new().bg(Color::Indexed(238)));
        }
    }
    for y in area.y..area.bottom() {
        frame.buffer_mut().set_stringn(area.x + width, y, "│", 1, DIM);
    }
}

fn row(room: &Room, at: usize, state: &State, clock: &Clock, width: u16) -> Line<'static> {
    let number = if at < 9 { format!("{} ", at + 1) } else { "  ".to_owned() };
    let (count, more) = state.unread(room);
    let unread = match count {
        0 => String::new(),
        count if more || count > UNREAD_SHOWN_MAX => format!(" {}+", count.min(UNREAD_SHOWN_MAX)),
        count => format!(" {count}"),
    };
    let time = if width + 1 >= TIME_FROM_COLUMNS {
        room.last_event().map_or_else(String::new, |event| when(event, clock))
    } else {
        String::new()
    };
    let time = if time.is_empty() { time } else { format!(" {time}") };
    let left = usize::from(width).saturating_sub(columns(&number) + columns(&unread) + columns(&time));
    let name = cut(&room.name, left);
    let gap = left - columns(&name);
    let name_style = if count > 0 { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
    Line::from(vec![
        Span::styled(number, DIM),
        Span::styled(name, name_style),
        Span::raw(" ".repeat(gap)),
        Span::styled(unread, Style::new().fg(Color::LightYellow).add_modifier(Modifier::BOLD)),
        Span::styled(time, DIM),
    ])
}

/// Today's events by their time, older ones by their day.
fn when(event: &Event, clock: &Clock) -> String {
    let day = clock.day(event);
    if day == clock.today { clock.time(event) } else { day.strftime("%d %b").to_string() }
}
