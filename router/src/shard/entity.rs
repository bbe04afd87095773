//! What a shard keeps of one chat or inbox while something goes on in it.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use panda_protocol::event::Event;
use panda_protocol::link::{Down, Effect, LinkId, Record};
use panda_protocol::{EntityId, Position, Seq, Time, TraceContext, UserId};
use panda_storage::{EventBatch, EventRow, OwedEffect, SettledEffect};

use super::load::batches;
use super::reads::Question;
use super::standing::Standing;
use super::traced::{Followed, TracedRecord};
use crate::fold;
use crate::rows::{Row, RowId, Rows};

/// Events kept of an active entity, so that most catch-up never reaches the store.
const RING_EVENTS: usize = 256;
/// And at most so many bytes of them.
const RING_BYTES: usize = 64 * 1024;

/// What waits for its turn.
#[derive(Debug)]
pub(super) enum Pending {
    /// A command or an effect.
    Record {
        record: Record,
        rules: u16,
        position: Position,
        time: Time,
        since: Time,
        bytes: usize,
        /// Of the few that somebody follows.
        followed: Option<Box<Followed>>,
    },
    /// A question of an edge; it is answered from what was applied before it.
    Question { link: LinkId, question: Question },
}

/// What leaves once everything before it is durable.
#[derive(Debug)]
pub(super) enum Release {
    /// An answer.
    Send(LinkId, Down),
    /// An event, to all who have interest; in whose context its effects are.
    Event(Box<Stored>, Option<TraceContext>),
    /// A question that was decided and may now be answered.
    Question { link: LinkId, question: Question, decided: super::reads::Decided },
    /// A record of a sampled trace: all of it is out.
    Traced(Box<TracedRecord>),
}

/// A released event, as the ring keeps it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) seq: Seq,
    pub(super) position: Position,
    pub(super) time: Time,
    pub(super) ends: Option<UserId>,
    pub(super) bytes: Bytes,
    pub(super) effects: Vec<Effect>,
}

/// Whole commands that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<EventRow>,
    pub(super) bytes: usize,
    pub(super) owes: Vec<OwedEffect>,
    pub(super) settles: Vec<SettledEffect>,
    pub(super) releases: Vec<Release>,
    /// Records and questions that are in it: they count as waiting until they are released.
    pub(super) taken: usize,
    /// Bytes of the records among them.
    pub(super) taken_bytes: usize,
    /// Where the records among them stand.
    pub(super) positions: Vec<Position>,
    /// Rows that these events changed, as they are behind the last of them.
    pub(super) touched: HashSet<RowId>,
    pub(super) changed: Vec<(RowId, Row)>,
    /// When it was durable, if it could not be released then.
    pub(super) stored: Option<Time>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.releases.is_empty() && self.taken == 0
    }

    /// One write a bucket, the lower first.
    pub(super) fn writes(&mut self, entity: EntityId, bucket_events: u64) -> Vec<EventBatch> {
        let mut writes = batches(entity, std::mem::take(&mut self.rows), bucket_events);
        if let Some(last) = writes.last_mut() {
            // With the last write: an effect is owed only for events that are all there.
            last.owes = std::mem::take(&mut self.owes);
            last.settles = std::mem::take(&mut self.settles);
        }
        writes
    }
}

/// One chat or inbox. Many are here at once with nothing going on in them, so what only some have costs the
/// others a word.
#[derive(Debug, Default)]
pub(super) struct Entity {
    /// Whether the head is known.
    pub(super) loaded: bool,
    /// Whether a load is under way.
    pub(super) loading: bool,
    /// `apply` panicked here: this owner takes no further command of it.
    pub(super) poisoned: bool,
    /// Rows as of what was applied; a row that was loaded and is not stored is `None`.
    pub(super) rows: HashMap<RowId, Option<Row>>,
    pub(super) queue: VecDeque<Pending>,
    /// Absent while nothing is in it.
    building: Option<Box<Batch>>,
    pub(super) in_flight: Option<Box<Batch>>,
    /// When the write in flight began.
    pub(super) writing_since: Time,
    /// The last event that is durable and released.
    pub(super) released: (Seq, Time),
    /// See [`Standing::rights`]; of what was applied.
    pub(super) rights: Seq,
    /// Rows as of what was released, not stored yet.
    pub(super) dirty: HashMap<RowId, Row>,
    pub(super) flushing: Option<HashMap<RowId, Seq>>,
    pub(super) dirty_since: Option<Time>,
    /// The newest released events, without a gap, ending with the released head.
    pub(super) ring: VecDeque<Stored>,
    pub(super) ring_bytes: usize,
    /// When something last went on.
    pub(super) used: Time,
}

