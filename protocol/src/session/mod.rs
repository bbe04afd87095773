//! The session state machines of both ends, without I/O, clock or runtime: callers pass bytes and `now`.

pub mod client;
pub mod server;
