//! The statements of what proves an account to be its user's. Every function is one transaction or one read.

use panda_protocol::{Time, UserId};
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::logins::end_in;
use super::queries::{USER_COLUMNS, begin, read_credential, read_user, there, unexpected, unsigned, user};
use super::schema::to_integer;
use crate::user_store::{
    Credential, Email, EndedLogin, MailLimit, MailPurpose, MailTokenDigest, NewMailToken, PasswordChange, PasswordHash,
    User, UserStoreError, Username, WhichLogins,
};

pub(super) fn credential_of(connection: &Connection, id: UserId) -> Result<Option<Credential>, UserStoreError> {
    let sql =
        format!("SELECT {USER_COLUMNS}, password_hash FROM users LEFT JOIN credentials ON user_id = id WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.as_bytes()], read_credential).optional()?)
}

pub(super) fn user_by_verified_email(connection: &Connection, email: &Email) -> Result<Option<User>, UserStoreError> {
    let sql = format!("SELECT {USER_COLUMNS} FROM users WHERE verified_email_key = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([email.key()], read_user).optional()?)
}

pub(super) fn add_mail_token(
    connection: &mut Connection,
    token: &NewMailToken,
    limit: &MailLimit,
) -> Result<Result<(), std::time::Duration>, UserStoreError> {
    let transaction = begin(connection)?;
    let user = user(&transaction, token.user)?.ok_or(UserStoreError::NotFound)?;
    if user.email.is_none_or(|email| email.key() != token.email.key()) {
        return Err(UserStoreError::NotFound);
    }
    // Those of everybody: nobody else comes by who would forget them.
    let begins = to_integer(limit.begins(token.created).0);
    transaction
        .prepare_cached("DELETE FROM mail_tokens WHERE created_us < ?1 AND ends_us < ?2")?
        .execute((begins, to_integer(token.created.0)))?;
    let made = {
        let mut statement =
            transaction.prepare_cached("SELECT created_us FROM mail_tokens WHERE user_id = ?1 AND purpose = ?2")?;
        let read = |row: &rusqlite::Row<'_>| unsigned(row, 0).map(Time);
        statement.query_map((token.user.as_bytes(), token.purpose.number()), read)?.collect::<Result<Vec<_>, _>>()?
    };
    if let Some(wait) = limit.wait(made, token.created) {
        return Ok(Err(wait));
    }
    transaction
        .prepare_cached(
            "INSERT INTO mail_tokens (digest, user_id, purpose, email_key, created_us, ends_us, used) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        )?
        .execute((
            token.digest,
            token.user.as_bytes(),
            token.purpose.number(),
            token.email.key(),
            to_integer(token.created.0),
            to_integer(token.ends.0),
        ))?;
    transaction.commit()?;
    Ok(Ok(()))
}

pub(super) fn mail_token(
    connection: &Connection,
    digest: MailTokenDigest,
    purpose: MailPurpose,
    now: Time,
) -> Result<Option<UserId>, UserStoreError> {
    // A link dies with the address that it was sent to, and a new password asks for one that was proven.
    let sql = "SELECT mail_tokens.user_id FROM mail_tokens JOIN users ON users.id = mail_tokens.user_id \
               WHERE digest = ?1 AND purpose = ?2 AND ends_us > ?3 AND used = 0 AND lower(users.email) = email_key \
               AND (purpose = 1 OR verified_email_key = email_key)";
    let read = |row: &rusqlite::Row<'_>| UserId::from_bytes(row.get(0)?).map_err(|error| unexpected(0, error));
    Ok(connection.prepare_cached(sql)?.query_row((digest, purpose.number(), to_integer(now.0)), read).optional()?)
}

pub(super) fn verify_email(
    connection: &mut Connection,
    digest: MailTokenDigest,
    now: Time,
) -> Result<Option<User>, UserStoreError> {
    let transaction = begin(connection)?;
    let Some(id) = mail_token(&transaction, digest, MailPurpose::Verification, now)? else { return Ok(None) };
    use_up(&transaction, id, MailPurpose::Verification)?;
    transaction
        .prepare_cached("UPDATE users SET verified_email_key = lower(email), version = version + 1 WHERE id = ?1")?
        .execute([id.as_bytes()])?;
    let user = user(&transaction, id)?;
    transaction.commit()?;
    Ok(user)
}

pub(super) fn reset_password(
    connection: &mut Connection,
    digest: MailTokenDigest,
    password: &PasswordHash,
    now: Time,
) -> Result<Option<(User, Vec<EndedLogin>)>, UserStoreError> {
    let transaction = begin(connection)?;
    let Some(id) = mail_token(&transaction, digest, MailPurpose::Reset, now)? else { return Ok(None) };
    set_password(&transaction, id, password)?;
    let ended = end_in(&transaction, id, WhichLogins::All, now)?;
    let user = user(&transaction, id)?.ok_or(UserStoreError::NotFound)?;
    transaction.commit()?;
    Ok(Some((user, ended)))
}

pub(super) fn change_password(
    connection: &mut Connection,
    change: &PasswordChange,
) -> Result<Option<Vec<EndedLogin>>, UserStoreError> {
    let transaction = begin(connection)?;
    let known = credential_of(&transaction, change.user)?.ok_or(UserStoreError::NotFound)?;
    if known.password.as_ref() != Some(&change.before) {
        return Ok(None);
    }
    set_password(&transaction, change.user, &change.password)?;
    let which = change.keep.map_or(WhichLogins::All, WhichLogins::Others);
    let ended = end_in(&transaction, change.user, which, change.now)?;
    transaction.commit()?;
    Ok(Some(ended))
}

/// Links that were sent to set another one are good no more.
fn set_password(transaction: &Transaction<'_>, id: UserId, password: &PasswordHash) -> Result<(), UserStoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO credentials (user_id, password_hash) VALUES (?1, ?2) \
             ON CONFLICT (user_id) DO UPDATE SET password_hash = ?2",
        )?
        .execute((id.as_bytes(), &password.0))?;
    use_up(transaction, id, MailPurpose::Reset)
}

/// They stay for a while: they count against how many are sent.
fn use_up(transaction: &Transaction<'_>, id: UserId, purpose: MailPurpose) -> Result<(), UserStoreError> {
    transaction
        .prepare_cached("UPDATE mail_tokens SET used = 1 WHERE user_id = ?1 AND purpose = ?2")?
        .execute((id.as_bytes(), purpose.number()))?;
    Ok(())
}

pub(super) fn deactivate_user(
    connection: &mut Connection,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    let transaction = begin(connection)?;
    there(&transaction, id)?;
    transaction
        .prepare_cached("UPDATE users SET deactivated_us = ?2, version = version + 1 WHERE id = ?1")?
        .execute((id.as_bytes(), to_integer(now.0)))?;
    let ended = end_in(&transaction, id, WhichLogins::All, now)?;
    let user = there(&transaction, id)?;
    transaction.commit()?;
    Ok((user, ended))
}

pub(super) fn erase_user(
    connection: &mut Connection,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    let transaction = begin(connection)?;
    there(&transaction, id)?;
    let ended = end_in(&transaction, id, WhichLogins::All, now)?;
    for sql in [
        "DELETE FROM credentials WHERE user_id = ?1",
        "DELETE FROM mail_tokens WHERE user_id = ?1",
        "DELETE FROM identities WHERE user_id = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([id.as_bytes()])?;
    }
    transaction
        .prepare_cached(
            "UPDATE users SET username = ?2, email = NULL, verified_email_key = NULL, picture = NULL, \
             deactivated_us = NULL, erased_us = ?3, version = version + 1 WHERE id = ?1",
        )?
        .execute((id.as_bytes(), Username::of_erased(id).as_str(), to_integer(now.0)))?;
    let user = user(&transaction, id)?.ok_or(UserStoreError::NotFound)?;
    transaction.commit()?;
    Ok((user, ended))
}
