//! Holds the sockets: listeners, sessions, subscriptions, fan-out, drain.
//!
//! [`start`] runs an edge on threads of its own. A worker holds sessions; [`transport`] and
//! [`admission`] are what comes before a session exists. [`api_door`] is for a process that has none.

pub mod admission;
mod alarm;
pub mod api_door;
#[cfg(feature = "bench")]
pub mod bench;
mod chunked_slab;
mod config;
mod edge;
mod fan_out;
mod metrics;
mod outbox;
mod rate;
mod readmissions;
mod session;
mod subscriptions;
pub mod transport;
mod worker;

pub use config::{EdgeConfig, EdgeParts, SessionLimits, WorkerLink};
pub use edge::{Edge, EdgeError, start};
pub use metrics::{EdgeMetrics, EndLabels};
