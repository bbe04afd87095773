//! The statements of identities and of codes that are used once. Every function is one transaction or one read.
//!
//! Whoever links or unlinks holds the user's row first, so that two of one user are one behind the other.

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::{Time, UserId};
use tokio_postgres::Row;

use super::queries::{create_user, end, users};
use super::rows::{self, to_integer, unexpected};
use crate::error::StoreError;
use crate::user_store::identities::{codes_kept_from, link, may_unlink};
use crate::user_store::{
    CodeId, Email, Identity, IdentityKey, NewUser, ProviderName, Subject, ToldIdentity, User, UserStoreError,
};

/// What [`read`] reads.
macro_rules! identity_columns {
    () => {
        "user_id, provider, subject, email, email_verified, linked_us, used_us"
    };
}

pub(super) async fn user_of_identity(client: &mut Client, told: &ToldIdentity) -> Result<Option<User>, UserStoreError> {
    let transaction = client.transaction().await?;
    let found = user_in(&transaction, told).await;
    end(transaction, found).await
}

async fn user_in(transaction: &Transaction<'_>, told: &ToldIdentity) -> Result<Option<User>, UserStoreError> {
    let Some((owner, mut identity)) = stored(transaction, &told.key).await? else { return Ok(None) };
    identity.note(told);
    update(transaction, &identity).await?;
    Ok(users(transaction, &[owner]).await?.pop().flatten())
}

pub(super) async fn create_user_of_identity(
    client: &mut Client,
    new: &NewUser,
    told: &ToldIdentity,
) -> Result<User, UserStoreError> {
    let transaction = client.transaction().await?;
    let created = create_in(&transaction, new, told).await;
    end(transaction, created).await
}

async fn create_in(transaction: &Transaction<'_>, new: &NewUser, told: &ToldIdentity) -> Result<User, UserStoreError> {
    let created = create_user(transaction, new).await?;
    let identity = link(stored(transaction, &told.key).await?, new.id, 0, told)?;
    insert(transaction, new.id, &identity).await?;
    Ok(created)
}

pub(super) async fn link_identity(
    client: &mut Client,
    owner: UserId,
    told: &ToldIdentity,
) -> Result<Identity, UserStoreError> {
    let transaction = client.transaction().await?;
    let linked = link_in(&transaction, owner, told).await;
    end(transaction, linked).await
}

async fn link_in(
    transaction: &Transaction<'_>,
    owner: UserId,
    told: &ToldIdentity,
) -> Result<Identity, UserStoreError> {
    if !hold_user(transaction, owner).await? {
        return Err(UserStoreError::NotFound);
    }
    let has = identities(transaction, owner).await?.len();
    let found = stored(transaction, &told.key).await?;
    let is_new = found.is_none();
    let identity = link(found, owner, has, told)?;
    if is_new {
        insert(transaction, owner, &identity).await?;
    } else {
        update(transaction, &identity).await?;
    }
    Ok(identity)
}

pub(super) async fn identities(client: &impl GenericClient, owner: UserId) -> Result<Vec<Identity>, UserStoreError> {
    const SQL: &str =
        concat!("SELECT ", identity_columns!(), " FROM identities WHERE user_id = $1 ORDER BY provider, subject");
    let statement = client.prepare_cached(SQL).await?;
    let found = client.query(&statement, &[&&owner.as_bytes()[..]]).await?;
    Ok(found.iter().map(|row| read(row).map(|(_, identity)| identity)).collect::<Result<_, _>>()?)
}

pub(super) async fn unlink_identity(
    client: &mut Client,
    owner: UserId,
    key: &IdentityKey,
    usable: &[ProviderName],
) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let unlinked = unlink_in(&transaction, owner, key, usable).await;
    end(transaction, unlinked).await
}

async fn unlink_in(
    transaction: &Transaction<'_>,
    owner: UserId,
    key: &IdentityKey,
    usable: &[ProviderName],
) -> Result<(), UserStoreError> {
    if !hold_user(transaction, owner).await? {
        return Err(UserStoreError::NotFound);
    }
    let has_password = transaction.prepare_cached("SELECT 1 FROM credentials WHERE user_id = $1").await?;
    let has_password = transaction.query_opt(&has_password, &[&&owner.as_bytes()[..]]).await?.is_some();
    may_unlink(&identities(transaction, owner).await?, key, usable, has_password)?;
    let remove = transaction.prepare_cached("DELETE FROM identities WHERE provider = $1 AND subject = $2").await?;
    transaction.execute(&remove, &[&key.provider.as_str(), &key.subject.as_str()]).await?;
    Ok(())
}

