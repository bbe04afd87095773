//! A store of three replicas and a log, in memory, that tests can break.

pub(crate) mod group;
pub(crate) mod log;
pub(crate) mod store;
