//! Whether a log is the one that was read up to a checkpoint.
//!
//! The event store holds positions of a log. In another log the same positions are other commands, so nobody goes on
//! there from a checkpoint: whoever reads on reads the last record before it first, and compares.

use std::fmt::Display;

use panda_protocol::ShardId;

use crate::command_log::{CommandLog, RecordMark, ShardReader as _};
use crate::error::StoreError;
use crate::event_store::Checkpoint;

/// What helps against a log that is another one.
const MEND: &str = "If it was lost or replaced for good, stop every router and run 'panda admin open-epoch'; \
                    otherwise bring the old one back";

/// A log is not the one that the event store knows.
pub(crate) fn refused(why: impl Display) -> StoreError {
    StoreError::Misconfigured(format!("{why}. {MEND}"))
}

/// A shard's log is not the one up to whose checkpoint the store holds it.
fn another(why: impl Display) -> StoreError {
    refused(format!("{why}: it is not the log that was read"))
}

/// Reads a shard on from a checkpoint of the log's epoch. Waits for the last record before it, if the checkpoint names
/// it, and takes it: the reader goes on behind.
///
/// # Errors
/// [`StoreError::Misconfigured`] for a log that ends before the checkpoint, begins behind its last record, or has
/// another one there; it names the command that mends it. Else what the log returns.
pub async fn read_on<L: CommandLog>(log: &L, shard: ShardId, checkpoint: &Checkpoint) -> Result<L::Reader, StoreError> {
    let Checkpoint { position, last, .. } = checkpoint;
    // Before the read: behind the end of a shorter log it would wait for ever.
    let end = log.end(shard).await?;
    if end < *position {
        return Err(another(format!("shard {shard} is stored to {position}, and its log ends at {end}")));
    }
    let from = last.map_or(*position, |last| last.position);
    let mut reader = log.read(shard, Some(from)).await.map_err(gone)?;
    if let Some(last) = last {
        let found = reader.next(1).await.map_err(gone)?;
        let found = found.first().map(RecordMark::of);
        let found = found.ok_or_else(|| StoreError::Unavailable(format!("the log gave no record of shard {shard}")))?;
        if found != *last {
            return Err(another(format!(
                "shard {shard} is stored to {position}, and its log has another record at {}",
                last.position
            )));
        }
    }
    Ok(reader)
}

/// What the log does not have any more.
fn gone(error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(why) => another(why),
        other => other,
    }
}
