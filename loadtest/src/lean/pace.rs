//! What is due when, and what waits for its seat.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::engine::clock::SECOND;

/// Sends of a session that are due and wait for it; more are not sent at all.
const QUEUE: usize = 256;

/// What happens while sessions are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Messages a second.
    pub sends: f64,
    /// Sessions a second that are closed and opened again.
    pub churn: f64,
}

/// How often something is due at a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub began: u64,
    pub a_second: f64,
    pub done: u64,
}

impl Due {
    /// When the next one is due; never, at no rate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times of a run"
    )]
    pub(super) fn at(&self) -> Option<u64> {
        (self.a_second > 0.0).then(|| self.began + (self.done as f64 / self.a_second * SECOND as f64) as u64)
    }

    /// The next one, if it is due by now.
    pub(super) fn next(&mut self, now: u64) -> Option<u64> {
        let due = self.at()?;
        (due <= now).then(|| self.done += 1).map(|()| due)
    }
}

/// Sends that are due to leave from seats that cannot send now. The schedule draws the seat, whether it is free or not: else
/// load would move away from a server that stalls, and its figures would show nothing.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: HashMap<u32, VecDeque<u64>>,
}

impl Queue {
    /// Whether there was room.
    pub(super) fn push(&mut self, seat: u32, due: u64) -> bool {
        let of_seat = self.due.entry(seat).or_default();
        let is_room = of_seat.len() < QUEUE;
        if is_room {
            of_seat.push_back(due);
        }
        is_room
    }

    /// The oldest of a seat.
    pub(super) fn pop(&mut self, seat: u32) -> Option<u64> {
        let of_seat = self.due.get_mut(&seat)?;
        let due = of_seat.pop_front();
        if of_seat.is_empty() {
            self.due.remove(&seat);
        }
        due
    }

    pub(super) fn has(&self, seat: u32) -> bool {
        self.due.contains_key(&seat)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Drops all; how many these were.
    pub(super) fn clear(&mut self) -> u64 {
        self.due.drain().map(|(_, of_seat)| of_seat.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_seat_cannot_send_waits_in_order_up_to_a_limit_and_is_counted_when_it_never_leaves() {
        let mut queue = Queue::default();
        assert!((0..QUEUE as u64).all(|due| queue.push(3, due)));
        assert!(!queue.push(3, 9) && queue.push(4, 9), "each seat has a limit of its own");
        assert_eq!((queue.pop(3), queue.pop(3), queue.pop(5)), (Some(0), Some(1), None));
        assert_eq!(queue.pop(4), Some(9));
        assert!(!queue.has(4) && queue.has(3));
        assert_eq!((queue.clear(), queue.is_empty()), (QUEUE as u64 - 2, true));
    }
}
