//! Figures of the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use panda_protocol::ShardId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The age of each shard's oldest unanswered command; cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Backlog(Arc<Vec<AtomicU64>>);

impl Backlog {
    pub(crate) fn new(shards: u16) -> Self {
        Self(Arc::new((0..shards).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Notes a shard's age; the gauge shows the highest of all shards.
    pub(crate) fn announce(&self, shard: ShardId, age_ms: u64, gauge: &Gauge) {
        if let Some(age) = self.0.get(usize::from(shard.0)) {
            age.store(age_ms, Ordering::Relaxed);
        }
        let highest = self.0.iter().map(|age| age.load(Ordering::Relaxed)).max().unwrap_or(0);
        gauge.set(i64::try_from(highest).unwrap_or(i64::MAX));
    }
}

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
    /// Chats and inboxes of owned shards of which something stored cannot be read: a human must look.
    pub damaged: Gauge,
    /// Writes of the event store.
    pub writes: Counter,
    /// Loads of rows.
    pub loads: Counter,
    /// Reads of the event store that questions and commands cost: loads of rows, pages of events, listings of rows.
    pub reads: Counter,
    /// Of them, those for questions: admissions, pages, listings, what became of a command. The rest are for commands.
    pub question_reads: Counter,
    /// Chats and inboxes that left memory because nothing went on in them.
    pub evictions: Counter,
    /// Admissions to chats by a proof, without a row of their user.
    pub proven: Counter,
    /// Admissions to chats and inboxes that are not in memory, without a load.
    pub unloaded: Counter,
    /// Times that a slow link got a head instead of events.
    pub link_overflows: Counter,
    /// Chats and inboxes in memory.
    pub resident: Gauge,
    /// Age of the oldest command that is not answered, in milliseconds.
    pub backlog_ms: Gauge,
    /// Shards owned.
    pub shards: Gauge,
    /// Shards given up: a human must look.
    pub given_up: Counter,
    /// Times that the store said too late which epoch is open: a shard that does not hear from its log stores
    /// nothing then.
    pub epoch_reads_late: Counter,
    /// Links of edges on other machines.
    pub links: Gauge,
    /// Connections that did not become links: for want of room, of a key, or of an opening.
    pub links_refused: Counter,
    /// Frames of links for shards that this router does not own; edges ask again when they hear of an owner.
    pub frames_unowned: Counter,
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
        registry.register(
            "entities_damaged",
            "Chats and inboxes of which something stored cannot be read",
            self.damaged.clone(),
        );
        registry.register("store_writes", "Writes of the event store", self.writes.clone());
        registry.register("row_loads", "Loads of state rows", self.loads.clone());
        registry.register(
            "store_reads",
            "Reads of the event store: loads of state rows, pages of events, listings",
            self.reads.clone(),
        );
        registry.register(
            "question_reads",
            "Reads of the event store for admissions, pages and listings, and not for commands",
            self.question_reads.clone(),
        );
        registry.register("entities_evicted", "Idle chats and inboxes that left memory", self.evictions.clone());
        registry.register("admissions_proven", "Admissions to chats by a proof", self.proven.clone());
        registry.register("admissions_unloaded", "Admissions without a load", self.unloaded.clone());
        registry.register(
            "link_overflows",
            "Times that a slow link got a head instead of events",
            self.link_overflows.clone(),
        );
        registry.register("entities_resident", "Chats and inboxes in memory", self.resident.clone());
        registry.register("backlog_milliseconds", "Age of the oldest unanswered command", self.backlog_ms.clone());
        registry.register("shards_owned", "Shards owned", self.shards.clone());
        registry.register("shards_given_up", "Shards given up", self.given_up.clone());
        registry.register(
            "epoch_reads_late",
            "Times that the event store said too late which epoch is open",
            self.epoch_reads_late.clone(),
        );
        registry.register("links_open", "Links of edges on other machines", self.links.clone());
        registry.register("links_refused", "Connections that did not become links", self.links_refused.clone());
        registry.register(
            "frames_unowned",
            "Frames of links for shards that this router does not own",
            self.frames_unowned.clone(),
        );
    }
}
