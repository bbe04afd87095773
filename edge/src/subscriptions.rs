//! Who listens to what, on one worker, and how far each has been served.
//!
//! ```text
//!               admitted, nothing missing
//!   Admitting ─────────────────────────────▶ Live ◀──────────────┐
//!       │                                     │ no room, a gap    │ next > head
//!       │ admitted, events are missing        ▼                   │
//!       └──────────────────────────────▶   Lagging ───────────────┘
//!                                             ▲ │ rights may have ended
//!                                             │ ▼
//!                                          Readmitting
//! ```
//!
//! `next` is the first event that was not queued for the session. An event is queued only if it is
//! `next`, so whatever is repeated, late or missing on the way, the session's stream has no gap and
//! each event once.

mod interests;

use panda_protocol::{EntityId, Seq};

use self::interests::Interests;
use crate::chunked_slab::{self, ChunkedSlab};
use crate::session::SessionKey;

/// When the right of a session that lags ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// As far as is known, not.
    No,
    /// This is the last event that it gets.
    At(Seq),
    /// The right is over; the last event is the last that can still be read. Then the router is asked
    /// once more.
    Dry,
}

/// How a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The router was asked; nothing is delivered.
    Admitting,
    /// Events are queued as they come.
    Live,
    /// Events up to `head` are read at the session's pace.
    Lagging {
        /// The last event that is known of.
        head: Seq,
        /// When the right ends.
        ends: Ends,
    },
    /// The right may be over: nothing is delivered until the router says.
    Readmitting {
        /// The last event that is known of.
        head: Seq,
        /// It was over, and everything up to its end was read.
        read: bool,
    },
}

/// One session's subscription to one entity.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) session: SessionKey,
    pub(crate) entity: EntityId,
    pub(crate) next: Seq,
    pub(crate) state: State,
    serial: u32,
    /// Its place among the entity's listeners, or [`UNLISTED`]: an `Option` would take twice the bytes.
    slot: u32,
}

/// Of a subscription that is not among the entity's listeners.
const UNLISTED: u32 = u32::MAX;

impl Subscription {
    /// Whether its session has the right to listen, as far as is known. One that has lost it may still have
    /// to read up to its last event.
    pub(crate) const fn is_listening(&self) -> bool {
        matches!(self.state, State::Live | State::Lagging { ends: Ends::No, .. })
    }
}

/// Names a subscription; a later one in the same place has another serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionKey {
    index: u32,
    serial: u32,
}

/// An idle session has two, so what is added here counts twice for each.
const _: () = assert!(chunked_slab::bytes_of::<Subscription>() <= 64);

/// The subscriptions of one worker.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    all: ChunkedSlab<Subscription>,
    interests: Interests,
    next_serial: u32,
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        Self { all: ChunkedSlab::new(), interests: Interests::new(), next_serial: 0 }
    }

    /// A new subscription that waits to be admitted.
    pub(crate) fn add(&mut self, session: SessionKey, entity: EntityId) -> SubscriptionKey {
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let subscription =
            Subscription { session, entity, next: Seq(0), state: State::Admitting, serial, slot: UNLISTED };
        SubscriptionKey { index: self.all.insert(subscription), serial }
    }

    pub(crate) fn one(&self, key: SubscriptionKey) -> Option<&Subscription> {
        self.all.get(key.index).filter(|one| one.serial == key.serial)
    }

    pub(crate) fn one_mut(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.all.get_mut(key.index).filter(|one| one.serial == key.serial)
    }

    /// From now on events of the entity are for it, too.
    pub(crate) fn list(&mut self, key: SubscriptionKey) {
        let Some(one) = self.all.get_mut(key.index).filter(|one| one.serial == key.serial) else { return };
        if one.slot == UNLISTED {
            let listeners = &mut self.interests.one_or_new(one.entity).listeners;
            one.slot = u32::try_from(listeners.len()).expect("fewer subscriptions than 2^32 fit in memory");
            listeners.push(key);
        }
    }

    /// No event of the entity is for it any more.
    pub(crate) fn unlist(&mut self, key: SubscriptionKey) {
        let Some(one) = self.one_mut(key) else { return };
        let (entity, slot) = (one.entity, std::mem::replace(&mut one.slot, UNLISTED));
        if slot == UNLISTED {
            return;
        }
        let Some(interest) = self.interests.one_mut(entity) else { return };
        interest.listeners.swap_remove(slot as usize);
        if let Some(moved) = interest.listeners.get(slot as usize)
            && let Some(moved) = self.all.get_mut(moved.index)
        {
            moved.slot = slot;
        }
    }

    /// Takes it out. Who listened last is followed by [`Self::forgotten`].
    pub(crate) fn remove(&mut self, key: SubscriptionKey) -> Option<Subscription> {
        self.unlist(key);
        self.one(key)?;
        self.all.remove(key.index)
    }

    /// An admission to the entity goes up.
    pub(crate) fn asked(&mut self, entity: EntityId) {
        self.interests.one_or_new(entity).admits += 1;
    }

    /// Its answer came; `stated` unless it certainly stated no interest.
    pub(crate) fn answered(&mut self, entity: EntityId, stated: bool) {
        if let Some(interest) = self.interests.one_mut(entity) {
            interest.admits = interest.admits.saturating_sub(1);
            interest.stated |= stated;
        }
    }

    /// Whether the router is to be told that nobody here listens to the entity any more. Not while an
    /// admission is out: the router may have noted an interest that its answer, still on the way,
    /// tells of, and a goodbye now would take that back.
    pub(crate) fn forgotten(&mut self, entity: EntityId) -> bool {
        match self.interests.one(entity) {
            Some(interest) if interest.listeners.is_empty() && interest.admits == 0 => {
                self.interests.remove(entity).is_some_and(|interest| interest.stated)
            }
            _ => false,
        }
    }

    /// Whether nothing is known of the entity: events of it are not wanted.
    pub(crate) fn is_unknown(&self, entity: EntityId) -> bool {
        self.interests.one(entity).is_none()
    }

    /// Every entity of which something is known here.
    pub(crate) fn entities(&self) -> impl Iterator<Item = EntityId> {
        self.interests.entities()
    }

    /// How many listen to an entity.
    pub(crate) fn listeners(&self, entity: EntityId) -> usize {
        self.interests.one(entity).map_or(0, |interest| interest.listeners.len())
    }

    /// The listener in a place. Going through the places from the last to the first meets everybody
    /// who was there at the start, whoever leaves or comes meanwhile.
    pub(crate) fn listener(&self, entity: EntityId, place: usize) -> Option<SubscriptionKey> {
        self.interests.one(entity)?.listeners.get(place).copied()
    }
}
