//! The statements. Every function is one transaction or one read.

use panda_protocol::{Time, UserId};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, Transaction, TransactionBehavior};

use super::schema::{store_error, to_integer};
use crate::user_store::{
    AccountState, Credential, Email, NewUser, PasswordHash, PictureUrl, UniqueField, User, UserChange, UserStoreError,
    Username, same_address,
};

pub(super) const USER_COLUMNS: &str = "id, username, email, picture, version, created_us, verified_email_key IS NOT NULL, \
                                       (erased_us IS NOT NULL) * 2 + (deactivated_us IS NOT NULL)";

impl From<rusqlite::Error> for UserStoreError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, Some(text)) = &error else {
            return Self::Store(store_error(&error));
        };
        // SQLite names the column of a broken constraint in its text and nowhere else.
        if failure.code == ErrorCode::ConstraintViolation && text.ends_with("users.username_key") {
            return Self::Taken(UniqueField::Username);
        }
        if failure.code == ErrorCode::ConstraintViolation && text.ends_with("users.id") {
            return Self::Taken(UniqueField::Id);
        }
        if failure.code == ErrorCode::ConstraintViolation && text.ends_with("users.verified_email_key") {
            return Self::Taken(UniqueField::Email);
        }
        if failure.code == ErrorCode::ConstraintViolation && text.ends_with("identities.provider, identities.subject") {
            return Self::Taken(UniqueField::Identity);
        }
        Self::Store(store_error(&error))
    }
}

pub(super) fn create_user(connection: &mut Connection, user: &NewUser) -> Result<User, UserStoreError> {
    let transaction = begin(connection)?;
    let created = insert_user(&transaction, user)?;
    transaction.commit()?;
    Ok(created)
}

pub(super) fn ensure_users(connection: &mut Connection, users: &[NewUser]) -> Result<Vec<User>, UserStoreError> {
    let transaction = begin(connection)?;
    let one = |user: &NewUser| match user_by_name(&transaction, &user.username)? {
        Some(known) => Ok(known),
        None => insert_user(&transaction, user),
    };
    let ensured = users.iter().map(one).collect::<Result<_, UserStoreError>>()?;
    transaction.commit()?;
    Ok(ensured)
}

pub(super) fn update_user(
    connection: &mut Connection,
    id: UserId,
    change: &UserChange,
    if_version: Option<u64>,
) -> Result<User, UserStoreError> {
    let transaction = begin(connection)?;
    let mut user = there(&transaction, id)?;
    if if_version.is_some_and(|version| version != user.version) {
        return Err(UserStoreError::VersionConflict { current: user.version });
    }
    if let Some(username) = &change.username {
        user.username = username.clone();
    }
    if let Some(email) = &change.email {
        user.email_verified &= same_address(user.email.as_ref(), email.as_ref());
        user.email.clone_from(email);
    }
    if let Some(picture) = &change.picture {
        user.picture.clone_from(picture);
    }
    user.version += 1;
    transaction
        .prepare_cached(
            "UPDATE users SET username = ?2, username_key = ?3, email = ?4, picture = ?5, version = ?6, \
             verified_email_key = ?7 WHERE id = ?1",
        )?
        .execute((
            user.id.as_bytes(),
            user.username.as_str(),
            user.username.key(),
            user.email.as_ref().map(Email::as_str),
            user.picture.as_ref().map(PictureUrl::as_str),
            to_integer(user.version),
            user.email.as_ref().filter(|_| user.email_verified).map(Email::key),
        ))?;
    transaction.commit()?;
    Ok(user)
}

pub(super) fn user(connection: &Connection, id: UserId) -> Result<Option<User>, UserStoreError> {
    let sql = format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.as_bytes()], read_user).optional()?)
}

/// A user who is not erased.
pub(super) fn there(connection: &Connection, id: UserId) -> Result<User, UserStoreError> {
    user(connection, id)?.filter(|user| user.state != AccountState::Erased).ok_or(UserStoreError::NotFound)
}

/// Of what [`USER_COLUMNS`] says of it.
pub(super) const fn state(number: i64) -> AccountState {
    match number {
        0 => AccountState::Active,
        1 => AccountState::Deactivated,
        _ => AccountState::Erased,
    }
}

pub(super) fn user_by_name(connection: &Connection, name: &Username) -> Result<Option<User>, UserStoreError> {
    let sql = format!("SELECT {USER_COLUMNS} FROM users WHERE username_key = ?1 AND erased_us IS NULL");
    Ok(connection.prepare_cached(&sql)?.query_row([name.key()], read_user).optional()?)
}

pub(super) fn credential(connection: &Connection, name: &Username) -> Result<Option<Credential>, UserStoreError> {
    let sql = format!(
        "SELECT {USER_COLUMNS}, password_hash FROM users LEFT JOIN credentials ON user_id = id \
         WHERE username_key = ?1 AND erased_us IS NULL"
    );
    Ok(connection.prepare_cached(&sql)?.query_row([name.key()], read_credential).optional()?)
}

/// Takes the file's write lock at once: what the transaction reads is what it changes.
pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn insert_user(transaction: &Transaction<'_>, user: &NewUser) -> Result<User, UserStoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO users (id, username, username_key, email, version, created_us) VALUES (?1, ?2, ?3, ?4, 1, ?5)",
        )?
        .execute((
            user.id.as_bytes(),
            user.username.as_str(),
            user.username.key(),
            user.email.as_ref().map(Email::as_str),
            to_integer(user.created.0),
        ))?;
    if let Some(password) = &user.password {
        transaction
            .prepare_cached("INSERT INTO credentials (user_id, password_hash) VALUES (?1, ?2)")?
            .execute((user.id.as_bytes(), &password.0))?;
    }
    Ok(User {
        id: user.id,
        username: user.username.clone(),
        email: user.email.clone(),
        email_verified: false,
        state: AccountState::Active,
        picture: None,
        version: 1,
        created: user.created,
    })
}

/// Reads [`USER_COLUMNS`]. Stored values are held to the rules of their fields, too.
pub(super) fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    Ok(User {
        id: UserId::from_bytes(row.get(0)?).map_err(|error| unexpected(0, error))?,
        username: Username::parse(&row.get::<_, String>(1)?).map_err(|error| unexpected(1, error))?,
        email: text(2)?.map(|email| Email::parse(&email)).transpose().map_err(|error| unexpected(2, error))?,
        email_verified: row.get(6)?,
        state: state(row.get(7)?),
        picture: text(3)?.map(|url| PictureUrl::stored(&url)).transpose().map_err(|error| unexpected(3, error))?,
        version: unsigned(row, 4)?,
        created: Time(unsigned(row, 5)?),
    })
}

/// Reads [`USER_COLUMNS`] and the password's hash behind them.
pub(super) fn read_credential(row: &Row<'_>) -> rusqlite::Result<Credential> {
    Ok(Credential { user: read_user(row)?, password: row.get::<_, Option<String>>(8)?.map(PasswordHash) })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| unexpected(column, error))
}

pub(super) fn unexpected(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, Box::new(error))
}
