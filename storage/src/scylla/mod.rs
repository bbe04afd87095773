//! Events, state rows and checkpoints in Scylla or Apache Cassandra.
//!
//! Every write of data carries the time of the event that caused it (a checkpoint: its offset) as
//! its write timestamp, never a clock's; so repeating one is harmless, and a late one loses. Writes
//! and reads are at `LOCAL_QUORUM`. A read may find what only a minority holds, so a new owner
//! writes the tail again. No lock or conditional write is used but when the tables are made, when an
//! epoch of the log is opened, and when the store takes over the content of another one.
//!
//! Every request ends within the configured time. What is refused or not answered is
//! [`StoreError::Unavailable`]; the driver connects again by itself, within ten seconds of a node's
//! return. What a store owes to other entities is not kept: the log is read again.

mod checkpoint;
mod cluster;
mod coalesce;
mod config;
mod entities;
mod epoch;
mod events;
mod failure;
mod gate;
mod numbers;
mod schema;
mod state;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use panda_protocol::{EntityId, Incarnation, Seq, ShardId};

pub use self::config::{Replication, ScyllaConfig};
use crate::entity_store::{Copies, EntityStore};
use crate::error::StoreError;
use crate::event_store::{Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RowKey, StateRow};
use crate::send_while::SendWhile;
use cluster::Requests;
use coalesce::Coalescer;
use events::EventRead;
use state::StateScan;
use statements::Statements;

/// The event store of a cluster. Clones share its connections; one a process is enough.
#[derive(Clone)]
pub struct ScyllaEvents {
    inner: Arc<Inner>,
    may: SendWhile,
}

struct Inner {
    incarnation: Incarnation,
    requests: Requests,
    statements: Statements,
    event_reads: Coalescer<EventRead, Vec<EventRow>>,
    state_scans: Coalescer<StateScan, Vec<StateRow>>,
}

impl ScyllaEvents {
    /// Connects; makes or migrates the tables if need be. Several processes may do so at once. The
    /// connections live on the runtime that this is called on, which must outlive the store.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version migrated the tables: nothing was touched.
    /// [`StoreError::Misconfigured`] if the keyspace is replicated otherwise than configured, or the
    /// configuration cannot be right. [`StoreError::Unusable`] if the tables are not those of Panda.
    /// [`StoreError::Unavailable`] if the cluster is away.
    pub async fn open(config: &ScyllaConfig) -> Result<Self, StoreError> {
        config.check()?;
        let session = cluster::connect(config).await?;
        let incarnation = schema::prepare(&session, config, schema::MIGRATIONS).await?;
        let statements = Statements::prepare(&session, &config.keyspace).await?;
        let requests = Requests::new(session, config);
        let (event_reads, state_scans) = (Coalescer::new(), Coalescer::new());
        let inner = Inner { incarnation, requests, statements, event_reads, state_scans };
        Ok(Self { inner: Arc::new(inner), may: SendWhile::default() })
    }

    /// Gives the store the incarnation of the one whose content it is to take over: for a store without
    /// events, so that cursors of that one are good here. This value keeps the one with which it was opened,
    /// and is of no use from then on: open the store anew. Repeating it is harmless.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if another process gave it another one meanwhile; else as
    /// [`EventStore::write_events`].
    pub async fn replace_incarnation(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let Inner { requests, statements, .. } = self.inner.as_ref();
        let (old, new) = (schema::incarnation_text(self.inner.incarnation), schema::incarnation_text(incarnation));
        let values = vec![(&new, schema::INCARNATION, &old)];
        requests.write(&statements.change_meta, values, &SendWhile::default()).await?;
        // An answer that was lost is no riddle to whoever reads next.
        if self.inner.stored_incarnation().await?.as_ref() == Some(&new) { Ok(()) } else { Err(replaced()) }
    }
}

impl Inner {
    async fn stored_incarnation(&self) -> Result<Option<String>, StoreError> {
        let read = |(text,): (String,)| Ok(text);
        let mut found = self.requests.read(&self.statements.read_meta, (schema::INCARNATION,), read).await?;
        Ok(found.pop())
    }
}

fn replaced() -> StoreError {
    StoreError::Misconfigured("the event store was given another content meanwhile: start this again".into())
}

impl EventStore for ScyllaEvents {
    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    fn sending_while(&self, may: SendWhile) -> Self {
        Self { inner: Arc::clone(&self.inner), may }
    }

    async fn write_events(&self, batch: EventBatch) -> Result<(), StoreError> {
        self.inner.write_events(batch, &self.may).await
    }

    async fn read_events(
        &self,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let read = EventRead { copies: Copies::Enough, entity, from, order, limit, bytes_max };
        let found = self.inner.event_reads.join(read, || async move { inner.read_events(read).await }).await?;
        Ok(Arc::unwrap_or_clone(found))
    }

    async fn write_state(&self, entity: EntityId, rows: Vec<StateRow>) -> Result<(), StoreError> {
        self.inner.write_state(entity, rows, &self.may).await
    }

    async fn sync_state(&self) -> Result<(), StoreError> {
        // A write of rows returns when a quorum holds them.
        Ok(())
    }

    async fn read_state(&self, entity: EntityId, keys: Vec<RowKey>) -> Result<Vec<Option<StateRow>>, StoreError> {
        self.inner.read_state(entity, keys).await
    }

    async fn scan_state(
        &self,
        entity: EntityId,
        kind: u8,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let scan = StateScan { entity, kind, after, limit };
        let key = scan.clone();
        let found = self.inner.state_scans.join(key, || async move { inner.scan_state(scan).await }).await?;
        Ok(Arc::unwrap_or_clone(found))
    }

    async fn owed_effects(&self) -> Result<Vec<OwedEffect>, StoreError> {
        Ok(Vec::new())
    }

    async fn checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
        let Inner { requests, statements, .. } = self.inner.as_ref();
        let mut found = requests.read(&statements.read_checkpoint, (i32::from(shard.0),), checkpoint::read).await?;
        Ok(found.pop())
    }

    async fn write_checkpoint(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let values = checkpoint::values(shard, &checkpoint)?;
        let Inner { requests, statements, .. } = self.inner.as_ref();
        requests.write(&statements.write_checkpoint, vec![values], &self.may).await
    }
}

impl EntityStore for ScyllaEvents {
    async fn entities(
        &self,
        copies: Copies,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, StoreError> {
        self.inner.entities(copies, after, limit).await
    }

    async fn read_events_of(
        &self,
        copies: Copies,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.inner.read_events(EventRead { copies, entity, from, order, limit, bytes_max }).await
    }
}
