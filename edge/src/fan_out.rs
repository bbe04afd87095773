//! Events on their way to many listeners: encoded once, and in slices, so that a large chat does not
//! hold up small ones.
//!
//! Few listeners are served at once. An entity with many is served a slice at a time, and other
//! entities between its slices; its later events wait behind, so each listener meets them in order.

use std::collections::VecDeque;

use panda_protocol::EntityId;
use panda_protocol::link::Events;

use crate::transport::Outgoing;

/// Listeners that are served at once. Few in tests, so that they meet what happens between slices.
pub(crate) const SLICE_LISTENERS: usize = if cfg!(test) { 3 } else { 1_024 };
/// Events that may wait behind slices before nothing more is taken off the link.
const WAITING_EVENTS_MAX: usize = 4_096;
/// The same in bytes.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Events with the frames that hold them, each made when the first listener needs it.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) events: Events,
    pub(crate) frames: Vec<Option<Outgoing>>,
}

impl Encoded {
    pub(crate) fn new(events: Events) -> Self {
        let frames = vec![None; events.events.len()];
        Self { events, frames }
    }
}

/// Events that are being served to the listeners of one entity.
#[derive(Debug)]
pub(crate) struct Slices {
    pub(crate) encoded: Encoded,
    /// Listeners in the places below this one are still to be served.
    pub(crate) places: usize,
    behind: VecDeque<Events>,
}

/// The entities whose listeners are served in slices, in the order of their next turns.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    turns: VecDeque<Slices>,
    waiting: Waiting,
}

/// Events that are being served or wait behind those.
#[derive(Debug, Default)]
struct Waiting {
    events: usize,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, events: &Events) {
        self.events += events.events.len();
        self.bytes += bytes_of(events);
    }

    fn take(&mut self, events: &Events) {
        self.events -= events.events.len();
        self.bytes -= bytes_of(events);
    }
}

fn bytes_of(events: &Events) -> usize {
    events.events.iter().map(|event| event.event.len()).sum()
}

impl FanOut {
    /// Hands the events back unless earlier ones of their entity are still being served.
    pub(crate) fn behind(&mut self, events: Events) -> Option<Events> {
        match self.turns.iter_mut().find(|slices| slices.entity() == events.entity) {
            Some(slices) => {
                self.waiting.add(&events);
                slices.behind.push_back(events);
                None
            }
            None => Some(events),
        }
    }

    /// From now on the events are served in slices to the listeners in so many places.
    pub(crate) fn start(&mut self, events: Events, places: usize) {
        self.waiting.add(&events);
        self.turns.push_back(Slices { encoded: Encoded::new(events), places, behind: VecDeque::new() });
    }

    /// Takes the entity whose turn it is; it comes back with [`Self::give_back`].
    pub(crate) fn next(&mut self) -> Option<Slices> {
        self.turns.pop_front()
    }

    /// A slice was served. `places` says how many listeners the entity has now, if all of those there
    /// were are done with and its next events begin.
    pub(crate) fn give_back(&mut self, mut slices: Slices, places: usize) {
        if slices.places == 0 {
            self.waiting.take(&slices.encoded.events);
            let Some(events) = slices.behind.pop_front() else { return };
            slices.encoded = Encoded::new(events);
            slices.places = places;
        }
        self.turns.push_back(slices);
    }

    /// Whether a slice waits for its turn.
    pub(crate) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether further events may be taken off the link.
    pub(crate) const fn has_room(&self) -> bool {
        self.waiting.events < WAITING_EVENTS_MAX && self.waiting.bytes < WAITING_BYTES_MAX
    }
}

impl Slices {
    pub(crate) const fn entity(&self) -> EntityId {
        self.encoded.events.entity
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use panda_protocol::link::LinkEvent;
    use panda_protocol::{Counter, DeviceId, Generation, Seq, UserId};

    use super::*;

    fn events(count: usize, bytes: usize) -> Events {
        let chat = panda_protocol::ChatId::group(UserId::from_random([1; 16]), DeviceId::NONE, Counter(1));
        let event = LinkEvent { seq: Seq(1), ends: None, event: Bytes::from(vec![0; bytes]) };
        Events { generation: Generation(1), entity: chat.into(), events: vec![event; count] }
    }

    #[test]
    fn what_waits_is_bounded_in_events_and_in_bytes() {
        for (count, bytes, fits) in [(1, 20 * 1_024, 409), (64, 100, 63)] {
            let mut fan_out = FanOut::default();
            fan_out.start(events(count, bytes), 5);
            let mut behind = 0;
            while fan_out.has_room() {
                assert!(fan_out.behind(events(count, bytes)).is_none());
                behind += 1;
            }
            assert_eq!(behind, fits);
            // Served to the end, nothing is counted any more.
            while let Some(mut slices) = fan_out.next() {
                slices.places = 0;
                fan_out.give_back(slices, 5);
            }
            assert_eq!((fan_out.waiting.events, fan_out.waiting.bytes), (0, 0));
        }
    }
}
