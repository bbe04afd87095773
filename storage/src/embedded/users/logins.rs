//! The statements of logins. Every function is one transaction or one read.

use panda_protocol::{LoginId, Time, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::queries::{begin, there, unexpected, unsigned};
use super::schema::to_integer;
use crate::error::StoreError;
use crate::user_store::logins::{Decision, ENDED_KEPT, Replaced, StoredLogin, after, decide, making_room};
use crate::user_store::{
    AccountState, EndedLogin, Login, LoginLabel, LoginLimits, NewLogin, Refresh, Refreshed, UserStoreError, WhichLogins,
};

const COLUMNS: &str = "user_id, id, label, created_us, used_us, access_ends_us, refresh_digest, replaced_digest, \
                       next_sealed, replaced_us";

pub(super) fn add_login(
    connection: &mut Connection,
    new: &NewLogin,
    limits: &LoginLimits,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let transaction = begin(connection)?;
    if there(&transaction, new.user)?.state == AccountState::Deactivated {
        transaction
            .prepare_cached("UPDATE users SET deactivated_us = NULL, version = version + 1 WHERE id = ?1")?
            .execute([new.user.as_bytes()])?;
    }
    let leaving = making_room(of_user(&transaction, new.user)?, limits, new.created);
    let ended = end(&transaction, &leaving, new.created)?;
    store(&transaction, &StoredLogin::new(new, limits))?;
    transaction.commit()?;
    Ok(ended)
}

pub(super) fn refresh_login(
    connection: &mut Connection,
    refresh: &Refresh,
    limits: &LoginLimits,
) -> Result<Refreshed, UserStoreError> {
    let transaction = begin(connection)?;
    let (user, id) = refresh.of;
    let sql = format!("SELECT {COLUMNS} FROM logins WHERE user_id = ?1 AND id = ?2");
    let found = transaction.prepare_cached(&sql)?.query_row((user.as_bytes(), id.to_bytes()), read_login).optional()?;
    let Some(login) = found else { return Ok(Refreshed::Ended) };
    let refreshed = match decide(login.clone(), refresh, limits) {
        Decision::Store(login, refreshed) => {
            store(&transaction, &login)?;
            refreshed
        }
        Decision::Expired => {
            remove(&transaction, &login)?;
            Refreshed::Expired
        }
        Decision::End => {
            let ended = end(&transaction, &[login], refresh.now)?.pop();
            Refreshed::Reused(ended.ok_or_else(|| StoreError::Corrupt("a login was not ended".into()))?)
        }
    };
    transaction.commit()?;
    Ok(refreshed)
}

pub(super) fn logins(
    connection: &Connection,
    user: UserId,
    limits: &LoginLimits,
    now: Time,
) -> Result<Vec<Login>, UserStoreError> {
    let mut logins: Vec<_> =
        of_user(connection, user)?.into_iter().filter_map(|login| login.shown(limits, now)).collect();
    logins.sort_by_key(|login| (std::cmp::Reverse(login.used), login.id));
    Ok(logins)
}

pub(super) fn end_logins(
    connection: &mut Connection,
    user: UserId,
    which: WhichLogins,
    now: Time,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let transaction = begin(connection)?;
    let ended = end_in(&transaction, user, which, now)?;
    transaction.commit()?;
    Ok(ended)
}

/// Ends logins of a user beside what else is done.
pub(super) fn end_in(
    transaction: &Transaction<'_>,
    user: UserId,
    which: WhichLogins,
    now: Time,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let mut leaving = of_user(transaction, user)?;
    leaving.retain(|login| which.has(login.id));
    end(transaction, &leaving, now)
}

pub(super) fn ended_logins(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let sql =
        "SELECT place, user_id, login_id, access_ends_us FROM ended_logins WHERE place > ?1 ORDER BY place LIMIT ?2";
    let read = |row: &Row<'_>| {
        Ok(EndedLogin {
            place: unsigned(row, 0)?,
            user: UserId::from_bytes(row.get(1)?).map_err(|error| unexpected(1, error))?,
            id: read_id(row, 2)?,
            access_ends: Time(unsigned(row, 3)?),
        })
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let ended = statement.query_map((to_integer(after), limit), read)?.collect::<Result<_, _>>()?;
    Ok(ended)
}

fn of_user(connection: &Connection, user: UserId) -> Result<Vec<StoredLogin>, UserStoreError> {
    let sql = format!("SELECT {COLUMNS} FROM logins WHERE user_id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let logins = statement.query_map([user.as_bytes()], read_login)?.collect::<Result<_, _>>()?;
    Ok(logins)
}

fn store(transaction: &Transaction<'_>, login: &StoredLogin) -> Result<(), UserStoreError> {
    let replaced = login.replaced.as_ref();
    let sql = format!("INSERT OR REPLACE INTO logins ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    transaction.prepare_cached(&sql)?.execute((
        login.user.as_bytes(),
        login.id.to_bytes(),
        login.label.as_ref().map(LoginLabel::as_str),
        to_integer(login.created.0),
        to_integer(login.used.0),
        to_integer(login.access_ends.0),
        login.refresh,
        replaced.map(|replaced| replaced.digest),
        replaced.map(|replaced| &replaced.next_sealed),
        replaced.map(|replaced| to_integer(replaced.at.0)),
    ))?;
    Ok(())
}

fn remove(transaction: &Transaction<'_>, login: &StoredLogin) -> Result<(), UserStoreError> {
    transaction
        .prepare_cached("DELETE FROM logins WHERE user_id = ?1 AND id = ?2")?
        .execute((login.user.as_bytes(), login.id.to_bytes()))?;
    Ok(())
}

/// Ends them, and forgets those that were ended long ago.
fn end(transaction: &Transaction<'_>, leaving: &[StoredLogin], now: Time) -> Result<Vec<EndedLogin>, UserStoreError> {
    let mut ended = Vec::with_capacity(leaving.len());
    for login in leaving {
        remove(transaction, login)?;
        transaction
            .prepare_cached("INSERT INTO ended_logins (user_id, login_id, access_ends_us) VALUES (?1, ?2, ?3)")?
            .execute((login.user.as_bytes(), login.id.to_bytes(), to_integer(login.access_ends.0)))?;
        let place = u64::try_from(transaction.last_insert_rowid())
            .map_err(|_| StoreError::Corrupt("a place of an ended login is none".into()))?;
        ended.push(EndedLogin { place, user: login.user, id: login.id, access_ends: login.access_ends });
    }
    if !ended.is_empty() {
        let kept = to_integer(now.0.saturating_sub(after(Time(0), ENDED_KEPT).0));
        transaction.prepare_cached("DELETE FROM ended_logins WHERE access_ends_us < ?1")?.execute([kept])?;
    }
    Ok(ended)
}

/// Reads [`COLUMNS`].
fn read_login(row: &Row<'_>) -> rusqlite::Result<StoredLogin> {
    let label = row.get::<_, Option<String>>(2)?.map(|label| LoginLabel::parse(&label)).transpose();
    let replaced = match row.get::<_, Option<[u8; 32]>>(7)? {
        Some(digest) => Some(Replaced { digest, next_sealed: row.get(8)?, at: Time(unsigned(row, 9)?) }),
        None => None,
    };
    Ok(StoredLogin {
        user: UserId::from_bytes(row.get(0)?).map_err(|error| unexpected(0, error))?,
        id: read_id(row, 1)?,
        label: label.map_err(|error| unexpected(2, error))?,
        created: Time(unsigned(row, 3)?),
        used: Time(unsigned(row, 4)?),
        access_ends: Time(unsigned(row, 5)?),
        refresh: row.get(6)?,
        replaced,
    })
}

fn read_id(row: &Row<'_>, column: usize) -> rusqlite::Result<LoginId> {
    LoginId::from_bytes(row.get(column)?)
        .ok_or_else(|| unexpected(column, StoreError::Corrupt("a stored login is none".into())))
}
