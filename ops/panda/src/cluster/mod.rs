//! The processes of a cluster: edges and routers over the services that they share.

mod edge;
mod router;
pub(crate) mod services;

pub(crate) use edge::EdgeRole;
pub(crate) use router::RouterRole;
