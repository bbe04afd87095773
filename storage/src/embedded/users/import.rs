//! The statements of work on the whole store.

use panda_protocol::UserId;
use rusqlite::Connection;

use super::queries::{USER_COLUMNS, begin, read_credential};
use super::schema::to_integer;
use crate::user_store::{Credential, Email, PasswordHash, PictureUrl, UserStoreError};

pub(super) fn scan_users(
    connection: &Connection,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<Credential>, UserStoreError> {
    let sql = format!(
        "SELECT {USER_COLUMNS}, password_hash FROM users LEFT JOIN credentials ON user_id = id \
         WHERE id > ?1 ORDER BY id LIMIT ?2"
    );
    // Nothing is below the empty identifier.
    let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let users = statement.query_map((after, limit), read_credential)?.collect::<Result<_, _>>()?;
    Ok(users)
}

pub(super) fn import_users(connection: &mut Connection, users: &[Credential]) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    for Credential { user, password } in users {
        let made = transaction
            .prepare_cached(
                "INSERT INTO users (id, username, username_key, email, picture, version, created_us) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
            )?
            .execute((
                user.id.as_bytes(),
                user.username.as_str(),
                user.username.key(),
                user.email.as_ref().map(Email::as_str),
                user.picture.as_ref().map(PictureUrl::as_str),
                to_integer(user.version),
                to_integer(user.created.0),
            ))?;
        if let (1, Some(PasswordHash(hash))) = (made, password) {
            transaction
                .prepare_cached("INSERT INTO credentials (user_id, password_hash) VALUES (?1, ?2)")?
                .execute((user.id.as_bytes(), hash))?;
        }
    }
    Ok(transaction.commit()?)
}
