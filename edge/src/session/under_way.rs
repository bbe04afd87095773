//! What a session has under way, which most have not: it is there from when it says something until it is next looked at
//! with nothing of it left.

use std::collections::VecDeque;

use panda_protocol::Seq;
use slab::Slab;

use super::Member;
use super::commands::Unanswered;
use super::reads::Reads;
use super::requests::SIGNALS_PER_SECOND;
use crate::rate::Bucket;
use crate::subscriptions::SubscriptionKey;

/// Requests without an answer, events that were missed, and rates that were made use of.
pub(crate) struct UnderWay {
    /// Of commands.
    pub(crate) rate: Bucket,
    pub(crate) signals: Bucket,
    /// Admissions of chats that are out.
    pub(crate) admissions: usize,
    /// Commands whose answers did not leave yet, in the order in which they came.
    pub(crate) commands: VecDeque<Unanswered>,
    pub(crate) reads: Reads,
    /// Syncs under way: how many of their chats are not answered yet. Each has a place of its own,
    /// because a client may give two the same request number.
    pub(crate) syncs: Slab<usize>,
    /// Subscriptions that wait for their turn to read what they missed.
    pub(crate) lagging: VecDeque<SubscriptionKey>,
    /// A read to catch up is out; it began at this event.
    pub(crate) catching_up: Option<Seq>,
    /// The usual size of the events that it catches up with.
    pub(crate) event_bytes: usize,
    /// No such read before this moment.
    pub(crate) catch_up_after_ms: u64,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self {
            rate: Bucket::default(),
            signals: Bucket::default(),
            admissions: 0,
            commands: VecDeque::new(),
            reads: Reads::default(),
            syncs: Slab::new(),
            lagging: VecDeque::new(),
            catching_up: None,
            event_bytes: 1_024,
            catch_up_after_ms: 0,
        }
    }
}

impl UnderWay {
    /// Whether a new one would do as well; but for the size of events, which is learned again.
    fn is_over(&self, commands_per_second: u32, now_ms: u64) -> bool {
        self.admissions == 0
            && self.commands.is_empty()
            && self.reads.is_empty()
            && self.syncs.is_empty()
            && self.lagging.is_empty()
            && self.catching_up.is_none()
            && self.catch_up_after_ms <= now_ms
            && self.rate.is_full(commands_per_second, now_ms)
            && self.signals.is_full(SIGNALS_PER_SECOND, now_ms)
    }
}

impl Member {
    /// What is under way, to be added to.
    pub(crate) fn under_way_or_new(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }

    /// Gives back what is held for nothing.
    pub(crate) fn rest(&mut self, commands_per_second: u32, now_ms: u64) {
        self.under_way.take_if(|under_way| under_way.is_over(commands_per_second, now_ms));
    }
}
