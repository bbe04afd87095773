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
    /// The group has said something.
    answered: bool,
    /// It has said all that it has to say for now.
    settled: bool,
    /// The shards that are assigned, and whether each runs.
    assigned: BTreeMap<ShardId, bool>,
}

impl Readiness {
    /// Whether the group has answered, and every shard that it assigned runs.
    pub(crate) fn is_ready(&self) -> bool {
        let known = self.0.lock();
        known.settled && known.assigned.values().all(|runs| *runs)
    }

    pub(crate) fn assign(&self, shard: ShardId) {
        let mut known = self.0.lock();
        (known.answered, known.settled) = (true, false);
        known.assigned.entry(shard).or_insert(false);
    }

    pub(crate) fn revoke(&self, shard: ShardId) {
        let mut known = self.0.lock();
        (known.answered, known.settled) = (true, false);
        known.assigned.remove(&shard);
    }

    /// The group has nothing more to say for now; it counts once it has said something.
    pub(crate) fn settle(&self) {
        let mut known = self.0.lock();
        known.settled = known.answered;
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
        readiness.settle();
        assert!(!readiness.is_ready(), "the group has not answered");
        readiness.assign(ShardId(1));
        let first = readiness.run(ShardId(1), gauge.clone());
        assert!(!readiness.is_ready(), "the group may have more to say");
        readiness.assign(ShardId(2));
        readiness.settle();
        assert!(!readiness.is_ready(), "the second does not run yet");
        let second = readiness.run(ShardId(2), gauge.clone());
        assert!(readiness.is_ready());
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert!(!readiness.is_ready(), "between two terms");
        readiness.revoke(ShardId(1));
        readiness.settle();
        assert!(readiness.is_ready());
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}
