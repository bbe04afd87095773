//! The API over real HTTP: each endpoint, each refusal, each limit.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod api_keys;
mod chats;
mod connections;
mod identity;
mod keys;
mod logins;
mod mail;
mod origins;
mod pictures;
mod providers;
mod support;
mod throttle;
