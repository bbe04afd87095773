//! Figures of the router.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Figures of the router; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct RouterMetrics {
    /// Events stored and released.
    pub events: Counter,
    /// Commands applied.
    pub applied: Counter,
    /// Commands refused.
    pub rejected: Counter,
    /// Commands answered as before.
    pub duplicates: Counter,
    /// Commands on which `apply` panicked: a human must look.
    pub panics: Counter,
    /// Writes of the event store.
    pub writes: Counter,
    /// Loads of rows.
    pub loads: Counter,
    /// Times that a slow link got a head instead of events.
    pub link_overflows: Counter,
    /// Chats and inboxes in memory.
    pub resident: Gauge,
    /// Age of the oldest command that is not answered, in milliseconds.
    pub backlog_ms: Gauge,
    /// Shards owned.
    pub shards: Gauge,
}

impl RouterMetrics {
    /// Makes the figures known under their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("panda_router");
        registry.register("events", "Events stored and released", self.events.clone());
        registry.register("commands_applied", "Commands applied", self.applied.clone());
        registry.register("commands_rejected", "Commands refused", self.rejected.clone());
        registry.register("commands_duplicate", "Commands answered as the first time", self.duplicates.clone());
        registry.register("apply_panics", "Commands on which apply panicked", self.panics.clone());
        registry.register("store_writes", "Writes of the event store", self.writes.clone());
        registry.register("row_loads", "Loads of state rows", self.loads.clone());
        registry.register(
            "link_overflows",
            "Times that a slow link got a head instead of events",
            self.link_overflows.clone(),
        );
        registry.register("entities_resident", "Chats and inboxes in memory", self.resident.clone());
        registry.register("backlog_milliseconds", "Age of the oldest unanswered command", self.backlog_ms.clone());
        registry.register("shards_owned", "Shards owned", self.shards.clone());
    }
}
