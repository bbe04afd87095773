//! Where Panda keeps things: seven traits, and their implementations.
//!
//! | trait | what it keeps | embedded | in a cluster |
//! |---|---|---|---|
//! | [`CommandLog`] | commands on their way to a router | memory | Kafka |
//! | [`OwnershipBoard`] | which router owns which shard | memory | Kafka |
//! | [`EventStore`] | events and the rows that cache their fold | one folder | Scylla or Cassandra |
//! | [`EntityStore`] | the same, gone through as a whole | the same folder | the same tables |
//! | [`EpochStore`] | which log the events' positions are of | beside the events | beside the events |
//! | [`UserStore`] | users, credentials, keys | SQLite | Postgres |
//! | [`Cache`] | what may be lost: profiles, presence, shared rate limits | memory | Redis |
//!
//! Bodies are opaque bytes here: this crate knows identifiers and limits of the protocol, never frames.
#![warn(missing_docs)]

pub mod cache;
pub mod command_log;
#[cfg(test)]
mod contract;
pub mod embedded;
pub mod entity_store;
pub mod epoch_store;
pub mod error;
pub mod event_store;
pub mod kafka;
pub mod known_log;
pub mod ownership;
pub mod pictures;
pub mod postgres;
pub mod private;
pub mod record_headers;
pub mod redis;
pub mod scylla;
pub mod send_while;
pub mod user_store;

pub use cache::Cache;
pub use command_log::{AppendError, CommandLog, LogRecord, RecordMark, ShardChange, ShardGroup, ShardReader};
pub use entity_store::{Copies, ENTITIES_AT_ONCE_MAX, EntityStore};
pub use epoch_store::{EpochStore, LogEpoch, LogIdentity};
pub use error::StoreError;
pub use event_store::{
    Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RowKey, SettledEffect, StateRow,
};
pub use ownership::{Ownership, OwnershipBoard, OwnershipWatch};
pub use pictures::PictureStore;
pub use record_headers::{Appender, RecordHeaders, TRACE_TARGET};
pub use send_while::SendWhile;
pub use user_store::{UserStore, UserStoreError};
