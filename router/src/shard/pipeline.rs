//! Apply, write, release: the way of a command through its entity.

use std::panic::{AssertUnwindSafe, catch_unwind};

use panda_protocol::event::Event;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::link::{Answer, Down, Effect, Events, LinkEvent, Outcome, Record, Rejection};
use panda_protocol::{EntityId, ErrorCode, Position, Time};
use panda_storage::{EventRow, OwedEffect, SettledEffect};

use super::entity::{Batch, Entity, Pending, Release, Stored};
use super::{Loaded, Output, Shard};
use crate::fold::{self, Decision};
use crate::rows::{RowId, Rows};

impl Shard {
    /// Does what can be done for an entity now.
    pub(super) fn run(&mut self, id: EntityId) {
        loop {
            let Some(entity) = self.entities.get_mut(&id) else { return };
            entity.used = self.now;
            if entity.loading || (entity.building.rows.len() >= COMMAND_EVENTS_MAX && entity.in_flight.is_some()) {
                break;
            }
            let Some(next) = entity.queue.front() else { break };
            let ids = match next {
                Pending::Record { record, .. } => fold::needs(record),
                Pending::Question { question, .. } => question.needs(),
            };
            let missing = if entity.loaded { entity.missing(ids) } else { ids };
            if !missing.is_empty() {
                entity.loading = true;
                self.figures.loads += 1;
                self.outputs.push(Output::Load { entity: id, ids: missing, first: !entity.loaded });
                break;
            }
            let Some(pending) = entity.queue.pop_front() else { break };
            match pending {
                Pending::Question { link, question } => {
                    self.queued -= 1;
                    let decided = question.decide(entity, self.incarnation);
                    entity.building.releases.push(Release::Question { link, question, decided });
                }
                Pending::Record { record, position, time, since } => {
                    if let Err(record) = self.command(id, record, position, time) {
                        // The batch is full: the command opens the next one.
                        if let Some(entity) = self.entities.get_mut(&id) {
                            entity.queue.push_front(Pending::Record { record: *record, position, time, since });
                        }
                        break;
                    }
                    self.queued -= 1;
                }
            }
            self.write(id);
        }
        self.write(id);
    }

