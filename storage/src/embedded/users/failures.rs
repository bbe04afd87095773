//! The statements of failed logins. Every function is one transaction or one read.

use panda_protocol::Time;
use rusqlite::{Connection, OptionalExtension as _};

use super::queries::{begin, unsigned};
use super::schema::to_integer;
use crate::user_store::failures::FAILURES_KEPT;
use crate::user_store::logins::after;
use crate::user_store::{FailureKey, FailureRule, Failures, UserStoreError};

pub(super) fn login_failures(
    connection: &Connection,
    keys: &[FailureKey],
) -> Result<Vec<Option<Failures>>, UserStoreError> {
    keys.iter().map(|key| one(connection, key)).collect()
}

fn one(connection: &Connection, key: &FailureKey) -> Result<Option<Failures>, UserStoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Failures { debt_us: unsigned(row, 0)?, at: Time(unsigned(row, 1)?), until: Time(unsigned(row, 2)?) })
    };
    let sql = "SELECT debt_us, at_us, until_us FROM login_failures WHERE key = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([key], read).optional()?)
}

pub(super) fn note_login_failures(
    connection: &mut Connection,
    failures: &[(FailureKey, FailureRule)],
    now: Time,
) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    for (key, rule) in failures {
        let next = one(&transaction, key)?.unwrap_or_default().one_more(rule, now);
        let sql = "INSERT OR REPLACE INTO login_failures (key, debt_us, at_us, until_us) VALUES (?1, ?2, ?3, ?4)";
        let (debt, at, until) = (to_integer(next.debt_us), to_integer(next.at.0), to_integer(next.until.0));
        transaction.prepare_cached(sql)?.execute((key, debt, at, until))?;
    }
    let kept = to_integer(now.0.saturating_sub(after(Time(0), FAILURES_KEPT).0));
    transaction.prepare_cached("DELETE FROM login_failures WHERE at_us < ?1")?.execute([kept])?;
    Ok(transaction.commit()?)
}

pub(super) fn forget_login_failures(connection: &mut Connection, keys: &[FailureKey]) -> Result<(), UserStoreError> {
    let transaction = begin(connection)?;
    for key in keys {
        transaction.prepare_cached("DELETE FROM login_failures WHERE key = ?1")?.execute([key])?;
    }
    Ok(transaction.commit()?)
}
