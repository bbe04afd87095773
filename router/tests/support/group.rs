//! A command log for several routers in one process, whose shards a test assigns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId, Time};
use panda_storage::embedded::EmbeddedLog;
use panda_storage::{AppendError, CommandLog, RecordHeaders, ShardChange, ShardGroup, StoreError};
use tokio::sync::mpsc;

/// Changes that a member was not told yet.
const CHANGES_MAX: usize = 256;

type Members = Arc<Mutex<HashMap<u64, mpsc::Sender<ShardChange>>>>;

/// Clones share it.
#[derive(Clone)]
pub(crate) struct SharedLog {
    log: EmbeddedLog,
    members: Members,
}

impl SharedLog {
    pub(crate) fn new(shards: u16) -> Self {
        Self { log: EmbeddedLog::new(shards, 1, || Time(1_000_000)), members: Members::default() }
    }

    pub(crate) fn assign(&self, router: u64, shard: ShardId) {
        self.tell(router, ShardChange::Assigned(shard));
        self.tell(router, ShardChange::Joined);
    }

    pub(crate) fn revoke(&self, router: u64, shard: ShardId) {
        self.tell(router, ShardChange::Revoked(shard));
    }

    /// Whether a router is in the group, with whatever shards.
    pub(crate) fn count_on(&self, router: u64, joined: bool) {
        self.tell(router, if joined { ShardChange::Joined } else { ShardChange::Left });
    }

    pub(crate) fn is_member(&self, router: u64) -> bool {
        self.members.lock().expect("not poisoned").contains_key(&router)
    }

    fn tell(&self, router: u64, change: ShardChange) {
        let members = self.members.lock().expect("not poisoned");
        members[&router].try_send(change).expect("a member listens");
    }
}

impl CommandLog for SharedLog {
    type Appending = <EmbeddedLog as CommandLog>::Appending;
    type Group = Member;
    type Reader = <EmbeddedLog as CommandLog>::Reader;

    fn shards(&self) -> u16 {
        self.log.shards()
    }

    fn epoch(&self) -> u32 {
        self.log.epoch()
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError> {
        self.log.append(shard, record, headers)
    }

    fn join(&self, router: u64) -> Member {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        self.members.lock().expect("not poisoned").insert(router, sender);
        Member { router, changes, members: Arc::clone(&self.members) }
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Self::Reader, StoreError> {
        self.log.read(shard, from).await
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        self.log.end(shard).await
    }

    fn held_back(&self) -> Duration {
        self.log.held_back()
    }

    async fn release(&self, shard: ShardId, position: Position) -> Result<(), StoreError> {
        self.log.release(shard, position).await
    }
}

pub(crate) struct Member {
    router: u64,
    changes: mpsc::Receiver<ShardChange>,
    members: Members,
}

impl ShardGroup for Member {
    async fn next(&mut self) -> Result<ShardChange, StoreError> {
        self.changes.recv().await.ok_or(StoreError::Closed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.members.lock().expect("not poisoned").remove(&self.router);
    }
}
