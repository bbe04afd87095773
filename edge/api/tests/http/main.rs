//! The API over real HTTP: each endpoint, each refusal, each limit.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chats;
mod connections;
mod identity;
mod logins;
mod origins;
mod pictures;
mod support;
