//! The statements of signing keys. Every function is one transaction or one read.

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::Time;
use tokio_postgres::Row;

use super::queries::end;
use super::rows::{self, to_integer};
use crate::error::StoreError;
use crate::user_store::signing_keys::{over, turning};
use crate::user_store::{SIGNING_KEYS_MAX, SealedSigningKey, UserStoreError};

pub(super) async fn add(client: &Client, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    insert(client, key).await
}

pub(super) async fn add_first(client: &mut Client, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let added = async { if all(&transaction).await?.is_empty() { insert(&transaction, key).await } else { Ok(()) } };
    let added = added.await;
    end(transaction, added).await
}

pub(super) async fn turn(client: &mut Client, next: &SealedSigningKey, now: Time) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let turned = turn_in(&transaction, next, now).await;
    end(transaction, turned).await
}

async fn turn_in(transaction: &Transaction<'_>, next: &SealedSigningKey, now: Time) -> Result<(), UserStoreError> {
    let keys = all(transaction).await?;
    if let Some(signs_from) = turning(&keys, now) {
        return Err(UserStoreError::KeysTurning { signs_from });
    }
    let over = over(&keys, now);
    if keys.len() - over.len() >= SIGNING_KEYS_MAX {
        return Err(UserStoreError::TooMany(SIGNING_KEYS_MAX));
    }
    delete(transaction, &over).await?;
    insert(transaction, next).await
}

pub(super) async fn lengthen(client: &Client, kids: &[String], longest: Duration) -> Result<(), UserStoreError> {
    let sql = "UPDATE signing_keys SET longest_token_us = greatest(longest_token_us, $2) WHERE kid = ANY ($1)";
    client.execute(sql, &[&kids, &micros(longest)]).await?;
    Ok(())
}

pub(super) async fn reseal(client: &Client, kid: &str, from: &[u8], to: &[u8]) -> Result<bool, UserStoreError> {
    let sql = "UPDATE signing_keys SET sealed = $3 WHERE kid = $1 AND sealed = $2";
    Ok(client.execute(sql, &[&kid, &from, &to]).await? > 0)
}

pub(super) async fn forget(client: &mut Client, now: Time) -> Result<Vec<String>, UserStoreError> {
    let transaction = client.transaction().await?;
    let forgotten = async {
        let over = over(&all(&transaction).await?, now);
        delete(&transaction, &over).await?;
        Ok(over)
    };
    let forgotten = forgotten.await;
    end(transaction, forgotten).await
}

pub(super) async fn newest(client: &Client) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    read(client, i64::try_from(SIGNING_KEYS_MAX).unwrap_or(i64::MAX)).await
}

/// Nobody else changes them until the transaction's end; reads go on.
async fn all(transaction: &Transaction<'_>) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    transaction.batch_execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE").await?;
    read(transaction, i64::MAX).await
}

async fn read(client: &impl GenericClient, limit: i64) -> Result<Vec<SealedSigningKey>, UserStoreError> {
    let sql = "SELECT kid, sealed, created_us, signs_from_us, longest_token_us FROM signing_keys \
               ORDER BY signs_from_us DESC, kid LIMIT $1";
    let statement = client.prepare_cached(sql).await?;
    let read = |row: &Row| {
        Ok(SealedSigningKey {
            kid: rows::column(row, 0)?,
            sealed: rows::column(row, 1)?,
            created: Time(rows::unsigned(row, 2)?),
            signs_from: Time(rows::unsigned(row, 3)?),
            longest_token: Duration::from_micros(rows::unsigned(row, 4)?),
        })
    };
    Ok(client.query(&statement, &[&limit]).await?.iter().map(read).collect::<Result<_, StoreError>>()?)
}

async fn insert(client: &impl GenericClient, key: &SealedSigningKey) -> Result<(), UserStoreError> {
    let sql = "INSERT INTO signing_keys (kid, sealed, created_us, signs_from_us, longest_token_us) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kid) DO NOTHING";
    let times = (to_integer(key.created.0), to_integer(key.signs_from.0));
    client.execute(sql, &[&key.kid, &key.sealed, &times.0, &times.1, &micros(key.longest_token)]).await?;
    Ok(())
}

async fn delete(transaction: &Transaction<'_>, kids: &[String]) -> Result<(), UserStoreError> {
    if !kids.is_empty() {
        transaction.execute("DELETE FROM signing_keys WHERE kid = ANY ($1)", &[&kids]).await?;
    }
    Ok(())
}

fn micros(long: Duration) -> i64 {
    i64::try_from(long.as_micros()).unwrap_or(i64::MAX)
}
