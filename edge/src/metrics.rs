//! Figures of an edge.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::{Counted, Gate};

/// Why sessions ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    /// The error code's label, or `gone` and `left`.
    pub reason: &'static str,
}

/// Figures of an edge; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct EdgeMetrics {
    /// Connections with a transport, sessions and those on the way to be one.
    pub connections: Gauge,
    /// Open sessions.
    pub sessions: Gauge,
    /// Sessions that were opened.
    pub opened: Counter,
    /// Sessions that ended.
    pub ended: Family<EndLabels, Counter>,
    /// Subscriptions.
    pub subscriptions: Gauge,
    /// Commands handed to the log.
    pub commands: Counter,
    /// Commands and Refreshes refused because the sender was too fast.
    pub rate_limited: Counter,
    /// Events that came from the routers.
    pub events: Counter,
    /// Events queued for sessions.
    pub deliveries: Counter,
    /// Bytes that wait to be written to sessions.
    pub outbox_bytes: Gauge,
    /// Times that a full outbox was cut.
    pub cuts: Counter,
    /// Reads to catch up.
    pub catch_ups: Counter,
    /// Signals queued for sessions.
    pub signals: Counter,
    /// Panics that were contained, in a session's code or in QUIC's, and ended one connection at most: a human must look.
    pub panics: Counter,
    /// Connections closed because the HTTP API took no more.
    pub handover_dropped: Counter,
    gate: Option<Gate>,
}

impl EdgeMetrics {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate: Some(gate), ..Self::default() }
    }

    pub(crate) fn end(&self, reason: &'static str) {
        self.ended.get_or_create(&EndLabels { reason }).inc();
    }

    /// What the gate counted so far, by its label.
    pub fn admissions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = self.gate.as_ref().map(Gate::counters);
        Counted::ALL
            .iter()
            .map(move |(counted, label)| (*label, counters.map_or(0, |counters| counters.value(*counted))))
    }

    /// Makes the figures known under their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("panda_edge");
        registry.register("connections", "Connections of clients", self.connections.clone());
        registry.register("sessions", "Open sessions", self.sessions.clone());
        registry.register("sessions_opened", "Sessions that were opened", self.opened.clone());
        registry.register("sessions_ended", "Sessions that ended, by reason", self.ended.clone());
        registry.register("subscriptions", "Subscriptions of sessions", self.subscriptions.clone());
        registry.register("commands", "Commands handed to the log", self.commands.clone());
        registry.register("commands_rate_limited", "Commands refused for their rate", self.rate_limited.clone());
        registry.register("events", "Events that came from the routers", self.events.clone());
        registry.register("deliveries", "Events queued for sessions", self.deliveries.clone());
        registry.register("outbox_bytes", "Bytes that wait to be written to sessions", self.outbox_bytes.clone());
        registry.register("outbox_cuts", "Times that a full outbox was cut", self.cuts.clone());
        registry.register("catch_ups", "Reads of sessions that catch up", self.catch_ups.clone());
        registry.register("signals", "Signals queued for sessions", self.signals.clone());
        registry.register("session_panics", "Panics of which each ended one connection at most", self.panics.clone());
        registry.register(
            "handover_dropped",
            "Connections closed because the HTTP API took no more",
            self.handover_dropped.clone(),
        );
    }
}
