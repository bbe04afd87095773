//! The statements of logins. Every function is one transaction or one read.
//!
//! Whoever begins or ends logins holds the user's row first, and whoever ends some takes [`ENDING_LOCK`] last: nobody
//! waits for somebody who waits for it.

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::{LoginId, Time, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::accounts::held_user;
use super::queries::end as settle;
use super::rows::{self, to_integer, unexpected};
use crate::error::StoreError;
use crate::user_store::logins::{Decision, ENDED_KEPT, Replaced, StoredLogin, after, decide, making_room};
use crate::user_store::{
    AccountState, EndedLogin, Login, LoginLabel, LoginLimits, NewLogin, Refresh, RefreshDigest, Refreshed,
    UserStoreError, WhichLogins,
};

/// Held from the first place of an ended login that a transaction takes until its end: "pandaend". So places become
/// visible in their order, and whoever reads on behind one misses none.
const ENDING_LOCK: i64 = 0x7061_6e64_6165_6e64;

/// What [`read_login`] reads.
macro_rules! login_columns {
    () => {
        "user_id, id, label, created_us, used_us, access_ends_us, refresh_digest, replaced_digest, next_sealed, replaced_us"
    };
}

pub(super) async fn add_login(
    client: &mut Client,
    new: &NewLogin,
    limits: &LoginLimits,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let transaction = client.transaction().await?;
    let added = add_in(&transaction, new, limits).await;
    settle(transaction, added).await
}

async fn add_in(
    transaction: &Transaction<'_>,
    new: &NewLogin,
    limits: &LoginLimits,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    match held_user(transaction, new.user).await?.map(|user| user.state) {
        None | Some(AccountState::Erased) => return Err(UserStoreError::NotFound),
        Some(AccountState::Active) => {}
        Some(AccountState::Deactivated) => {
            let sql = "UPDATE users SET deactivated_us = NULL, version = version + 1 WHERE id = $1";
            let statement = transaction.prepare_cached(sql).await?;
            transaction.execute(&statement, &[&&new.user.as_bytes()[..]]).await?;
        }
    }
    let leaving = making_room(of_user(transaction, new.user).await?, limits, new.created);
    // First: whoever waits for the lock below holds nothing that this needs.
    store(transaction, &StoredLogin::new(new, limits)).await?;
    end(transaction, &leaving, new.created).await
}

pub(super) async fn refresh_login(
    client: &mut Client,
    refresh: &Refresh,
    limits: &LoginLimits,
) -> Result<Refreshed, UserStoreError> {
    let transaction = client.transaction().await?;
    let refreshed = refresh_in(&transaction, refresh, limits).await;
    settle(transaction, refreshed).await
}

async fn refresh_in(
    transaction: &Transaction<'_>,
    refresh: &Refresh,
    limits: &LoginLimits,
) -> Result<Refreshed, UserStoreError> {
    let sql = concat!("SELECT ", login_columns!(), " FROM logins WHERE user_id = $1 AND id = $2 FOR UPDATE");
    let (user, id) = refresh.of;
    let statement = transaction.prepare_cached(sql).await?;
    let found = transaction.query_opt(&statement, &[&&user.as_bytes()[..], &&id.to_bytes()[..]]).await?;
    let Some(login) = found.as_ref().map(read_login).transpose()? else { return Ok(Refreshed::Ended) };
    match decide(login.clone(), refresh, limits) {
        Decision::Store(login, refreshed) => {
            store(transaction, &login).await?;
            Ok(refreshed)
        }
        Decision::Expired => {
            remove(transaction, &login).await?;
            Ok(Refreshed::Expired)
        }
        Decision::End => {
            let ended = end(transaction, &[login], refresh.now).await?.pop();
            Ok(Refreshed::Reused(ended.ok_or_else(|| StoreError::Corrupt("a login was not ended".into()))?))
        }
    }
}

pub(super) async fn logins(
    client: &Client,
    user: UserId,
    limits: &LoginLimits,
    now: Time,
) -> Result<Vec<Login>, UserStoreError> {
    let sql = concat!("SELECT ", login_columns!(), " FROM logins WHERE user_id = $1");
    let statement = client.prepare_cached(sql).await?;
    let mut logins = Vec::new();
    for row in client.query(&statement, &[&&user.as_bytes()[..]]).await? {
        logins.extend(read_login(&row)?.shown(limits, now));
    }
    logins.sort_by_key(|login| (std::cmp::Reverse(login.used), login.id));
    Ok(logins)
}

pub(super) async fn end_logins(
    client: &mut Client,
    user: UserId,
    which: WhichLogins,
    now: Time,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    let transaction = client.transaction().await?;
    let ended = end_in(&transaction, user, which, now).await;
    settle(transaction, ended).await
}

/// Ends logins of a user beside what else is done.
pub(super) async fn end_in(
    transaction: &Transaction<'_>,
    user: UserId,
    which: WhichLogins,
    now: Time,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    if !hold_user(transaction, user).await? {
        return Ok(Vec::new());
    }
    let mut leaving = of_user(transaction, user).await?;
    leaving.retain(|login| which.has(login.id));
    end(transaction, &leaving, now).await
}

pub(super) async fn ended_logins(client: &Client, after: u64, limit: usize) -> Result<Vec<EndedLogin>, UserStoreError> {
    const SQL: &str = "SELECT place, user_id, login_id, access_ends_us FROM ended_logins WHERE place > $1 \
                       ORDER BY place LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = client.prepare_cached(SQL).await?;
    let found = client.query(&statement, &[&to_integer(after), &limit]).await?;
    let read = |row: &Row| {
        Ok(EndedLogin {
            place: rows::unsigned(row, 0)?,
            user: user_id(row, 1)?,
            id: login_id(row, 2)?,
            access_ends: Time(rows::unsigned(row, 3)?),
        })
    };
    Ok(found.iter().map(read).collect::<Result<_, StoreError>>()?)
}

/// Whether there is such a user; nobody else begins or ends logins of it until the transaction's end.
async fn hold_user(transaction: &Transaction<'_>, user: UserId) -> Result<bool, UserStoreError> {
    let statement = transaction.prepare_cached("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE").await?;
    Ok(transaction.query_opt(&statement, &[&&user.as_bytes()[..]]).await?.is_some())
}

async fn of_user(transaction: &Transaction<'_>, user: UserId) -> Result<Vec<StoredLogin>, UserStoreError> {
    let sql = concat!("SELECT ", login_columns!(), " FROM logins WHERE user_id = $1 ORDER BY id FOR UPDATE");
    let statement = transaction.prepare_cached(sql).await?;
    let found = transaction.query(&statement, &[&&user.as_bytes()[..]]).await?;
    Ok(found.iter().map(read_login).collect::<Result<_, _>>()?)
}

async fn store(transaction: &Transaction<'_>, login: &StoredLogin) -> Result<(), UserStoreError> {
    const SQL: &str = concat!(
        "INSERT INTO logins (",
        login_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (user_id, id) DO UPDATE SET used_us = $5, \
         access_ends_us = $6, refresh_digest = $7, replaced_digest = $8, next_sealed = $9, replaced_us = $10"
    );
    let replaced = login.replaced.as_ref();
    let label = login.label.as_ref().map(LoginLabel::as_str);
    let replaced_digest = replaced.map(|replaced| &replaced.digest[..]);
    let next_sealed = replaced.map(|replaced| &replaced.next_sealed[..]);
    let replaced_us = replaced.map(|replaced| to_integer(replaced.at.0));
    let values: [&(dyn ToSql + Sync); 10] = [
        &&login.user.as_bytes()[..],
        &&login.id.to_bytes()[..],
        &label,
        &to_integer(login.created.0),
        &to_integer(login.used.0),
        &to_integer(login.access_ends.0),
        &&login.refresh[..],
        &replaced_digest,
        &next_sealed,
        &replaced_us,
    ];
    let statement = transaction.prepare_cached(SQL).await?;
    transaction.execute(&statement, &values).await?;
    Ok(())
}

async fn remove(transaction: &Transaction<'_>, login: &StoredLogin) -> Result<(), UserStoreError> {
    let statement = transaction.prepare_cached("DELETE FROM logins WHERE user_id = $1 AND id = $2").await?;
    transaction.execute(&statement, &[&&login.user.as_bytes()[..], &&login.id.to_bytes()[..]]).await?;
    Ok(())
}

/// Ends them, and forgets those that were ended long ago.
async fn end(
    transaction: &Transaction<'_>,
    leaving: &[StoredLogin],
    now: Time,
) -> Result<Vec<EndedLogin>, UserStoreError> {
    if leaving.is_empty() {
        return Ok(Vec::new());
    }
    let lock = transaction.prepare_cached("SELECT pg_advisory_xact_lock($1)").await?;
    transaction.execute(&lock, &[&ENDING_LOCK]).await?;
    let insert = "INSERT INTO ended_logins (user_id, login_id, access_ends_us) VALUES ($1, $2, $3) RETURNING place";
    let insert = transaction.prepare_cached(insert).await?;
    let mut ended = Vec::with_capacity(leaving.len());
    for login in leaving {
        let (user, id, access_ends) = (&login.user.as_bytes()[..], login.id.to_bytes(), login.access_ends);
        remove(transaction, login).await?;
        let row = transaction.query_one(&insert, &[&user, &&id[..], &to_integer(access_ends.0)]).await?;
        ended.push(EndedLogin { place: rows::unsigned(&row, 0)?, user: login.user, id: login.id, access_ends });
    }
    let kept = to_integer(now.0.saturating_sub(after(Time(0), ENDED_KEPT).0));
    let forget = transaction.prepare_cached("DELETE FROM ended_logins WHERE access_ends_us < $1").await?;
    transaction.execute(&forget, &[&kept]).await?;
    Ok(ended)
}

fn read_login(row: &Row) -> Result<StoredLogin, StoreError> {
    let label = rows::column::<Option<&str>>(row, 2)?.map(LoginLabel::parse).transpose();
    let replaced = match rows::column::<Option<&[u8]>>(row, 7)? {
        Some(digest) => Some(Replaced {
            digest: RefreshDigest::try_from(digest).map_err(|_| unexpected("refresh token"))?,
            next_sealed: rows::column(row, 8)?,
            at: Time(rows::unsigned(row, 9)?),
        }),
        None => None,
    };
    let refresh: &[u8] = rows::column(row, 6)?;
    Ok(StoredLogin {
        user: user_id(row, 0)?,
        id: login_id(row, 1)?,
        label: label.map_err(|_| unexpected("label"))?,
        created: Time(rows::unsigned(row, 3)?),
        used: Time(rows::unsigned(row, 4)?),
        access_ends: Time(rows::unsigned(row, 5)?),
        refresh: RefreshDigest::try_from(refresh).map_err(|_| unexpected("refresh token"))?,
        replaced,
    })
}

pub(super) fn user_id(row: &Row, place: usize) -> Result<UserId, StoreError> {
    let bytes: &[u8] = rows::column(row, place)?;
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| unexpected("user"))?;
    UserId::from_bytes(bytes).map_err(|_| unexpected("user"))
}

fn login_id(row: &Row, place: usize) -> Result<LoginId, StoreError> {
    let bytes: &[u8] = rows::column(row, place)?;
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| unexpected("login"))?;
    LoginId::from_bytes(bytes).ok_or_else(|| unexpected("login"))
}
