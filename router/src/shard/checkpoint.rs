//! When a shard says how far it is stored.

use panda_protocol::{Position, Time};
use panda_storage::Checkpoint;

use super::{Output, Shard};

/// A checkpoint follows another after so long, in microseconds: a new owner reads about so much of
/// the log again.
const CHECKPOINT_AFTER_US: u64 = 1_000_000;

/// What was written last.
#[derive(Debug)]
pub(super) struct Checkpoints {
    written: Position,
    writing: bool,
    began: Time,
}

impl Checkpoints {
    pub(super) fn new(start: Position) -> Self {
        Self { written: start, writing: false, began: Time(0) }
    }
}

impl Shard {
    /// Asks for a checkpoint when the shard moved and the one before is long enough ago.
    pub(super) fn checkpoint_if_due(&mut self) {
        let due = self.now.0.saturating_sub(self.checkpoints.began.0) >= CHECKPOINT_AFTER_US;
        if !due || self.checkpoints.writing {
            return;
        }
        if let Some(checkpoint) = self.take_checkpoint() {
            self.checkpoints.writing = true;
            self.checkpoints.began = self.now;
            self.store(Output::Checkpoint(checkpoint));
        }
    }

    pub(super) fn checkpointed(&mut self) {
        self.checkpoints.writing = false;
    }

    /// How far the shard is stored, if it moved since it was told last: write it before a stop, so that
    /// the next owner reads nothing again.
    pub fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        let position = self.progress.durable();
        if position <= self.checkpoints.written {
            return None;
        }
        self.checkpoints.written = position;
        let (rules, last) = (self.rules.pass(position), self.progress.before_durable());
        Some(Checkpoint { position, rules, last })
    }
}
