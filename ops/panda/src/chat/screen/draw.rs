//! The whole screen: a bar with the chat and the connection, the chats, the conversation, the line that is typed.

use panda_protocol::UserId;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear};

use super::Clock;
use super::conversation::{Conversation, DIM};
use super::list;
use super::view::{Overlay, View};
use super::wrap::{columns, cut, wrap};
use crate::chat::state::State;

/// Rows that the typed line takes at most.
const INPUT_ROWS_MAX: u16 = 6;
/// What stands before the typed line.
const PROMPT: &str = "> ";
/// Rows that a sentence for now takes at most.
const NOTICE_ROWS_MAX: u16 = 3;
const PROMPT_COLUMNS: u16 = 2;
const BAR: Style = Style::new().fg(Color::White).bg(Color::Indexed(236));
const WELL: Style = Style::new().fg(Color::LightGreen).bg(Color::Indexed(236));
const ILL: Style = Style::new().fg(Color::LightYellow).bg(Color::Indexed(236));
/// Columns of the bar that stay for the chat's name on a screen with a list.
const TITLE_COLUMNS_MIN: usize = 16;
/// Names that are said to be typing; of more it is said that they are several.
const TYPISTS_NAMED: usize = 2;

/// Draws everything, and notes in the view what is in sight.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, view: &mut View, clock: &Clock) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let bar = Rect { height: 1, ..area };
    let typed = view.editor.rows(area.width.saturating_sub(PROMPT_COLUMNS + 1));
    let input_rows =
        u16::try_from(typed.rows.len()).unwrap_or(u16::MAX).min(INPUT_ROWS_MAX).min((area.height / 3).max(1));
    let input = Rect { y: area.bottom().saturating_sub(input_rows), height: input_rows, ..area };
    let rule = Rect { y: input.y.saturating_sub(1), height: 1, ..area };
    let body = Rect { y: 1, height: area.height.saturating_sub(2 + input_rows), ..area };
    let list_width = list::width(area.width);
    let pane = Rect { x: list_width, width: area.width - list_width, ..body };

    draw_bar(frame, bar, list_width, state, clock);
    if list_width > 0 {
        list::draw(frame, Rect { width: list_width, ..body }, state, clock);
    }
    draw_conversation(frame, pane, state, view, clock);
    if area.height > input_rows + 1 {
        draw_rule(frame, rule, state, view, clock);
        if list_width > 0 && frame.buffer_mut()[(list_width - 1, rule.y)].symbol() == "─" {
            frame.buffer_mut()[(list_width - 1, rule.y)].set_symbol("┴");
        }
    }
    draw_input(frame, input, &typed.rows, typed.cursor);
    if let Some(overlay) = &mut view.overlay {
        draw_overlay(frame, body, overlay);
    }
}

fn draw_bar(frame: &mut Frame<'_>, area: Rect, list_width: u16, state: &State, clock: &Clock) {
    let buffer = frame.buffer_mut();
    buffer.set_style(area, BAR);
    let style = if state.connection.is_well() { WELL } else { ILL };
    let words = state.connection.words(clock.now);
    let full = format!("{} · {} · {words}", state.me.name, state.connection.transport());
    let width = usize::from(area.width);
    // What does not fit goes; whether all is well stays.
    let right = match width {
        60.. => cut(&full, width - TITLE_COLUMNS_MIN),
        _ if state.connection.is_well() => String::new(),
        _ => cut(&words, width / 2),
    };
    let right = format!("{right}{}● ", if right.is_empty() { "" } else { " " });
    let right_width = columns(&right);
    let right_x = area.right().saturating_sub(u16::try_from(right_width).unwrap_or(area.width));
    buffer.set_stringn(right_x, area.y, &right, right_width, style);

    let elsewhere = elsewhere(state, list_width);
    let title = state.rooms.open_room().map_or("Panda", |room| &room.name);
    let room = width.saturating_sub(right_width + 2 + columns(&elsewhere));
    let title = Line::from(vec![
        Span::raw(" "),
        Span::styled(cut(title, room), BAR.add_modifier(Modifier::BOLD)),
        Span::styled(elsewhere, ILL),
    ]);
    buffer.set_line(area.x, area.y, &title, right_x.saturating_sub(area.x));
}

/// Without the list, that something is unread elsewhere.
fn elsewhere(state: &State, list_width: u16) -> String {
    let open = state.rooms.open_id();
    let others = state.rooms.all().filter(|room| Some(room.id) != open);
    match others.map(|room| state.unread(room).0).sum::<usize>() {
        unread if list_width == 0 && unread > 0 => format!(" +{unread}"),
        _ => String::new(),
    }
}

