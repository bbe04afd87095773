//! Routers: chats and inboxes as pure folds, and the shards that run them over a log and a store.
//!
//! Start at [`fold`] for what a command does, at [`shard`] for how a shard runs commands, and at
//! [`start`] for how shards are driven, at [`new_log`] for what is done when their log is lost, and at [`rebuild`] for
//! how rows are mended.

mod announcer;
mod attachments;
mod beat;
mod begin;
pub(crate) mod chat;
mod damage;
mod doors;
mod driver;
pub mod fold;
pub(crate) mod inbox;
mod links;
pub mod listener;
mod membership;
mod metrics;
mod moment;
pub mod new_log;
mod open_epoch;
mod persist;
mod readiness;
pub mod rebuild;
pub(crate) mod replies;
mod retention;
mod router;
pub mod rows;
pub mod rulebook;
pub mod shard;
mod tail;
mod tenure;
mod terms;
mod thread;
mod traces;

pub use metrics::RouterMetrics;
pub use router::{Router, RouterConfig, RouterError, start};
