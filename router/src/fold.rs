//! The one idea: an entity is a deterministic fold over its events, and its events are a pure
//! function of the commands in the log.
//!
//! `needs` names the rows that a record reads, `apply` makes events or a decision from them, and
//! `advance` is the only thing that changes rows: live, when a row is loaded, and at a rebuild alike.
//! Nothing here knows a clock, a configuration, a store or randomness.

use panda_protocol::event::{Event, EventBody};
use panda_protocol::frame::command_digest;
use panda_protocol::link::{CommandRecord, Effect, Record, Rejection};
use panda_protocol::{DeviceId, EntityId, ErrorCode, Position, Seq, Time};

use crate::rows::{AppliedCommand, Row, RowId, RowValue, Rows, Window};
use crate::{chat, inbox};

/// The rules version of a shard in whose log no record raised it.
pub const RULES_FIRST: u16 = 1;
/// The newest rules version that this code knows.
pub const RULES_CURRENT: u16 = 1;

/// Why a record makes no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The command was applied before: the first event that it made then.
    Duplicate(Seq),
    /// The record's position is not after the entity's last applied one.
    AlreadyApplied,
    /// An effect that the target took before. Nobody waits for an answer.
    EffectTaken,
    /// Refused; nothing changes, and nothing is remembered.
    Rejected(Rejection),
}

impl From<ErrorCode> for Decision {
    fn from(code: ErrorCode) -> Self {
        Self::Rejected(Rejection::new(code))
    }
}

/// The rows that `apply` reads for a record, the head among them.
pub fn needs(record: &Record) -> Vec<RowId> {
    let mut rows = vec![RowId::Head];
    match record {
        Record::Command(command) => {
            rows.push(RowId::Window(command.actor, command.device));
            match command.entity.inbox() {
                None => chat::needs(command, &mut rows),
                Some(_) => inbox::needs(command, &mut rows),
            }
        }
        Record::Effect(effect) => inbox::needs_of_effect(effect, &mut rows),
        Record::Takeover { .. } | Record::Rules { .. } => {}
    }
    rows
}

/// Makes the events of a record, at most 128, or says why there are none.
///
/// # Errors
/// A [`Decision`]; the entity is then as it was.
pub fn apply(
    _rules: u16,
    rows: &dyn Rows,
    record: &Record,
    position: Position,
    log_time: Time,
) -> Result<Vec<Event>, Decision> {
    let (_, _, applied) = rows.head_stamp();
    if position <= applied {
        return Err(skipped(rows, record));
    }
    match record {
        Record::Command(command) => {
            check_window(rows, command)?;
            match command.entity.inbox() {
                None => chat::apply(rows, command, log_time),
                Some(user) => inbox::apply(rows, user, command, log_time),
            }
        }
        Record::Effect(effect) => inbox::apply_effect(rows, effect, log_time),
        Record::Takeover { .. } | Record::Rules { .. } => Ok(Vec::new()),
    }
}

/// What is left to say of a record whose events are stored already: a command that is still in its
/// window is answered as the first time.
fn skipped(rows: &dyn Rows, record: &Record) -> Decision {
    let Record::Command(command) = record else { return Decision::AlreadyApplied };
    match rows.window(command.actor, command.device).and_then(|window| window.find(command.counter)) {
        Some(known) if known.digest == command_digest(&command.command) => Decision::Duplicate(known.seq),
        _ => Decision::AlreadyApplied,
    }
}

/// Whether this code knows the record's kind of command. One that does not gives the shard up: what
/// it cannot apply it must neither refuse nor skip.
pub fn knows(record: &Record) -> bool {
    match record {
        Record::Command(command) => matches!(command.command.first(), None | Some(0x01..=0x07 | 0x40 | 0x41)),
        Record::Effect(_) | Record::Takeover { .. } | Record::Rules { .. } => true,
    }
}

/// Only the command that follows the last applied one of its window is applied.
fn check_window(rows: &dyn Rows, command: &CommandRecord) -> Result<(), Decision> {
    let window = rows.window(command.actor, command.device);
    let last = window.and_then(Window::last).copied();
    let (highest, seq) = last.map(|last| (last.counter, last.seq)).unwrap_or_default();
    if command.counter > highest && command.after == highest {
        return Ok(());
    }
    match window.and_then(|window| window.find(command.counter)) {
        Some(known) if known.digest == command_digest(&command.command) => Err(Decision::Duplicate(known.seq)),
        Some(_) => Err(ErrorCode::CounterReused.into()),
        None => Err(Decision::Rejected(Rejection {
            details: Some(panda_protocol::frame::ErrorDetails { counter: highest, seq }),
            ..Rejection::new(ErrorCode::OutOfOrder)
        })),
    }
}

