//! What only work on a whole store asks of it: which entities there are, and what every copy holds.

use std::future::Future;

use panda_protocol::{EntityId, Seq};

use crate::error::StoreError;
use crate::event_store::{EventRow, EventStore, ReadOrder};

/// Entities that one call of [`EntityStore::entities`] answers with.
pub const ENTITIES_AT_ONCE_MAX: usize = 1_024;

/// Which copies answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copies {
    /// As many as find every write that had returned.
    Enough,
    /// All of them: what a writer left in a single copy before it died is found, too. A copy that is
    /// away makes the read fail.
    All,
}

/// An event store that can be gone through. Every event store of a cluster is one.
pub trait EntityStore: EventStore {
    /// At most `limit` of the entities that have events, and no more than [`ENTITIES_AT_ONCE_MAX`], behind
    /// `after` in an order of the store's own, which stays; none: there are no more. `after` is one that
    /// was answered with. One that gets its first event meanwhile may be left out.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Unavailable`] also while a copy that is asked for is away.
    fn entities(
        &self,
        copies: Copies,
        after: Option<EntityId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EntityId>, StoreError>> + Send;

    /// As [`EventStore::read_events`], of the copies that are named.
    ///
    /// # Errors
    /// As [`Self::entities`].
    fn read_events_of(
        &self,
        copies: Copies,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>, StoreError>> + Send;
}
