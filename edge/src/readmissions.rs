//! Subscriptions whose right to listen is to be asked for anew.
//!
//! A lost link or owner may leave all of a shard at once. So they are asked for a few at a time: what else
//! sessions ask finds room beside them, and none of them waits in the owner's queue for longer than its
//! answer is waited for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::subscriptions::SubscriptionKey;

/// Questions for rights that a worker has out at once. Few in tests, so that they meet the bound.
pub(crate) const READMISSIONS_OUT_MAX: usize = if cfg!(test) { 3 } else { 1_024 };
/// How long a question that was refused is not put again, at least, in milliseconds.
const RETRY_MS: u64 = 200;

/// Who waits for its turn. Each subscription is in it at most once; one that ended meanwhile is found out
/// when its turn comes.
#[derive(Debug, Default)]
pub(crate) struct Readmissions {
    ready: VecDeque<SubscriptionKey>,
    /// Those that were told to ask later, by the moment in milliseconds.
    later: BinaryHeap<Reverse<(u64, SubscriptionKey)>>,
    out: usize,
}

impl Readmissions {
    /// To be asked for in its turn.
    pub(crate) fn push(&mut self, key: SubscriptionKey) {
        self.ready.push_back(key);
    }

    /// To be asked for again, after the wait that the refusal named.
    pub(crate) fn push_later(&mut self, key: SubscriptionKey, now_ms: u64, retry_after_ms: u64) {
        self.later.push(Reverse((now_ms.saturating_add(retry_after_ms.max(RETRY_MS)), key)));
    }

    /// Time went by.
    pub(crate) fn turn(&mut self, now_ms: u64) {
        while self.later.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms) {
            self.ready.extend(self.later.pop().map(|Reverse((_, key))| key));
        }
    }

    /// When time matters again, in milliseconds; none while nobody waits for a moment.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.later.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// Whose turn it is, if one more question may be out.
    pub(crate) fn next(&mut self) -> Option<SubscriptionKey> {
        if self.out < READMISSIONS_OUT_MAX { self.ready.pop_front() } else { None }
    }

    /// A question is out.
    pub(crate) const fn asked(&mut self) {
        self.out += 1;
    }

    /// Its answer came, or the time for it is over.
    pub(crate) const fn answered(&mut self) {
        self.out = self.out.saturating_sub(1);
    }
}
