//! Storing rows, and forgetting what nobody uses.

use hashbrown::HashMap;
use panda_protocol::{EntityId, Seq, Time};
use panda_storage::StateRow;

use super::{Output, Shard, room};

/// Rows wait so long, in microseconds, so that one write of them serves many events.
const FLUSH_AFTER_US: u64 = 2_000_000;
/// Or until so many wait.
const FLUSH_ROWS: usize = 512;
/// So long, in microseconds, an entity in which nothing goes on stays where there are few,
const WARM_US: u64 = 30_000_000;
/// and where there are too many.
const CROWDED_US: u64 = 1_000_000;
/// A backlog is announced from this age on.
const BACKLOG_FROM_MS: u64 = 1_000;
/// At most so many flushes are started a tick, so that they do not crowd out commands.
const FLUSHES_A_TICK: usize = 256;

impl Shard {
    pub(super) fn tick(&mut self, now: Time) {
        self.set_now(now);
        let now = self.now;
        self.ask_log_if_due();
        let due: Vec<EntityId> = self
            .entities
            .iter()
            .filter(|(_, entity)| entity.flushing.is_none() && !entity.dirty.is_empty())
            .filter(|(_, entity)| {
                entity.dirty.len() >= FLUSH_ROWS
                    || entity.dirty_since.is_none_or(|since| now.0.saturating_sub(since.0) >= FLUSH_AFTER_US)
            })
            .map(|(id, _)| *id)
            .take(FLUSHES_A_TICK)
            .collect();
        for id in due {
            self.flush(id);
        }
        self.evict_idle();
        self.interests.forget_lapsed(self.now, self.limits.standing_us, self.limits.evictions_a_tick);
        self.ahead.pass(self.progress.taken());
        self.announce_backlog();
        self.checkpoint_if_due();
        self.tell_watermarks();
    }

    fn announce_backlog(&mut self) {
        let oldest = self.entities.values().filter_map(|entity| entity.waits_since()).min();
        let age_ms = oldest.map_or(0, |since| self.now.0.saturating_sub(since.0) / 1_000);
        let age_ms = if age_ms < BACKLOG_FROM_MS { 0 } else { age_ms };
        if age_ms != self.backlog_ms {
            self.backlog_ms = age_ms;
            self.outputs.push(Output::Backlog(age_ms));
        }
    }

    /// Before a stop: stores every row, so that the next start has nothing to make up.
    pub fn flush_all(&mut self) {
        let due: Vec<EntityId> = self
            .entities
            .iter()
            .filter(|(_, entity)| entity.flushing.is_none() && !entity.dirty.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.flush(id);
        }
    }

    /// Stores every row of an entity that is not stored yet.
    pub(super) fn flush(&mut self, id: EntityId) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        let (through, time) = entity.released;
        let rows = entity
            .dirty
            .iter()
            .map(|(row, value)| StateRow { key: row.key(), value: Some(value.to_bytes()), time: value.time })
            .collect();
        entity.flushing =
            Some(entity.dirty.iter().map(|(row, value)| (row.clone(), value.seq)).collect::<HashMap<_, _>>());
        entity.dirty_since = None;
        self.store(Output::Flush { entity: id, rows, through, time });
    }

    pub(super) fn flushed(&mut self, id: EntityId) {
        let rows_max = self.limits.rows_max;
        let now = self.now;
        let Some(entity) = self.entities.get_mut(&id) else { return };
        let Some(stored) = entity.flushing.take() else { return };
        for (row, seq) in stored {
            // A row that changed meanwhile is stored by the next flush.
            if entity.dirty.get(&row).is_some_and(|dirty| dirty.seq == seq) {
                entity.dirty.remove(&row);
            }
        }
        if !entity.dirty.is_empty() {
            entity.dirty_since.get_or_insert(now);
        }
        Self::shed_rows(entity, rows_max);
        entity.give_back();
    }

    /// What nobody uses leaves memory: it is stored, and is loaded again by whoever comes. Of those to which links
    /// listen, [`super::standing::Standing`] stays.
    fn evict_idle(&mut self) {
        let idle_us = match self.entities.len() {
            many if many > self.limits.entities_max => CROWDED_US.min(self.limits.idle_us),
            some if some > self.limits.entities_warm => self.limits.idle_us,
            _ => WARM_US,
        };
        let now = self.now;
        let evicted = self.entities.extract_if(|_, entity| entity.may_leave(now, idle_us));
        for (id, entity) in evicted.take(self.limits.evictions_a_tick) {
            if let Some(standing) = entity.standing().filter(|standing| standing.head > Seq(0)) {
                self.figures.evictions += 1;
                self.interests.note_standing(id, standing);
            }
        }
        room::give_back(&mut self.entities);
    }
}
