//! What a shard keeps of one chat or inbox while something goes on in it.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use panda_protocol::link::{Down, Effect, LinkId, Record};
use panda_protocol::{EntityId, Position, Seq, Time, TraceContext, UserId};
use panda_storage::{EventBatch, EventRow, OwedEffect, SettledEffect};

use super::load::batches;
use super::reads::Question;
use super::traced::{Followed, TracedRecord};
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

/// One chat or inbox.
#[derive(Debug, Default)]
pub(super) struct Entity {
    /// Whether the head is known.
    pub(super) loaded: bool,
    /// Whether a load is under way.
    pub(super) loading: bool,
    /// Rows as of what was applied; a row that was loaded and is not stored is `None`.
    pub(super) rows: HashMap<RowId, Option<Row>>,
    pub(super) queue: VecDeque<Pending>,
    pub(super) building: Batch,
    pub(super) in_flight: Option<Batch>,
    /// When the write in flight began.
    pub(super) writing_since: Time,
    /// The last event that is durable and released.
    pub(super) released: (Seq, Time),
    /// Rows as of what was released, not stored yet.
    pub(super) dirty: HashMap<RowId, Row>,
    pub(super) flushing: Option<HashMap<RowId, Seq>>,
    pub(super) dirty_since: Option<Time>,
    /// The newest released events, without a gap, ending with the released head.
    pub(super) ring: VecDeque<Stored>,
    pub(super) ring_bytes: usize,
    /// `apply` panicked here: this owner takes no further command of it.
    pub(super) poisoned: bool,
    /// When something last went on.
    pub(super) used: Time,
}

impl Rows for Entity {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.rows.get(id).and_then(Option::as_ref)
    }

    fn set_row(&mut self, id: RowId, row: Row) {
        self.building.touched.insert(id.clone());
        self.rows.insert(id, Some(row));
    }
}

impl Entity {
    /// Whether nothing waits, is being written or is still to be stored.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty()
            && self.in_flight.is_none()
            && self.building.is_empty()
            && !self.loading
            && self.dirty.is_empty()
            && self.flushing.is_none()
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

    /// Forgets the questions of a link; returns how many stood in the queue.
    pub(super) fn drop_link(&mut self, link: LinkId) -> usize {
        let before = self.queue.len();
        self.queue.retain(|pending| !matches!(pending, Pending::Question { link: of, .. } if *of == link));
        for batch in std::iter::once(&mut self.building).chain(&mut self.in_flight) {
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
