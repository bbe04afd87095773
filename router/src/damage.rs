//! What of the event store cannot be read: what that ends, and a line and a count for whoever runs the router.

use std::collections::HashSet;

use panda_protocol::{EntityId, ShardId};
use panda_storage::{StateRow, StoreError};
use prometheus_client::metrics::gauge::Gauge;

use crate::rows::{Row, RowId};
use crate::shard::Input;

/// Entities that a term tells of; what comes then is neither told nor counted.
const TOLD_MAX: usize = 16_384;

/// What one term of a shard has told. What it counted counts as long as the term lasts.
#[derive(Debug)]
pub(crate) struct DamageLog {
    shard: ShardId,
    told: HashSet<EntityId>,
    gauge: Gauge,
}

impl DamageLog {
    pub(crate) fn new(shard: ShardId, gauge: Gauge) -> Self {
        Self { shard, told: HashSet::new(), gauge }
    }

    /// Something of an entity cannot be read; `whole`: so nothing of it goes on. Tells it once an entity.
    pub(crate) fn note(&mut self, entity: EntityId, whole: bool, why: &str) {
        if self.told.len() >= TOLD_MAX || !self.told.insert(entity) {
            return;
        }
        self.gauge.inc();
        let shard = self.shard.0;
        if whole {
            tracing::error!(
                shard,
                %entity,
                why,
                "what is stored of this chat or inbox is damaged: it alone is refused, and what comes for it waits in \
                 the command log, which is kept from there on. Mend its rows in the event store, then start this \
                 router again"
            );
        } else {
            tracing::error!(
                shard,
                %entity,
                why,
                "something that is stored of this chat or inbox is damaged: who reads it is refused, all else of it \
                 goes on. Mend it in the event store"
            );
        }
    }
}

impl Drop for DamageLog {
    fn drop(&mut self) {
        self.gauge.dec_by(i64::try_from(self.told.len()).unwrap_or(i64::MAX));
    }
}

/// What a read for somebody who waits brought: it is not tried again, and ends nothing else.
///
/// # Errors
/// What the store returned and concerns more than this entity.
pub(crate) fn read_or_refused(
    entity: EntityId,
    read: u64,
    brought: Result<Input, StoreError>,
) -> Result<Input, StoreError> {
    match brought {
        Err(StoreError::Corrupt(why)) => Ok(Input::Damaged { entity, read: Some(read), why }),
        Err(error) if error.is_retryable() => Ok(Input::ReadFailed(read)),
        brought => brought,
    }
}

/// Rows of a listing, unless one of them cannot be read: a listing leaves nothing out.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(crate) fn readable(rows: Vec<StateRow>) -> Result<Vec<StateRow>, StoreError> {
    for StateRow { key, value, .. } in &rows {
        let row = RowId::from_key(key).and_then(|_| value.clone().map(Row::from_bytes).transpose());
        row.map_err(|error| StoreError::Corrupt(format!("a row {key:?}: {error}")))?;
    }
    Ok(rows)
}
