//! What somebody was told, so what must be there from then on.

use std::collections::BTreeMap;

use bytes::Bytes;
use panda_protocol::{EntityId, Incarnation, Position, Seq, ShardId, Time, UserId};
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::{
    Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ReadOrder, RecordMark, RowKey, SettledEffect, StoreError,
};

/// Chats, each with a task that writes to it.
pub(crate) const CHATS: u8 = 5;
/// Inboxes that all of them change.
pub(crate) const INBOXES: u8 = 3;

pub(crate) fn chat(number: u8) -> EntityId {
    UserId::from_random([number; 16]).into()
}

pub(crate) fn inbox(number: u8) -> EntityId {
    UserId::from_random([100 + number; 16]).into()
}

/// The row that is written first, and the one that is written behind it.
pub(crate) fn row_keys() -> [RowKey; 2] {
    [b"1", b"2"].map(|key| RowKey { kind: 1, key: Bytes::from_static(key) })
}

/// What the store answers wrongly, or that it does not answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    Broken(String),
    Refused(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

fn broken(text: impl Into<String>) -> Result<(), Trouble> {
    Err(Trouble::Broken(text.into()))
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    pub(crate) events: BTreeMap<(EntityId, u64), Bytes>,
    pub(crate) state_time: u64,
    pub(crate) checkpoint: u64,
    epoch: u32,
    incarnation: Option<Incarnation>,
}

impl Promises {
    pub(crate) fn head(&self, entity: EntityId) -> u64 {
        self.events.range((entity, 0)..=(entity, u64::MAX)).next_back().map_or(0, |((_, seq), _)| *seq)
    }

    /// Compares a store that was just opened with what was promised, and takes the effects that it still
    /// owes, as a router does. What the store shows is a promise too.
    pub(crate) async fn check(&mut self, store: &EmbeddedEvents) -> Result<(), Trouble> {
        if store.epoch() <= self.epoch {
            return broken(format!("epoch {} after {}", store.epoch(), self.epoch));
        }
        if *self.incarnation.get_or_insert_with(|| store.incarnation()) != store.incarnation() {
            return broken("another incarnation");
        }
        self.epoch = store.epoch();
        let found = self.check_events(store).await?;
        let owed = store.owed_effects().await?;
        check_effects(&found, &owed)?;
        self.events = found;
        self.check_state(store).await?;
        for owed in owed {
            let seq = self.head(owed.target) + 1;
            store.write_events(taking(&owed, seq)).await?;
            self.events.insert((owed.target, seq), effect(&owed.event));
        }
        Ok(())
    }

    async fn check_events(&self, store: &EmbeddedEvents) -> Result<BTreeMap<(EntityId, u64), Bytes>, Trouble> {
        let mut found = BTreeMap::new();
        for entity in (0..CHATS).map(chat).chain((0..INBOXES).map(inbox)) {
            let rows = store.read_events(entity, Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await?;
            let mut command = 0;
            for (index, row) in rows.into_iter().enumerate() {
                if row.seq.0 != index as u64 + 1 || row.index != command {
                    broken(format!("a hole before event {} of {entity}", row.seq))?;
                }
                command = if row.index + 1 == row.count { 0 } else { command + 1 };
                found.insert((entity, row.seq.0), row.event);
            }
            if command != 0 {
                broken(format!("half a command at the end of {entity}"))?;
            }
        }
        match self.events.iter().find(|(key, event)| found.get(key) != Some(event)) {
            Some(((entity, seq), _)) => broken(format!("lost event {seq} of {entity}")).map(|()| found),
            None => Ok(found),
        }
    }

    async fn check_state(&self, store: &EmbeddedEvents) -> Result<(), Trouble> {
        let rows = store.read_state(chat(0), row_keys().into()).await?;
        let times: Vec<_> = rows.iter().map(|row| row.as_ref().map_or(0, |row| row.time.0)).collect();
        if times[1] < self.state_time {
            broken("lost a synced state row")?;
        }
        if times[0] < times[1] {
            broken("a state row without the one that was written before it")?;
        }
        let stored = store.checkpoint(ShardId(0)).await?;
        let offset = stored.map_or(0, |stored| stored.position.offset);
        if offset < self.checkpoint {
            broken("lost a checkpoint")?;
        }
        if stored.is_some_and(|stored| stored != checkpoint(offset)) {
            broken("a checkpoint that nobody wrote")?;
        }
        Ok(())
    }
}

/// Every event that changes an inbox is taken there once, or owed.
fn check_effects(found: &BTreeMap<(EntityId, u64), Bytes>, owed: &[OwedEffect]) -> Result<(), Trouble> {
    let changes = |event: &Bytes| event.starts_with(b"add") || event.starts_with(b"remove");
    for ((entity, seq), event) in found.iter().filter(|(_, event)| changes(event)) {
        let taken = found.values().filter(|other| **other == effect(event)).count();
        let is_owed = owed.iter().any(|owed| owed.source == *entity && owed.source_seq.0 == *seq);
        if taken + usize::from(is_owed) != 1 {
            let entity = entity.to_string();
            return broken(format!("event {seq} of {entity} is taken {taken} times, and owed: {is_owed}"));
        }
    }
    Ok(())
}

/// The checkpoint at an offset, which is above 0; the log leaves offsets out.
pub(crate) fn checkpoint(offset: u64) -> Checkpoint {
    let at = |offset| Position { epoch: 1, offset };
    let last = RecordMark { position: at(offset / 2), time: Time(offset), digest: offset.to_be_bytes() };
    Checkpoint { position: at(offset), rules: 1, last: Some(last) }
}

/// The bytes of the inbox's event.
pub(crate) fn effect(event: &Bytes) -> Bytes {
    Bytes::from([b"effect of ", &event[..]].concat())
}

/// One command of these events.
pub(crate) fn command(entity: EntityId, first: u64, events: Vec<Bytes>) -> EventBatch {
    let count = u8::try_from(events.len()).unwrap();
    let rows = (first..).zip(0..).zip(events).map(|((seq, index), event)| EventRow {
        seq: Seq(seq),
        position: Position { epoch: 1, offset: first },
        index,
        count,
        time: Time(seq),
        event,
    });
    EventBatch { entity, rows: rows.collect(), owes: Vec::new(), settles: Vec::new() }
}

/// The write that takes an effect and strikes it out.
pub(crate) fn taking(owed: &OwedEffect, seq: u64) -> EventBatch {
    let settled = SettledEffect { source: owed.source, source_seq: owed.source_seq, target: owed.target };
    EventBatch { settles: vec![settled], ..command(owed.target, seq, vec![effect(&owed.event)]) }
}
