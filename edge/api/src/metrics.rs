//! What the API counts. No label carries a name or identifier.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The route as it stands in the table, never the path.
    pub(crate) route: String,
    pub(crate) status: u16,
}

/// The API's metrics; clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) hashing: Counter,
    pub(crate) hashing_refused: Counter,
    pub(crate) logins_refused: Counter<u64, AtomicU64>,
    pub(crate) logins_throttled: Counter,
    pub(crate) refreshes_reused: Counter,
    pub(crate) refreshes_repeated: Counter,
    pub(crate) mails_waiting: Gauge,
    pub(crate) mails_sent: Counter,
    pub(crate) mails_retried: Counter,
    pub(crate) mails_failed: Counter,
    pub(crate) mails_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            hashing: Counter::default(),
            hashing_refused: Counter::default(),
            logins_refused: Counter::default(),
            logins_throttled: Counter::default(),
            refreshes_reused: Counter::default(),
            refreshes_repeated: Counter::default(),
            mails_waiting: Gauge::default(),
            mails_sent: Counter::default(),
            mails_retried: Counter::default(),
            mails_failed: Counter::default(),
            mails_refused: Counter::default(),
        }
    }
}

impl Metrics {
    /// Names the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let api = registry.sub_registry_with_prefix("panda_api");
        api.register("requests", "HTTP requests answered", self.requests.clone());
        api.register("request_seconds", "Time from a request's head to its answer", self.request_seconds.clone());
        api.register("connections", "HTTP connections open", self.connections.clone());
        api.register(
            "connections_refused",
            "HTTP connections closed because there were too many",
            self.connections_refused.clone(),
        );
        api.register("hashing", "Passwords hashed or compared", self.hashing.clone());
        api.register("hashing_refused", "Passwords refused because too many waited", self.hashing_refused.clone());
        api.register("logins_refused", "Logins with a wrong name or password", self.logins_refused.clone());
        api.register(
            "logins_throttled",
            "Tries of a password refused behind wrong ones",
            self.logins_throttled.clone(),
        );
        api.register(
            "refreshes_reused",
            "Logins ended because a refresh token came again that was used before",
            self.refreshes_reused.clone(),
        );
        api.register(
            "refreshes_repeated",
            "Refresh tokens that came again within their grace",
            self.refreshes_repeated.clone(),
        );
        api.register("mails_waiting", "Mails that wait to be sent or tried again", self.mails_waiting.clone());
        api.register("mails_sent", "Mails that the mail server took", self.mails_sent.clone());
        api.register(
            "mails_retried",
            "Attempts to send a mail after which it is tried again",
            self.mails_retried.clone(),
        );
        api.register("mails_failed", "Mails that were given up", self.mails_failed.clone());
        api.register("mails_refused", "Mails refused because too many waited", self.mails_refused.clone());
    }
}
