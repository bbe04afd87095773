//! What the checker says in the end.

use panda_protocol::ChatId;

use super::harm::Harmed;
use super::violation::{Found, Violation};
use super::{CHAT_VIOLATIONS_KEPT_MAX, VIOLATIONS_KEPT_MAX};

/// Of one chat.
#[derive(Debug, Default)]
pub struct ChatVerdict {
    pub(super) events: u64,
    pub(super) deliveries: u64,
    pub(super) streams: u64,
    pub(super) sends: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) violations: u64,
    pub(super) kept: Vec<Violation>,
    pub(super) harmed: Vec<Harmed>,
    /// Whether the store was read to its head.
    pub(super) is_read_back: bool,
}

impl ChatVerdict {
    /// Counts it, and keeps it where there is room.
    pub(super) fn violated(&mut self, violation: Violation) {
        self.violations += 1;
        if self.kept.len() < CHAT_VIOLATIONS_KEPT_MAX {
            self.kept.push(violation);
        }
    }
}

/// Of all chats.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Chats judged.
    pub chats: u64,
    /// Different events seen, live or in the store.
    pub events: u64,
    /// Events that sessions got.
    pub deliveries: u64,
    /// Streams of (session, chat).
    pub streams: u64,
    /// Sends that left.
    pub sends: u64,
    /// Of them, acked.
    pub acked: u64,
    /// Of them, refused.
    pub refused: u64,
    /// Of them, with an unknown outcome.
    pub unknown: u64,
    /// Chats with a stream.
    pub chats_checked: u64,
    /// Of all chats, those that were read back from the store to their head.
    pub chats_read_back: u64,
    /// All violations.
    pub violations: u64,
    /// The first [`VIOLATIONS_KEPT_MAX`] of them, with the evidence.
    pub kept: Vec<Found>,
    /// Every send to which something happened; of one that is there several times, each time but the first.
    pub harmed: Vec<Harmed>,
}

impl Verdict {
    /// Whether everything held.
    pub const fn held(&self) -> bool {
        self.violations == 0
    }

    /// Whether there was anything to judge: an event, and somebody whose stream it is due in.
    pub const fn judged_anything(&self) -> bool {
        self.violations > 0 || (self.streams > 0 && self.events > 0)
    }

    /// Takes in what was found in a chat that is not judged here.
    pub fn found(&mut self, chat: ChatId, violation: Violation) {
        self.violations += 1;
        if self.kept.len() < VIOLATIONS_KEPT_MAX {
            self.kept.push(Found { chat, violation });
        }
    }

    /// Takes in a chat's.
    pub fn add(&mut self, chat: ChatId, of: ChatVerdict) {
        self.chats += 1;
        self.events += of.events;
        self.deliveries += of.deliveries;
        self.streams += of.streams;
        self.sends += of.sends;
        self.acked += of.acked;
        self.refused += of.refused;
        self.unknown += of.unknown;
        self.chats_checked += u64::from(of.streams > 0);
        self.chats_read_back += u64::from(of.is_read_back);
        self.harmed.extend_from_slice(&of.harmed);
        self.add_found(chat, of);
    }

    /// Takes in a chat's violations only.
    pub fn add_found(&mut self, chat: ChatId, of: ChatVerdict) {
        self.violations += of.violations;
        let room = VIOLATIONS_KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(of.kept.into_iter().take(room).map(|violation| Found { chat, violation }));
    }
}
