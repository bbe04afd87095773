//! Whether a shard takes records: how many wait, and whether anything comes back.

use std::time::Duration;

use tokio::time::Instant;

use crate::command_log::AppendError;

/// One shard's records on their way.
///
/// A log that is away shows by silence: records wait and none is confirmed. A record that failed shows
/// it, too. From then on records are refused at once, until one that still waits is confirmed or the
/// shard's leader answers a question.
#[derive(Debug)]
pub(super) struct Gate {
    waiting: usize,
    /// When a record was last confirmed, or the first of those that wait came.
    heard: Instant,
    away: bool,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: 0, heard: now, away: false }
    }

    /// Lets a record in, or says why not.
    pub(super) fn admit(&mut self, now: Instant, patience: Duration, max: usize) -> Result<(), AppendError> {
        if self.waiting > 0 && now.duration_since(self.heard) > patience {
            self.away = true;
        }
        if self.away {
            return Err(AppendError::Unavailable);
        }
        if self.waiting >= max {
            return Err(AppendError::Full);
        }
        if self.waiting == 0 {
            self.heard = now;
        }
        self.waiting += 1;
        Ok(())
    }

    /// An admitted record did not go on its way after all.
    pub(super) fn withdraw(&mut self) {
        self.waiting -= 1;
    }

    /// An admitted record was confirmed.
    pub(super) fn confirmed(&mut self, now: Instant) {
        self.waiting -= 1;
        self.heard = now;
        self.away = false;
    }

    /// An admitted record was given up.
    pub(super) fn failed(&mut self) {
        self.waiting -= 1;
        self.away = true;
    }

    /// The brokers are known to be away.
    pub(super) fn close(&mut self) {
        self.away = true;
    }

    /// Whether records are refused because the log is away.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether somebody must ask the leader, because no record that waits can tell that it is back.
    pub(super) fn needs_question(&self) -> bool {
        self.away && self.waiting == 0
    }

    /// The leader answered.
    pub(super) fn answered(&mut self) {
        if self.waiting == 0 {
            self.away = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(2);

    fn admit(gate: &mut Gate, now: Instant) -> Result<(), AppendError> {
        gate.admit(now, PATIENCE, 2)
    }

    #[test]
    fn a_full_shard_refuses_until_a_record_is_confirmed() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        admit(&mut gate, now).unwrap();
        admit(&mut gate, now).unwrap();
        assert_eq!(admit(&mut gate, now), Err(AppendError::Full));
        gate.confirmed(now);
        admit(&mut gate, now).unwrap();
    }

    #[test]
    fn silence_while_a_record_waits_closes_and_a_confirmation_opens() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        // Silence while nothing waits means nothing.
        admit(&mut gate, now + LONG).unwrap();
        admit(&mut gate, now + LONG + PATIENCE).unwrap();
        assert_eq!(admit(&mut gate, now + LONG + LONG), Err(AppendError::Unavailable));
        assert!(!gate.needs_question(), "the records that wait will tell");
        gate.answered();
        assert_eq!(admit(&mut gate, now + LONG + LONG), Err(AppendError::Unavailable));
        gate.confirmed(now + LONG + LONG);
        admit(&mut gate, now + LONG + LONG).unwrap();
    }

    #[test]
    fn after_a_failure_an_answer_opens() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        admit(&mut gate, now).unwrap();
        gate.failed();
        assert_eq!(admit(&mut gate, now), Err(AppendError::Unavailable));
        assert!(gate.needs_question() && gate.is_away());
        gate.answered();
        assert!(!gate.is_away());
        admit(&mut gate, now).unwrap();
    }

    #[test]
    fn a_record_that_did_not_go_leaves_no_trace() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        admit(&mut gate, now).unwrap();
        gate.withdraw();
        admit(&mut gate, now + LONG).unwrap();
    }
}
