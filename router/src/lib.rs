//! Routers: chats and inboxes as pure folds, and the shards that run them over a log and a store.

pub(crate) mod chat;
pub mod fold;
pub(crate) mod inbox;
pub mod rows;
