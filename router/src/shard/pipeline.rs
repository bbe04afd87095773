//! Apply, write, release: the way of a command through its entity.

use std::panic::{AssertUnwindSafe, catch_unwind};

use panda_protocol::event::Event;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::link::{Answer, Down, Effect, Events, LinkEvent, Outcome, Record, Rejection};
use panda_protocol::{EntityId, ErrorCode, Position, Time, TraceContext};
use panda_storage::{EventRow, OwedEffect, SettledEffect};

use super::entity::{Batch, Entity, Pending, Release, Stored};
use super::load::Wanted;
use super::reads::Decided;
use super::standing::Standing;
use super::{Loaded, Output, Shard};
use crate::fold::{self, Decision};
use crate::rows::{RowId, Rows};

impl Shard {
    /// Does what can be done for an entity now.
    pub(super) fn run(&mut self, id: EntityId) {
        loop {
            let Some(entity) = self.entities.get_mut(&id) else { return };
            entity.used = self.now;
            if entity.loading || (entity.building_rows() >= COMMAND_EVENTS_MAX && entity.in_flight.is_some()) {
                break;
            }
            let Some(next) = entity.queue.front() else { break };
            let damaged = self.damages.contains(id);
            let proven = match next {
                Pending::Question { question, .. } if !damaged => {
                    let standing = if entity.loaded { entity.standing() } else { self.interests.standing(id) };
                    standing.and_then(|standing| question.proven(standing, self.incarnation))
                }
                _ => None,
            };
            let ids = match next {
                _ if damaged || proven.is_some() => Vec::new(),
                Pending::Record { record, .. } => fold::needs(record),
                Pending::Question { question, .. } => question.needs(),
            };
            let missing = if entity.loaded { entity.missing(ids) } else { ids };
            if !missing.is_empty() {
                self.figures.question_reads += u64::from(matches!(next, Pending::Question { .. }));
                self.load(id, missing);
                break;
            }
            let Some(pending) = entity.queue.pop_front() else { break };
            match pending {
                Pending::Question { link, question } => {
                    self.figures.proven += u64::from(proven.is_some() && id.chat().is_some());
                    self.figures.unloaded += u64::from(proven.is_some() && !entity.loaded);
                    let decided = match proven {
                        _ if damaged => Decided::Damaged,
                        Some(admission) => Decided::Admission(Ok(admission)),
                        None => question.decide(entity, self.incarnation),
                    };
                    entity.building().taken += 1;
                    entity.building().releases.push(Release::Question { link, question, decided });
                }
                Pending::Record { record, rules, position, time, since, bytes, followed } => {
                    let (releases, trace) = (entity.building().releases.len(), followed.as_ref().map(|of| of.context));
                    let handed_back = self.command(id, record, rules, position, time, trace);
                    if handed_back.is_ok() {
                        self.note_traced(id, position, time, followed.as_deref(), releases);
                    }
                    let Some(entity) = self.entities.get_mut(&id) else { return };
                    if let Err(record) = handed_back {
                        // The batch is full: the command opens the next one.
                        let again = Pending::Record { record: *record, rules, position, time, since, bytes, followed };
                        entity.queue.push_front(again);
                        break;
                    }
                    let batch = entity.building();
                    batch.taken += 1;
                    batch.taken_bytes += bytes;
                    batch.positions.push(position);
                }
            }
            self.write(id);
        }
        self.write(id);
        if let Some(entity) = self.entities.get_mut(&id) {
            entity.give_back();
        }
    }

