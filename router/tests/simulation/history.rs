//! What the rows of the event store say when they are read as an owner reads them.

use std::collections::BTreeMap;

use panda_protocol::{EntityId, Seq};
use panda_storage::EventRow;

/// The events of each entity: dense, in whole commands, of rising positions. What is behind them was left
/// by an owner whose epoch was over.
pub(crate) fn of(rows: &BTreeMap<(EntityId, Seq), EventRow>) -> BTreeMap<(EntityId, Seq), EventRow> {
    let mut history = BTreeMap::new();
    let mut entities: Vec<EntityId> = rows.keys().map(|(entity, _)| *entity).collect();
    entities.dedup();
    for entity in entities {
        let mut found: Vec<&EventRow> = Vec::new();
        for (_, row) in rows.range((entity, Seq(1))..=(entity, Seq(u64::MAX))) {
            let follows = match found.last() {
                Some(last) if last.index + 1 < last.count => row.position == last.position,
                Some(last) => row.position > last.position && row.index == 0,
                None => row.index == 0,
            };
            if row.seq.0 != found.len() as u64 + 1 || !follows {
                break;
            }
            found.push(row);
        }
        while found.last().is_some_and(|last| last.index + 1 < last.count) {
            found.pop();
        }
        history.extend(found.into_iter().map(|row| ((entity, row.seq), row.clone())));
    }
    history
}
