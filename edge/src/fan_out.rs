//! Events on their way to many listeners: encoded once, and in slices, so that a large chat does not
//! hold up small ones.
//!
//! Events of one entity that came together leave together, in one message for everybody who has had all
//! before them: where much is said, a listener costs a message and not a message an event.
//!
//! Few listeners are served at once. An entity with many is served a slice at a time, and other
//! entities between its slices; its later events wait behind, so each listener meets them in order.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use panda_protocol::EntityId;
use panda_protocol::frame::{EventFrame, Frame};
use panda_protocol::link::Events;
use smallvec::SmallVec;

use crate::transport::Outgoing;

/// Listeners that are served at once. Few in tests, so that they meet what happens between slices.
pub(crate) const SLICE_LISTENERS: usize = if cfg!(test) { 3 } else { 1_024 };
/// Events that may wait behind slices before nothing more is taken off the link.
const WAITING_EVENTS_MAX: usize = 4_096;
/// The same in bytes.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of frames that leave in one message, as SPEC.md promises: there is little more to gain, and a page's part, which
/// live events wait for, too, is as large.
const RUN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an event's frame beside the event, at most: two lengths, the type, the entity.
const FRAME_HEAD_BYTES_MAX: usize = 4 + 1 + 16 + 4;

/// Events with the messages that hold them.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) events: Events,
    pub(crate) runs: SmallVec<[Run; 1]>,
}

/// Events that leave together: one after the other, and the right to listen ends with none of them, or with the only one.
/// What is sent of them is made when the first listener needs it.
#[derive(Debug)]
pub(crate) struct Run {
    /// Their places among the events.
    pub(crate) places: Range<usize>,
    together: Option<Outgoing>,
    /// For who can take some of them only.
    one_by_one: Vec<Option<Outgoing>>,
}

impl Encoded {
    pub(crate) fn new(events: Events) -> Self {
        let mut runs: SmallVec<[Run; 1]> = SmallVec::new();
        let mut bytes = 0;
        for (place, event) in events.events.iter().enumerate() {
            let frame_bytes = FRAME_HEAD_BYTES_MAX + event.event.len();
            let goes_on = place.checked_sub(1).and_then(|before| events.events.get(before)).is_some_and(|before| {
                let is_next = before.seq.next() == event.seq;
                is_next && before.ends.is_none() && event.ends.is_none() && bytes + frame_bytes <= RUN_BYTES_MAX
            });
            match runs.last_mut().filter(|_| goes_on) {
                Some(run) => run.places.end = place + 1,
                None => {
                    runs.push(Run { places: place..place + 1, together: None, one_by_one: Vec::new() });
                    bytes = 0;
                }
            }
            bytes += frame_bytes;
        }
        Self { events, runs }
    }
}

impl Run {
    /// The message that holds all of them.
    pub(crate) fn together(&mut self, events: &Events) -> &Outgoing {
        self.together.get_or_insert_with(|| {
            let events_of = &events.events[self.places.clone()];
            let frames: SmallVec<[_; 16]> =
                events_of.iter().map(|event| event_frame(events.entity, &event.event)).collect();
            Outgoing::of(&frames)
        })
    }

    /// The message that holds the event in this place, which is one of [`Self::places`].
    pub(crate) fn alone(&mut self, events: &Events, place: usize) -> &Outgoing {
        if self.places.len() == 1 {
            return self.together(events);
        }
        self.one_by_one.resize(self.places.len(), None);
        self.one_by_one[place - self.places.start]
            .get_or_insert_with(|| Outgoing::new(&event_frame(events.entity, &events.events[place].event)))
    }
}

/// The frame that holds an event.
pub(crate) fn event_frame(entity: EntityId, event: &Bytes) -> Bytes {
    Frame::from(EventFrame { entity, event: event.clone() }).to_bytes()
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
    use panda_protocol::link::LinkEvent;
    use panda_protocol::{Counter, DeviceId, Generation, Seq, UserId};

    use super::*;

    fn events(count: usize, bytes: usize) -> Events {
        let chat = panda_protocol::ChatId::group(UserId::from_random([1; 16]), DeviceId::NONE, Counter(1));
        let event = Bytes::from(vec![0; bytes]);
        let event = |seq| LinkEvent { seq: Seq(seq), ends: None, event: event.clone() };
        Events { generation: Generation(1), entity: chat.into(), events: (1..=count as u64).map(event).collect() }
    }

    fn runs(events: Events) -> Vec<usize> {
        Encoded::new(events).runs.into_iter().map(|run| run.places.len()).collect()
    }

    #[test]
    fn events_leave_together_until_one_is_missing_ends_a_right_or_makes_them_too_large() {
        assert_eq!(runs(events(5, 100)), [5]);
        let mut one_missing = events(5, 100);
        one_missing.events.remove(3);
        assert_eq!(runs(one_missing), [3, 1]);
        let mut one_ends = events(5, 100);
        one_ends.events[2].ends = Some(UserId::from_random([2; 16]));
        assert_eq!(runs(one_ends), [2, 1, 2]);
        assert_eq!(runs(events(5, RUN_BYTES_MAX / 2 - FRAME_HEAD_BYTES_MAX)), [2, 2, 1]);
        assert_eq!(runs(events(2, RUN_BYTES_MAX / 2)), [1, 1]);
        assert_eq!(runs(events(2, RUN_BYTES_MAX + 1)), [1, 1]);
        for bytes in [1, 40, 4_000] {
            let events = events(2_000, bytes);
            for run in &mut Encoded::new(events.clone()).runs {
                assert!(run.together(&events).frames().len() <= RUN_BYTES_MAX, "events of {bytes} bytes");
            }
        }
    }

    #[test]
    fn together_and_alone_they_are_the_same_frames_in_the_same_order() {
        let events = events(3, 100);
        let mut encoded = Encoded::new(events.clone());
        let run = &mut encoded.runs[0];
        let alone: Vec<u8> = (0..3).flat_map(|place| run.alone(&events, place).frames()).collect();
        assert_eq!(run.together(&events).frames(), alone);
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
