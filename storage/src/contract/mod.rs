//! What every implementation of a trait must keep, one suite a trait, generic over the implementation.

pub(crate) mod cache;
pub(crate) mod command_log;
pub(crate) mod events;
pub(crate) mod users;
