//! The open chat, from the bottom up: only what is shown is put in rows.

use jiff::civil::Date;
use panda_protocol::event::{Event, EventBody};
use panda_protocol::{Seq, UserId};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::Clock;
use super::wrap::{columns, cut, wrap};
use crate::chat::state::{Draft, Room, Sentence, State, is_shown, sentence};

/// Columns of a time and what is behind it.
const TIME_COLUMNS: u16 = 6;
/// Columns of the mark and what is behind it.
const MARK_COLUMNS: u16 = 2;
/// Messages of one person within so many seconds are under one name.
const SAME_BREATH_S: u64 = 300;

pub(super) const DIM: Style = Style::new().fg(Color::DarkGray);
const REFUSED: Style = Style::new().fg(Color::LightRed);
/// Colours of names, all of which can be read on a dark ground.
const NAME_COLORS: [Color; 10] = [
    Color::Cyan,
    Color::Green,
    Color::Yellow,
    Color::Magenta,
    Color::LightBlue,
    Color::LightRed,
    Color::LightCyan,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightMagenta,
];

/// Something in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Event(Seq),
    Draft(u64),
}

/// Where a conversation is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scroll {
    /// At its end, which moves with what comes.
    #[default]
    End,
    /// So many rows of this thing are below the last row that is shown.
    At { key: Key, below: usize },
}

/// What is shown of a conversation.
pub(super) struct Window {
    pub(super) rows: Vec<Line<'static>>,
    /// Whether the first thing that is loaded is shown.
    pub(super) is_at_top: bool,
}

enum Item<'a> {
    Event(&'a Event),
    Draft(&'a Draft),
}

impl Item<'_> {
    const fn key(&self) -> Key {
        match self {
            Self::Event(event) => Key::Event(event.seq),
            Self::Draft(draft) => Key::Draft(draft.number),
        }
    }
}