    /// Brings these rows, and the head if it is not known.
    fn load(&mut self, id: EntityId, ids: Vec<RowId>) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        entity.loading = true;
        self.figures.loads += 1;
        let (seq, _, applied) = entity.head_stamp();
        let base = entity.loaded.then_some((seq, applied));
        let owing_from = entity.owing_from(self.progress.taken());
        let wanted = Wanted { ids, base, owing_from, bucket_events: self.limits.bucket_events };
        self.store(Output::Load { entity: id, wanted });
    }

    /// Applies one record. Hands it back if its events do not fit into the batch that is being built.
    fn command(
        &mut self,
        id: EntityId,
        record: Record,
        rules: u16,
        position: Position,
        time: Time,
        trace: Option<TraceContext>,
    ) -> Result<(), Box<Record>> {
        if self.damages.contains(id) {
            self.hold_back(id, &record, position);
            return Ok(());
        }
        let Some(entity) = self.entities.get_mut(&id) else { return Ok(()) };
        if entity.poisoned {
            self.refuse(id, &record, Rejection::new(ErrorCode::OutcomeUnknown));
            return Ok(());
        }
        let applied =
            catch_unwind(AssertUnwindSafe(|| (self.rulebook.apply)(rules, &**entity, &record, position, time)));
        match applied {
            Ok(Ok(events)) => return self.take_events(id, record, position, events, trace),
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
                // Whoever begins behind this command would take the next ones of the chat, and this owner does
                // not. Whoever takes it has to find those who listen here behind no watermark of a later one.
                self.progress.leave_undecided(position);
                self.figures.panics += 1;
                self.refuse(id, &record, Rejection::new(ErrorCode::OutcomeUnknown));
            }
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, id: EntityId, record: &Record, rejection: Rejection) {
        self.answer(id, record, Outcome::Rejected(rejection));
    }

    /// An answer leaves behind whatever was applied before it.
    fn answer(&mut self, id: EntityId, record: &Record, outcome: Outcome) {
        let (Record::Command(command), Some(entity)) = (record, self.entities.get_mut(&id)) else { return };
        let answer = Answer { token: command.origin.token, generation: self.generation, outcome };
        entity.building().releases.push(Release::Send(command.origin.link, Down::Answer(answer)));
    }

    fn take_events(
        &mut self,
        id: EntityId,
        record: Record,
        position: Position,
        events: Vec<Event>,
        trace: Option<TraceContext>,
    ) -> Result<(), Box<Record>> {
        let Some(entity) = self.entities.get_mut(&id) else { return Ok(()) };
        let encoded: Vec<_> = events.iter().map(Event::to_bytes).collect();
        let bytes: usize = encoded.iter().map(|event| event.len()).sum();
        let batch = entity.building();
        let fits = batch.rows.len() + events.len() <= COMMAND_EVENTS_MAX && batch.bytes + bytes <= WRITE_BYTES_MAX;
        if !fits && !batch.rows.is_empty() {
            return Err(Box::new(record));
        }
        batch.bytes += bytes;
        // A command makes at most 128 events.
        let count = u8::try_from(events.len()).unwrap_or(u8::MAX);
        let first = events.first().map(|event| event.seq);
        for (index, (event, bytes)) in events.iter().zip(encoded).enumerate() {
            entity.advance(id, event, position);
            let effects = fold::effects(id, event, &bytes);
            let batch = entity.building();
            batch.owes.extend(effects.iter().map(owed));
            batch.rows.push(EventRow {
                seq: event.seq,
                position,
                index: u8::try_from(index).unwrap_or(u8::MAX),
                count,
                time: event.time,
                event: bytes.clone(),
            });
            let ends = fold::ends(event);
            let stored = Stored { seq: event.seq, position, time: event.time, ends, bytes, effects };
            batch.releases.push(Release::Event(Box::new(stored), trace));
        }
        match (&record, first) {
            (Record::Effect(effect), _) => entity.building().settles.push(settled(effect)),
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
        if entity.in_flight.is_some() {
            return;
        }
        let Some(mut batch) = entity.take_building() else { return };
        for row in std::mem::take(&mut batch.touched) {
            if let Some(value) = entity.row(&row) {
                let value = value.clone();
                batch.changed.push((row, value));
            }
        }
        let writes = batch.writes(id, self.limits.bucket_events);
        if writes.is_empty() && !self.epoch.is_doubted() {
            self.release(id, *batch);
            return;
        }
        entity.in_flight = Some(batch);
        entity.writing_since = self.now;
        if writes.is_empty() {
            return self.written(id);
        }
        self.figures.writes += 1;
        self.store(Output::Write(writes));
    }

    pub(super) fn finish_write(&mut self, id: EntityId) {
        let Some(batch) = self.entities.get_mut(&id).and_then(|entity| entity.in_flight.take()) else { return };
        self.release(id, *batch);
        self.run(id);
    }

    /// Everything of the batch is durable: let it go, in order.
    fn release(&mut self, id: EntityId, batch: Batch) {
        self.queued -= batch.taken;
        self.queued_bytes -= batch.taken_bytes;
        // Before anything leaves: a listing that this batch answers lies over what is stored.
        let now = self.now;
        if let Some(entity) = self.entities.get_mut(&id)
            && !batch.changed.is_empty()
        {
            entity.dirty_since.get_or_insert(now);
            entity.dirty.extend(batch.changed);
        }
        let mut events: Vec<LinkEvent> = Vec::new();
        // Behind the events in one frame: who hears that a removal is done, hears it after it was sent.
        let mut answers: Vec<Output> = Vec::new();
        for release in batch.releases {
            match release {
                Release::Event(stored, trace) => {
                    let Some(entity) = self.entities.get_mut(&id) else { return };
                    entity.released = (stored.seq, stored.time);
                    events.push(LinkEvent { seq: stored.seq, ends: stored.ends, event: stored.bytes.clone() });
                    self.figures.events += 1;
                    for effect in &stored.effects {
                        self.progress.owe(stored.position);
                        self.outputs.push(Output::AppendEffect(effect.clone(), trace));
                    }
                    entity.remember(*stored);
                }
                Release::Send(link, down) => answers.push(Output::Send(link, down)),
                Release::Traced(mut traced) => {
                    traced.stored = batch.stored.unwrap_or(now);
                    answers.push(Output::Traced(traced));
                }
                Release::Question { link, question, decided } => {
                    // A question sees the events before it as sent already.
                    self.send_events(id, std::mem::take(&mut events));
                    self.outputs.append(&mut answers);
                    self.answer_question(id, link, question, decided);
                }
            }
        }
        self.send_events(id, events);
        self.outputs.append(&mut answers);
        for position in batch.positions {
            self.progress.release(position);
        }
    }

    fn send_events(&mut self, id: EntityId, events: Vec<LinkEvent>) {
        let (Some(last), Some(interest)) = (events.last(), self.interests.get_mut(id)) else { return };
        interest.told = last.seq;
        for link in &interest.links {
            let down = Down::Events(Events { generation: self.generation, entity: id, events: events.clone() });
            self.outputs.push(Output::Send(*link, down));
        }
    }

    pub(super) fn finish_load(&mut self, id: EntityId, loaded: Loaded) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        entity.loading = false;
        let first = !std::mem::replace(&mut entity.loaded, true);
        for (row, value) in loaded.rows {
            // What is in memory is as of the head, or ahead of what is stored.
            entity.rows.entry(row).or_insert(value);
        }
        let mut head = None;
        if first {
            let (seq, time, _) = entity.head_stamp();
            entity.released = (seq, time);
            entity.rights = Standing::loaded(seq, self.interests.take_standing(id)).rights;
            head = Some(seq);
            for row in loaded.dirty {
                if let Some(value) = entity.row(&row).cloned() {
                    entity.dirty.insert(row, value);
                    entity.dirty_since.get_or_insert(self.now);
                }
            }
        }
        if let Some(head) = head {
            self.tell_head(id, head);
        }
        self.append_owing(id, &loaded.owing);
        self.adopt(id, loaded.events);
        self.note_ahead(id);
        self.run(id);
    }

    /// What another owner stored while the entity was not in memory here has no bodies to send:
    /// listeners are admitted anew.
    fn tell_head(&mut self, entity: EntityId, head: panda_protocol::Seq) {
        let Some(interest) = self.interests.get_mut(entity).filter(|interest| interest.told < head) else { return };
        interest.told = head;
        for link in &interest.links {
            let down = Down::Head { generation: self.generation, entity, head, readmit: true };
            self.outputs.push(Output::Send(*link, down));
        }
    }

    /// Events that another owner stored and this one has not applied: they take the way of its own,
    /// so that they are everywhere before anything is built on them, and leave in order.
    fn adopt(&mut self, id: EntityId, rows: Vec<EventRow>) {
        let Some(entity) = self.entities.get_mut(&id) else { return };
        for row in rows {
            let Ok(event) = Event::from_bytes(&row.event) else { return };
            // A row that was loaded reflects the event already, and is still to be stored.
            entity.building().touched.extend(fold::touches(&event));
            entity.advance(id, &event, row.position);
            let effects = fold::effects(id, &event, &row.event);
            let (ends, bytes) = (fold::ends(&event), row.event.clone());
            let stored = Stored { seq: row.seq, position: row.position, time: row.time, ends, bytes, effects };
            let batch = entity.building();
            batch.bytes += row.event.len();
            batch.rows.push(row);
            // Whose trace it was in is not stored.
            batch.releases.push(Release::Event(Box::new(stored), None));
        }
        self.write(id);
    }

    /// What stored events of commands that are skipped owe to other entities is appended again; a target
    /// takes it once.
    fn append_owing(&mut self, id: EntityId, owing: &[(Position, bytes::Bytes)]) {
        for (position, bytes) in owing {
            let Ok(event) = Event::from_bytes(bytes) else { continue };
            for effect in fold::effects(id, &event, bytes) {
                self.progress.owe(*position);
                self.outputs.push(Output::AppendEffect(effect, None));
            }
        }
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
