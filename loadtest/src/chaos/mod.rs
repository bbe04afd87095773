//! Faults under load: which ones, drawn from a seed ([`plan`], pure), how they are done to a cluster's
//! processes ([`cluster`]), what the HTTP API's callers feel meanwhile ([`calls`]), and what holds meanwhile
//! ([`promises`]).

pub mod calls;
pub mod cluster;
pub mod plan;
pub mod promises;

pub use calls::{Calls, Failure};
pub use cluster::{Cluster, Open, Process, Status};
pub use plan::{Cut, Fault, Kind};
