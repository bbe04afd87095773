//! What a shard is told.

use std::collections::HashSet;

use bytes::Bytes;
use panda_protocol::link::{LinkId, Up};
use panda_protocol::{EntityId, Position, Time};
use panda_storage::{EventRow, LogRecord};

use crate::rows::{Row, RowId};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Records of the log, in order.
    Records(Vec<LogRecord>),
    /// A frame of a link.
    Up(LinkId, Up),
    /// A link is no more.
    LinkClosed(LinkId),
    /// The rows that [`super::Output::Load`] asked for.
    Loaded(EntityId, Loaded),
    /// The batch of [`super::Output::Write`] is durable.
    Written(EntityId),
    /// The rows of [`super::Output::Flush`] are stored, and the flushed cell behind them.
    Flushed(EntityId),
    /// The events that [`super::Output::ReadEvents`] asked for.
    EventsRead(u64, Vec<EventRow>),
    /// The rows that [`super::Output::ScanRows`] asked for.
    RowsScanned(u64, Vec<(RowId, Row)>),
    /// The log's end, asked for by [`super::Output::AskEnd`].
    End(Position),
    /// The oldest effect of [`super::Output::AppendEffect`] that was not confirmed is in the log.
    EffectAppended,
    /// The epoch that is open, asked for by [`super::Output::ReadEpoch`].
    EpochRead {
        /// Which it was.
        open: u32,
        /// When the store was asked, behind the output: not when it answered.
        asked: Time,
    },
    /// A later epoch is open.
    EpochOver(u32),
    /// The entities of the records that [`super::Output::ReadTail`] asked for; none if the log has them no more.
    TailRead(u64, Option<HashSet<EntityId>>),
    /// The checkpoint of [`super::Output::Checkpoint`] is written.
    Checkpointed,
    /// Time went on; about ten times a second. Microseconds of any clock that does not go back.
    Tick(Time),
    /// A read of the store failed: refuse what waits for it.
    ReadFailed(u64),
    /// Something that is stored of an entity cannot be read.
    Damaged {
        /// The entity.
        entity: EntityId,
        /// The read that met it; none: a load.
        read: Option<u64>,
        /// What it is, for a person.
        why: String,
    },
}

/// What a load brought.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rows as of `head` or later.
    pub rows: Vec<(RowId, Option<Row>)>,
    /// The first load of the entity also brings rows that events behind the flushed cell changed:
    /// they are to be flushed again.
    pub dirty: Vec<RowId>,
    /// A later load: events of another owner, from the base up to the newest of these rows.
    pub events: Vec<EventRow>,
    /// Stored events whose commands are skipped, and whose effects may not have been appended: each
    /// with the position that made it. Those without effects are not among them.
    pub owing: Vec<(Position, Bytes)>,
}