// What is resident may be the chats of millions, each for seconds after it was used.
const _: () = assert!(size_of::<Entity>() <= 272);

impl Rows for Entity {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.rows.get(id).and_then(Option::as_ref)
    }

    fn take_row(&mut self, id: &RowId) -> Option<Row> {
        self.rows.get_mut(id).and_then(Option::take)
    }

    fn set_row(&mut self, id: RowId, row: Row) {
        self.building().touched.insert(id.clone());
        self.rows.insert(id, Some(row));
    }
}

impl Entity {
    /// What is put together for the next write.
    pub(super) fn building(&mut self) -> &mut Batch {
        self.building.get_or_insert_default()
    }

    /// How many events are in it.
    pub(super) fn building_rows(&self) -> usize {
        self.building.as_ref().map_or(0, |batch| batch.rows.len())
    }

    /// Begins another one; none if nothing is in this one.
    pub(super) fn take_building(&mut self) -> Option<Box<Batch>> {
        self.building.take_if(|batch| !batch.is_empty())
    }

    fn builds_nothing(&self) -> bool {
        self.building.as_ref().is_none_or(|batch| batch.is_empty())
    }

    /// Whether nothing waits, is being written or is still to be stored.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty()
            && self.in_flight.is_none()
            && self.builds_nothing()
            && !self.loading
            && self.dirty.is_empty()
            && self.flushing.is_none()
    }

    /// As of what was applied; none before it is loaded.
    pub(super) fn standing(&self) -> Option<Standing> {
        let (head, _, _) = self.head_stamp();
        self.loaded.then_some(Standing { head, rights: self.rights })
    }

    /// Whether it may leave memory: nothing of it is only here.
    pub(super) fn may_leave(&self, now: Time, idle_us: u64) -> bool {
        let is_idle = now.0.saturating_sub(self.used.0) >= idle_us;
        // What does not exist is not kept at all: who asks for a million chats that are not there costs no memory.
        self.is_quiet() && !self.poisoned && (is_idle || self.released.0 == Seq(0))
    }

    /// Since when the oldest command waits that is not answered.
    pub(super) fn waits_since(&self) -> Option<Time> {
        let queued = self.queue.iter().find_map(|pending| match pending {
            Pending::Record { since, .. } => Some(*since),
            Pending::Question { .. } => None,
        });
        let writing = self.in_flight.as_ref().map(|_| self.writing_since);
        writing.into_iter().chain(queued).min()
    }

    /// Gives back the room that a busy entity needed, once nothing waits.
    pub(super) fn give_back(&mut self) {
        if self.queue.is_empty() && self.in_flight.is_none() {
            self.queue = VecDeque::new();
        }
        if self.dirty.is_empty() && self.dirty.capacity() > 0 {
            self.dirty = HashMap::new();
        }
    }

    /// Those of the rows that are not in memory.
    pub(super) fn missing(&self, ids: Vec<RowId>) -> Vec<RowId> {
        ids.into_iter().filter(|id| !self.rows.contains_key(id)).collect()
    }

    /// The first position whose command is still to be met here. `taken` is behind the last record that
    /// the shard took.
    pub(super) fn owing_from(&self, taken: Position) -> Position {
        let queued = self.queue.iter().find_map(|pending| match pending {
            Pending::Record { position, .. } => Some(*position),
            Pending::Question { .. } => None,
        });
        queued.unwrap_or(taken)
    }

    /// Moves the rows past an event.
    pub(super) fn advance(&mut self, id: EntityId, event: &Event, position: Position) {
        fold::advance(self, id, event, position);
        if fold::changes_rights(event) {
            self.rights = event.seq;
        }
    }

    /// Forgets the questions of a link; returns how many stood in the queue.
    pub(super) fn drop_link(&mut self, link: LinkId) -> usize {
        let before = self.queue.len();
        self.queue.retain(|pending| !matches!(pending, Pending::Question { link: of, .. } if *of == link));
        for batch in self.building.iter_mut().chain(&mut self.in_flight) {
            batch.releases.retain(|release| !matches!(release, Release::Question { link: of, .. } if *of == link));
        }
        before - self.queue.len()
    }

    pub(super) fn remember(&mut self, stored: Stored) {
        self.ring_bytes += stored.bytes.len();
        self.ring.push_back(stored);
        while self.ring.len() > RING_EVENTS || (self.ring_bytes > RING_BYTES && self.ring.len() > 1) {
            if let Some(oldest) = self.ring.pop_front() {
                self.ring_bytes -= oldest.bytes.len();
            }
        }
    }
}
