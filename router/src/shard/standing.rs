//! What an owner keeps of an entity that is not in memory: enough to admit who needs no row for it.
//!
//! Sessions come back by the thousand, most of them to chats in which nothing went on. What is kept beside an
//! interest answers them without the store: where the entity's events end, and behind which event nobody lost a
//! right. It is noted when the entity leaves memory and holds until it is loaded again, because every command comes
//! with a load: nothing that this owner took, and so nothing that was acked before it was asked, is behind it.

use panda_protocol::Seq;

/// Of one entity, in memory or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last event.
    pub(super) head: Seq,
    /// No event behind this one took or changed the right or the role of anybody who had one; what an owner before
    /// knew of that, this one does not.
    pub(super) rights: Seq,
}

impl Standing {
    /// That of an entity which was loaded up to `head`, of which this was known before.
    pub(super) fn loaded(head: Seq, known: Option<Self>) -> Self {
        let rights = known.filter(|known| known.head == head).map_or(head, |known| known.rights);
        Self { head, rights }
    }
}

#[cfg(test)]
mod tests;
