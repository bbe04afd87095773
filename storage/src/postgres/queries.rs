//! The statements. Every function is one transaction or one read.
//!
//! The texts never change at run time: each is prepared once a connection.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::UserId;

use super::rows::{self, to_integer, user_columns};
use crate::error::StoreError;
use crate::user_store::{
    AccountState, Credential, Email, NewUser, PasswordHash, PictureUrl, UniqueField, User, UserChange, UserStoreError,
    Username, same_address,
};

/// Creates users and their credentials in one statement, which is a transaction of its own: either all
/// are there or none. `conflict` says what happens to names that are taken.
macro_rules! insert_users {
    ($conflict:literal) => {
        concat!(
            "WITH made AS (INSERT INTO users (id, username, username_key, email, version, created_us) ",
            "SELECT id, username, username_key, email, 1, created_us ",
            "FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[]) ",
            "AS asked (id, username, username_key, email, created_us) ",
            $conflict,
            " RETURNING id) INSERT INTO credentials (user_id, password_hash) ",
            "SELECT made.id, asked.password_hash FROM made ",
            "JOIN unnest($1::bytea[], $6::text[]) AS asked (id, password_hash) USING (id) ",
            "WHERE asked.password_hash IS NOT NULL"
        )
    };
}

pub(super) async fn create_user(client: &impl GenericClient, user: &NewUser) -> Result<User, UserStoreError> {
    let statement = client.prepare_cached(insert_users!("")).await?;
    NewUsers::of([user]).insert(client, &statement).await?;
    Ok(User {
        id: user.id,
        username: user.username.clone(),
        email: user.email.clone(),
        email_verified: false,
        state: AccountState::Active,
        picture: None,
        version: 1,
        created: user.created,
    })
}

pub(super) async fn ensure_users(client: &mut Client, users: &[NewUser]) -> Result<Vec<User>, UserStoreError> {
    let statement = client.prepare_cached(insert_users!("ON CONFLICT (username_key) DO NOTHING")).await?;
    let transaction = client.transaction().await?;
    let ensured = ensure_in(&transaction, &statement, users).await;
    end(transaction, ensured).await
}

async fn ensure_in(
    transaction: &Transaction<'_>,
    statement: &tokio_postgres::Statement,
    users: &[NewUser],
) -> Result<Vec<User>, UserStoreError> {
    let mut names = HashSet::with_capacity(users.len());
    let mut firsts: Vec<_> = users.iter().filter(|user| names.insert(user.username.key())).collect();
    // All calls take names in one order, so that no two of them wait for each other.
    firsts.sort_by_cached_key(|user| user.username.key());
    NewUsers::of(firsts).insert(transaction, statement).await?;
    let names: Vec<_> = users.iter().map(|user| user.username.clone()).collect();
    let keys: Vec<_> = names.iter().map(Username::key).collect();
    let sql = "SELECT 1 FROM users WHERE username_key = ANY ($1) AND erased_us IS NOT NULL LIMIT 1";
    let statement = transaction.prepare_cached(sql).await?;
    if transaction.query_opt(&statement, &[&keys]).await?.is_some() {
        return Err(UserStoreError::Taken(UniqueField::Username));
    }
    let found = users_by_name(transaction, &names).await?;
    // A user whom the insert met may have given the name up before the read.
    let renamed = || StoreError::Unavailable("a user was renamed meanwhile".into()).into();
    found.into_iter().map(|user| user.ok_or_else(renamed)).collect()
}

