//! What of the event store cannot be read: what that ends, and a line and a count for whoever runs the router.

use std::collections::HashMap;

use panda_protocol::event::Event;
use panda_protocol::{EntityId, Seq, ShardId};
use panda_storage::{EventRow, ReadOrder, StoreError};
use prometheus_client::metrics::gauge::Gauge;

use crate::shard::Input;

/// Entities that a term tells of; what comes then is neither told nor counted.
const TOLD_MAX: usize = 16_384;

/// What one term of a shard has told. What it counted counts as long as the term lasts.
#[derive(Debug)]
pub(crate) struct DamageLog {
    shard: ShardId,
    /// Each with whether nothing of it goes on.
    told: HashMap<EntityId, bool>,
    gauge: Gauge,
}

impl DamageLog {
    pub(crate) fn new(shard: ShardId, gauge: Gauge) -> Self {
        Self { shard, told: HashMap::new(), gauge }
    }

    /// Something of an entity cannot be read; `whole`: so nothing of it goes on. Tells it once an entity, and once
    /// more where that was told only in part before.
    pub(crate) fn note(&mut self, entity: EntityId, whole: bool, why: &str) {
        if !self.is_news(entity, whole) {
            return;
        }
        let shard = self.shard.0;
        if whole {
            tracing::error!(
                shard,
                %entity,
                why,
                "what is stored of this chat or inbox is damaged: it alone is refused, and what comes for it waits in \
                 the command log, as far as that outlives this process. Run 'panda admin rebuild' for it, then start \
                 this router again"
            );
        } else {
            tracing::error!(
                shard,
                %entity,
                why,
                "something that is stored of this chat or inbox is damaged: who reads it is refused, all else of it \
                 goes on. Run 'panda admin rebuild' for it. It counts as damaged until this shard's term ends"
            );
        }
    }

    fn is_news(&mut self, entity: EntityId, whole: bool) -> bool {
        if let Some(told) = self.told.get_mut(&entity) {
            return whole && !std::mem::replace(told, whole);
        }
        if self.told.len() >= TOLD_MAX {
            return false;
        }
        self.told.insert(entity, whole);
        self.gauge.inc();
        true
    }
}

impl Drop for DamageLog {
    fn drop(&mut self) {
        self.gauge.dec_by(i64::try_from(self.told.len()).unwrap_or(i64::MAX));
    }
}

/// Sets what cannot be read of one entity apart from what ends more: it is not tried again.
///
/// # Errors
/// What the store returned and concerns more than this entity.
pub(crate) fn or_damage<T>(brought: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match brought {
        Ok(brought) => Ok(Ok(brought)),
        Err(StoreError::Corrupt(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

/// What a read for somebody who waits brought: it is not tried again, and ends nothing else.
///
/// # Errors
/// As [`or_damage`].
pub(crate) fn read_or_refused(
    entity: EntityId,
    read: u64,
    brought: Result<Input, StoreError>,
) -> Result<Input, StoreError> {
    match or_damage(brought) {
        Ok(Ok(brought)) => Ok(brought),
        Ok(Err(why)) => Ok(Input::Damaged { entity, read: Some(read), why }),
        Err(error) if error.is_retryable() => Ok(Input::ReadFailed(read)),
        Err(error) => Err(error),
    }
}

/// Stored events from `from` on, unless one of them is missing or cannot be read: what is sent has no gap, and an
/// edge ends the session to which it cannot send what it got.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(crate) fn whole(from: Seq, order: ReadOrder, rows: Vec<EventRow>) -> Result<Vec<EventRow>, StoreError> {
    let mut next = from;
    for EventRow { seq, event, .. } in &rows {
        if *seq != next {
            break;
        }
        let event = Event::from_bytes(event).map_err(|error| StoreError::Corrupt(format!("event {seq}: {error}")))?;
        if event.seq != next {
            return Err(StoreError::Corrupt(format!("event {seq} says that it is {}", event.seq)));
        }
        next = match order {
            ReadOrder::Forward => next.next(),
            ReadOrder::Backward => Seq(next.0.saturating_sub(1)),
        };
    }
    if next.0.abs_diff(from.0) != rows.len() as u64 || rows.is_empty() {
        return Err(StoreError::Corrupt(format!("event {next} is missing")));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use panda_protocol::UserId;

    use super::*;

    #[test]
    fn what_ends_all_of_an_entity_is_told_although_a_part_was() {
        let gauge = Gauge::default();
        let mut log = DamageLog::new(ShardId(0), gauge.clone());
        let [one, other] = [1, 2].map(|byte| EntityId::from(UserId::from_random([byte; 16])));
        let news = [(one, false), (one, false), (one, true), (one, true), (one, false), (other, true), (other, false)]
            .map(|(entity, whole)| log.is_news(entity, whole));
        assert_eq!(news, [true, false, true, false, false, true, false]);
        assert_eq!(gauge.get(), 2);
        drop(log);
        assert_eq!(gauge.get(), 0);
    }
}
