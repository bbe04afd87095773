//! The statements of API keys. Every function is one transaction or one read.

use panda_protocol::Time;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::queries::{begin, unexpected, unsigned};
use super::schema::to_integer;
use crate::user_store::{API_KEYS_MAX, ApiKey, ApiKeyDigest, ApiKeyId, ApiKeyLabel, Scopes, UserStoreError};

const COLUMNS: &str = "digest, label, scopes, created_us, ends_us, revoked_us, used_us";

pub(super) fn add(connection: &mut Connection, key: &ApiKey) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    if find(&transaction, &key.digest)?.is_some() {
        return Ok(());
    }
    let now = to_integer(key.created.0);
    let live = "SELECT count(*) FROM api_keys WHERE revoked_us IS NULL AND (ends_us IS NULL OR ends_us > ?1)";
    let most = i64::try_from(API_KEYS_MAX).unwrap_or(i64::MAX);
    let live: i64 = transaction.query_row(live, [now], |row| row.get(0))?;
    if live >= most {
        return Err(UserStoreError::TooMany(API_KEYS_MAX));
    }
    // Those that open nothing make room, those first that have done so for the longest time.
    let dead = "DELETE FROM api_keys WHERE digest IN (SELECT digest FROM api_keys \
                WHERE revoked_us IS NOT NULL OR ends_us <= ?1 ORDER BY coalesce(revoked_us, ends_us), digest \
                LIMIT max(0, (SELECT count(*) FROM api_keys) + 1 - ?2))";
    transaction.execute(dead, (now, most))?;
    let sql = format!("INSERT INTO api_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    let time = |time: Option<Time>| time.map(|time| to_integer(time.0));
    let times = (time(key.ends), time(key.revoked), time(key.used));
    transaction.execute(&sql, (key.digest, key.label.as_str(), key.scopes.0, now, times.0, times.1, times.2))?;
    Ok(transaction.commit()?)
}

pub(super) fn find(connection: &Connection, digest: &ApiKeyDigest) -> Result<Option<ApiKey>, UserStoreError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE digest = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([digest], read).optional()?)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ApiKey>, UserStoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys ORDER BY digest"))?;
    let keys = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    Ok(keys)
}

pub(super) fn count(connection: &Connection) -> Result<u64, UserStoreError> {
    Ok(connection.query_row("SELECT count(*) FROM api_keys", [], |row| unsigned(row, 0))?)
}

pub(super) fn revoke(connection: &mut Connection, id: ApiKeyId, now: Time) -> Result<Option<ApiKey>, UserStoreError> {
    let transaction = begin(connection)?;
    let revoke = "UPDATE api_keys SET revoked_us = ?2 WHERE substr(digest, 1, 8) = ?1 AND revoked_us IS NULL";
    transaction.execute(revoke, (id.0, to_integer(now.0)))?;
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE substr(digest, 1, 8) = ?1");
    let key = transaction.query_row(&sql, [id.0], read).optional()?;
    transaction.commit()?;
    Ok(key)
}

pub(super) fn note_use(connection: &Connection, digest: &ApiKeyDigest, hour: Time) -> Result<(), UserStoreError> {
    let sql = "UPDATE api_keys SET used_us = ?2 WHERE digest = ?1 AND (used_us IS NULL OR used_us < ?2)";
    connection.prepare_cached(sql)?.execute((digest, to_integer(hour.0)))?;
    Ok(())
}

/// Reads [`COLUMNS`].
fn read(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let time = |place| row.get::<_, Option<i64>>(place)?.map(|_| unsigned(row, place).map(Time)).transpose();
    Ok(ApiKey {
        digest: row.get(0)?,
        label: ApiKeyLabel::parse(&row.get::<_, String>(1)?).map_err(|error| unexpected(1, error))?,
        scopes: Scopes(row.get(2)?),
        created: Time(unsigned(row, 3)?),
        ends: time(4)?,
        revoked: time(5)?,
        used: time(6)?,
    })
}
