//! What a shard asks for.

use bytes::Bytes;
use panda_protocol::link::{Down, Effect, LinkId};
use panda_protocol::{EntityId, Position, Seq, Time, TraceContext};
use panda_storage::{Checkpoint, EventBatch, ReadOrder, StateRow};

use super::load::Wanted;
use super::{GivenUp, TracedRecord};

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Load these rows; the first time also whatever lies behind the flushed cell.
    Load {
        /// Of this entity.
        entity: EntityId,
        /// What to bring.
        wanted: Wanted,
    },
    /// Write these batches in order and say [`super::Input::Written`] once all are durable.
    Write(Vec<EventBatch>),
    /// Store rows, then the flushed cell.
    Flush {
        /// Of this entity.
        entity: EntityId,
        /// These rows.
        rows: Vec<StateRow>,
        /// Through this event.
        through: Seq,
        /// That event's time.
        time: Time,
    },
    /// Read events that were released, which the store has: a gap is a damage.
    ReadEvents {
        /// Repeated in the answer.
        read: u64,
        /// Of this entity.
        entity: EntityId,
        /// From here.
        from: Seq,
        /// Which way.
        order: ReadOrder,
        /// At most so many.
        limit: usize,
    },
    /// Read live rows of a kind.
    ScanRows {
        /// Repeated in the answer.
        read: u64,
        /// Of this entity.
        entity: EntityId,
        /// The kind.
        kind: u8,
        /// Behind this key.
        after: Option<Bytes>,
    },
    /// Send a frame down a link.
    Send(LinkId, Down),
    /// Append to the log, in this context if in any; one at a time, in order.
    AppendEffect(Effect, Option<TraceContext>),
    /// Ask where the log ends now.
    AskEnd,
    /// Ask the store which epoch of the log is open.
    ReadEpoch,
    /// Read which entities the records from one position to before another are of.
    ReadTail {
        /// Repeated in the answer.
        tail: u64,
        /// The first.
        from: Position,
        /// Behind the last.
        to: Position,
    },
    /// Tell a link that nobody knows what it missed.
    Readmit(LinkId),
    /// Tell a link that everything was sent, for its interests, that commands before the position made.
    Watermark(LinkId, Position),
    /// Write how far the shard is stored, and say [`super::Input::Checkpointed`]; then the log may delete
    /// what it need not keep for it.
    Checkpoint(Checkpoint),
    /// Tell the edges how long the oldest command waits, in milliseconds; 0: no longer.
    Backlog(u64),
    /// Everything of a record of a sampled trace is out. Comes if [`super::Shard::tell_traces`] was called.
    Traced(Box<TracedRecord>),
    /// Give the shard up: another owner took over, or a record is of a version that is not known.
    GiveUp(GivenUp),
}
