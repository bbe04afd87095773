//! The statements of work on the whole store.

use deadpool_postgres::Client;
use panda_protocol::UserId;

use super::rows::{self, to_integer, user_columns};
use crate::user_store::{Credential, Email, PasswordHash, PictureUrl, UserStoreError};

pub(super) async fn scan_users(
    client: &Client,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<Credential>, UserStoreError> {
    let sql = concat!(
        "SELECT ",
        user_columns!(),
        ", password_hash FROM users LEFT JOIN credentials ON user_id = id WHERE id > $1 ORDER BY id LIMIT $2"
    );
    // Nothing is below the empty identifier.
    let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = client.prepare_cached(sql).await?;
    let found = client.query(&statement, &[&after, &limit]).await?;
    Ok(found.iter().map(rows::credential).collect::<Result<_, _>>()?)
}

/// One statement, which is a transaction of its own: either all are there or none.
pub(super) async fn import_users(client: &Client, users: &[Credential]) -> Result<(), UserStoreError> {
    const SQL: &str = "WITH made AS (\
         INSERT INTO users (id, username, username_key, email, picture, version, created_us) \
         SELECT id, username, username_key, email, picture, version, created_us \
         FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]) \
         AS asked (id, username, username_key, email, picture, version, created_us) \
         ON CONFLICT (id) DO NOTHING RETURNING id) \
         INSERT INTO credentials (user_id, password_hash) SELECT made.id, asked.password_hash FROM made \
         JOIN unnest($1::bytea[], $8::text[]) AS asked (id, password_hash) USING (id) \
         WHERE asked.password_hash IS NOT NULL";
    // All calls take users in one order, so that no two of them wait for each other.
    let mut users: Vec<&Credential> = users.iter().collect();
    users.sort_by_key(|one| one.user.id);
    let statement = client.prepare_cached(SQL).await?;
    let ids: Vec<&[u8]> = users.iter().map(|one| &one.user.id.as_bytes()[..]).collect();
    let usernames: Vec<&str> = users.iter().map(|one| one.user.username.as_str()).collect();
    let keys: Vec<String> = users.iter().map(|one| one.user.username.key()).collect();
    let emails: Vec<Option<&str>> = users.iter().map(|one| one.user.email.as_ref().map(Email::as_str)).collect();
    let pictures: Vec<Option<&str>> =
        users.iter().map(|one| one.user.picture.as_ref().map(PictureUrl::as_str)).collect();
    let versions: Vec<i64> = users.iter().map(|one| to_integer(one.user.version)).collect();
    let created: Vec<i64> = users.iter().map(|one| to_integer(one.user.created.0)).collect();
    let passwords: Vec<Option<&str>> =
        users.iter().map(|one| one.password.as_ref().map(|PasswordHash(hash)| hash.as_str())).collect();
    client.execute(&statement, &[&ids, &usernames, &keys, &emails, &pictures, &versions, &created, &passwords]).await?;
    Ok(())
}
