//! What the caller can do about an error of the server or of the way to it.

use std::error::Error as _;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, SqlState};

use crate::error::StoreError;
use crate::user_store::{UniqueField, UserStoreError};

impl From<tokio_postgres::Error> for UserStoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        error.as_db_error().and_then(taken).map_or_else(|| Self::Store(store_error(&error)), Self::Taken)
    }
}

fn taken(error: &DbError) -> Option<UniqueField> {
    if *error.code() != SqlState::UNIQUE_VIOLATION {
        return None;
    }
    match error.constraint()? {
        "users_username_key_unique" => Some(UniqueField::Username),
        "users_id_unique" => Some(UniqueField::Id),
        "users_verified_email_unique" => Some(UniqueField::Email),
        "identities_unique" => Some(UniqueField::Identity),
        _ => None,
    }
}

/// An error that says nothing of names and identifiers.
pub(super) fn store_error(error: &tokio_postgres::Error) -> StoreError {
    let Some(answer) = error.as_db_error() else {
        // A value of another type than was written is no matter of the network.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        let of_value = error.source().is_some_and(|cause| cause.is::<tokio_postgres::types::WrongType>());
        return if of_value { StoreError::Corrupt(text) } else { StoreError::Unavailable(text) };
    };
    // The message only: the detail quotes values of users.
    let code = answer.code().code();
    let text = format!("{} (SQLSTATE {code})", answer.message());
    match code {
        // A full disk is worth its own name; other lacks of the server pass.
        "53100" => StoreError::Full(text),
        // Read-only: a standby that is not promoted yet, or a server that was demoted.
        "25006" => StoreError::Unavailable(text),
        // Wrong name or password, or no such database: waiting mends neither.
        "28000" | "28P01" | "3D000" => StoreError::Misconfigured(format!("the user store refuses: {text}")),
        _ => match &code[..code.len().min(2)] {
            // What was asked or found does not fit the tables: a person must look.
            "0A" | "21" | "22" | "23" | "42" | "XX" => StoreError::Corrupt(text),
            // Connections, locks, limits, shutdown, and what later servers invent.
            _ => StoreError::Unavailable(text),
        },
    }
}

pub(super) fn pool_error(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => store_error(&error),
        PoolError::Timeout(TimeoutType::Wait) => StoreError::Unavailable("all connections are in use".into()),
        PoolError::Timeout(_) => StoreError::Unavailable("no connection within the time for it".into()),
        PoolError::Closed => StoreError::Closed,
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => StoreError::Unavailable(error.to_string()),
    }
}
