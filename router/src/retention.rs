//! Which records of the log nobody needs any more.

use std::time::Duration;

use panda_protocol::{Position, ShardId, Time};
use panda_storage::{CommandLog, LogRecord, ShardReader as _, StoreError};

/// Lets the log delete what it need not keep for a checkpoint.
///
/// # Errors
/// What the log returns.
pub(crate) async fn release<L: CommandLog>(log: &L, shard: ShardId, checkpoint: Position) -> Result<(), StoreError> {
    match held_to(log, shard, checkpoint, log.held_back()).await? {
        Some(position) => log.release(shard, position).await,
        None => Ok(()),
    }
}

/// The lowest position that is to stay, if there is anything below it: what is `held_back` older than
/// the record before the checkpoint goes. It is looked for in the log each time, because owners come
/// and go more often than a day.
async fn held_to<L: CommandLog>(
    log: &L,
    shard: ShardId,
    checkpoint: Position,
    held_back: Duration,
) -> Result<Option<Position>, StoreError> {
    if held_back.is_zero() {
        return Ok(Some(checkpoint));
    }
    let Some(last) = checkpoint.offset.checked_sub(1) else { return Ok(None) };
    let held_back_us = u64::try_from(held_back.as_micros()).unwrap_or(u64::MAX);
    let newest = record_at(log, shard, Some(Position { offset: last, ..checkpoint })).await?;
    let oldest = record_at(log, shard, None).await?;
    let before = Time(newest.time.0.saturating_sub(held_back_us));
    if oldest.time >= before {
        return Ok(None);
    }
    // `older` is old enough to go, `high` is not, or was not looked at.
    let (mut older, mut high) = (oldest.position.offset, checkpoint.offset);
    while high - older > 1 {
        let middle = older + (high - older) / 2;
        let found = record_at(log, shard, Some(Position { offset: middle, ..checkpoint })).await?;
        if found.time < before {
            older = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(Position { offset: high, ..checkpoint }))
}

/// The first record at or behind a position, or the log's first.
async fn record_at<L: CommandLog>(log: &L, shard: ShardId, from: Option<Position>) -> Result<LogRecord, StoreError> {
    let mut reader = log.read(shard, from).await?;
    reader.next(1).await?.pop().ok_or(StoreError::Closed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use panda_storage::embedded::EmbeddedLog;

    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    /// A log with a record every ten seconds.
    async fn log(records: u64) -> EmbeddedLog {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        let log = EmbeddedLog::new(1, 1, || Time(SECONDS.fetch_add(10, Ordering::Relaxed) * 1_000_000));
        for _ in 0..records {
            log.append(SHARD, Default::default()).expect("there is room").await.expect("it is appended");
        }
        log
    }

    #[tokio::test]
    async fn what_is_old_enough_behind_the_checkpoint_goes() {
        let log = log(100).await;
        for (checkpoint, seconds, expected) in [
            (at(90), 100, Some(at(79))),
            (at(90), 885, Some(at(1))),
            (at(90), 890, None),
            (at(1), 1, None),
            (at(0), 1, None),
            (at(90), 0, Some(at(90))),
        ] {
            let held = held_to(&log, SHARD, checkpoint, Duration::from_secs(seconds)).await;
            assert_eq!(held.expect("the log answers"), expected, "{seconds} s behind {checkpoint}");
        }
    }

    #[tokio::test]
    async fn a_log_that_holds_nothing_back_is_released_at_once() {
        let log = log(10).await;
        let mut reader = log.read(SHARD, None).await.expect("the log can be read");
        reader.next(10).await.expect("there are records");
        release(&log, SHARD, at(7)).await.expect("it can be released");
        assert_eq!(record_at(&log, SHARD, None).await.expect("there are records").position, at(7));
    }
}
