//! How far a shard has come: the one count of positions whose outcome stands out.
//!
//! `durable <= released <= taken`. Taking, releasing and confirming a position cost about the same
//! however many stand out: slots form a queue in the order of the log, and each leaves it once. What
//! stands out for long does not make the queue longer than twice what stands out at all.

use std::collections::{HashMap, VecDeque};

use panda_protocol::Position;
use panda_storage::RecordMark;

/// Slots from which on it is worth looking for those out of which nothing stands.
const SLOTS_MIN: usize = if cfg!(test) { 4 } else { 1_024 };

/// A record that was taken from the log.
#[derive(Debug)]
struct Slot {
    position: Position,
    /// The record that was taken before this one, which may have left the queue.
    before: Option<RecordMark>,
    /// Whether what it made was handed to the links, which is behind its write.
    released: bool,
    /// Its effects that the log has not confirmed.
    effects: u32,
    /// It stays the lowest that is not durable until this owner's term ends.
    held: bool,
}

impl Slot {
    const fn is_durable(&self) -> bool {
        self.released && self.effects == 0 && !self.held
    }
}

/// The outstanding positions of a shard.
#[derive(Debug)]
pub(super) struct Progress {
    /// Behind the last record taken.
    taken: Position,
    /// The last record taken.
    last: Option<RecordMark>,
    /// Rising. The first one is the lowest position that is not durable.
    slots: VecDeque<Slot>,
    /// So many slots at the front are released; the next one is not.
    released: usize,
    /// With so many slots, those in the middle that are durable leave.
    slots_max: usize,
    /// Of each effect that the log has not confirmed, in the order in which it confirms them: the
    /// position that made it.
    effects: VecDeque<Position>,
    /// Effects of records that were not taken yet: another owner stored what they made.
    ahead: HashMap<Position, u32>,
    /// The lowest record that was left undecided.
    undecided: Option<Position>,
}

impl Progress {
    /// Nothing stands out; the record at `start` is the first to be taken, and `last` is the one before, if it is known.
    pub(super) fn new(start: Position, last: Option<RecordMark>) -> Self {
        Self {
            taken: start,
            last,
            slots: VecDeque::new(),
            released: 0,
            slots_max: SLOTS_MIN,
            effects: VecDeque::new(),
            ahead: HashMap::new(),
            undecided: None,
        }
    }

    /// A record was taken; its outcome stands out until [`Self::release`]. Positions rise, and may
    /// leave some out.
    pub(super) fn take(&mut self, record: RecordMark) {
        let position = record.position;
        let effects = self.ahead.remove(&position).unwrap_or(0);
        if self.slots.len() >= self.slots_max {
            self.slots.retain(|slot| !slot.is_durable());
            self.released = self.slots.iter().take_while(|slot| slot.released).count();
            self.slots_max = SLOTS_MIN.max(2 * self.slots.len());
        }
        let before = self.last.replace(record);
        self.slots.push_back(Slot { position, before, released: false, effects, held: false });
        self.taken = record.behind();
    }

    /// A record was taken that makes nothing.
    pub(super) fn pass(&mut self, record: RecordMark) {
        if self.slots.is_empty() {
            self.last = Some(record);
            self.taken = record.behind();
        } else {
            self.take(record);
            self.release(record.position);
        }
    }

    /// What the record made is durable and handed to the links. Its effects were told before.
    pub(super) fn release(&mut self, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.released = true;
        }
        self.advance();
    }

    /// This owner does not decide the record, and another one may, while whoever listens goes on here: no
    /// owner is to begin behind it, and nobody is to believe that all before a later one was sent.
    pub(super) fn leave_undecided(&mut self, position: Position) {
        self.hold(position);
        self.undecided = Some(self.undecided.map_or(position, |lowest| lowest.min(position)));
    }

    /// This owner cannot tell what the record makes, and another one might: no owner is to begin behind
    /// it. Nobody who listens goes on here.
    pub(super) fn hold(&mut self, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.held = true;
        }
    }

    /// An effect that the record at `position` made is on its way to the log.
    pub(super) fn owe(&mut self, position: Position) {
        self.effects.push_back(position);
        if let Some(slot) = self.slot_mut(position) {
            slot.effects += 1;
        } else if position >= self.taken {
            *self.ahead.entry(position).or_default() += 1;
        }
    }

    /// The log has confirmed the oldest effect that is on its way.
    pub(super) fn confirm(&mut self) {
        let Some(position) = self.effects.pop_front() else { return };
        if let Some(slot) = self.slot_mut(position) {
            slot.effects -= 1;
        } else if let Some(effects) = self.ahead.get_mut(&position) {
            *effects -= 1;
            if *effects == 0 {
                self.ahead.remove(&position);
            }
        }
        self.advance();
    }

    /// Behind the last record taken.
    pub(super) const fn taken(&self) -> Position {
        self.taken
    }

    /// Every record before it is decided, and what it made is durable and handed to the links; those that
    /// are held aside.
    pub(super) fn released(&self) -> Position {
        let released = self.slots.get(self.released).map_or(self.taken, |slot| slot.position);
        self.undecided.map_or(released, |lowest| lowest.min(released))
    }

    /// As [`Self::released`], and the log has the effects, too: a start from here loses nothing.
    pub(super) fn durable(&self) -> Position {
        self.slots.front().map_or(self.taken, |slot| slot.position)
    }

    /// The last record before [`Self::durable`]; none if it was never told.
    pub(super) fn before_durable(&self) -> Option<RecordMark> {
        self.slots.front().map_or(self.last, |slot| slot.before)
    }

    /// Effects that the log has not confirmed.
    pub(super) fn effects(&self) -> usize {
        self.effects.len()
    }

    fn slot_mut(&mut self, position: Position) -> Option<&mut Slot> {
        let first = self.slots.front()?.position;
        // Where the log leaves no offset out, this is its place.
        let guess = usize::try_from(position.offset.checked_sub(first.offset)?).ok()?;
        let at = match self.slots.get(guess) {
            Some(slot) if slot.position == position => guess,
            _ => self.slots.binary_search_by_key(&position, |slot| slot.position).ok()?,
        };
        self.slots.get_mut(at)
    }

    fn advance(&mut self) {
        while self.slots.get(self.released).is_some_and(|slot| slot.released) {
            self.released += 1;
        }
        while self.slots.front().is_some_and(Slot::is_durable) {
            self.slots.pop_front();
            self.released -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
