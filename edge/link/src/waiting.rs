//! Who waits for which answer, and until when.

use std::collections::VecDeque;

use foldhash::HashMapExt;
use panda_protocol::{EntityId, Position};

/// What an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A command, and where it stands in the log once that is known.
    Command(Option<Position>),
    /// An admission.
    Admission,
    /// A read.
    Read,
}

#[derive(Debug)]
pub(crate) struct Waiting<C> {
    pub(crate) entity: EntityId,
    pub(crate) asked: Asked,
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

impl<C> WaitingTable<C> {
    pub(crate) fn new() -> Self {
        Self { by_token: foldhash::HashMap::new(), deadlines: VecDeque::new(), next_token: 1 }
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
        self.next_token += 1;
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

    /// Tokens, entities and positions of the commands that wait.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (u64, EntityId, Position)> {
        self.by_token.iter().filter_map(|(&token, waiting)| match waiting.asked {
            Asked::Command(Some(position)) => Some((token, waiting.entity, position)),
            _ => None,
        })
    }
}