/// `nothing_to_do`, naming the event that did it.
pub(crate) fn nothing_to_do(seq: Seq) -> Decision {
    Decision::Rejected(Rejection {
        details: Some(panda_protocol::frame::ErrorDetails { counter: Default::default(), seq }),
        ..Rejection::new(ErrorCode::NothingToDo)
    })
}

/// The rows that an event changes.
pub fn touches(event: &Event) -> Vec<RowId> {
    let mut rows = vec![RowId::Head];
    if event.device != DeviceId::NONE {
        rows.push(RowId::Window(event.actor, event.device));
    }
    if let Some(target) = event.target {
        rows.push(RowId::Member(target));
    }
    match &event.body {
        EventBody::ChatJoined { chat, .. } | EventBody::ChatLeft { chat, .. } | EventBody::ReadMoved { chat, .. } => {
            rows.push(RowId::InboxChat(*chat));
        }
        EventBody::SettingChanged { key, .. } => rows.push(RowId::Setting(key.clone())),
        _ => {}
    }
    rows
}

/// Moves the rows past an event. A row that reflects this event already, or a later one (because a
/// process that lost the shard stored it), stays as it is; so rows of different age may be brought to
/// one head by running all of them over the events behind the oldest.
pub fn advance(rows: &mut impl Rows, entity: EntityId, event: &Event, position: Position) {
    if event.device != DeviceId::NONE {
        let id = RowId::Window(event.actor, event.device);
        change(rows, id, event, |old| {
            let mut window = match old {
                Some(RowValue::Window(window)) => window,
                _ => Window::default(),
            };
            window.note(AppliedCommand { counter: event.counter, seq: event.seq, digest: event.digest });
            RowValue::Window(window)
        });
    }
    match entity.inbox() {
        None => chat::advance(rows, event, position),
        Some(_) => inbox::advance(rows, event, position),
    }
}

/// Changes one row by an event, unless it reflects that event already.
pub(crate) fn change(rows: &mut impl Rows, id: RowId, event: &Event, next: impl FnOnce(Option<RowValue>) -> RowValue) {
    if rows.row(&id).is_some_and(|row| row.seq >= event.seq) {
        return;
    }
    let value = next(rows.take_row(&id).map(|row| row.value));
    rows.set_row(id, Row { seq: event.seq, time: event.time, value });
}

/// What a stored event does to other entities: at most one effect an event and target.
pub fn effects(entity: EntityId, event: &Event, bytes: &bytes::Bytes) -> Vec<Effect> {
    match (entity.chat(), event.target, &event.body) {
        (Some(_), Some(target), EventBody::MemberAdded { .. } | EventBody::MemberRemoved) => {
            vec![Effect { source: entity, source_seq: event.seq, target: target.into(), event: bytes.clone() }]
        }
        _ => Vec::new(),
    }
}

/// The user whose right to listen an event ends.
pub fn ends(event: &Event) -> Option<panda_protocol::UserId> {
    if matches!(event.body, EventBody::MemberRemoved) { event.target } else { None }
}

/// Whether an event takes or changes what somebody might do before it: who had a role at an earlier event may not
/// have it any more.
pub fn changes_rights(event: &Event) -> bool {
    matches!(event.body, EventBody::MemberRemoved | EventBody::RoleChanged { .. })
}

/// Numbers and times the events of one command.
pub(crate) struct Numbering {
    seq: Seq,
    time: Time,
}

impl Numbering {
    /// Goes on behind the head. Time never stands still or goes back in an entity.
    pub(crate) fn behind(rows: &dyn Rows, log_time: Time) -> Self {
        let (seq, time, _) = rows.head_stamp();
        Self { seq, time: Time(log_time.0.saturating_sub(1).max(time.0)) }
    }

    /// The next event's number and time.
    pub(crate) fn next(&mut self) -> (Seq, Time) {
        self.seq = self.seq.next();
        self.time = Time(self.time.0 + 1);
        (self.seq, self.time)
    }
}
