//! Who owns which shard, for those who must find its owner.

use std::future::Future;

use panda_protocol::{Generation, ShardId};

use crate::error::StoreError;

/// Bytes of an owner's address.
pub const OWNER_ADDRESS_BYTES_MAX: usize = 255;

/// A shard's owner, as it announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The shard.
    pub shard: ShardId,
    /// The log's epoch in which the term began.
    pub epoch: u32,
    /// The owner's term.
    pub generation: Generation,
    /// The router, as in its `Takeover`.
    pub router: u64,
    /// Where its links are opened: host and port, at most [`OWNER_ADDRESS_BYTES_MAX`] bytes.
    pub address: String,
}

impl Ownership {
    /// Whether this term is later than another one of the same shard.
    pub fn is_after(&self, other: &Self) -> bool {
        (self.epoch, self.generation) > (other.epoch, other.generation)
    }
}

/// Where owners announce themselves. It is a hint about where to go: what a link's frames say of
/// generations decides.
pub trait OwnershipBoard: Clone + Send + Sync + 'static {
    /// Sees the board.
    type Watch: OwnershipWatch;

    /// Announces a term. One that is not after the shard's last is kept out of sight of those who watch.
    ///
    /// # Errors
    /// [`StoreError`]: whether it was announced is not known. [`StoreError::Limit`] for an address that is
    /// too long.
    fn announce(&self, ownership: Ownership) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Watches the board from now on.
    fn watch(&self) -> Self::Watch;
}

/// Sees the owners of all shards: first those that there are, then each change.
pub trait OwnershipWatch: Send + 'static {
    /// The next owner; waits for it. Terms of one shard rise; ones between may be left out. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`] that no repetition mends; a board that is away is waited for.
    fn next(&mut self) -> impl Future<Output = Result<Ownership, StoreError>> + Send;
}
