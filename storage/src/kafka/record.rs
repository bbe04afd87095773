//! A message of the brokers as a record of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use panda_protocol::{Position, Time};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::command_log::LogRecord;
use crate::error::StoreError;
use crate::record_headers::{HeaderReader, RecordHeaders};

/// Headers of a record that are looked at. We write at most two; others may have added theirs before them.
const HEADERS_MAX: usize = 16;

/// As the log gives it.
///
/// # Errors
/// [`StoreError::Corrupt`] for what no log has: a record without a place or a time.
pub(super) fn record(epoch: u32, message: &BorrowedMessage<'_>) -> Result<LogRecord, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a record of partition {} {what}", message.partition()));
    let offset = u64::try_from(message.offset()).map_err(|_| corrupt("has no offset"))?;
    let time = message.timestamp().to_millis().and_then(|time| u64::try_from(time).ok()?.checked_mul(1_000));
    Ok(LogRecord {
        position: Position { epoch, offset },
        time: Time(time.ok_or_else(|| corrupt("has no time"))?),
        record: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        headers: headers(message),
    })
}

/// What a record's headers say; whatever cannot be read is as if it were not there.
fn headers(message: &BorrowedMessage<'_>) -> RecordHeaders {
    let Some(headers) = message.headers() else { return RecordHeaders::default() };
    // The client panics on a name that is no UTF-8. Whoever wrote that ends no router.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut known = HeaderReader::default();
        headers.iter().take(HEADERS_MAX).for_each(|header| known.take(header.key, header.value));
        known.read()
    }));
    read.unwrap_or_default()
}
