//! What a link may have missed, found in the log's tail.

use std::collections::HashSet;

use panda_protocol::link::Record;
use panda_protocol::{EntityId, Position, ShardId};
use panda_storage::{CommandLog, LogRecord, ShardReader as _};

/// Records that are read to find out what a link missed; beyond, it admits all its listeners anew.
const TAIL_RECORDS_MAX: u64 = 1_000_000;
/// Records taken from the log at once.
const RECORDS_AT_ONCE: usize = 512;

/// The entities of the records from one position to before another; none if the log has them no more,
/// or too many.
pub(crate) async fn touched<L: CommandLog>(
    log: &L,
    shard: ShardId,
    from: Position,
    to: Position,
) -> Option<HashSet<EntityId>> {
    let mut touched = HashSet::new();
    if from >= to {
        return Some(touched);
    }
    if from.epoch != to.epoch || to.offset - from.offset > TAIL_RECORDS_MAX {
        return None;
    }
    let mut reader = log.read(shard, Some(from)).await.ok()?;
    let mut next = from;
    while next < to {
        for LogRecord { position, record, .. } in reader.next(RECORDS_AT_ONCE).await.ok()? {
            if next == from && position != from {
                return None;
            }
            if position < to
                && let Some(entity) = Record::from_bytes(record).ok()?.entity()
            {
                touched.insert(entity);
            }
            next = Position { offset: position.offset + 1, ..position };
        }
    }
    Some(touched)
}

#[cfg(test)]
mod tests {
    use panda_protocol::link::Effect;
    use panda_protocol::{Seq, Time, UserId};
    use panda_storage::embedded::EmbeddedLog;

    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    fn inbox(byte: u8) -> EntityId {
        UserId::from_random([byte; 16]).into()
    }

    /// A log with an effect on inbox 1, a takeover, and effects on inboxes 2 and 3.
    async fn log() -> EmbeddedLog {
        let log = EmbeddedLog::new(1, 1, || Time(1));
        let effect =
            |target| Record::Effect(Effect { source: inbox(9), source_seq: Seq(1), target, event: Default::default() });
        let takeover = Record::Takeover { router: 1, rules_max: 1 };
        for record in [effect(inbox(1)), takeover, effect(inbox(2)), effect(inbox(3))] {
            log.append(SHARD, record.to_bytes(), Default::default())
                .expect("there is room")
                .await
                .expect("it is appended");
        }
        log
    }

    #[tokio::test]
    async fn the_entities_of_a_part_of_the_log_are_found() {
        let log = log().await;
        assert_eq!(touched(&log, SHARD, at(1), at(3)).await, Some(HashSet::from([inbox(2)])));
        assert_eq!(touched(&log, SHARD, at(3), at(3)).await, Some(HashSet::new()));
        assert_eq!(touched(&log, SHARD, at(4), at(2)).await, Some(HashSet::new()), "the link is ahead");
    }

    #[tokio::test]
    async fn a_tail_that_is_too_long_or_gone_tells_nothing() {
        let log = log().await;
        assert_eq!(touched(&log, SHARD, at(0), at(TAIL_RECORDS_MAX + 1)).await, None);
        assert_eq!(touched(&log, SHARD, Position { epoch: 0, offset: 0 }, at(3)).await, None);
        let mut reader = log.read(SHARD, None).await.expect("the log can be read");
        reader.next(8).await.expect("the log can be read");
        log.release(SHARD, at(3)).await.expect("what was read can be released");
        assert_eq!(touched(&log, SHARD, at(1), at(3)).await, None);
        assert_eq!(touched(&log, SHARD, at(2), at(3)).await, Some(HashSet::from([inbox(2)])));
    }
}
