//! Faults under load: which ones, drawn from a seed ([`plan`], pure), how they are done to a cluster's
//! processes ([`cluster`]), and what the HTTP API's callers feel meanwhile ([`calls`]).

pub mod calls;
pub mod cluster;
pub mod plan;

pub use calls::Calls;
pub use cluster::{Cluster, Process};
pub use plan::{Fault, Kind};
