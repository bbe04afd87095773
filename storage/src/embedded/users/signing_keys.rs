//! The statements of signing keys. Every function is one transaction or one read.

use std::time::Duration;

use panda_protocol::Time;
use rusqlite::{Connection, Row, Transaction};

use super::queries::{begin, unsigned};
use super::schema::to_integer;
use crate::user_store::signing_keys::{over, turning};
use crate::user_store::{SIGNING_KEYS_MAX, SealedSigningKey, UserStoreError};

pub(super) fn add(connection: &mut Connection, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    insert(&transaction, key)?;
    Ok(transaction.commit()?)
}

pub(super) fn add_first(connection: &mut Connection, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    if all(&transaction)?.is_empty() {
        insert(&transaction, key)?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn turn(connection: &mut Connection, next: &SealedSigningKey, now: Time) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    let keys = all(&transaction)?;
    if let Some(signs_from) = turning(&keys, now) {
        return Err(UserStoreError::KeysTurning { signs_from });
    }
    let over = over(&keys, now);
    if keys.len() - over.len() >= SIGNING_KEYS_MAX {
        return Err(UserStoreError::TooMany(SIGNING_KEYS_MAX));
    }
    delete(&transaction, &over)?;
    insert(&transaction, next)?;
    Ok(transaction.commit()?)
}

pub(super) fn lengthen(connection: &mut Connection, kids: &[String], longest: Duration) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    let sql = "UPDATE signing_keys SET longest_token_us = max(longest_token_us, ?2) WHERE kid = ?1";
    for kid in kids {
        transaction.prepare_cached(sql)?.execute((kid, micros(longest)))?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn reseal(connection: &Connection, kid: &str, from: &[u8], to: &[u8]) -> Result<bool, UserStoreError> {
    let sql = "UPDATE signing_keys SET sealed = ?3 WHERE kid = ?1 AND sealed = ?2";
    Ok(connection.execute(sql, (kid, from, to))? > 0)
}

pub(super) fn forget(connection: &mut Connection, now: Time) -> Result<Vec<String>, UserStoreError> {
    let transaction = begin(connection)?;
    let over = over(&all(&transaction)?, now);
    delete(&transaction, &over)?;
    transaction.commit()?;
    Ok(over)
}

pub(super) fn newest(connection: &Connection) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    read(connection, SIGNING_KEYS_MAX)
}

fn all(transaction: &Transaction<'_>) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    read(transaction, usize::MAX)
}

fn read(connection: &Connection, limit: usize) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    let sql = "SELECT kid, sealed, created_us, signs_from_us, longest_token_us FROM signing_keys \
               ORDER BY signs_from_us DESC, kid LIMIT ?1";
    let read = |row: &Row<'_>| {
        Ok(SealedSigningKey {
            kid: row.get(0)?,
            sealed: row.get(1)?,
            created: Time(unsigned(row, 2)?),
            signs_from: Time(unsigned(row, 3)?),
            longest_token: Duration::from_micros(unsigned(row, 4)?),
        })
    };
    let mut statement = connection.prepare_cached(sql)?;
    let keys = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], read)?.collect::<Result<_, _>>()?;
    Ok(keys)
}

fn insert(transaction: &Transaction<'_>, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    let sql = "INSERT INTO signing_keys (kid, sealed, created_us, signs_from_us, longest_token_us) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kid) DO NOTHING";
    let times = (to_integer(key.created.0), to_integer(key.signs_from.0));
    transaction.execute(sql, (&key.kid, &key.sealed, times.0, times.1, micros(key.longest_token)))?;
    Ok(())
}

fn delete(transaction: &Transaction<'_>, kids: &[String]) -> Result<(), UserStoreError> {
    for kid in kids {
        transaction.prepare_cached("DELETE FROM signing_keys WHERE kid = ?1")?.execute([kid])?;
    }
    Ok(())
}

fn micros(long: Duration) -> i64 {
    i64::try_from(long.as_micros()).unwrap_or(i64::MAX)
}