    /// Applies one record. Hands it back if its events do not fit into the batch that is being built.
    fn command(&mut self, id: EntityId, record: Record, position: Position, time: Time) -> Result<(), Box<Record>> {
        let Some(entity) = self.entities.get_mut(&id) else { return Ok(()) };
        if entity.poisoned {
            self.refuse(id, &record, Rejection::new(ErrorCode::OutcomeUnknown));
            return Ok(());
        }
        let rules = self.rules;
        let applied = catch_unwind(AssertUnwindSafe(|| fold::apply(rules, &*entity, &record, position, time)));
        match applied {
            Ok(Ok(events)) => return self.take_events(id, record, position, events),
            Ok(Err(Decision::Duplicate(seq))) => {
                self.figures.duplicates += 1;
                self.answer(id, &record, Outcome::Applied(seq));
            }
            Ok(Err(Decision::Rejected(rejection))) => {
                self.figures.rejected += 1;
                self.answer(id, &record, Outcome::Rejected(rejection));
            }
            Ok(Err(Decision::AlreadyApplied)) => self.refuse(id, &record, Rejection::new(ErrorCode::OutcomeUnknown)),
            Ok(Err(Decision::EffectTaken)) => {}
            Err(_) => {
                entity.poisoned = true;
                self.figures.panics += 1;
                self.refuse(id, &record, Rejection::new(ErrorCode::OutcomeUnknown));
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: EntityId, record: &Record, rejection: Rejection) {
        self.answer(id, record, Outcome::Rejected(rejection));
    }

    /// An answer leaves behind whatever was applied before it.
    fn answer(&mut self, id: EntityId, record: &Record, outcome: Outcome) {
        let (Record::Command(command), Some(entity)) = (record, self.entities.get_mut(&id)) else { return };
        let answer = Answer { token: command.origin.token, generation: self.generation, outcome };
        entity.building.releases.push(Release::Send(command.origin.link, Down::Answer(answer)));
    }

    fn take_events(
        &mut self,
        id: EntityId,
        record: Record,
        position: Position,
        events: Vec<Event>,
    ) -> Result<(), Box<Record>> {
        let Some(entity) = self.entities.get_mut(&id) else { return Ok(()) };
        let encoded: Vec<_> = events.iter().map(Event::to_bytes).collect();
        let bytes: usize = encoded.iter().map(|event| event.len()).sum();
        let batch = &entity.building;
        let fits = batch.rows.len() + events.len() <= COMMAND_EVENTS_MAX && batch.bytes + bytes <= WRITE_BYTES_MAX;
        if !fits && !batch.rows.is_empty() {
            return Err(Box::new(record));
        }
        entity.building.bytes += bytes;
        // A command makes at most 128 events.
        let count = u8::try_from(events.len()).unwrap_or(u8::MAX);
        let first = events.first().map(|event| event.seq);
        for (index, (event, bytes)) in events.iter().zip(encoded).enumerate() {
            fold::advance(entity, id, event, position);
            let effects = fold::effects(id, event, &bytes);
            entity.building.owes.extend(effects.iter().map(owed));
            entity.building.rows.push(EventRow {
                seq: event.seq,
                position,
                index: u8::try_from(index).unwrap_or(u8::MAX),
                count,
                time: event.time,
                event: bytes.clone(),
            });
            let stored = Stored { seq: event.seq, time: event.time, ends: fold::ends(event), bytes, effects };
            entity.building.releases.push(Release::Event(Box::new(stored)));
        }
        match (&record, first) {
            (Record::Effect(effect), _) => entity.building.settles.push(settled(effect)),
            (Record::Command(_), Some(seq)) => {
                self.figures.applied += 1;
                self.answer(id, &record, Outcome::Applied(seq));
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts the write of what was built, if none is in flight. Without events nothing is written,
    /// and what is to be released leaves at once.
    fn write(&mut self, id: EntityId) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        if entity.in_flight.is_some() || entity.building.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut entity.building);
        for row in std::mem::take(&mut batch.touched) {
            if let Some(value) = entity.row(&row) {
                let value = value.clone();
                batch.changed.push((row, value));
            }
        }
        let writes = batch.writes(id);
        if writes.is_empty() {
            self.release(id, batch);
            return;
        }
        entity.in_flight = Some(batch);
        entity.writing_since = self.now;
        self.figures.writes += 1;
        self.outputs.push(Output::Write(writes));
    }

    pub(super) fn written(&mut self, id: EntityId) {
        let Some(batch) = self.entities.get_mut(&id).and_then(|entity| entity.in_flight.take()) else { return };
        self.release(id, batch);
        self.run(id);
    }

    /// Everything of the batch is durable: let it go, in order.
    fn release(&mut self, id: EntityId, batch: Batch) {
        let mut events: Vec<LinkEvent> = Vec::new();
        for release in batch.releases {
            match release {
                Release::Event(stored) => {
                    let Some(entity) = self.entities.get_mut(&id) else { return };
                    entity.released = (stored.seq, stored.time);
                    events.push(LinkEvent { seq: stored.seq, ends: stored.ends, event: stored.bytes.clone() });
                    self.figures.events += 1;
                    for effect in &stored.effects {
                        self.effects_pending += 1;
                        self.outputs.push(Output::AppendEffect(effect.clone()));
                    }
                    entity.remember(*stored);
                }
                Release::Send(link, down) => self.outputs.push(Output::Send(link, down)),
                Release::Question { link, question, decided } => {
                    // A question sees the events before it as sent already.
                    self.send_events(id, std::mem::take(&mut events));
                    self.answer_question(id, link, question, decided);
                }
            }
        }
        self.send_events(id, events);
        let now = self.now;
        if let Some(entity) = self.entities.get_mut(&id) {
            if !batch.changed.is_empty() {
                entity.dirty_since.get_or_insert(now);
            }
            entity.dirty.extend(batch.changed);
        }
    }

    fn send_events(&mut self, id: EntityId, events: Vec<LinkEvent>) {
        let (false, Some(links)) = (events.is_empty(), self.interest.get(&id)) else { return };
        for link in links {
            let down = Down::Events(Events { generation: self.generation, entity: id, events: events.clone() });
            self.outputs.push(Output::Send(*link, down));
        }
    }

    pub(super) fn loaded(&mut self, id: EntityId, loaded: Loaded) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        entity.loading = false;
        if !entity.loaded {
            entity.loaded = true;
            entity.flushed = loaded.flushed;
        }
        for (row, value) in loaded.rows {
            entity.rows.insert(row, value);
        }
        let (seq, time, _) = entity.head_stamp();
        if entity.in_flight.is_none() && entity.building.rows.is_empty() {
            entity.released = (seq, time);
        }
        for row in loaded.dirty {
            if let Some(value) = entity.row(&row).cloned() {
                entity.dirty.insert(row, value);
                entity.dirty_since.get_or_insert(self.now);
            }
        }
        self.run(id);
    }

    /// Rows in memory that are also stored are dropped when there are too many; the head stays.
    pub(super) fn shed_rows(entity: &mut Entity, rows_max: usize) {
        if entity.rows.len() > rows_max && entity.is_quiet() {
            entity.rows.retain(|id, _| *id == RowId::Head);
        }
    }
}

fn owed(effect: &Effect) -> OwedEffect {
    OwedEffect {
        source: effect.source,
        source_seq: effect.source_seq,
        target: effect.target,
        event: effect.event.clone(),
    }
}

fn settled(effect: &Effect) -> SettledEffect {
    SettledEffect { source: effect.source, source_seq: effect.source_seq, target: effect.target }
}
