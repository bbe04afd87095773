//! Figures of a hub.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Figures of a hub; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct HubMetrics {
    /// Links that are open.
    pub links: Gauge,
    /// Links that opened.
    pub opened: Counter,
    /// Tries to open a link that failed.
    pub failed: Counter,
    /// Shards whose owner is linked.
    pub shards: Gauge,
    /// Frames that went up.
    pub up: Counter,
    /// Frames that came down.
    pub down: Counter,
    /// Frames dropped because their sender owns the shard no more.
    pub stale: Counter,
    /// Questions refused, because a shard has no owner for long or a link takes no more.
    pub refused: Counter,
    /// Times that a slow lane got a head instead of events.
    pub overflows: Counter,
}

impl HubMetrics {
    /// Makes the figures known under their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("panda_links");
        registry.register("open", "Links to routers that are open", self.links.clone());
        registry.register("opened", "Links that opened", self.opened.clone());
        registry.register("failed", "Tries to open a link that failed", self.failed.clone());
        registry.register("shards", "Shards whose owner is linked", self.shards.clone());
        registry.register("frames_up", "Frames that went up", self.up.clone());
        registry.register("frames_down", "Frames that came down", self.down.clone());
        registry.register("frames_stale", "Frames of routers that own the shard no more", self.stale.clone());
        registry.register("refused", "Questions refused for want of an owner or of room", self.refused.clone());
        registry.register("lane_overflows", "Times that a slow lane got a head for events", self.overflows.clone());
    }
}
