//! Whether a log is the one that was read up to a checkpoint.
//!
//! The event store holds positions of a log. In another log the same positions are other commands, so nobody goes on
//! there from a checkpoint: whoever reads on gets the last record before it first, which is compared.
//!
//! That is the only record that is compared. A log that lost its newest records, from somewhere behind the checkpoint on,
//! and got others in their places is not seen to be another one, though some of what it lost may be stored. Only the log
//! itself keeps that away: no replica that lags becomes a leader (`unclean.leader.election.enable=false`), and two
//! replicas have a record before it is confirmed.

use std::fmt::Display;

use panda_protocol::{Position, ShardId};

use crate::command_log::{CommandLog, LogRecord, RecordMark, ShardReader};
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

/// Opens a shard behind a checkpoint of the log's epoch, for a reader that compares the last record before it when that
/// comes. `reached` is a position that the log is known to reach, as its owner knows from the Takeover that it appended:
/// where the checkpoint is not behind it, the log is asked nothing more.
///
/// # Errors
/// [`StoreError::Misconfigured`] for a log that ends before the checkpoint or begins behind its last record, as far as
/// it was asked; it names the command that mends it. Else what the log returns.
pub async fn read_on<L: CommandLog>(
    log: &L,
    shard: ShardId,
    checkpoint: &Checkpoint,
    reached: Option<Position>,
) -> Result<KnownReader<L::Reader>, StoreError> {
    let Checkpoint { position, last, .. } = checkpoint;
    let from = last.map_or(*position, |last| last.position);
    let reader = if reached.is_some_and(|reached| *position <= reached) {
        log.read_reached(shard, from).await
    } else {
        // Before the read: behind the end of a shorter log it would wait for ever.
        let end = log.end(shard).await?;
        if end < *position {
            return Err(another(format!("shard {shard} is stored to {position}, and its log ends at {end}")));
        }
        log.read(shard, Some(from)).await
    };
    Ok(KnownReader { shard, unproven: Some(*checkpoint), reader: reader.map_err(gone)? })
}

/// Reads a shard on; gives nothing of a log before that is known to be the one that was read.
pub struct KnownReader<R> {
    shard: ShardId,
    /// Behind what it is to read, until the log has given that.
    unproven: Option<Checkpoint>,
    reader: R,
}

impl<R: ShardReader> KnownReader<R> {
    /// Of a shard of which nothing was read in this epoch: there is nothing to compare.
    pub const fn from_first(shard: ShardId, reader: R) -> Self {
        Self { shard, unproven: None, reader }
    }

    /// Whether the log gave what goes on behind the checkpoint. What it returns later says nothing about the checkpoint.
    pub const fn is_proven(&self) -> bool {
        self.unproven.is_none()
    }

    /// Waits for the last record before the checkpoint, if that names one, and compares it. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] for a log that has another record there, or no record any more; it names the
    /// command that mends it. Else what the log returns.
    pub async fn compare(&mut self) -> Result<(), StoreError> {
        let Some(Checkpoint { position, last: Some(last), .. }) = self.unproven else { return Ok(()) };
        let found = loop {
            if let Some(found) = self.reader.next(1).await.map_err(gone)?.pop() {
                break RecordMark::of(&found);
            }
        };
        if found != last {
            let (shard, at) = (self.shard, last.position);
            let why = format!("shard {shard} is stored to {position}, and its log has another record at {at}");
            return Err(another(why));
        }
        self.unproven = None;
        Ok(())
    }
}

impl<R: ShardReader> ShardReader for KnownReader<R> {
    /// As [`ShardReader::next`], behind the checkpoint; [`KnownReader::compare`] comes first.
    async fn next(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        self.compare().await?;
        let read = self.reader.next(max).await;
        if self.unproven.is_none() {
            return read;
        }
        // The checkpoint names no record: what is behind it may be gone all the same.
        let records = read.map_err(gone)?;
        self.unproven = None;
        Ok(records)
    }
}

/// What the log does not have any more.
fn gone(error: StoreError) -> StoreError {
    match error {
        StoreError::Gone(why) => another(why),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use panda_protocol::Time;

    use super::*;
    use crate::record_headers::RecordHeaders;

    const SHARD: ShardId = ShardId(3);

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    fn record(offset: u64) -> LogRecord {
        let text = format!("record {offset}").into_bytes();
        LogRecord {
            position: at(offset),
            time: Time(offset),
            record: Bytes::from(text),
            headers: RecordHeaders::default(),
        }
    }

    /// Gives what it is told to, and then waits for ever.
    struct Told(VecDeque<Result<LogRecord, StoreError>>);

    impl ShardReader for Told {
        async fn next(&mut self, _max: usize) -> Result<Vec<LogRecord>, StoreError> {
            match self.0.pop_front() {
                Some(told) => told.map(|record| vec![record]),
                None => std::future::pending().await,
            }
        }
    }

    /// Behind the checkpoint at 9, before which the record at 5 was the last one.
    fn reader(told: impl IntoIterator<Item = Result<LogRecord, StoreError>>) -> KnownReader<Told> {
        let last = Some(RecordMark::of(&record(5)));
        let checkpoint = Checkpoint { position: at(9), rules: 1, last };
        KnownReader { shard: SHARD, unproven: Some(checkpoint), reader: Told(told.into_iter().collect()) }
    }

    /// What it gives without a wait.
    async fn now(reader: &mut KnownReader<Told>) -> Option<Result<Vec<LogRecord>, StoreError>> {
        let next = std::pin::pin!(reader.next(8));
        match futures_util::future::select(next, std::future::ready(())).await {
            futures_util::future::Either::Left((read, _)) => Some(read),
            futures_util::future::Either::Right(_) => None,
        }
    }

    #[tokio::test]
    async fn whoever_turns_away_between_the_comparison_and_the_next_record_loses_nothing() {
        let mut reader = reader([Ok(record(5))]);
        assert!(!reader.is_proven());
        for _ in 0..2 {
            assert!(now(&mut reader).await.is_none(), "nothing is behind the checkpoint yet");
            assert!(reader.is_proven());
        }
        reader.reader.0.push_back(Ok(record(9)));
        assert_eq!(now(&mut reader).await.unwrap().unwrap(), [record(9)]);
    }

    #[tokio::test]
    async fn a_record_that_is_another_one_or_gone_is_refused_however_often_it_is_asked_for() {
        let gone = || Err(StoreError::Gone("it is gone".into()));
        for told in [[Ok(record(6)), Ok(record(9))], [gone(), gone()]] {
            let mut reader = reader(told);
            for _ in 0..2 {
                let refused = now(&mut reader).await.unwrap();
                let helps =
                    matches!(&refused, Err(StoreError::Misconfigured(why)) if why.contains("panda admin open-epoch"));
                assert!(helps && !reader.is_proven(), "{refused:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_the_log_returns_otherwise_is_no_word_about_which_log_it_is() {
        let mut reader = reader([Err(StoreError::Corrupt("it has no time".into())), Ok(record(5)), Ok(record(9))]);
        assert!(matches!(now(&mut reader).await, Some(Err(StoreError::Corrupt(_)))));
        assert_eq!(now(&mut reader).await.unwrap().unwrap(), [record(9)]);
        reader.reader.0.push_back(Err(StoreError::Gone("released".into())));
        assert!(matches!(now(&mut reader).await, Some(Err(StoreError::Gone(_)))), "long behind the checkpoint");
    }
}
