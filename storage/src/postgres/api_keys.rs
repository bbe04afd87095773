//! The statements of API keys. Every function is one transaction or one read.

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::Time;
use tokio_postgres::Row;

use super::queries::end;
use super::rows::{self, to_integer, unexpected};
use crate::error::StoreError;
use crate::user_store::{API_KEYS_MAX, ApiKey, ApiKeyDigest, ApiKeyId, ApiKeyLabel, Scopes, UserStoreError};

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "digest, label, scopes, created_us, ends_us, revoked_us, used_us"
    };
}

pub(super) async fn add(client: &mut Client, key: &ApiKey) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let added = add_in(&transaction, key).await;
    end(transaction, added).await
}

async fn add_in(transaction: &Transaction<'_>, key: &ApiKey) -> Result<(), UserStoreError> {
    // Reads go on; of two that add, one counts what the other added.
    transaction.batch_execute("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE").await?;
    if find(transaction, &key.digest).await?.is_some() {
        return Ok(());
    }
    let (now, most) = (to_integer(key.created.0), i64::try_from(API_KEYS_MAX).unwrap_or(i64::MAX));
    let live = "SELECT count(*) FROM api_keys WHERE revoked_us IS NULL AND (ends_us IS NULL OR ends_us > $1)";
    if transaction.query_one(live, &[&now]).await?.try_get::<_, i64>(0)? >= most {
        return Err(UserStoreError::TooMany(API_KEYS_MAX));
    }
    // Those that open nothing make room, those first that have done so for the longest time.
    let dead = "DELETE FROM api_keys WHERE digest IN (SELECT digest FROM api_keys \
                WHERE revoked_us IS NOT NULL OR ends_us <= $1 ORDER BY coalesce(revoked_us, ends_us), digest \
                LIMIT greatest(0, (SELECT count(*) FROM api_keys) + 1 - $2::bigint))";
    transaction.execute(dead, &[&now, &most]).await?;
    let insert = concat!("INSERT INTO api_keys (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7)");
    let (label, scopes) = (key.label.as_str(), i64::from(key.scopes.0));
    let time = |time: Option<Time>| time.map(|time| to_integer(time.0));
    let (ends, revoked, used) = (time(key.ends), time(key.revoked), time(key.used));
    transaction.execute(insert, &[&&key.digest[..], &label, &scopes, &now, &ends, &revoked, &used]).await?;
    Ok(())
}

pub(super) async fn find(client: &impl GenericClient, digest: &ApiKeyDigest) -> Result<Option<ApiKey>, UserStoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM api_keys WHERE digest = $1");
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, &[&&digest[..]]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(super) async fn all(client: &Client) -> Result<Vec<ApiKey>, UserStoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM api_keys ORDER BY digest");
    Ok(client.query(sql, &[]).await?.iter().map(read).collect::<Result<_, _>>()?)
}

pub(super) async fn count(client: &Client) -> Result<u64, UserStoreError> {
    Ok(rows::unsigned(&client.query_one("SELECT count(*) FROM api_keys", &[]).await?, 0)?)
}

/// One statement: it is revoked once, however many do it.
pub(super) async fn revoke(client: &Client, id: ApiKeyId, now: Time) -> Result<Option<ApiKey>, UserStoreError> {
    let sql = concat!(
        "UPDATE api_keys SET revoked_us = coalesce(revoked_us, $2) WHERE substr(digest, 1, 8) = $1 RETURNING ",
        columns!()
    );
    let row = client.query_opt(sql, &[&&id.0[..], &to_integer(now.0)]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(super) async fn note_use(client: &Client, digest: &ApiKeyDigest, hour: Time) -> Result<(), UserStoreError> {
    let sql = "UPDATE api_keys SET used_us = $2 WHERE digest = $1 AND (used_us IS NULL OR used_us < $2)";
    client.execute(sql, &[&&digest[..], &to_integer(hour.0)]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let digest: &[u8] = rows::column(row, 0)?;
    let time = |place| match rows::column::<Option<i64>>(row, place)? {
        Some(_) => rows::unsigned(row, place).map(|time| Some(Time(time))),
        None => Ok(None),
    };
    Ok(ApiKey {
        digest: ApiKeyDigest::try_from(digest).map_err(|_| unexpected("digest"))?,
        label: ApiKeyLabel::parse(rows::column(row, 1)?).map_err(|_| unexpected("label"))?,
        scopes: Scopes(u32::try_from(rows::unsigned(row, 2)?).map_err(|_| unexpected("scopes"))?),
        created: Time(rows::unsigned(row, 3)?),
        ends: time(4)?,
        revoked: time(5)?,
        used: time(6)?,
    })
}
