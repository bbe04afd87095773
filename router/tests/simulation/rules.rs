//! Two releases of the rules. Version 2 marks what is said, and takes a text on which version 1 breaks.

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

/// An older release, and the present one.
pub(crate) fn release(newest: u16) -> Rulebook {
    match newest {
        1 => Rulebook { newest, apply: apply_as_older_release },
        _ => Rulebook { newest, apply },
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

pub(crate) fn apply(
    rules: u16,
    rows: &dyn Rows,
    record: &Record,
    position: Position,
    time: Time,
) -> Result<Vec<Event>, Decision> {
    let mut events = fold::apply(rules, rows, record, position, time)?;
    for event in &mut events {
        let EventBody::MessageSent { text, .. } = &mut event.body else { continue };
        match rules {
            1 if text.as_str() == BREAKING => panic_any(Broken),
            1 => {}
            _ => *text = Text::from(format!("{}{MARK}", text.as_str()).as_str()),
        }
    }
    Ok(events)
}