pub(super) async fn users(client: &impl GenericClient, ids: &[UserId]) -> Result<Vec<Option<User>>, UserStoreError> {
    let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE id = ANY ($1)");
    let statement = client.prepare_cached(sql).await?;
    let asked: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
    let mut found = HashMap::with_capacity(ids.len());
    for row in client.query(&statement, &[&asked]).await? {
        let user = rows::user(&row)?;
        found.insert(user.id, user);
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

pub(super) async fn users_by_name(
    client: &impl GenericClient,
    names: &[Username],
) -> Result<Vec<Option<User>>, UserStoreError> {
    let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE username_key = ANY ($1) AND erased_us IS NULL");
    let keys: Vec<_> = names.iter().map(Username::key).collect();
    let statement = client.prepare_cached(sql).await?;
    let mut found = HashMap::with_capacity(names.len());
    for row in client.query(&statement, &[&keys]).await? {
        let user = rows::user(&row)?;
        found.insert(user.username.key(), user);
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

pub(super) async fn credential(client: &Client, name: &Username) -> Result<Option<Credential>, UserStoreError> {
    let sql = concat!(
        "SELECT ",
        user_columns!(),
        ", password_hash FROM users LEFT JOIN credentials ON user_id = id \
         WHERE username_key = $1 AND erased_us IS NULL"
    );
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, &[&name.key()]).await?;
    Ok(row.as_ref().map(rows::credential).transpose()?)
}

pub(super) async fn update_user(
    client: &mut Client,
    id: UserId,
    change: UserChange,
    if_version: Option<u64>,
) -> Result<User, UserStoreError> {
    let transaction = client.transaction().await?;
    let changed = update_in(&transaction, id, change, if_version).await;
    end(transaction, changed).await
}

async fn update_in(
    transaction: &Transaction<'_>,
    id: UserId,
    change: UserChange,
    if_version: Option<u64>,
) -> Result<User, UserStoreError> {
    let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1 FOR UPDATE");
    let statement = transaction.prepare_cached(sql).await?;
    let row = transaction.query_opt(&statement, &[&&id.as_bytes()[..]]).await?;
    let mut user = rows::user(&row.ok_or(UserStoreError::NotFound)?)?;
    if user.state == AccountState::Erased {
        return Err(UserStoreError::NotFound);
    }
    if if_version.is_some_and(|version| version != user.version) {
        return Err(UserStoreError::VersionConflict { current: user.version });
    }
    user.username = change.username.unwrap_or(user.username);
    if let Some(email) = change.email {
        user.email_verified &= same_address(user.email.as_ref(), email.as_ref());
        user.email = email;
    }
    user.picture = change.picture.unwrap_or(user.picture);
    user.version += 1;
    let sql = "UPDATE users SET username = $2, username_key = $3, email = $4, picture = $5, version = $6, \
               verified_email_key = $7 WHERE id = $1";
    let statement = transaction.prepare_cached(sql).await?;
    let email = user.email.as_ref().map(Email::as_str);
    let picture = user.picture.as_ref().map(PictureUrl::as_str);
    transaction
        .execute(
            &statement,
            &[
                &&id.as_bytes()[..],
                &user.username.as_str(),
                &user.username.key(),
                &email,
                &picture,
                &to_integer(user.version),
                &user.email.as_ref().filter(|_| user.email_verified).map(Email::key),
            ],
        )
        .await?;
    Ok(user)
}

/// Commits what was done; what was refused is rolled back before the connection is lent again.
pub(super) async fn end<T>(
    transaction: Transaction<'_>,
    result: Result<T, UserStoreError>,
) -> Result<T, UserStoreError> {
    match result {
        Ok(done) => {
            transaction.commit().await?;
            Ok(done)
        }
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    }
}

/// Users to create, column by column as the statement takes them.
#[derive(Default)]
struct NewUsers<'a> {
    ids: Vec<&'a [u8]>,
    usernames: Vec<&'a str>,
    username_keys: Vec<String>,
    emails: Vec<Option<&'a str>>,
    created: Vec<i64>,
    passwords: Vec<Option<&'a str>>,
}

impl<'a> NewUsers<'a> {
    fn of(users: impl IntoIterator<Item = &'a NewUser>) -> Self {
        let mut columns = Self::default();
        for user in users {
            columns.ids.push(user.id.as_bytes());
            columns.usernames.push(user.username.as_str());
            columns.username_keys.push(user.username.key());
            columns.emails.push(user.email.as_ref().map(Email::as_str));
            columns.created.push(to_integer(user.created.0));
            columns.passwords.push(user.password.as_ref().map(|PasswordHash(hash)| hash.as_str()));
        }
        columns
    }

    async fn insert(
        &self,
        client: &impl GenericClient,
        statement: &tokio_postgres::Statement,
    ) -> Result<(), UserStoreError> {
        client
            .execute(
                statement,
                &[&self.ids, &self.usernames, &self.username_keys, &self.emails, &self.created, &self.passwords],
            )
            .await?;
        Ok(())
    }
}