/// A conversation in a width.
pub(super) struct Conversation<'a> {
    state: &'a State,
    room: &'a Room,
    clock: &'a Clock,
    width: u16,
    items: Vec<Item<'a>>,
    /// The first thing of somebody else's that was missed.
    unread_at: Option<usize>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(state: &'a State, room: &'a Room, clock: &'a Clock, width: u16) -> Self {
        let events = room.timeline.events().filter(|event| is_shown(event)).map(Item::Event);
        let items: Vec<Item<'_>> = events.chain(room.timeline.drafts().iter().map(Item::Draft)).collect();
        let unread_at = room.missed.and_then(|(behind, up_to)| {
            items.iter().position(|item| match item {
                Item::Event(event) => event.seq > behind && event.seq <= up_to && event.actor != state.me.user,
                Item::Draft(_) => false,
            })
        });
        Self { state, room, clock, width, items, unread_at }
    }

    /// The thing whose rows are the last shown, and how many of them are not; `None` if there is nothing.
    fn start(&self, scroll: Scroll) -> Option<(usize, usize)> {
        let last = self.items.len().checked_sub(1)?;
        let Scroll::At { key, below } = scroll else { return Some((last, 0)) };
        // What is gone was replaced by what is behind it.
        let at = self.items.partition_point(|item| item.key() < key).min(last);
        let rows = self.block(at).len();
        Some(if self.items[at].key() == key { (at, below.min(rows.saturating_sub(1))) } else { (at, 0) })
    }

    /// What is shown in so many rows.
    pub(super) fn window(&self, scroll: Scroll, height: usize) -> Window {
        let mut rows: Vec<Line<'static>> = Vec::new();
        let Some((last, below)) = self.start(scroll) else { return Window { rows, is_at_top: true } };
        let mut at = last;
        loop {
            let block = self.block(at);
            let hidden = if at == last { below } else { 0 };
            rows.extend(block.into_iter().rev().skip(hidden));
            if rows.len() >= height || at == 0 {
                break;
            }
            at -= 1;
        }
        let is_at_top = at == 0 && rows.len() <= height;
        rows.truncate(height);
        if let Some(top) = rows.last_mut() {
            self.name_speaker(at, top);
        }
        rows.reverse();
        Window { rows, is_at_top }
    }

    /// Where it is looked at after scrolling up by `by` rows, or down if that is negative.
    pub(super) fn scrolled(&self, scroll: Scroll, by: isize, height: usize) -> Scroll {
        let Some((mut at, below)) = self.start(scroll) else { return Scroll::End };
        let mut below = below.cast_signed() + by;
        loop {
            let rows = self.block(at).len().cast_signed();
            if below >= rows && at > 0 {
                below -= rows;
                at -= 1;
            } else if below < 0 && at + 1 < self.items.len() {
                at += 1;
                below += self.block(at).len().cast_signed();
            } else {
                below = below.min(rows - 1);
                break;
            }
        }
        if below <= 0 && at + 1 == self.items.len() {
            return Scroll::End;
        }
        let wanted = Scroll::At { key: self.items[at].key(), below: below.max(0).unsigned_abs() };
        // Nothing is above the first row, so the window stays full.
        match height.saturating_sub(self.window(wanted, height).rows.len()) {
            0 => wanted,
            short if by > 0 => self.scrolled(wanted, -short.cast_signed(), height),
            _ => wanted,
        }
    }

    /// Where an event, or what is behind it if it is not shown, is the first that is shown.
    pub(super) fn from(&self, first: Seq, height: usize) -> Scroll {
        let at_bottom = Scroll::At { key: Key::Event(first), below: 0 };
        let Some((at, _)) = self.start(at_bottom) else { return Scroll::End };
        let below = height.saturating_sub(self.block(at).len());
        self.scrolled(at_bottom, -below.cast_signed(), height)
    }

    /// The rows of one thing, with what separates it from the one before.
    fn block(&self, at: usize) -> Vec<Line<'static>> {
        let mut rows = Vec::new();
        if at == 0 {
            rows.push(self.rule(&self.beginning(), DIM));
        }
        let before = at.checked_sub(1).map(|before| &self.items[before]);
        let day_before = match before {
            Some(Item::Event(event)) => Some(self.clock.day(event)),
            _ => None,
        };
        let (mut follows, is_unread) = (false, self.unread_at == Some(at));
        if let Item::Event(event) = self.items[at] {
            let day = self.clock.day(event);
            if day_before != Some(day) {
                rows.push(self.rule(&day_words(day, self.clock.today), DIM));
            } else if let Some(Item::Event(before)) = before {
                follows = !is_unread && is_same_breath(before, event);
            }
        }
        if is_unread {
            rows.push(self.rule("new", Style::new().fg(Color::LightRed)));
        }
        match self.items[at] {
            Item::Event(event) => self.event(event, follows, &mut rows),
            Item::Draft(draft) => self.draft(draft, &mut rows),
        }
        rows
    }

    fn beginning(&self) -> String {
        if self.room.timeline.is_full() && self.room.has_older() {
            "what is older is not kept here".to_owned()
        } else if self.room.has_older() {
            "loading what is older…".to_owned()
        } else {
            match self.room.visible_from {
                Seq(0..=1) => format!("the beginning of {}", self.room.name),
                Seq(_) => format!("you see {} from when you joined", self.room.name),
            }
        }
    }

    /// A line across, with words in it.
    fn rule(&self, words: &str, style: Style) -> Line<'static> {
        let width = usize::from(self.width);
        let words = cut(words, width.saturating_sub(6));
        let rest = width.saturating_sub(columns(&words) + 2);
        let left = rest.min(3);
        Line::styled(format!("{} {words} {}", "─".repeat(left), "─".repeat(rest - left)), style)
    }

    fn event(&self, event: &Event, follows: bool, rows: &mut Vec<Line<'static>>) {
        let Some(words) = sentence(&self.state.people, event) else { return };
        let time = self.clock.time(event);
        match words {
            Sentence::Happened(words) => {
                self.row(&time, Span::raw(""), ("—", DIM), &words, DIM.add_modifier(Modifier::ITALIC), rows)
            }
            Sentence::Said(text) => {
                let mark = if event.actor == self.state.me.user { Span::styled("✓", DIM) } else { Span::raw("") };
                let name = if follows { String::new() } else { self.state.people.name(event.actor) };
                self.row(&time, mark, (&name, name_style(event.actor)), &text, Style::new(), rows);
            }
        }
    }

    fn draft(&self, draft: &Draft, rows: &mut Vec<Line<'static>>) {
        let me = &self.state.me;
        let name = (&*me.name, name_style(me.user));
        match &draft.refused {
            None => self.row("", Span::styled("…", Style::new().fg(Color::Yellow)), name, &draft.text, DIM, rows),
            Some(why) => {
                self.row("", Span::styled("✗", REFUSED), name, &draft.text, REFUSED, rows);
                let advice = format!("not sent: {why} Up brings it back, Esc drops it.");
                self.row("", Span::raw(""), ("", DIM), &advice, REFUSED.add_modifier(Modifier::ITALIC), rows);
            }
        }
    }

    /// Columns of names; 0 if there is no room for a column of their own.
    const fn name_columns(&self) -> u16 {
        match self.width {
            0..44 => 0,
            44..70 => 9,
            _ => 13,
        }
    }

    /// A text in rows behind its time, mark and name.
    fn row(
        &self,
        time: &str,
        mark: Span<'static>,
        (name, style): (&str, Style),
        text: &str,
        text_style: Style,
        rows: &mut Vec<Line<'static>>,
    ) {
        let names = self.name_columns();
        if names == 0 {
            return self.narrow_row(mark, (name, style), text, text_style, rows);
        }
        let indent = TIME_COLUMNS + MARK_COLUMNS + names;
        for (number, text) in wrap(text, self.width.saturating_sub(indent)).into_iter().enumerate() {
            let text = Span::styled(text, text_style);
            let (time, mark, name) = if number == 0 { (time, mark.clone(), name) } else { ("", Span::raw(""), "") };
            let name = cut(name, usize::from(names) - 1);
            let gap = usize::from(names) - 1 - columns(&name);
            let mark_gap = usize::from(MARK_COLUMNS) - columns(&mark.content);
            rows.push(Line::from(vec![
                Span::styled(format!("{time:<0$}", usize::from(TIME_COLUMNS)), DIM),
                mark,
                Span::raw(" ".repeat(mark_gap + gap)),
                Span::styled(name, style),
                Span::raw(" "),
                text,
            ]));
        }
    }

    /// Says on the first row that is shown who speaks, where that stands on a row above it. On a narrow screen a name
    /// has a row of its own, for which there is no room.
    fn name_speaker(&self, at: usize, row: &mut Line<'static>) {
        let speaker = match self.items[at] {
            Item::Event(event) if matches!(event.body, EventBody::MessageSent { .. }) => event.actor,
            Item::Event(_) => return,
            Item::Draft(_) => self.state.me.user,
        };
        if let [_, _, gap, name, _, _] = &mut row.spans[..]
            && name.content.is_empty()
        {
            let free = columns(&gap.content);
            let words = cut(&self.state.people.name(speaker), usize::from(self.name_columns()).saturating_sub(1));
            *gap = Span::raw(" ".repeat(free.saturating_sub(columns(&words))));
            *name = Span::styled(words, name_style(speaker));
        }
    }

    fn narrow_row(
        &self,
        mark: Span<'static>,
        (name, style): (&str, Style),
        text: &str,
        text_style: Style,
        rows: &mut Vec<Line<'static>>,
    ) {
        let name = cut(name, usize::from(self.width / 2));
        if !name.is_empty() {
            let space = if mark.content.is_empty() { "" } else { " " };
            rows.push(Line::from(vec![mark, Span::raw(space), Span::styled(name, style)]));
        }
        let indent = u16::from(self.width > 10);
        for text in wrap(text, self.width.saturating_sub(indent)) {
            rows.push(Line::from(vec![Span::raw(" ".repeat(indent.into())), Span::styled(text, text_style)]));
        }
    }
}

/// One colour for one person, wherever and whenever.
pub(super) fn name_style(user: UserId) -> Style {
    let sum = user.as_bytes().iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    Style::new().fg(NAME_COLORS[sum % NAME_COLORS.len()])
}

fn is_same_breath(before: &Event, event: &Event) -> bool {
    let is_message = |event: &Event| matches!(event.body, EventBody::MessageSent { .. });
    let apart = event.time.0.saturating_sub(before.time.0) / 1_000_000;
    is_message(before) && is_message(event) && before.actor == event.actor && apart < SAME_BREATH_S
}

fn day_words(day: Date, today: Date) -> String {
    let name = match (today - day).get_days() {
        0 => "today, ",
        1 => "yesterday, ",
        _ => "",
    };
    format!("{name}{}", day.strftime("%A, %-d %B %Y"))
}
