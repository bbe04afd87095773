//! Writing and reading events, bucket by bucket.

use bytes::Bytes;
use panda_protocol::{EntityId, Position, Seq};

use super::Inner;
use super::numbers::{NUMBER_MAX, from_table, time_from_table, to_table};
use crate::entity_store::Copies;
use crate::error::StoreError;
use crate::event_store::{BUCKET_EVENTS, EventBatch, EventRow, ReadOrder};
use crate::send_while::SendWhile;

/// Rows that one request asks for at most.
const PAGE_ROWS_MAX: usize = 512;
/// How large an event is thought to be before some were read. With the largest event of 20 KiB, a
/// first page brings at most five times what was asked for; later ones go by what was read.
const EVENT_BYTES_GUESS: usize = 4 * 1024;

/// What is read; equal reads are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventRead {
    pub(super) copies: Copies,
    pub(super) entity: EntityId,
    pub(super) from: Seq,
    pub(super) order: ReadOrder,
    pub(super) limit: usize,
    pub(super) bytes_max: usize,
}

/// The columns of a read, in the statement's order.
type Columns = (i64, i64, i64, i16, i16, i64, Vec<u8>);

impl Inner {
    pub(super) async fn write_events(&self, batch: EventBatch, may: &SendWhile) -> Result<(), StoreError> {
        batch.check()?;
        let Some(first) = batch.rows.first() else { return Ok(()) };
        let bucket = to_table(first.seq.0 / BUCKET_EVENTS)?;
        let values = batch.rows.iter().map(|row| {
            Ok((
                &batch.entity.as_bytes()[..],
                bucket,
                to_table(row.seq.0)?,
                i64::from(row.position.epoch),
                to_table(row.position.offset)?,
                i16::from(row.index),
                i16::from(row.count),
                &row.event[..],
                to_table(row.time.0)?,
            ))
        });
        let values = values.collect::<Result<Vec<_>, StoreError>>()?;
        self.requests.write(&self.statements.write_event, values, may).await
    }

    pub(super) async fn read_events(&self, read: EventRead) -> Result<Vec<EventRow>, StoreError> {
        let mut found = Found { rows: Vec::new(), bytes: 0, read };
        if read.limit == 0 {
            return Ok(found.rows);
        }
        let mut from = read.from.0.min(NUMBER_MAX);
        while !found.is_full() {
            let asked = found.page_rows();
            let page = self.read_bucket(read, from, asked).await?;
            let bucket_ends = page.len() < asked;
            let last = page.last().map(|row| row.seq.0);
            if !found.take(page) {
                break;
            }
            let next = match (read.order, last) {
                (ReadOrder::Forward, Some(last)) if !bucket_ends || last % BUCKET_EVENTS == BUCKET_EVENTS - 1 => {
                    Some(last + 1)
                }
                // Seqs are dense: behind a bucket that is not full there is nothing.
                (ReadOrder::Forward, _) => None,
                (ReadOrder::Backward, Some(last)) => Some(last - 1).filter(|next| *next > 0),
                (ReadOrder::Backward, None) => self.last_seq_below(read.entity, from / BUCKET_EVENTS).await?,
            };
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(found.rows)
    }

    /// Rows of the bucket that `from` is in.
    async fn read_bucket(&self, read: EventRead, from: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        let statement = match read.order {
            ReadOrder::Forward => self.statements.read_forward.of(read.copies),
            ReadOrder::Backward => self.statements.read_backward.of(read.copies),
        };
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let values = (&read.entity.as_bytes()[..], to_table(from / BUCKET_EVENTS)?, to_table(from)?, limit);
        self.requests.read::<Columns, _>(statement, values, row).await
    }

    /// The highest seq that may be in a bucket below `bucket`, whose own rows are not there: buckets
    /// are dense, so the last one is found by doubling and halving.
    async fn last_seq_below(&self, entity: EntityId, bucket: u64) -> Result<Option<u64>, StoreError> {
        if bucket == 0 {
            return Ok(None);
        }
        // The one before is the usual answer.
        if self.bucket_exists(entity, bucket - 1).await? {
            return Ok(Some(bucket * BUCKET_EVENTS - 1));
        }
        let (mut there, mut absent) = (None, 0);
        while absent < bucket - 1 && self.bucket_exists(entity, absent).await? {
            there = Some(absent);
            absent = (absent * 2).max(1).min(bucket - 1);
        }
        let Some(mut last) = there else { return Ok(None) };
        while absent - last > 1 {
            let middle = last + (absent - last) / 2;
            if self.bucket_exists(entity, middle).await? {
                last = middle;
            } else {
                absent = middle;
            }
        }
        Ok(Some((last + 1) * BUCKET_EVENTS - 1))
    }

    async fn bucket_exists(&self, entity: EntityId, bucket: u64) -> Result<bool, StoreError> {
        let values = (&entity.as_bytes()[..], to_table(bucket)?);
        let found = self.requests.read::<(i64,), _>(&self.statements.bucket_exists, values, Ok).await?;
        Ok(!found.is_empty())
    }
}

/// What a read has found so far, within its limits.
struct Found {
    rows: Vec<EventRow>,
    bytes: usize,
    read: EventRead,
}

impl Found {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.read.limit || (self.bytes >= self.read.bytes_max && !self.rows.is_empty())
    }

    /// How many rows to ask for next.
    fn page_rows(&self) -> usize {
        let mean = if self.rows.is_empty() { EVENT_BYTES_GUESS } else { (self.bytes / self.rows.len()).max(1) };
        let by_bytes = self.read.bytes_max.saturating_sub(self.bytes) / mean + 1;
        (self.read.limit - self.rows.len()).min(by_bytes).min(PAGE_ROWS_MAX)
    }

    /// Takes what fits. Returns whether all did.
    fn take(&mut self, page: Vec<EventRow>) -> bool {
        for row in page {
            self.bytes += row.event.len();
            // At least one, so that whoever pages gets on.
            if self.bytes > self.read.bytes_max && !self.rows.is_empty() {
                return false;
            }
            self.rows.push(row);
        }
        true
    }
}

/// The event's bytes are its own: a slice would keep the whole answer of the cluster in memory for as
/// long as anybody holds one event of it.
fn row((seq, epoch, offset, index, count, time, event): Columns) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        seq: Seq(from_table(seq)?),
        position: Position { epoch: from_table(epoch)?, offset: from_table(offset)? },
        index: from_table(index)?,
        count: from_table(count)?,
        time: time_from_table(time)?,
        event: Bytes::from(event),
    })
}
