//! The statements of failed logins. Every function is one transaction or one read.

use std::collections::HashMap;

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::Time;
use tokio_postgres::Row;

use super::queries::end as settle;
use super::rows::{self, to_integer, unexpected};
use crate::error::StoreError;
use crate::user_store::failures::FAILURES_KEPT;
use crate::user_store::logins::after;
use crate::user_store::{FailureKey, FailureRule, Failures, UserStoreError};

pub(super) async fn login_failures(
    client: &impl GenericClient,
    keys: &[FailureKey],
) -> Result<Vec<Option<Failures>>, UserStoreError> {
    const SQL: &str = "SELECT key, debt_us, at_us, until_us FROM login_failures WHERE key = ANY ($1)";
    let found = by_key(client, SQL, keys).await?;
    Ok(keys.iter().map(|key| found.get(key).copied()).collect())
}

async fn by_key(
    client: &impl GenericClient,
    sql: &'static str,
    keys: &[FailureKey],
) -> Result<HashMap<FailureKey, Failures>, UserStoreError> {
    let statement = client.prepare_cached(sql).await?;
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let read = |row: &Row| {
        let key: &[u8] = rows::column(row, 0)?;
        let key = FailureKey::try_from(key).map_err(|_| unexpected("key of failed logins"))?;
        let (at, until) = (Time(rows::unsigned(row, 2)?), Time(rows::unsigned(row, 3)?));
        Ok((key, Failures { debt_us: rows::unsigned(row, 1)?, at, until }))
    };
    let found = client.query(&statement, &[&asked]).await?;
    Ok(found.iter().map(read).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn note_login_failures(
    client: &mut Client,
    failures: Vec<(FailureKey, FailureRule)>,
    now: Time,
) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let noted = note_in(&transaction, failures, now).await;
    settle(transaction, noted).await
}

async fn note_in(
    transaction: &Transaction<'_>,
    mut failures: Vec<(FailureKey, FailureRule)>,
    now: Time,
) -> Result<(), UserStoreError> {
    // All calls take keys in one order, so that no two of them wait for each other.
    failures.sort_unstable_by_key(|(key, _)| *key);
    let keys: Vec<FailureKey> = failures.iter().map(|(key, _)| *key).collect();
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    // There is a row to hold then, whoever comes at the same time.
    let sql = "INSERT INTO login_failures (key, debt_us, at_us, until_us) \
               SELECT key, 0, $2, 0 FROM unnest($1::bytea[]) AS asked (key) ON CONFLICT (key) DO NOTHING";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&asked, &to_integer(now.0)]).await?;
    const HELD: &str =
        "SELECT key, debt_us, at_us, until_us FROM login_failures WHERE key = ANY ($1) ORDER BY key FOR UPDATE";
    let found = by_key(transaction, HELD, &keys).await?;
    let next: Vec<Failures> =
        failures.iter().map(|(key, rule)| found.get(key).copied().unwrap_or_default().one_more(rule, now)).collect();
    let column = |value: fn(&Failures) -> u64| next.iter().map(|next| to_integer(value(next))).collect::<Vec<i64>>();
    let (debts, ats) = (column(|next| next.debt_us), column(|next| next.at.0));
    let untils = column(|next| next.until.0);
    let sql = "UPDATE login_failures SET debt_us = asked.debt_us, at_us = asked.at_us, until_us = asked.until_us \
               FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) \
               AS asked (key, debt_us, at_us, until_us) WHERE login_failures.key = asked.key";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&asked, &debts, &ats, &untils]).await?;
    // What others forget now is left to them.
    let sql = "DELETE FROM login_failures WHERE key IN \
               (SELECT key FROM login_failures WHERE at_us < $1 FOR UPDATE SKIP LOCKED)";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&to_integer(now.0.saturating_sub(after(Time(0), FAILURES_KEPT).0))]).await?;
    Ok(())
}

/// In the order in which failures are noted.
pub(super) async fn forget_login_failures(client: &Client, keys: &[FailureKey]) -> Result<(), UserStoreError> {
    let sql = "DELETE FROM login_failures WHERE key IN \
               (SELECT key FROM login_failures WHERE key = ANY ($1) ORDER BY key FOR UPDATE)";
    let statement = client.prepare_cached(sql).await?;
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    client.execute(&statement, &[&asked]).await?;
    Ok(())
}
