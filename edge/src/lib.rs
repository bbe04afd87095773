//! Holds the sockets: listeners, sessions, subscriptions, fan-out, drain.

pub mod admission;
pub mod transport;
