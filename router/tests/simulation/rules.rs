//! Releases of the rules. Version 2 marks what is said, and takes a text on which version 1 breaks; the last
//! release has version 1 mended, too.

use std::panic::panic_any;

use panda_protocol::event::{Event, EventBody};
use panda_protocol::link::Record;
use panda_protocol::{Position, Text, Time};
use panda_router::fold::{self, Decision};
use panda_router::rows::Rows;
use panda_router::rulebook::Rulebook;

/// A text on which version 1 panics.
pub(crate) const BREAKING: &str = "break";
/// What version 2 adds to every text.
const MARK: &str = " (2)";

/// The panic of version 1; nobody prints it.
pub(crate) struct Broken;

/// What a router runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// It knows version 1 only.
    Older,
    /// It knows both.
    Present,
    /// And does not break on anything.
    Mended,
}

impl Release {
    /// The newest rules that it knows.
    pub(crate) const fn newest(self) -> u16 {
        match self {
            Self::Older => 1,
            Self::Present | Self::Mended => 2,
        }
    }

    pub(crate) fn rulebook(self) -> Rulebook {
        let apply = match self {
            Self::Older => apply_as_older_release,
            Self::Present => apply,
            Self::Mended => apply_mended,
        };
        Rulebook { newest: self.newest(), apply }
    }
}

/// An older release has no other way, whatever the rules are.
fn apply_as_older_release(
    _rules: u16,
    rows: &dyn Rows,
    record: &Record,
    position: Position,
    time: Time,
) -> Result<Vec<Event>, Decision> {
    apply(1, rows, record, position, time)
}

fn apply(rules: u16, rows: &dyn Rows, record: &Record, position: Position, time: Time) -> Result<Vec<Event>, Decision> {
    let events = apply_mended(rules, rows, record, position, time)?;
    if events.iter().any(|event| breaks(rules, event)) {
        panic_any(Broken);
    }
    Ok(events)
}

fn apply_mended(
    rules: u16,
    rows: &dyn Rows,
    record: &Record,
    position: Position,
    time: Time,
) -> Result<Vec<Event>, Decision> {
    let mut events = fold::apply(rules, rows, record, position, time)?;
    for event in &mut events {
        if let (EventBody::MessageSent { text, .. }, true) = (&mut event.body, rules > 1) {
            *text = Text::from(format!("{}{MARK}", text.as_str()).as_str());
        }
    }
    Ok(events)
}

/// Whether releases that are not mended break on the command that makes this event.
pub(crate) fn breaks(rules: u16, event: &Event) -> bool {
    rules == 1 && matches!(&event.body, EventBody::MessageSent { text, .. } if text.as_str() == BREAKING)
}
