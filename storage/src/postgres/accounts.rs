//! The statements of what proves an account to be its user's. Every function is one transaction or one read.
//!
//! Whoever changes something here holds the user's row first, as who begins or ends logins does.

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::{Time, UserId};

use super::logins::{end_in, user_id};
use super::queries::end as settle;
use super::rows::{self, to_integer, user_columns};
use crate::error::StoreError;
use crate::user_store::{
    AccountState, Credential, Email, EndedLogin, MailLimit, MailPurpose, MailTokenDigest, NewMailToken, PasswordChange,
    PasswordHash, User, UserStoreError, Username, WhichLogins,
};

pub(super) async fn credential_of(
    client: &impl GenericClient,
    id: UserId,
) -> Result<Option<Credential>, UserStoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        ", password_hash FROM users LEFT JOIN credentials ON user_id = id WHERE id = $1"
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client.query_opt(&statement, &[&&id.as_bytes()[..]]).await?;
    Ok(row.as_ref().map(rows::credential).transpose()?)
}

pub(super) async fn user_by_verified_email(client: &Client, email: &Email) -> Result<Option<User>, UserStoreError> {
    const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE verified_email_key = $1");
    let statement = client.prepare_cached(SQL).await?;
    let row = client.query_opt(&statement, &[&email.key()]).await?;
    Ok(row.as_ref().map(rows::user).transpose()?)
}

pub(super) async fn add_mail_token(
    client: &mut Client,
    token: &NewMailToken,
    limit: &MailLimit,
) -> Result<Result<(), Duration>, UserStoreError> {
    let transaction = client.transaction().await?;
    let added = add_mail_token_in(&transaction, token, limit).await;
    settle(transaction, added).await
}

async fn add_mail_token_in(
    transaction: &Transaction<'_>,
    token: &NewMailToken,
    limit: &MailLimit,
) -> Result<Result<(), Duration>, UserStoreError> {
    let user = held_user(transaction, token.user).await?.ok_or(UserStoreError::NotFound)?;
    if user.email.is_none_or(|email| email.key() != token.email.key()) {
        return Err(UserStoreError::NotFound);
    }
    let id = &token.user.as_bytes()[..];
    let sql = "SELECT created_us FROM mail_tokens WHERE user_id = $1 AND purpose = $2";
    let statement = transaction.prepare_cached(sql).await?;
    let found = transaction.query(&statement, &[&id, &token.purpose.number()]).await?;
    let made = found.iter().map(|row| rows::unsigned(row, 0).map(Time)).collect::<Result<_, StoreError>>()?;
    if let Some(wait) = limit.wait(made, token.created) {
        return Ok(Err(wait));
    }
    let sql = "INSERT INTO mail_tokens (digest, user_id, purpose, email_key, created_us, ends_us, used) \
               VALUES ($1, $2, $3, $4, $5, $6, false)";
    let statement = transaction.prepare_cached(sql).await?;
    let (created, ends) = (to_integer(token.created.0), to_integer(token.ends.0));
    transaction
        .execute(&statement, &[&&token.digest[..], &id, &token.purpose.number(), &token.email.key(), &created, &ends])
        .await?;
    // Those of everybody: nobody else comes by who would forget them. What others forget now is left to them.
    let sql = "DELETE FROM mail_tokens WHERE digest IN (SELECT digest FROM mail_tokens \
               WHERE created_us < $1 AND ends_us < $2 FOR UPDATE SKIP LOCKED)";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&to_integer(limit.begins(token.created).0), &created]).await?;
    Ok(Ok(()))
}

pub(super) async fn mail_token(
    client: &impl GenericClient,
    digest: MailTokenDigest,
    purpose: MailPurpose,
    now: Time,
) -> Result<Option<UserId>, UserStoreError> {
    // A link dies with the address that it was sent to, and a new password asks for one that was proven.
    const SQL: &str = "SELECT mail_tokens.user_id FROM mail_tokens JOIN users ON users.id = mail_tokens.user_id \
                       WHERE digest = $1 AND purpose = $2 AND ends_us > $3 AND NOT used \
                       AND lower(users.email COLLATE \"C\") = email_key \
                       AND (purpose = 1 OR verified_email_key = email_key)";
    let statement = client.prepare_cached(SQL).await?;
    let row = client.query_opt(&statement, &[&&digest[..], &purpose.number(), &to_integer(now.0)]).await?;
    Ok(row.map(|row| user_id(&row, 0)).transpose()?)
}

pub(super) async fn verify_email(
    client: &mut Client,
    digest: MailTokenDigest,
    now: Time,
) -> Result<Option<User>, UserStoreError> {
    let transaction = client.transaction().await?;
    let verified = verify_in(&transaction, digest, now).await;
    settle(transaction, verified).await
}

async fn verify_in(
    transaction: &Transaction<'_>,
    digest: MailTokenDigest,
    now: Time,
) -> Result<Option<User>, UserStoreError> {
    let Some(id) = held_token(transaction, digest, MailPurpose::Verification, now).await? else { return Ok(None) };
    use_up(transaction, id, MailPurpose::Verification).await?;
    const SQL: &str = concat!(
        "UPDATE users SET verified_email_key = lower(email COLLATE \"C\"), version = version + 1 WHERE id = $1 RETURNING ",
        user_columns!()
    );
    let statement = transaction.prepare_cached(SQL).await?;
    let row = transaction.query_opt(&statement, &[&&id.as_bytes()[..]]).await?;
    Ok(row.as_ref().map(rows::user).transpose()?)
}

pub(super) async fn reset_password(
    client: &mut Client,
    digest: MailTokenDigest,
    password: &PasswordHash,
    now: Time,
) -> Result<Option<(User, Vec<EndedLogin>)>, UserStoreError> {
    let transaction = client.transaction().await?;
    let reset = reset_in(&transaction, digest, password, now).await;
    settle(transaction, reset).await
}

