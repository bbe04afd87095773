//! Proves that nothing was lost, doubled, reordered or altered. Pure: it takes what was sent, answered,
//! delivered and stored, in any interleaving of sessions, and tells what does not fit, with the evidence.
//!
//! What it holds of a message are digests of 8 bytes, one reference a (chat, seq) against which every
//! session and the store are compared, so memory does not grow with texts or sessions.
//!
//! What must hold, per chat:
//! - each session's stream is gapless and rising from where it began, and equal to every other's;
//! - an acked send is there at its acked seq, once, with its exact text; a refused one is not there;
//!   one whose outcome is unknown is there at most once; nothing is there that was not sent;
//! - a sender's messages stand in the order in which they were sent;
//! - the store, read back by pages, says the same.
//!
//! Where members come and go, [`MembershipCheck`] says what must hold besides, from the same observations. It keeps more,
//! as it says itself.

mod chat;
mod harm;
mod membership;
mod reads;
mod verdict;
mod violation;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher as _};

pub use chat::{ChatCheck, Delivered, Outcome, SendId};
pub use harm::{Harm, Harmed, Losses};
pub use membership::{
    Answer, Change, ChangeId, Grant, MEMBERSHIP_RECORDS_MAX, MembersSeen, MembershipCheck, MembershipVerdict, Span,
    StepId, Wanted,
};
pub use reads::{Read, Shown};
pub use verdict::{ChatVerdict, Verdict};
pub use violation::{Found, Source, Violation};

/// Violations that are kept with their evidence, a chat; all are counted.
pub const CHAT_VIOLATIONS_KEPT_MAX: usize = 20;
/// Violations that are kept with their evidence, a run.
pub const VIOLATIONS_KEPT_MAX: usize = 100;

/// The digest of an event's or text's bytes. Its key is fixed, so evidence of two runs compares.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
