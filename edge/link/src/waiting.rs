//! Who waits for which answer, and until when.

use std::collections::VecDeque;

use foldhash::HashMapExt;
use panda_protocol::EntityId;
use panda_protocol::Position;
use panda_protocol::link::{Admit, Read};

use crate::traced::Traced;

/// What an answer is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A command.
    Command {
        /// Where it stands in the log, once that is known.
        position: Option<Position>,
        /// The owner changed before the position was known: ask as soon as it is.
        ask: bool,
    },
    /// An admission.
    Admission(Admit),
    /// A read.
    Read {
        /// What was asked.
        read: Read,
        /// A part of it came: it cannot be asked again as a whole.
        begun: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Waiting<C> {
    pub(crate) entity: EntityId,
    pub(crate) asked: Asked,
    /// Of the commands whose answer is told in the log.
    pub(crate) traced: Option<Box<Traced>>,
    pub(crate) context: C,
}

/// The table of what is out. All wait equally long, so the deadlines are a queue and not a heap.
#[derive(Debug)]
pub(crate) struct WaitingTable<C> {
    by_token: foldhash::HashMap<u64, Waiting<C>>,
    /// (deadline, token), both rising.
    deadlines: VecDeque<(u64, u64)>,
    next_token: u64,
}

/// Bits of a token that say on which lane it was given.
const LANE_BITS: u32 = 8;

/// The lane on which a token was given: whose the answer is, among the ends that share a link.
pub const fn lane_of(token: u64) -> u8 {
    token.to_be_bytes()[7]
}

impl<C> WaitingTable<C> {
    /// Tokens of tables with different lanes differ.
    pub(crate) fn new(lane: u8) -> Self {
        let next_token = 1 << LANE_BITS | u64::from(lane);
        Self { by_token: foldhash::HashMap::new(), deadlines: VecDeque::new(), next_token }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// The token that the next [`Self::insert`] gives.
    pub(crate) const fn next_token(&self) -> u64 {
        self.next_token
    }

    pub(crate) fn insert(&mut self, waiting: Waiting<C>, deadline_ms: u64) -> u64 {
        let token = self.next_token;
        self.next_token += 1 << LANE_BITS;
        self.by_token.insert(token, waiting);
        self.deadlines.push_back((deadline_ms, token));
        token
    }

    pub(crate) fn one_mut(&mut self, token: u64) -> Option<&mut Waiting<C>> {
        self.by_token.get_mut(&token)
    }

    pub(crate) fn entity(&self, token: u64) -> Option<EntityId> {
        self.by_token.get(&token).map(|waiting| waiting.entity)
    }

    pub(crate) fn remove(&mut self, token: u64) -> Option<Waiting<C>> {
        let waiting = self.by_token.remove(&token);
        // Answers come mostly in order: what was answered leaves the queue from its front, so its
        // length stays near the number of those who wait.
        while self.deadlines.front().is_some_and(|(_, token)| !self.by_token.contains_key(token)) {
            self.deadlines.pop_front();
        }
        waiting
    }

    /// Takes one whose deadline is over.
    pub(crate) fn take_expired(&mut self, now_ms: u64) -> Option<Waiting<C>> {
        while let Some(&(deadline, token)) = self.deadlines.front() {
            if self.by_token.contains_key(&token) {
                if deadline > now_ms {
                    return None;
                }
                return self.remove(token);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// The first deadline, also of one that was answered meanwhile; none while nothing is out.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.front().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// All that is out, the longest waiting first.
    pub(crate) fn each_mut(&mut self, mut each: impl FnMut(u64, &mut Waiting<C>)) {
        for (_, token) in &self.deadlines {
            if let Some(waiting) = self.by_token.get_mut(token) {
                each(*token, waiting);
            }
        }
    }
}