async fn reset_in(
    transaction: &Transaction<'_>,
    digest: MailTokenDigest,
    password: &PasswordHash,
    now: Time,
) -> Result<Option<(User, Vec<EndedLogin>)>, UserStoreError> {
    let Some(id) = held_token(transaction, digest, MailPurpose::Reset, now).await? else { return Ok(None) };
    set_password(transaction, id, password).await?;
    let user = held_user(transaction, id).await?.ok_or(UserStoreError::NotFound)?;
    let ended = end_in(transaction, id, WhichLogins::All, now).await?;
    Ok(Some((user, ended)))
}

pub(super) async fn change_password(
    client: &mut Client,
    change: &PasswordChange,
) -> Result<Option<Vec<EndedLogin>>, UserStoreError> {
    let transaction = client.transaction().await?;
    let changed = change_in(&transaction, change).await;
    settle(transaction, changed).await
}

async fn change_in(
    transaction: &Transaction<'_>,
    change: &PasswordChange,
) -> Result<Option<Vec<EndedLogin>>, UserStoreError> {
    held_user(transaction, change.user).await?.ok_or(UserStoreError::NotFound)?;
    let known = credential_of(transaction, change.user).await?.ok_or(UserStoreError::NotFound)?;
    if known.password.as_ref() != Some(&change.before) {
        return Ok(None);
    }
    set_password(transaction, change.user, &change.password).await?;
    let which = change.keep.map_or(WhichLogins::All, WhichLogins::Others);
    Ok(Some(end_in(transaction, change.user, which, change.now).await?))
}

/// The user, whom nobody else changes until the transaction's end.
pub(super) async fn held_user(transaction: &Transaction<'_>, id: UserId) -> Result<Option<User>, UserStoreError> {
    const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1 FOR NO KEY UPDATE");
    let statement = transaction.prepare_cached(SQL).await?;
    let row = transaction.query_opt(&statement, &[&&id.as_bytes()[..]]).await?;
    Ok(row.as_ref().map(rows::user).transpose()?)
}

/// The user of a token that is good, and is so still once nobody else can change that.
async fn held_token(
    transaction: &Transaction<'_>,
    digest: MailTokenDigest,
    purpose: MailPurpose,
    now: Time,
) -> Result<Option<UserId>, UserStoreError> {
    let Some(id) = mail_token(transaction, digest, purpose, now).await? else { return Ok(None) };
    held_user(transaction, id).await?;
    mail_token(transaction, digest, purpose, now).await
}

/// Links that were sent to set another one are good no more.
async fn set_password(
    transaction: &Transaction<'_>,
    id: UserId,
    password: &PasswordHash,
) -> Result<(), UserStoreError> {
    let sql = "INSERT INTO credentials (user_id, password_hash) VALUES ($1, $2) \
               ON CONFLICT (user_id) DO UPDATE SET password_hash = $2";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&&id.as_bytes()[..], &password.0]).await?;
    use_up(transaction, id, MailPurpose::Reset).await
}

/// They stay for a while: they count against how many are sent.
async fn use_up(transaction: &Transaction<'_>, id: UserId, purpose: MailPurpose) -> Result<(), UserStoreError> {
    let statement =
        transaction.prepare_cached("UPDATE mail_tokens SET used = true WHERE user_id = $1 AND purpose = $2").await?;
    transaction.execute(&statement, &[&&id.as_bytes()[..], &purpose.number()]).await?;
    Ok(())
}

/// The user, held, if it is not erased.
async fn held_there(transaction: &Transaction<'_>, id: UserId) -> Result<User, UserStoreError> {
    let user = held_user(transaction, id).await?;
    user.filter(|user| user.state != AccountState::Erased).ok_or(UserStoreError::NotFound)
}

pub(super) async fn deactivate_user(
    client: &mut Client,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    let transaction = client.transaction().await?;
    let deactivated = deactivate_in(&transaction, id, now).await;
    settle(transaction, deactivated).await
}

async fn deactivate_in(
    transaction: &Transaction<'_>,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    held_there(transaction, id).await?;
    let sql = "UPDATE users SET deactivated_us = $2, version = version + 1 WHERE id = $1";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&&id.as_bytes()[..], &to_integer(now.0)]).await?;
    let user = held_there(transaction, id).await?;
    Ok((user, end_in(transaction, id, WhichLogins::All, now).await?))
}

pub(super) async fn erase_user(
    client: &mut Client,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    let transaction = client.transaction().await?;
    let erased = erase_in(&transaction, id, now).await;
    settle(transaction, erased).await
}

async fn erase_in(
    transaction: &Transaction<'_>,
    id: UserId,
    now: Time,
) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
    held_there(transaction, id).await?;
    let key = &id.as_bytes()[..];
    for sql in [
        "DELETE FROM credentials WHERE user_id = $1",
        "DELETE FROM mail_tokens WHERE user_id = $1",
        "DELETE FROM identities WHERE user_id = $1",
    ] {
        let statement = transaction.prepare_cached(sql).await?;
        transaction.execute(&statement, &[&key]).await?;
    }
    let sql = "UPDATE users SET username = $2, email = NULL, verified_email_key = NULL, picture = NULL, \
               deactivated_us = NULL, erased_us = $3, version = version + 1 WHERE id = $1";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&key, &Username::of_erased(id).as_str(), &to_integer(now.0)]).await?;
    let user = held_user(transaction, id).await?.ok_or(UserStoreError::NotFound)?;
    Ok((user, end_in(transaction, id, WhichLogins::All, now).await?))
}
