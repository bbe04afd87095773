//! The statements of identities and of codes that are used once. Every function is one transaction or one read.

use panda_protocol::{Time, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::queries::{begin, insert_user, there, unexpected, unsigned, user};
use super::schema::to_integer;
use crate::user_store::identities::{codes_kept_from, link, may_unlink};
use crate::user_store::{
    CodeId, Email, Identity, IdentityKey, NewUser, ProviderName, Subject, ToldIdentity, User, UserStoreError,
};

const COLUMNS: &str = "user_id, provider, subject, email, email_verified, linked_us, used_us";

pub(super) fn user_of_identity(
    connection: &mut Connection,
    told: &ToldIdentity,
) -> Result<Option<User>, UserStoreError> {
    let transaction = begin(connection)?;
    let Some((owner, mut identity)) = stored(&transaction, &told.key)? else { return Ok(None) };
    identity.note(told);
    update(&transaction, &identity)?;
    let found = user(&transaction, owner)?;
    transaction.commit()?;
    Ok(found)
}

pub(super) fn create_user_of_identity(
    connection: &mut Connection,
    new: &NewUser,
    told: &ToldIdentity,
) -> Result<User, UserStoreError> {
    let transaction = begin(connection)?;
    let created = insert_user(&transaction, new)?;
    let identity = link(stored(&transaction, &told.key)?, new.id, 0, told)?;
    insert(&transaction, new.id, &identity)?;
    transaction.commit()?;
    Ok(created)
}

pub(super) fn link_identity(
    connection: &mut Connection,
    owner: UserId,
    told: &ToldIdentity,
) -> Result<Identity, UserStoreError> {
    let transaction = begin(connection)?;
    there(&transaction, owner)?;
    let has = identities(&transaction, owner)?.len();
    let found = stored(&transaction, &told.key)?;
    let is_new = found.is_none();
    let identity = link(found, owner, has, told)?;
    if is_new {
        insert(&transaction, owner, &identity)?
    } else {
        update(&transaction, &identity)?
    }
    transaction.commit()?;
    Ok(identity)
}

pub(super) fn identities(connection: &Connection, owner: UserId) -> Result<Vec<Identity>, UserStoreError> {
    let sql = format!("SELECT {COLUMNS} FROM identities WHERE user_id = ?1 ORDER BY provider, subject");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map([owner.as_bytes()], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().map(|(_, identity)| identity).collect())
}

pub(super) fn unlink_identity(
    connection: &mut Connection,
    owner: UserId,
    key: &IdentityKey,
    usable: &[ProviderName],
) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    let has_password =
        transaction.prepare_cached("SELECT 1 FROM credentials WHERE user_id = ?1")?.exists([owner.as_bytes()])?;
    may_unlink(&identities(&transaction, owner)?, key, usable, has_password)?;
    transaction
        .prepare_cached("DELETE FROM identities WHERE provider = ?1 AND subject = ?2")?
        .execute((key.provider.as_str(), key.subject.as_str()))?;
    Ok(transaction.commit()?)
}

pub(super) fn use_code(
    connection: &mut Connection,
    code: &CodeId,
    until: Time,
    now: Time,
) -> Result<bool, UserStoreError> {
    let transaction = begin(connection)?;
    transaction
        .prepare_cached("DELETE FROM used_codes WHERE until_us < ?1")?
        .execute([to_integer(codes_kept_from(now).0)])?;
    let used = transaction
        .prepare_cached("INSERT INTO used_codes (id, until_us) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING")?
        .execute((code, to_integer(until.0)))?;
    transaction.commit()?;
    Ok(used == 1)
}

fn stored(transaction: &Transaction<'_>, key: &IdentityKey) -> Result<Option<(UserId, Identity)>, UserStoreError> {
    let sql = format!("SELECT {COLUMNS} FROM identities WHERE provider = ?1 AND subject = ?2");
    let names = (key.provider.as_str(), key.subject.as_str());
    Ok(transaction.prepare_cached(&sql)?.query_row(names, read).optional()?)
}

fn update(transaction: &Transaction<'_>, identity: &Identity) -> Result<(), UserStoreError> {
    let sql =
        "UPDATE identities SET email = ?3, email_verified = ?4, used_us = ?5 WHERE provider = ?1 AND subject = ?2";
    transaction.prepare_cached(sql)?.execute((
        identity.key.provider.as_str(),
        identity.key.subject.as_str(),
        identity.email.as_ref().map(Email::as_str),
        identity.email_verified,
        to_integer(identity.used.0),
    ))?;
    Ok(())
}

fn insert(transaction: &Transaction<'_>, owner: UserId, identity: &Identity) -> Result<(), UserStoreError> {
    let sql = format!("INSERT INTO identities ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    transaction.prepare_cached(&sql)?.execute((
        owner.as_bytes(),
        identity.key.provider.as_str(),
        identity.key.subject.as_str(),
        identity.email.as_ref().map(Email::as_str),
        identity.email_verified,
        to_integer(identity.linked.0),
        to_integer(identity.used.0),
    ))?;
    Ok(())
}

/// Reads [`COLUMNS`]. Stored values are held to the rules of their fields, too.
fn read(row: &Row<'_>) -> rusqlite::Result<(UserId, Identity)> {
    let owner = UserId::from_bytes(row.get(0)?).map_err(|error| unexpected(0, error))?;
    let provider = ProviderName::parse(&row.get::<_, String>(1)?).map_err(|error| unexpected(1, error))?;
    let subject = Subject::parse(&row.get::<_, String>(2)?).map_err(|error| unexpected(2, error))?;
    let email = row.get::<_, Option<String>>(3)?.map(|email| Email::parse(&email)).transpose();
    let identity = Identity {
        key: IdentityKey { provider, subject },
        email: email.map_err(|error| unexpected(3, error))?,
        email_verified: row.get(4)?,
        linked: Time(unsigned(row, 5)?),
        used: Time(unsigned(row, 6)?),
    };
    Ok((owner, identity))
}
