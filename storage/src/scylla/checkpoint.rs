//! A checkpoint's row.
//!
//! A process of an older release writes neither of the columns that name the last record, and leaves there what a newer
//! one wrote of an earlier checkpoint: that is told by its write timestamp, which is the offset of its checkpoint.

use panda_protocol::{Position, ShardId};

use super::failure;
use super::numbers::{from_table, time_from_table, to_table};
use crate::command_log::RecordMark;
use crate::error::StoreError;
use crate::event_store::Checkpoint;

/// The columns of a read, in the statement's order: epoch, offset, rules, and of the last record before it offset, time
/// and digest; at last the write timestamp of those.
pub(super) type Columns = (i64, i64, i32, Option<i64>, Option<i64>, Option<Vec<u8>>, Option<i64>);
/// The values of a write, in the statement's order.
pub(super) type Values = (i32, i64, i64, i32, Option<i64>, Option<i64>, Option<Vec<u8>>, i64);

pub(super) fn values(shard: ShardId, checkpoint: &Checkpoint) -> Result<Values, StoreError> {
    checkpoint.check()?;
    let Checkpoint { position, rules, last } = checkpoint;
    let (epoch, offset) = (i64::from(position.epoch), to_table(position.offset)?);
    let last_offset = last.map(|last| to_table(last.position.offset)).transpose()?;
    let last_time = last.map(|last| to_table(last.time.0)).transpose()?;
    let last_digest = last.map(|last| last.digest.to_vec());
    Ok((i32::from(shard.0), epoch, offset, i32::from(*rules), last_offset, last_time, last_digest, offset))
}

pub(super) fn read(columns: Columns) -> Result<Checkpoint, StoreError> {
    let (epoch, offset, rules, last_offset, last_time, last_digest, written) = columns;
    let position = Position { epoch: from_table(epoch)?, offset: from_table(offset)? };
    let last = match (last_offset, last_time, last_digest) {
        (Some(last_offset), Some(time), Some(digest)) if written == Some(offset) => {
            let digest = digest.try_into().map_err(|_| failure::value("a digest has the wrong length"))?;
            let position = Position { offset: from_table(last_offset)?, ..position };
            Some(RecordMark { position, time: time_from_table(time)?, digest })
        }
        _ => None,
    };
    Ok(Checkpoint { position, rules: from_table(rules)?, last })
}
