//! One copy of what is stored: of each row the one with the higher time, in whatever order they come.

use std::collections::BTreeMap;

use panda_protocol::{EntityId, Seq, ShardId, Time};
use panda_storage::{Checkpoint, EventBatch, EventRow, RowKey, StateRow};

#[derive(Clone)]
pub(super) enum Change {
    Events(EventBatch),
    State(EntityId, Vec<StateRow>),
    Checkpoint(ShardId, Checkpoint),
}

#[derive(Clone, Default)]
pub(crate) struct Replica {
    pub(crate) events: BTreeMap<(EntityId, Seq), EventRow>,
    pub(crate) state: BTreeMap<(EntityId, RowKey), StateRow>,
    pub(crate) checkpoints: BTreeMap<ShardId, Checkpoint>,
}

impl Replica {
    pub(super) fn take(&mut self, change: &Change) {
        match change {
            Change::Events(batch) => {
                for row in &batch.rows {
                    let place = self.events.entry((batch.entity, row.seq)).or_insert_with(|| row.clone());
                    if row.time > place.time {
                        *place = row.clone();
                    } else if row.time == place.time {
                        assert_eq!(place, row, "equal times carry equal bytes");
                    }
                }
            }
            Change::State(entity, rows) => {
                for row in rows {
                    let place = self.state.entry((*entity, row.key.clone())).or_insert_with(|| row.clone());
                    if row.time > place.time {
                        *place = row.clone();
                    } else if row.time == place.time {
                        assert_eq!(place, row, "equal times carry equal bytes");
                    }
                }
            }
            Change::Checkpoint(shard, checkpoint) => {
                let place = self.checkpoints.entry(*shard).or_insert(*checkpoint);
                if checkpoint.position > place.position {
                    *place = *checkpoint;
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for ((entity, _), row) in &other.events {
            let rows = vec![row.clone()];
            self.take(&Change::Events(EventBatch { entity: *entity, rows, owes: vec![], settles: vec![] }));
        }
        for ((entity, _), row) in &other.state {
            self.take(&Change::State(*entity, vec![row.clone()]));
        }
        for (shard, checkpoint) in &other.checkpoints {
            self.take(&Change::Checkpoint(*shard, *checkpoint));
        }
    }
}

pub(super) fn newer<T: Clone>(one: Option<&T>, other: Option<&T>, time: impl Fn(&T) -> Time) -> Option<T> {
    one.into_iter().chain(other).max_by_key(|row| time(row)).cloned()
}
