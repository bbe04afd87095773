//! The processes of a cluster: edges, APIs and routers over the services that they share.

mod api;
mod edge;
mod router;
pub(crate) mod services;
mod user_calls;
mod ways;

pub(crate) use api::ApiRole;
pub(crate) use edge::EdgeRole;
pub(crate) use router::RouterRole;
