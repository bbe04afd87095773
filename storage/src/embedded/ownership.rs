//! The owners of one process's shards, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use panda_protocol::ShardId;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::ownership::{OWNER_ADDRESS_BYTES_MAX, Ownership, OwnershipBoard, OwnershipWatch};

type Owners = BTreeMap<ShardId, Ownership>;

#[derive(Debug, Default)]
struct Shown {
    owners: Owners,
    /// Nothing is shown any more, for this reason.
    ended: Option<StoreError>,
}

/// A board for one process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryBoard {
    shown: Arc<watch::Sender<Shown>>,
}

impl MemoryBoard {
    /// Shows a term, unless it is not after the shard's last. Whether it was shown.
    pub(crate) fn note(&self, ownership: &Ownership) -> bool {
        self.shown.send_if_modified(|Shown { owners, .. }| {
            let later = owners.get(&ownership.shard).is_none_or(|last| ownership.is_after(last));
            if later {
                owners.insert(ownership.shard, ownership.clone());
            }
            later
        })
    }

    /// The latest term of a shard.
    pub(crate) fn latest(&self, shard: ShardId) -> Option<Ownership> {
        self.shown.borrow().owners.get(&shard).cloned()
    }

    /// Tells whoever watches, behind what was shown, that nothing more will be.
    pub(crate) fn end(&self, why: StoreError) {
        self.shown.send_modify(|shown| shown.ended = Some(why));
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
        let mut shown = self.shown.subscribe();
        shown.mark_changed();
        MemoryWatch { shown, seen: Owners::new(), changed: Vec::new(), ended: None }
    }
}

/// Sees a [`MemoryBoard`].
#[derive(Debug)]
pub struct MemoryWatch {
    shown: watch::Receiver<Shown>,
    seen: Owners,
    changed: Vec<Ownership>,
    ended: Option<StoreError>,
}

impl OwnershipWatch for MemoryWatch {
    async fn next(&mut self) -> Result<Ownership, StoreError> {
        loop {
            if let Some(ownership) = self.changed.pop() {
                return Ok(ownership);
            }
            if let Some(why) = self.ended.clone() {
                return Err(why);
            }
            self.shown.changed().await.map_err(|_| StoreError::Closed)?;
            let shown = self.shown.borrow_and_update();
            for (shard, ownership) in &shown.owners {
                if self.seen.get(shard) != Some(ownership) {
                    self.seen.insert(*shard, ownership.clone());
                    self.changed.push(ownership.clone());
                }
            }
            self.ended.clone_from(&shown.ended);
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

    #[tokio::test]
    async fn the_end_of_a_board_is_told_behind_what_it_shows_and_again() {
        let board = MemoryBoard::default();
        let owner = Ownership {
            shard: ShardId(3),
            epoch: 1,
            generation: panda_protocol::Generation(5),
            router: 1,
            address: "127.0.0.1:1".to_owned(),
        };
        let mut watch = board.watch();
        board.announce(owner.clone()).await.unwrap();
        board.end(StoreError::Closed);
        assert_eq!(watch.next().await.unwrap(), owner);
        for _ in 0..2 {
            assert!(matches!(watch.next().await, Err(StoreError::Closed)));
        }
        assert_eq!(board.watch().next().await.unwrap(), owner);
    }
}
