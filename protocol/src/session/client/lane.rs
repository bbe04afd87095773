//! The commands of one entity: counters, resends, and what to do when they come back.
//!
//! `commands[..sent]` went out over this connection in order. While nothing came back, all of them
//! are in flight. Once one comes back, nothing more is sent until the rest of them is answered too;
//! then all that are left go out again, so a lane's commands are on the wire in their order always.

use alloc::collections::VecDeque;

use super::output::Refusal;
use crate::error_code::{ErrorCode, Recovery};
use crate::frame::CommandBody;
use crate::ids::Counter;
use crate::limits::UNANSWERED_COMMANDS_MAX;
use crate::trace::TraceContext;

/// How often the first command of a lane may come back as out of order before it is given up: each
/// time names where to go on, so a second time means that somebody else uses this device.
const ADJUSTMENTS_MAX: u8 = 16;

pub(super) struct Lane<W> {
    /// The highest counter that is known to be applied; 0 if none is known.
    applied: Counter,
    commands: VecDeque<Queued<W>>,
    sent: usize,
    in_flight: usize,
    /// How long to wait before the next resend, if something came back.
    returned: Option<u64>,
    /// A timer says when to go on.
    pub(super) held: bool,
    /// Resends since the last command was applied.
    repeats: u32,
    /// Something came back that is to be repeated, and counts among `repeats` already.
    repeating: bool,
}

struct Queued<W> {
    counter: Counter,
    after: Counter,
    body: CommandBody,
    /// The same however often it is sent: it counts among what must not change.
    trace: Option<TraceContext>,
    waiter: W,
    adjusted: u8,
    asked: bool,
}

/// What became of a command that was refused.
pub(super) enum Returned<W> {
    /// It goes out again.
    Again,
    /// It is over.
    Failed(W, Refusal),
    /// It is not one that waits.
    Unknown,
}

impl<W> Lane<W> {
    pub(super) const fn new() -> Self {
        Self {
            applied: Counter(0),
            commands: VecDeque::new(),
            sent: 0,
            in_flight: 0,
            returned: None,
            held: false,
            repeats: 0,
            repeating: false,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.commands.len() < UNANSWERED_COMMANDS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn push(&mut self, counter: Counter, body: CommandBody, trace: Option<TraceContext>, waiter: W) {
        debug_assert!(self.commands.back().is_none_or(|last| last.counter < counter));
        let after = Counter(0);
        self.commands.push_back(Queued { counter, after, body, trace, waiter, adjusted: 0, asked: false });
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.held && self.returned.is_none() && self.sent < self.commands.len()
    }

    /// The next command to send: its counter, the one before it, the body and its context.
    pub(super) fn send(&mut self) -> Option<(Counter, Counter, &CommandBody, Option<TraceContext>)> {
        if !self.is_ready() {
            return None;
        }
        let before = self.sent.checked_sub(1).map_or(Counter(0), |index| self.commands[index].counter);
        let command = &mut self.commands[self.sent];
        // One at or below the applied counter goes out as it was, to learn what became of it.
        let after = before.max(self.applied);
        if after < command.counter {
            command.after = after;
        }
        self.sent += 1;
        self.in_flight += 1;
        Some((command.counter, command.after, &command.body, command.trace))
    }

    fn position(&self, counter: Counter) -> Option<usize> {
        self.commands.iter().take(self.sent).position(|command| command.counter == counter)
    }

    fn take(&mut self, index: usize) -> Option<Queued<W>> {
        self.sent -= 1;
        self.commands.remove(index)
    }

    pub(super) fn applied(&mut self, counter: Counter) -> Option<W> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.applied = self.applied.max(counter);
        self.repeats = 0;
        self.repeating = false;
        let index = self.position(counter)?;
        self.take(index).map(|command| command.waiter)
    }

    pub(super) fn refused(&mut self, counter: Counter, refusal: Refusal) -> Returned<W> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(index) = self.position(counter) else { return Returned::Unknown };
        let again = match Recovery::of(refusal.code) {
            Recovery::Repeat | Recovery::Ask => {
                // Whatever comes back together goes out again together, and is one repetition.
                if !core::mem::replace(&mut self.repeating, true) {
                    self.repeats = self.repeats.saturating_add(1);
                }
                Some(refusal.retry_after_ms.max(super::repeat_wait_ms(self.repeats - 1)))
            }
            Recovery::Adjust if refusal.code == ErrorCode::OutOfOrder as u16 => self.adjust(index, &refusal),
            _ => None,
        };
        if let Some(wait_ms) = again {
            self.returned = Some(self.returned.unwrap_or(0).max(wait_ms));
            return Returned::Again;
        }
        // Those behind it will come back: they were to follow it.
        if index + 1 < self.sent {
            self.returned = Some(self.returned.unwrap_or(0));
        }
        self.take(index).map_or(Returned::Unknown, |command| Returned::Failed(command.waiter, refusal))
    }

    /// After `out_of_order`. Commands at or below the named counter are asked about once; the first one
    /// above it follows it; those behind just go out again.
    fn adjust(&mut self, index: usize, refusal: &Refusal) -> Option<u64> {
        let details = refusal.details?;
        self.applied = details.counter;
        let command = &mut self.commands[index];
        if command.counter <= details.counter {
            let asked = core::mem::replace(&mut command.asked, true);
            return (!asked).then_some(0);
        }
        if index == 0 {
            command.adjusted += 1;
        }
        (command.adjusted < ADJUSTMENTS_MAX).then_some(0)
    }

    /// To be called after each answer: if everything that went out is answered and something is to go
    /// out again, how long to wait before.
    pub(super) fn settle(&mut self) -> Option<u64> {
        if self.in_flight > 0 {
            return None;
        }
        let wait_ms = self.returned.take()?;
        self.sent = 0;
        self.repeating = false;
        Some(wait_ms)
    }

    /// The connection is gone: everything unanswered goes out again over the next.
    pub(super) fn disconnected(&mut self) {
        self.sent = 0;
        self.in_flight = 0;
        self.returned = None;
        self.repeating = false;
        self.held = false;
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_forgettable(&self) -> bool {
        self.commands.is_empty() && self.in_flight == 0
    }

    /// Whether it is as it was when it was made.
    pub(super) fn is_unused(&self) -> bool {
        self.is_forgettable() && self.applied == Counter(0)
    }
}
