//! The end of a log's epoch: an owner whose log was replaced stores nothing more and lets nothing more out.
//!
//! Whoever opens an epoch is refused while a router is in the group. So a router that hears from its log
//! is in force. One that did not for about a session timeout (it was paused, or cut off) may have been
//! left behind. From then on it **doubts**: it asks the store which epoch is open before whatever it begins
//! in the store, because a position of an older epoch is no reason to ignore a row that follows; and again
//! before it builds on what was stored or read, or lets it out, because what was not durable when the next
//! epoch opened is not of that epoch's history. Answers that need no write wait, too.
//!
//! What the log says does not end a doubt: another one may answer under the same name. The store does,
//! once the log was heard for a session timeout: until then the group has told a router that it put out.

use panda_protocol::{EntityId, Position, Time};

use super::{GivenUp, Loaded, Output, Shard};

/// A router stays in the group for so long, in microseconds, after the group heard from it.
const SESSION_TIMEOUT_US: u64 = 3_000_000;
/// A router that did not hear from the log for so long, in microseconds, may be out of the group. The
/// group may have heard from it earlier than the log has, by a heartbeat or two.
pub(crate) const SILENCE_US: u64 = 2_000_000;
/// The log is asked so often, in microseconds, so that the store need not be.
const ASK_EVERY_US: u64 = 500_000;

/// What an owner knows of the epoch that it is in.
#[derive(Debug)]
pub(super) struct Epoch {
    /// The epoch of this owner's log.
    number: u32,
    /// When the question was put that the log answered last.
    heard: Time,
    /// When the question was put that waits for the log.
    asked: Time,
    /// While this owner doubts: when the log had last been silent for too long.
    doubts: Option<Time>,
    /// What the question to the store in flight answers for.
    confirming: Option<Vec<Held>>,
    /// What came after it was put.
    held: Vec<Held>,
}

/// What waits for the store to say that this owner's epoch is open.
#[derive(Debug)]
enum Held {
    /// Something that is to be begun in the store.
    Begin(Output),
    /// A batch that is durable, or has nothing to be written.
    Written(EntityId),
    /// A load that is done.
    Loaded(EntityId, Loaded),
    /// Where the log ends, for the questions that wait for it.
    End(Position),
}

impl Epoch {
    pub(super) const fn new(number: u32) -> Self {
        Self { number, heard: Time(0), asked: Time(0), doubts: None, confirming: None, held: Vec::new() }
    }

    pub(super) const fn is_doubted(&self) -> bool {
        self.doubts.is_some()
    }

    const fn silent_us(&self, now: Time) -> u64 {
        now.0.saturating_sub(self.heard.0)
    }
}

impl Shard {
    /// Time went on, to microseconds of any clock that does not go back. It is to be said before
    /// [`Shard::handle`] and before every wish of the owner, because the process may have stood still.
    /// The clock began no later than when this owner last knew that its epoch was open.
    pub fn set_now(&mut self, now: Time) {
        self.now = self.now.max(now);
        if self.epoch.silent_us(self.now) >= SILENCE_US {
            self.epoch.doubts = Some(self.now);
        }
    }

    /// Whether the epoch of this owner's log may be over.
    pub const fn doubts(&self) -> bool {
        self.epoch.is_doubted()
    }

    /// When the question was put that the log answered last; none if that does not say that its epoch is open.
    pub const fn heard(&self) -> Option<Time> {
        if self.epoch.is_doubted() { None } else { Some(self.epoch.heard) }
    }

    /// Begins something in the store.
    pub(super) fn store(&mut self, output: Output) {
        self.go_on_or_hold(Held::Begin(output));
    }

    /// A batch is durable, or has nothing to be written.
    pub(super) fn written(&mut self, id: EntityId) {
        if self.epoch.is_doubted()
            && let Some(batch) = self.entities.get_mut(&id).and_then(|entity| entity.in_flight.as_mut())
        {
            batch.stored = Some(self.now);
        }
        self.go_on_or_hold(Held::Written(id));
    }

    /// Rows were loaded, and what only a minority held was written.
    pub(super) fn loaded(&mut self, id: EntityId, loaded: Loaded) {
        self.go_on_or_hold(Held::Loaded(id, loaded));
    }

    /// The log has answered.
    pub(super) fn end(&mut self, position: Position) {
        self.epoch.heard = self.epoch.asked;
        self.go_on_or_hold(Held::End(position));
    }

    fn go_on_or_hold(&mut self, held: Held) {
        if self.epoch.is_doubted() {
            self.epoch.held.push(held);
            self.confirm_epoch();
        } else {
            self.go_on(held);
        }
    }

    fn go_on(&mut self, held: Held) {
        match held {
            Held::Begin(output) => self.outputs.push(output),
            Held::Written(id) => self.finish_write(id),
            Held::Loaded(id, loaded) => self.finish_load(id, loaded),
            Held::End(position) => self.log_ended(position),
        }
    }

    fn confirm_epoch(&mut self) {
        if self.epoch.confirming.is_none() && !self.epoch.held.is_empty() {
            self.epoch.confirming = Some(std::mem::take(&mut self.epoch.held));
            self.outputs.push(Output::ReadEpoch);
        }
    }

    /// The next epoch is open.
    pub(super) fn epoch_over(&mut self, open: u32) {
        self.give_up(GivenUp::EpochOver { open });
    }

    /// The store said which epoch is open, when it was asked at `asked`.
    pub(super) fn epoch_read(&mut self, open: u32, asked: Time) {
        if open > self.epoch.number {
            return self.epoch_over(open);
        }
        let Some(confirmed) = self.epoch.confirming.take() else { return };
        if self.now.0.saturating_sub(asked.0) >= SILENCE_US {
            // The process stood still, or the store was slow: it may be different by now. Who asks the store
            // sees to it that a slow one is not asked all the time.
            self.epoch.held.splice(0..0, confirmed);
            return self.confirm_epoch();
        }
        if self.epoch.doubts.is_some_and(|since| asked.0.saturating_sub(since.0) >= SESSION_TIMEOUT_US) {
            self.epoch.doubts = None;
        }
        for held in confirmed {
            self.go_on(held);
        }
        self.confirm_epoch();
    }

    /// The log is asked where it ends.
    pub(super) fn log_asked(&mut self) {
        self.epoch.asked = self.now;
    }

    pub(super) fn ask_log_if_due(&mut self) {
        if self.epoch.silent_us(self.now) >= ASK_EVERY_US {
            self.ask_end(true);
        }
    }
}

#[cfg(test)]
mod tests;
