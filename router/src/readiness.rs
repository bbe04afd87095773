//! Whether a router runs all that is assigned to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use panda_protocol::ShardId;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

/// Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The group counts on this router, and has told it of all shards that are its own, if any.
    joined: bool,
    /// The shards that are assigned, and whether each runs.
    assigned: BTreeMap<ShardId, bool>,
}

impl Readiness {
    /// Whether the router is in its group, and every shard that it assigned runs.
    pub(crate) fn is_ready(&self) -> bool {
        let known = self.0.lock();
        known.joined && known.assigned.values().all(|runs| *runs)
    }

    pub(crate) fn assign(&self, shard: ShardId) {
        self.0.lock().assigned.entry(shard).or_insert(false);
    }

    pub(crate) fn revoke(&self, shard: ShardId) {
        self.0.lock().assigned.remove(&shard);
    }

    /// Whether the router is in its group.
    pub(crate) fn set_joined(&self, joined: bool) {
        self.0.lock().joined = joined;
    }

    /// The shard runs until what is returned is dropped; `gauge` counts those that do.
    pub(crate) fn run(&self, shard: ShardId, gauge: Gauge) -> Running {
        self.set(shard, true);
        gauge.inc();
        Running { readiness: self.clone(), shard, gauge }
    }

    fn set(&self, shard: ShardId, runs: bool) {
        if let Some(known) = self.0.lock().assigned.get_mut(&shard) {
            *known = runs;
        }
    }
}

/// A shard that runs.
#[derive(Debug)]
pub(crate) struct Running {
    readiness: Readiness,
    shard: ShardId,
    gauge: Gauge,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.readiness.set(self.shard, false);
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_ready_when_all_runs_that_the_group_has_assigned() {
        let (readiness, gauge) = (Readiness::default(), Gauge::default());
        assert!(!readiness.is_ready(), "the group has not answered");
        readiness.assign(ShardId(1));
        let first = readiness.run(ShardId(1), gauge.clone());
        assert!(!readiness.is_ready(), "the group may have more to say");
        readiness.assign(ShardId(2));
        readiness.set_joined(true);
        assert!(!readiness.is_ready(), "the second does not run yet");
        let second = readiness.run(ShardId(2), gauge.clone());
        assert!(readiness.is_ready());
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert!(!readiness.is_ready(), "between two terms");
        readiness.revoke(ShardId(1));
        assert!(readiness.is_ready());
        drop(second);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_router_without_shards_is_ready_in_its_group_and_not_outside() {
        let readiness = Readiness::default();
        readiness.set_joined(true);
        assert!(readiness.is_ready(), "there are more routers than shards");
        readiness.assign(ShardId(1));
        drop(readiness.run(ShardId(1), Gauge::default()));
        readiness.set_joined(false);
        readiness.revoke(ShardId(1));
        assert!(!readiness.is_ready(), "it lost its shards with its membership");
        readiness.set_joined(true);
        assert!(readiness.is_ready());
    }
}
