//! How often a process asked Postgres: sessions that come back with a ticket must not.

use std::fmt;

use panda_storage::postgres::PostgresUsers;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

/// Makes the figure known: `panda_users_calls_total`.
pub(super) fn register(users: &PostgresUsers, registry: &mut Registry) {
    registry.register_collector(Box::new(UserCalls(users.clone())));
}

struct UserCalls(PostgresUsers);

impl Collector for UserCalls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let calls = ConstCounter::new(self.0.calls());
        let help = "Calls of Postgres for users, keys and credentials";
        calls.encode(encoder.encode_descriptor("panda_users_calls", help, None, calls.metric_type())?)
    }
}

impl fmt::Debug for UserCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserCalls({})", self.0.calls())
    }
}
