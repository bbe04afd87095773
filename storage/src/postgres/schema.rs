//! The tables and how they came to be.
//!
//! They are in a schema of their own, `panda`, so that a database may hold other things. A release works
//! on the tables of the release after it, so that both may run while a cluster is being upgraded.

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient, Transaction};
use panda_protocol::Time;

use super::pool::Connections;
use super::rows::to_integer;
use crate::error::StoreError;
use crate::user_store::UserStoreError;

/// Each brings the tables to the version of its place, from 1. One that was released never changes.
/// Names are compared byte by byte (`COLLATE "C"`): no upgrade of a system library reorders an index.
pub(super) const MIGRATIONS: &[&str] = &[
    r#"
    CREATE TABLE panda.users (
        id BYTEA NOT NULL CONSTRAINT users_id_unique PRIMARY KEY CHECK (octet_length(id) = 16),
        username TEXT NOT NULL,
        -- The name in lower case: what must be unique.
        username_key TEXT COLLATE "C" NOT NULL CONSTRAINT users_username_key_unique UNIQUE,
        email TEXT,
        picture TEXT,
        version BIGINT NOT NULL CHECK (version > 0),
        created_us BIGINT NOT NULL
    );
    CREATE TABLE panda.credentials (
        user_id BYTEA NOT NULL PRIMARY KEY REFERENCES panda.users (id),
        password_hash TEXT NOT NULL
    );
    CREATE TABLE panda.api_keys (
        digest BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
        label TEXT NOT NULL,
        scopes BIGINT NOT NULL,
        created_us BIGINT NOT NULL
    );
    CREATE TABLE panda.signing_keys (
        kid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
        sealed BYTEA NOT NULL,
        created_us BIGINT NOT NULL
    );
"#,
    r#"
    CREATE TABLE panda.logins (
        user_id BYTEA NOT NULL REFERENCES panda.users (id),
        id BYTEA NOT NULL CHECK (octet_length(id) = 8),
        label TEXT,
        created_us BIGINT NOT NULL,
        used_us BIGINT NOT NULL,
        -- When the last access token of it ends.
        access_ends_us BIGINT NOT NULL,
        refresh_digest BYTEA NOT NULL CHECK (octet_length(refresh_digest) = 32),
        -- The refresh token before that one, the one in its place sealed under it, and since when: all or none.
        replaced_digest BYTEA CHECK (octet_length(replaced_digest) = 32),
        next_sealed BYTEA,
        replaced_us BIGINT,
        PRIMARY KEY (user_id, id)
    );
    CREATE TABLE panda.ended_logins (
        -- Taken under a lock: places become visible in their order, so that whoever reads on behind one misses none.
        place BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id BYTEA NOT NULL CHECK (octet_length(user_id) = 16),
        login_id BYTEA NOT NULL CHECK (octet_length(login_id) = 8),
        access_ends_us BIGINT NOT NULL
    );
    -- Each end forgets those that are over, while it holds that lock.
    CREATE INDEX ended_logins_over ON panda.ended_logins (access_ends_us);
"#,
    r#"
    ALTER TABLE panda.signing_keys ADD COLUMN signs_from_us BIGINT NOT NULL DEFAULT 0;
    UPDATE panda.signing_keys SET signs_from_us = created_us;
    -- Of a key that says none: the longest that a configuration may have had.
    ALTER TABLE panda.signing_keys ADD COLUMN longest_token_us BIGINT NOT NULL DEFAULT 604800000000;
    ALTER TABLE panda.api_keys ADD COLUMN ends_us BIGINT;
    ALTER TABLE panda.api_keys ADD COLUMN revoked_us BIGINT;
    ALTER TABLE panda.api_keys ADD COLUMN used_us BIGINT;
"#,
    r#"
    -- The address in lower case, where its user proved to read mail there.
    ALTER TABLE panda.users ADD COLUMN verified_email_key TEXT COLLATE "C";
    CREATE UNIQUE INDEX users_verified_email_unique ON panda.users (verified_email_key)
        WHERE verified_email_key IS NOT NULL;
    -- Since when its user does not use the account, and when it was erased. The key of an erased user's name stays, so that
    -- nobody takes it; the name itself goes.
    ALTER TABLE panda.users ADD COLUMN deactivated_us BIGINT;
    ALTER TABLE panda.users ADD COLUMN erased_us BIGINT;
    CREATE TABLE panda.mail_tokens (
        digest BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
        user_id BYTEA NOT NULL REFERENCES panda.users (id),
        -- 1: proves the address; 2: sets a new password.
        purpose BIGINT NOT NULL,
        -- Where it was sent, in lower case.
        email_key TEXT COLLATE "C" NOT NULL,
        created_us BIGINT NOT NULL,
        ends_us BIGINT NOT NULL,
        used BOOLEAN NOT NULL
    );
    CREATE INDEX mail_tokens_of_user ON panda.mail_tokens (user_id, purpose);
    -- Each one that is sent forgets those that are over.
    CREATE INDEX mail_tokens_over ON panda.mail_tokens (ends_us);
    CREATE TABLE panda.login_failures (
        key BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(key) = 32),
        -- In how long all of them are forgotten, as it was at `at_us`.
        debt_us BIGINT NOT NULL,
        at_us BIGINT NOT NULL,
        until_us BIGINT NOT NULL
    );
    -- Each one that is noted forgets those that are over.
    CREATE INDEX login_failures_over ON panda.login_failures (at_us);
