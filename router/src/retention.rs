//! Which records of the log nobody needs any more.

use std::pin::Pin;
use std::time::Duration;

use panda_protocol::{Position, ShardId, Time};
use panda_storage::{CommandLog, LogRecord, ShardReader as _, StoreError};
use tokio::time::{Instant, timeout};

/// Between two looks for what a log that holds records back need not keep any more.
const RELEASE_EVERY: Duration = Duration::from_secs(60 * 60);
/// A release that takes longer is given up.
const RELEASE_MAX: Duration = Duration::from_secs(60);

/// The releases of a shard's log in one term, one at a time.
#[derive(Default)]
pub(crate) struct Releases {
    under_way: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When the last one began.
    began: Option<Instant>,
}

impl Releases {
    /// A checkpoint is stored: starts a release behind it, unless one is under way, or the last one was not
    /// long enough ago for a log that holds records back.
    pub(crate) fn begin<L: CommandLog>(&mut self, log: &L, shard: ShardId, checkpoint: Position) {
        let every = if log.held_back().is_zero() { Duration::ZERO } else { RELEASE_EVERY };
        if self.under_way.is_some() || self.began.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        let log = log.clone();
        self.start(shard, async move { release(&log, shard, checkpoint).await });
    }

    fn start(&mut self, shard: ShardId, release: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        self.began = Some(Instant::now());
        self.under_way = Some(Box::pin(async move {
            let released = timeout(RELEASE_MAX, release).await;
            if let Err(error) = released.unwrap_or_else(|_| Err(StoreError::Unavailable("it takes too long".into()))) {
                tracing::warn!(%error, shard = shard.0, "the log could not be released");
            }
        }));
    }

    /// Goes on with the release that is under way, and resolves when it has ended; without one, never.
    /// Cancel safe.
    pub(crate) async fn next(&mut self) {
        match &mut self.under_way {
            Some(release) => release.await,
            None => std::future::pending().await,
        }
        self.under_way = None;
    }
}

/// Lets the log delete what it need not keep for a checkpoint.
///
/// # Errors
/// What the log returns.
async fn release<L: CommandLog>(log: &L, shard: ShardId, checkpoint: Position) -> Result<(), StoreError> {
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
    use panda_storage::known_log::read_on;
    use panda_storage::{Checkpoint, RecordMark};

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
            log.append(SHARD, Default::default(), Default::default())
                .expect("there is room")
                .await
                .expect("it is appended");
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
    async fn the_last_record_before_a_checkpoint_stays_however_long_the_shard_was_quiet() {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        const DAY: u64 = 24 * 60 * 60;
        // Some records, and after more than a day each, two Takeovers.
        let times = [0, 0, 1, 2 * DAY, 9 * DAY];
        for checkpoint in 1..=times.len() {
            for held_back in [0, 1, DAY, 30 * DAY].map(Duration::from_secs) {
                let log = EmbeddedLog::new(1, 1, || Time(SECONDS.load(Ordering::Relaxed) * 1_000_000));
                for seconds in times {
                    SECONDS.store(seconds, Ordering::Relaxed);
                    log.append(SHARD, Default::default(), Default::default())
                        .expect("there is room")
                        .await
                        .expect("it is appended");
                }
                let mut reader = log.read(SHARD, None).await.expect("the log can be read");
                let records = reader.next(times.len()).await.expect("there are records");
                let last = RecordMark::of(&records[checkpoint - 1]);
                let checkpoint = Checkpoint { position: last.behind(), rules: 1, last: Some(last) };
                let held = held_to(&log, SHARD, checkpoint.position, held_back).await.expect("the log answers");
                if let Some(position) = held {
                    log.release(SHARD, position).await.expect("it can be released");
                }
                let mut reader = read_on(&log, SHARD, &checkpoint, None).await.expect("the record is there");
                let goes_on = reader.compare().await;
                assert!(goes_on.is_ok(), "{held_back:?} behind {checkpoint:?}: {goes_on:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_log_that_holds_nothing_back_is_released_at_once() {
        let log = log(10).await;
        let mut reader = log.read(SHARD, None).await.expect("the log can be read");
        reader.next(10).await.expect("there are records");
        release(&log, SHARD, at(7)).await.expect("it can be released");
        assert_eq!(record_at(&log, SHARD, None).await.expect("there are records").position, at(6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_that_hangs_is_given_up_and_the_next_one_begins() {
        let log = log(10).await;
        let mut reader = log.read(SHARD, None).await.expect("the log can be read");
        reader.next(10).await.expect("there are records");
        let mut releases = Releases::default();
        releases.start(SHARD, std::future::pending());
        let began = Instant::now();
        releases.begin(&log, SHARD, at(3));
        releases.next().await;
        assert_eq!(began.elapsed(), RELEASE_MAX, "there is one at a time");
        releases.begin(&log, SHARD, at(7));
        releases.next().await;
        assert_eq!(record_at(&log, SHARD, None).await.expect("there are records").position, at(6));
    }
}
