//! Chats and inboxes that cannot be made whole, because something that is stored of them cannot be read.

use std::collections::BTreeMap;
use std::fmt;

use panda_protocol::{EntityId, Seq, Time};
use panda_storage::{CommandLog, EntityStore, EventStore as _, ReadOrder, StoreError};

use super::{BYTES_AT_ONCE, EVENTS_AT_ONCE, EVERY_COPY, Making, patiently};
use crate::rows::RowId;

/// Entities that are named; more are only counted, and told in the log.
const NAMED_MAX: usize = 10_000;
/// Entities that one sentence names.
const SAID_MAX: usize = 20;

/// Which they are, and what cannot be read of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    named: BTreeMap<EntityId, String>,
    /// More that were met; one may be counted more than once.
    beyond: u64,
}

impl Damaged {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The first 10,000, in the order of their identifiers, each with what was met first.
    pub fn named(&self) -> impl Iterator<Item = (EntityId, &str)> {
        self.named.iter().map(|(entity, why)| (*entity, why.as_str()))
    }

    fn add(&mut self, entity: EntityId, error: &StoreError) {
        if self.named.contains_key(&entity) {
            return;
        }
        tracing::error!(%entity, %error, "this chat or inbox is damaged");
        if self.named.len() < NAMED_MAX {
            self.named.insert(entity, error.to_string());
        } else {
            self.beyond += 1;
        }
    }
}

/// All in one sentence: how many, and the first twenty with what cannot be read.
impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.named.len() as u64 + self.beyond;
        let noun = if count == 1 { "chat or inbox is" } else { "chats and inboxes are" };
        write!(f, "{count} {noun} damaged:")?;
        for (place, (entity, why)) in self.named().take(SAID_MAX).enumerate() {
            write!(f, "{} {entity} ({why})", if place == 0 { "" } else { "," })?;
        }
        match count.saturating_sub(SAID_MAX as u64) {
            0 => Ok(()),
            more => write!(f, " and {more} more, which the log names"),
        }
    }
}

impl<S: EntityStore, L: CommandLog> Making<'_, S, L> {
    /// Goes on without an entity that is damaged.
    ///
    /// # Errors
    /// What concerns more than that.
    pub(super) fn or_damaged<T>(&self, entity: EntityId, made: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match made {
            Err(error @ StoreError::Corrupt(_)) => {
                self.damaged.borrow_mut().add(entity, &error);
                Ok(None)
            }
            made => made.map(Some),
        }
    }

    /// The highest time of the events of a damaged entity, as far as their rows can be read: what its head says, and
    /// what is before and behind a row that cannot be.
    pub(super) async fn newest_of_damaged(&self, entity: EntityId) -> Result<Time, StoreError> {
        let head = patiently("the event store", async || self.store.read_state(entity, vec![RowId::Head.key()]).await);
        let head = self.or_damaged(entity, head.await)?.and_then(|mut rows| rows.pop().flatten());
        let mut newest = head.map_or(Time(0), |head| head.time);
        let all = self.newest_behind(entity, Seq(0), &mut newest).await;
        if self.or_damaged(entity, all)?.is_none() {
            let last = patiently(EVERY_COPY, async || {
                let (last, order) = (Seq(u64::MAX), ReadOrder::Backward);
                self.store.read_events(entity, last, order, EVENTS_AT_ONCE, BYTES_AT_ONCE).await
            });
            let last = self.or_damaged(entity, last.await)?.unwrap_or_default();
            newest = last.iter().map(|row| row.time).fold(newest, Time::max);
        }
        Ok(newest)
    }
}
