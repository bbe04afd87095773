//! Rows and what they mean. Stored values are held to the rules of their fields, too.

use panda_protocol::{Time, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::error::StoreError;
use crate::user_store::{AccountState, Credential, Email, PasswordHash, PictureUrl, User, Username};

/// What [`user`] reads, from column 0.
macro_rules! user_columns {
    () => {
        "id, username, email, picture, version, created_us, verified_email_key IS NOT NULL, \
         CASE WHEN erased_us IS NOT NULL THEN 2 WHEN deactivated_us IS NOT NULL THEN 1 ELSE 0 END"
    };
}
pub(super) use user_columns;

pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    let id: &[u8] = column(row, 0)?;
    let id = <[u8; 16]>::try_from(id).map_err(|_| unexpected("id"))?;
    let email = column::<Option<&str>>(row, 2)?.map(Email::parse).transpose();
    let picture = column::<Option<&str>>(row, 3)?.map(PictureUrl::stored).transpose();
    Ok(User {
        id: UserId::from_bytes(id).map_err(|_| unexpected("id"))?,
        username: Username::parse(column(row, 1)?).map_err(|_| unexpected("username"))?,
        email: email.map_err(|_| unexpected("email"))?,
        email_verified: column(row, 6)?,
        state: match column::<i32>(row, 7)? {
            0 => AccountState::Active,
            1 => AccountState::Deactivated,
            _ => AccountState::Erased,
        },
        picture: picture.map_err(|_| unexpected("picture"))?,
        version: unsigned(row, 4)?,
        created: Time(unsigned(row, 5)?),
    })
}

/// Reads a user and the password's hash behind it.
pub(super) fn credential(row: &Row) -> Result<Credential, StoreError> {
    Ok(Credential { user: user(row)?, password: column::<Option<String>>(row, 8)?.map(PasswordHash) })
}

pub(super) fn unsigned(row: &Row, place: usize) -> Result<u64, StoreError> {
    u64::try_from(column::<i64>(row, place)?).map_err(|_| unexpected("number"))
}

pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, place: usize) -> Result<T, StoreError> {
    row.try_get(place).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn unexpected(field: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {field} is none"))
}

/// A number as Postgres keeps it. Times and versions stay far below 2^63.
pub(super) fn to_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
