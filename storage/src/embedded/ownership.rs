//! The owners of one process's shards, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use panda_protocol::ShardId;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::ownership::{OWNER_ADDRESS_BYTES_MAX, Ownership, OwnershipBoard, OwnershipWatch};

type Owners = BTreeMap<ShardId, Ownership>;

/// A board for one process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryBoard {
    owners: Arc<watch::Sender<Owners>>,
}

impl MemoryBoard {
    /// Shows a term, unless it is not after the shard's last. Whether it was shown.
    pub(crate) fn note(&self, ownership: &Ownership) -> bool {
        self.owners.send_if_modified(|owners| {
            let later = owners.get(&ownership.shard).is_none_or(|last| ownership.is_after(last));
            if later {
                owners.insert(ownership.shard, ownership.clone());
            }
            later
        })
    }

    /// The latest term of a shard.
    pub(crate) fn latest(&self, shard: ShardId) -> Option<Ownership> {
        self.owners.borrow().get(&shard).cloned()
    }
}

impl OwnershipBoard for MemoryBoard {
    type Watch = MemoryWatch;

    async fn announce(&self, ownership: Ownership) -> Result<(), StoreError> {
        if ownership.address.len() > OWNER_ADDRESS_BYTES_MAX {
            return Err(StoreError::Limit(format!("the address of a link has {} bytes", ownership.address.len())));
        }
        self.note(&ownership);
        Ok(())
    }

    fn watch(&self) -> MemoryWatch {
        let mut owners = self.owners.subscribe();
        owners.mark_changed();
        MemoryWatch { owners, seen: Owners::new(), changed: Vec::new() }
    }
}

/// Sees a [`MemoryBoard`].
#[derive(Debug)]
pub struct MemoryWatch {
    owners: watch::Receiver<Owners>,
    seen: Owners,
    changed: Vec<Ownership>,
}

impl OwnershipWatch for MemoryWatch {
    async fn next(&mut self) -> Result<Ownership, StoreError> {
        loop {
            if let Some(ownership) = self.changed.pop() {
                return Ok(ownership);
            }
            self.owners.changed().await.map_err(|_| StoreError::Closed)?;
            let owners = self.owners.borrow_and_update();
            for (shard, ownership) in owners.iter() {
                if self.seen.get(shard) != Some(ownership) {
                    self.seen.insert(*shard, ownership.clone());
                    self.changed.push(ownership.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_board_keeps_the_contract() {
        crate::contract::ownership::all(async || MemoryBoard::default()).await;
    }
}
