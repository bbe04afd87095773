//! When each session must say something. One queue for all: every wait is equally long, so what was begun first is due first.

use std::collections::VecDeque;

/// A turn of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// When, in nanoseconds.
    due: u64,
    /// Whose.
    pub seat: u32,
    /// Which of its connections: one that is gone has no turn.
    pub round: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    turns: VecDeque<Turn>,
    wait: u64,
}

impl Wheel {
    /// From now on, waits are so many nanoseconds. A shorter one than before would be served late by what lies before it, so
    /// those are brought forward.
    pub(super) fn set_wait(&mut self, wait: u64) {
        if self.wait > wait {
            let earlier = self.wait - wait;
            self.turns.iter_mut().for_each(|turn| turn.due = turn.due.saturating_sub(earlier));
        }
        self.wait = wait;
    }

    /// A connection said something.
    pub(super) fn begin(&mut self, now: u64, seat: u32, round: u32) {
        self.turns.push_back(Turn { due: now + self.wait, seat, round });
    }

    /// The next turn that is due.
    pub(super) fn next_due(&mut self, now: u64) -> Option<Turn> {
        if self.turns.front()?.due > now {
            return None;
        }
        self.turns.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_their_order_once_they_are_due() {
        let mut wheel = Wheel::default();
        wheel.set_wait(100);
        wheel.begin(0, 7, 1);
        wheel.begin(50, 8, 1);
        assert_eq!(wheel.next_due(99), None);
        assert_eq!(wheel.next_due(100).map(|turn| turn.seat), Some(7));
        assert_eq!(wheel.next_due(149), None);
        assert_eq!(wheel.next_due(500).map(|turn| turn.seat), Some(8));
        assert_eq!(wheel.next_due(500), None);
    }

    #[test]
    fn a_shorter_wait_holds_for_those_that_wait_already() {
        let mut wheel = Wheel::default();
        wheel.set_wait(100);
        wheel.begin(0, 1, 1);
        wheel.set_wait(40);
        wheel.begin(1, 2, 1);
        assert_eq!(wheel.next_due(40).map(|turn| turn.seat), Some(1));
        assert_eq!(wheel.next_due(41).map(|turn| turn.seat), Some(2));
    }
}
