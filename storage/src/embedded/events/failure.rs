//! What the caller can do about an error of the disk or of the index.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::StoreError;

pub(super) fn io(error: &io::Error) -> StoreError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full(text),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => unusable(text),
        _ => StoreError::Unavailable(text),
    }
}

pub(super) fn index(error: &redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => io(error),
        redb::Error::Corrupted(text) => unusable(format!("the index: {text}")),
        error => StoreError::Unavailable(format!("the index: {error}")),
    }
}

/// What a person can do about a store that does not open.
pub(super) fn at_start(path: &Path, error: StoreError) -> StoreError {
    let path = path.display();
    match error {
        StoreError::Full(text) => StoreError::Full(format!("{path}: {text}; make room, or name another folder")),
        StoreError::Corrupt(text) | StoreError::Unusable(text) => unusable(format!(
            "{path}: {text}; restore all of the folder from a copy, or name another, and look whether the disk is sound"
        )),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!(
            "{path}: {text}; start again, and if it stays so, look into the system's log for what the disk reports"
        )),
        error => error,
    }
}

/// A file is not what was written.
pub(super) fn unusable(text: String) -> StoreError {
    StoreError::Unusable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_says_nothing_about_the_row_that_was_asked_for() {
        for kind in [ErrorKind::InvalidData, ErrorKind::UnexpectedEof] {
            assert!(matches!(io(&kind.into()), StoreError::Unusable(_)));
        }
        assert!(matches!(index(&redb::Error::Corrupted("a page".into())), StoreError::Unusable(_)));
        assert!(index(&redb::Error::Io(ErrorKind::Interrupted.into())).is_retryable());
        let at_start = at_start(Path::new("data"), StoreError::Corrupt("a row".into()));
        assert!(matches!(at_start, StoreError::Unusable(_)), "nobody can leave it as it is");
    }
}
