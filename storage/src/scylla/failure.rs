//! What an error of the driver means for the caller.

use std::fmt::Display;

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

use crate::error::StoreError;

/// An error of a request. Most pass; a statement that the cluster does not understand does not.
pub(super) fn request(error: &ExecutionError) -> StoreError {
    match error {
        ExecutionError::LastAttemptError(error) => attempt(error),
        ExecutionError::PrepareError(error) => prepare(error),
        ExecutionError::BadQuery(error) => tables(error),
        error => unavailable(error),
    }
}

pub(super) fn prepare(error: &PrepareError) -> StoreError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => attempt(first_attempt),
        error => unavailable(error),
    }
}

fn attempt(error: &RequestAttemptError) -> StoreError {
    match error {
        RequestAttemptError::DbError(DbError::Unauthorized, _) => {
            StoreError::Misconfigured(format!("the event store refused: {error}"))
        }
        RequestAttemptError::DbError(
            DbError::SyntaxError | DbError::Invalid | DbError::ConfigError | DbError::ProtocolError,
            _,
        )
        | RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::RepreparedIdChanged { .. } => tables(error),
        error => unavailable(error),
    }
}

/// The tables are not what this program expects: every row of them is meant, not the one that was asked for.
pub(super) fn tables(error: impl Display) -> StoreError {
    StoreError::Unusable(format!("the event store's tables: {error}"))
}

/// A value in a row is none that was ever written.
pub(super) fn value(error: impl Display) -> StoreError {
    StoreError::Corrupt(format!("a row of the event store: {error}"))
}

pub(super) fn unavailable(error: impl Display) -> StoreError {
    StoreError::Unavailable(format!("event store: {error}"))
}

#[cfg(test)]
mod tests {
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    use super::*;

    #[test]
    fn what_passes_may_be_repeated_and_what_does_not_may_not() {
        let error = |error| request(&RequestAttemptError::DbError(error, String::new()).into());
        let consistency = Consistency::LocalQuorum;
        assert!(error(DbError::Unavailable { consistency, required: 2, alive: 1 }).is_retryable());
        let write_type = WriteType::UnloggedBatch;
        assert!(error(DbError::WriteTimeout { consistency, received: 1, required: 2, write_type }).is_retryable());
        assert!(error(DbError::Overloaded).is_retryable());
        assert!(matches!(error(DbError::Unauthorized), StoreError::Misconfigured(_)));
        assert!(request(&ExecutionError::EmptyPlan).is_retryable());
    }

    #[test]
    fn what_the_cluster_does_not_understand_says_nothing_about_a_row() {
        for error in [DbError::Invalid, DbError::SyntaxError, DbError::ConfigError, DbError::ProtocolError] {
            let error = request(&RequestAttemptError::DbError(error, String::new()).into());
            assert!(matches!(error, StoreError::Unusable(_)), "{error}");
        }
        let prepared_anew = RequestAttemptError::RepreparedIdChanged {
            statement: "SELECT".into(),
            expected_id: vec![1],
            reprepared_id: vec![2],
        };
        assert!(matches!(request(&prepared_anew.into()), StoreError::Unusable(_)));
        assert!(matches!(value("it"), StoreError::Corrupt(_)));
    }
}