/// The line above what is typed: a sentence for now, or who is typing. A long sentence begins some rows above it.
fn draw_rule(frame: &mut Frame<'_>, area: Rect, state: &State, view: &View, clock: &Clock) {
    let width = usize::from(area.width);
    let (words, style) = match (view.notice(clock.now), typing(state, clock)) {
        (Some(notice), _) => (notice.to_owned(), Style::new().fg(Color::LightYellow)),
        (None, Some(typing)) => (typing, Style::new().fg(Color::LightCyan)),
        (None, None) if view.scroll != super::conversation::Scroll::End => {
            ("looking back, Esc returns to the end".to_owned(), DIM)
        }
        (None, None) => (String::new(), DIM),
    };
    let room = area.width.saturating_sub(if width > 40 { 5 } else { 2 });
    let rows_max = if area.y > NOTICE_ROWS_MAX * 2 { usize::from(NOTICE_ROWS_MAX) } else { 1 };
    let mut rows = wrap(&words, room);
    if rows.len() > rows_max {
        rows.truncate(rows_max);
        if let Some(last) = rows.last_mut() {
            *last = cut(&format!("{last}…"), room.into());
        }
    }
    let top = area.y + 1 - u16::try_from(rows.len()).unwrap_or(1);
    for (y, row) in (top..=area.y).zip(&rows) {
        let lead = if row.is_empty() || width <= 40 { "" } else { "── " };
        let gap = if row.is_empty() { "" } else { " " };
        let left = width.saturating_sub(columns(row) + columns(lead) + columns(gap));
        let rest = if y == area.y { "─" } else { " " };
        let line =
            [Span::styled(lead, DIM), Span::styled(row, style), Span::raw(gap), Span::styled(rest.repeat(left), DIM)];
        frame.buffer_mut().set_line(area.x, y, &Line::from_iter(line), area.width);
    }
}

fn typing(state: &State, clock: &Clock) -> Option<String> {
    let typists: Vec<UserId> = state.rooms.open_room()?.typists(clock.now).collect();
    let names: Vec<String> = typists.iter().take(TYPISTS_NAMED).map(|user| state.people.name(*user)).collect();
    match typists.len() {
        0 => None,
        1 => Some(format!("{} is typing…", names.concat())),
        2 => Some(format!("{} are typing…", names.join(" and "))),
        _ => Some("several people are typing…".to_owned()),
    }
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, rows: &[String], (row, column): (usize, u16)) {
    let height = usize::from(area.height);
    // The cursor's row is always in sight.
    let top = (row + 1).saturating_sub(height);
    let indent = PROMPT_COLUMNS;
    for (y, text) in (area.y..area.bottom()).zip(rows.iter().skip(top)) {
        frame.buffer_mut().set_stringn(
            area.x + indent,
            y,
            text,
            usize::from(area.width.saturating_sub(indent)),
            Style::new(),
        );
    }
    frame.buffer_mut().set_stringn(area.x, area.y, PROMPT, usize::from(area.width), Style::new().fg(Color::LightCyan));
    let y = area.y + u16::try_from(row - top).unwrap_or(0);
    frame.set_cursor_position(Position::new((area.x + indent + column).min(area.right().saturating_sub(1)), y));
}

fn draw_conversation(frame: &mut Frame<'_>, area: Rect, state: &State, view: &mut View, clock: &Clock) {
    view.pane = (area.width, area.height);
    view.is_at_top = false;
    if area.is_empty() {
        return;
    }
    let height = usize::from(area.height);
    let rows = match state.rooms.open_room() {
        None => welcome(area.width),
        Some(room) => {
            let conversation = Conversation::new(state, room, clock, area.width);
            if let Some(first) = view.look_at.take() {
                view.scroll = conversation.from(first, height);
            }
            let window = conversation.window(view.scroll, height);
            view.is_at_top = window.is_at_top;
            window.rows
        }
    };
    // A short conversation stands at the bottom, where the next line comes.
    let top = area.bottom() - u16::try_from(rows.len().min(height)).unwrap_or(area.height);
    for (y, row) in (top..area.bottom()).zip(&rows) {
        frame.buffer_mut().set_line(area.x, y, row, area.width);
    }
}

/// What somebody without chats can do.
fn welcome(width: u16) -> Vec<Line<'static>> {
    let words = [
        "No chat is open.",
        "",
        "/dm @user talks to somebody",
        "/new NAME @user ... makes a group",
        "/help lists what there is",
    ];
    words.iter().map(|line| Line::styled(format!(" {}", cut(line, usize::from(width) - 1)), DIM)).collect()
}

fn draw_overlay(frame: &mut Frame<'_>, within: Rect, overlay: &mut Overlay) {
    let rows: Vec<String> = overlay.lines.iter().flat_map(|line| wrap(line, within.width.saturating_sub(4))).collect();
    let widest = rows.iter().map(|row| columns(row)).max().unwrap_or(0);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).max(12).min(within.width);
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX).min(within.height);
    let area =
        Rect { x: within.x + (within.width - width) / 2, y: within.y + (within.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let shown = usize::from(height.saturating_sub(2));
    // Where lines are broken there are more rows than lines.
    overlay.top_max = rows.len().saturating_sub(shown);
    overlay.top = overlay.top.min(overlay.top_max);
    let more = overlay.top_max - overlay.top;
    let mut block = Block::bordered().title(format!(" {} ", overlay.title)).border_style(DIM);
    if more > 0 {
        block = block.title_bottom(format!(" {more} more, PageDown "));
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    for (y, row) in (inner.y..inner.bottom()).zip(rows.iter().skip(overlay.top)) {
        let width = usize::from(inner.width.saturating_sub(1));
        frame.buffer_mut().set_stringn(inner.x + 1, y, cut(row, width), width, Style::new());
    }
}
