//! What the caller can do about an error of the disk or of the index.

use std::io::{self, ErrorKind};

use crate::error::StoreError;

pub(super) fn io(error: &io::Error) -> StoreError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full(text),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StoreError::Corrupt(text),
        _ => StoreError::Unavailable(text),
    }
}

pub(super) fn index(error: &redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => io(error),
        redb::Error::Corrupted(text) => corrupt(format!("the index: {text}")),
        error => StoreError::Unavailable(format!("the index: {error}")),
    }
}

pub(super) fn corrupt(text: String) -> StoreError {
    StoreError::Corrupt(text)
}

/// The same error for everybody who waited for one group.
pub(super) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Closed => StoreError::Closed,
        other => StoreError::Unavailable(other.to_string()),
    }
}
