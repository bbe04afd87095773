//! A store whose events are read from all replicas.

use bytes::Bytes;
use panda_protocol::{EntityId, Incarnation, Seq, ShardId};
use panda_storage::{
    Checkpoint, Copies, EntityStore, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RowKey, SendWhile,
    StateRow, StoreError,
};

/// The store inside, except that a read of events misses nothing that any replica holds. A replica that is
/// away makes it fail.
#[derive(Clone)]
pub(super) struct Everywhere<S>(pub(super) S);

impl<S: EntityStore> EventStore for Everywhere<S> {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn reads_are_durable(&self) -> bool {
        self.0.reads_are_durable()
    }

    fn sending_while(&self, may: SendWhile) -> Self {
        Self(self.0.sending_while(may))
    }

    async fn write_events(&self, batch: EventBatch) -> Result<(), StoreError> {
        self.0.write_events(batch).await
    }

    async fn read_events(
        &self,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.0.read_events_of(Copies::All, entity, from, order, limit, bytes_max).await
    }

    async fn write_state(&self, entity: EntityId, rows: Vec<StateRow>) -> Result<(), StoreError> {
        self.0.write_state(entity, rows).await
    }

    async fn sync_state(&self) -> Result<(), StoreError> {
        self.0.sync_state().await
    }

    async fn read_state(&self, entity: EntityId, keys: Vec<RowKey>) -> Result<Vec<Option<StateRow>>, StoreError> {
        self.0.read_state(entity, keys).await
    }

    async fn scan_state(
        &self,
        entity: EntityId,
        kind: u8,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        self.0.scan_state(entity, kind, after, limit).await
    }

    async fn owed_effects(&self) -> Result<Vec<OwedEffect>, StoreError> {
        self.0.owed_effects().await
    }

    async fn checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
        self.0.checkpoint(shard).await
    }

    async fn write_checkpoint(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<(), StoreError> {
        self.0.write_checkpoint(shard, checkpoint).await
    }
}