"#,
    r#"
    CREATE TABLE panda.identities (
        -- Whom a login provider means: its name here, and its own word for the person.
        provider TEXT COLLATE "C" NOT NULL,
        subject TEXT COLLATE "C" NOT NULL,
        user_id BYTEA NOT NULL REFERENCES panda.users (id),
        -- As the provider told it last, and whether it says that it is that person's. No account is found by it.
        email TEXT,
        email_verified BOOLEAN NOT NULL,
        linked_us BIGINT NOT NULL,
        used_us BIGINT NOT NULL,
        CONSTRAINT identities_unique PRIMARY KEY (provider, subject)
    );
    CREATE INDEX identities_of_user ON panda.identities (user_id);
    -- Codes that may be used once, and were; kept until no process would take them for their age.
    CREATE TABLE panda.used_codes (
        id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
        until_us BIGINT NOT NULL
    );
    CREATE INDEX used_codes_over ON panda.used_codes (until_us);
"#,
];

/// Taken while migrating: "pandausr". One process migrates, the others wait and find it done.
const MIGRATION_LOCK: i64 = 0x7061_6e64_6175_7372;
/// How long a start waits for another process that migrates.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one statement of a migration may take.
const MIGRATION_STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long one migration may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(1_200);

/// Checks the server, and brings its tables to the version of the last of `migrations`.
pub(super) async fn prepare(connections: &Connections, migrations: &[&str], now: Time) -> Result<(), UserStoreError> {
    connections.call(async |client| check_server(client).await).await?;
    // A start that finds everything done takes no lock.
    while connections.call(async |client| missing(client, migrations).await).await? {
        connections.call_within(MIGRATION_TIMEOUT, async |client| step(client, migrations, now).await).await?;
    }
    Ok(())
}

async fn check_server(client: &Client) -> Result<(), UserStoreError> {
    let row = client.query_one("SELECT current_setting('server_encoding'), current_setting('fsync')", &[]).await?;
    let (encoding, fsync): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    if encoding != "UTF8" {
        let text = format!("the database keeps text as {encoding}; make one with ENCODING 'UTF8'");
        return Err(StoreError::Corrupt(text).into());
    }
    if fsync != "on" {
        tracing::warn!("the Postgres server runs with fsync off: a loss of power may lose users");
    }
    Ok(())
}

/// Whether migrations are to be done.
async fn missing(client: &Client, migrations: &[&str]) -> Result<bool, UserStoreError> {
    let known = version_number(migrations.len());
    let found = version(client).await?;
    if found > known {
        return Err(StoreError::Newer { what: "the users in Postgres".into(), found, known }.into());
    }
    Ok(found < known)
}

/// The version that is stored; 0: nothing is.
async fn version(client: &impl GenericClient) -> Result<u32, UserStoreError> {
    let row = client
        .query_one(
            "SELECT to_regclass('panda.migrations') IS NOT NULL, \
             EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace('panda'))",
            &[],
        )
        .await?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => {
            let row = client.query_one("SELECT coalesce(max(version), 0) FROM panda.migrations", &[]).await?;
            let version: i64 = row.try_get(0)?;
            Ok(u32::try_from(version).map_err(|_| not_ours())?)
        }
        (false, false) => Ok(0),
        (false, true) => Err(not_ours().into()),
    }
}

fn not_ours() -> StoreError {
    StoreError::Corrupt("the schema panda of this database is not a user store".into())
}

/// The next migration and the note that it was done, or neither; nothing if another process did it.
async fn step(client: &mut Client, migrations: &[&str], now: Time) -> Result<(), UserStoreError> {
    let transaction = client.transaction().await?;
    let limits = format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
        MIGRATION_LOCK_TIMEOUT.as_millis(),
        MIGRATION_STATEMENT_TIMEOUT.as_millis()
    );
    transaction.batch_execute(&limits).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let found = version(&transaction).await?;
    if let Some(migration) = migrations.get(found as usize) {
        apply(&transaction, migration, found + 1, now).await?;
    }
    Ok(transaction.commit().await?)
}

async fn apply(transaction: &Transaction<'_>, migration: &str, version: u32, now: Time) -> Result<(), UserStoreError> {
    let row = transaction.query_one("SELECT to_regnamespace('panda') IS NULL", &[]).await?;
    if row.try_get(0)? {
        // Only when it is not there: a schema that an operator made needs no right to make one.
        transaction.batch_execute("CREATE SCHEMA panda").await?;
    }
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS panda.migrations (version BIGINT NOT NULL PRIMARY KEY, applied_us BIGINT NOT NULL)",
        )
        .await?;
    transaction.batch_execute(migration).await?;
    transaction
        .execute(
            "INSERT INTO panda.migrations (version, applied_us) VALUES ($1, $2)",
            &[&i64::from(version), &to_integer(now.0)],
        )
        .await?;
    tracing::info!(version, "the users in Postgres were migrated");
    Ok(())
}

fn version_number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
