//! What every implementation of a trait must keep, one suite a trait, generic over the implementation.

pub(crate) mod cache;
pub(crate) mod users;