pub(super) async fn use_code(client: &Client, code: &CodeId, until: Time, now: Time) -> Result<bool, UserStoreError> {
    // Each is a transaction of its own: that the first was done and the second not is of no matter.
    let forget = client.prepare_cached("DELETE FROM used_codes WHERE until_us < $1").await?;
    client.execute(&forget, &[&to_integer(codes_kept_from(now).0)]).await?;
    let note = "INSERT INTO used_codes (id, until_us) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let note = client.prepare_cached(note).await?;
    Ok(client.execute(&note, &[&&code[..], &to_integer(until.0)]).await? == 1)
}

/// Whether there is such a user, who is not erased; nobody else changes by what it logs in until the transaction's end.
async fn hold_user(transaction: &Transaction<'_>, user: UserId) -> Result<bool, UserStoreError> {
    const SQL: &str = "SELECT 1 FROM users WHERE id = $1 AND erased_us IS NULL FOR NO KEY UPDATE";
    let statement = transaction.prepare_cached(SQL).await?;
    Ok(transaction.query_opt(&statement, &[&&user.as_bytes()[..]]).await?.is_some())
}

async fn stored(
    transaction: &Transaction<'_>,
    key: &IdentityKey,
) -> Result<Option<(UserId, Identity)>, UserStoreError> {
    const SQL: &str =
        concat!("SELECT ", identity_columns!(), " FROM identities WHERE provider = $1 AND subject = $2 FOR UPDATE");
    let statement = transaction.prepare_cached(SQL).await?;
    let found = transaction.query_opt(&statement, &[&key.provider.as_str(), &key.subject.as_str()]).await?;
    Ok(found.as_ref().map(read).transpose()?)
}

async fn update(transaction: &Transaction<'_>, identity: &Identity) -> Result<(), UserStoreError> {
    const SQL: &str =
        "UPDATE identities SET email = $3, email_verified = $4, used_us = $5 WHERE provider = $1 AND subject = $2";
    let statement = transaction.prepare_cached(SQL).await?;
    let key = &identity.key;
    transaction
        .execute(
            &statement,
            &[
                &key.provider.as_str(),
                &key.subject.as_str(),
                &identity.email.as_ref().map(Email::as_str),
                &identity.email_verified,
                &to_integer(identity.used.0),
            ],
        )
        .await?;
    Ok(())
}

/// Of two that insert the same at once one is refused.
async fn insert(transaction: &Transaction<'_>, owner: UserId, identity: &Identity) -> Result<(), UserStoreError> {
    const SQL: &str = concat!("INSERT INTO identities (", identity_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7)");
    let statement = transaction.prepare_cached(SQL).await?;
    let key = &identity.key;
    transaction
        .execute(
            &statement,
            &[
                &&owner.as_bytes()[..],
                &key.provider.as_str(),
                &key.subject.as_str(),
                &identity.email.as_ref().map(Email::as_str),
                &identity.email_verified,
                &to_integer(identity.linked.0),
                &to_integer(identity.used.0),
            ],
        )
        .await?;
    Ok(())
}

fn read(row: &Row) -> Result<(UserId, Identity), StoreError> {
    let owner: &[u8] = rows::column(row, 0)?;
    let owner = <[u8; 16]>::try_from(owner).map_err(|_| unexpected("user"))?;
    let provider = ProviderName::parse(rows::column(row, 1)?).map_err(|_| unexpected("login provider"))?;
    let subject = Subject::parse(rows::column(row, 2)?).map_err(|_| unexpected("subject"))?;
    let email = rows::column::<Option<&str>>(row, 3)?.map(Email::parse).transpose();
    let identity = Identity {
        key: IdentityKey { provider, subject },
        email: email.map_err(|_| unexpected("email"))?,
        email_verified: rows::column(row, 4)?,
        linked: Time(rows::unsigned(row, 5)?),
        used: Time(rows::unsigned(row, 6)?),
    };
    Ok((UserId::from_bytes(owner).map_err(|_| unexpected("user"))?, identity))
}
