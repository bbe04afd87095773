//! The file's tables and how they came to be.

use std::path::Path;
use std::time::Duration;

use panda_protocol::Time;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use crate::error::StoreError;
use crate::private;

/// Each brings the file to the version of its place, from 1. One that was released never changes.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE users (
        id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
        username TEXT NOT NULL,
        -- The name in lower case: what must be unique.
        username_key TEXT NOT NULL UNIQUE,
        email TEXT,
        picture TEXT,
        version INTEGER NOT NULL CHECK (version > 0),
        created_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE credentials (
        user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
        password_hash TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE api_keys (
        digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
        label TEXT NOT NULL,
        scopes INTEGER NOT NULL,
        created_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE signing_keys (
        kid TEXT NOT NULL PRIMARY KEY,
        sealed BLOB NOT NULL,
        created_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE logins (
        user_id BLOB NOT NULL REFERENCES users (id),
        id BLOB NOT NULL CHECK (length(id) = 8),
        label TEXT,
        created_us INTEGER NOT NULL,
        used_us INTEGER NOT NULL,
        -- When the last access token of it ends.
        access_ends_us INTEGER NOT NULL,
        refresh_digest BLOB NOT NULL CHECK (length(refresh_digest) = 32),
        -- The refresh token before that one, the one in its place sealed under it, and since when: all or none.
        replaced_digest BLOB CHECK (length(replaced_digest) = 32),
        next_sealed BLOB,
        replaced_us INTEGER,
        PRIMARY KEY (user_id, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ended_logins (
        -- None comes twice, so that whoever reads on behind one misses none.
        place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        user_id BLOB NOT NULL CHECK (length(user_id) = 16),
        login_id BLOB NOT NULL CHECK (length(login_id) = 8),
        access_ends_us INTEGER NOT NULL
    ) STRICT;
    -- Each end forgets those that are over.
    CREATE INDEX ended_logins_over ON ended_logins (access_ends_us);
",
    "
    ALTER TABLE signing_keys ADD COLUMN signs_from_us INTEGER NOT NULL DEFAULT 0;
    UPDATE signing_keys SET signs_from_us = created_us;
    -- Of a key that says none: the longest that a configuration may have had.
    ALTER TABLE signing_keys ADD COLUMN longest_token_us INTEGER NOT NULL DEFAULT 604800000000;
    ALTER TABLE api_keys ADD COLUMN ends_us INTEGER;
    ALTER TABLE api_keys ADD COLUMN revoked_us INTEGER;
    ALTER TABLE api_keys ADD COLUMN used_us INTEGER;
",
    "
    -- The address in lower case, where its user proved to read mail there.
    ALTER TABLE users ADD COLUMN verified_email_key TEXT;
    CREATE UNIQUE INDEX users_verified_email_unique ON users (verified_email_key) WHERE verified_email_key IS NOT NULL;
    -- Since when its user does not use the account, and when it was erased. The key of an erased user's name stays, so that
    -- nobody takes it; the name itself goes.
    ALTER TABLE users ADD COLUMN deactivated_us INTEGER;
    ALTER TABLE users ADD COLUMN erased_us INTEGER;
    CREATE TABLE mail_tokens (
        digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
        user_id BLOB NOT NULL REFERENCES users (id),
        -- 1: proves the address; 2: sets a new password.
        purpose INTEGER NOT NULL,
        -- Where it was sent, in lower case.
        email_key TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        ends_us INTEGER NOT NULL,
        used INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX mail_tokens_of_user ON mail_tokens (user_id, purpose);
    -- Each one that is sent forgets those that are over.
    CREATE INDEX mail_tokens_over ON mail_tokens (ends_us);
    CREATE TABLE login_failures (
        key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
        -- In how long all of them are forgotten, as it was at `at_us`.
        debt_us INTEGER NOT NULL,
        at_us INTEGER NOT NULL,
        until_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Each one that is noted forgets those that are over.
    CREATE INDEX login_failures_over ON login_failures (at_us);
",
    "
    CREATE TABLE identities (
        -- Whom a login provider means: its name here, and its own word for the person.
        provider TEXT NOT NULL,
        subject TEXT NOT NULL,
        user_id BLOB NOT NULL REFERENCES users (id),
        -- As the provider told it last, and whether it says that it is that person's. No account is found by it.
        email TEXT,
        email_verified INTEGER NOT NULL CHECK (email_verified IN (0, 1)),
        linked_us INTEGER NOT NULL,
        used_us INTEGER NOT NULL,
        PRIMARY KEY (provider, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX identities_of_user ON identities (user_id);
    -- Codes that may be used once, and were; kept until no process would take them for their age.
    CREATE TABLE used_codes (
        id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
        until_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX used_codes_over ON used_codes (until_us);
",
];

/// Memory of each connection for pages.
const CACHE_KIB: i64 = 256;
/// How long a statement waits for another process, such as a backup, to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens the connection that writes, and migrates.
pub(super) fn open_writer(path: &Path, now: Time) -> Result<Connection, StoreError> {
    // SQLite would make it as the umask says; its log takes the rights of the file.
    private::make_file(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
    let mut connection = Connection::open(path).map_err(|error| store_error(&error))?;
    prepare(&connection).map_err(|error| store_error(&error))?;
    migrate(&mut connection, path, now)?;
    with_log(connection, path)
}

/// Opens one more connection that writes, to a file that another process may use: it has to be there, of this version.
pub(super) fn open_beside(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| StoreError::Misconfigured(format!("{}: {error}", path.display())))?;
    prepare(&connection).map_err(|error| store_error(&error))?;
    let known = version_number(MIGRATIONS.len());
    match version(&connection).map_err(|error| store_error(&error))? {
        Some(found) if found == known => with_log(connection, path),
        Some(found) if found > known => Err(StoreError::Newer { what: path.display().to_string(), found, known }),
        Some(_) => Err(StoreError::Misconfigured(format!(
            "{} is of an older version: start 'panda serve' of this version once, which migrates it",
            path.display()
        ))),
        None => Err(StoreError::Corrupt(format!("{} is not a user store", path.display()))),
    }
}

fn with_log(connection: Connection, path: &Path) -> Result<Connection, StoreError> {
    // The journal's mode is part of the file, so nothing of it is touched before its version is known.
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(|error| store_error(&error))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!(
            "{} does not take a write-ahead log; use a local file system",
            path.display()
        )));
    }
    Ok(connection)
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| store_error(&error))?;
    prepare(&connection).map_err(|error| store_error(&error))?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What a damaged or planted file may do to this process.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // The system has the file's pages as well; without this, each connection comes to keep 2 MiB of them.
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path, now: Time) -> Result<(), StoreError> {
    let known = version_number(MIGRATIONS.len());
    let found = version(connection).map_err(|error| store_error(&error))?;
    let Some(found) = found else {
        return Err(StoreError::Corrupt(format!("{} is not a user store", path.display())));
    };
    if found > known {
        return Err(StoreError::Newer { what: path.display().to_string(), found, known });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        step(connection, migration, version_number(index + 1), now).map_err(|error| store_error(&error))?;
    }
    Ok(())
}

/// One migration and the note that it was done, or neither.
fn step(connection: &mut Connection, migration: &str, version: u32, now: Time) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL PRIMARY KEY, applied_us INTEGER NOT NULL) STRICT")?;
    transaction.execute_batch(migration)?;
    transaction
        .execute("INSERT INTO migrations (version, applied_us) VALUES (?1, ?2)", (version, to_integer(now.0)))?;
    transaction.commit()
}

/// The file's version: 0 for an empty one, none for one that is not ours.
fn version(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Some(0));
    }
    let ours: Option<u32> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'", [], |row| row.get(0))
        .optional()?;
    match ours {
        Some(_) => connection.query_row("SELECT max(version) FROM migrations", [], |row| row.get(0)),
        None => Ok(None),
    }
}

fn version_number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A number as SQLite keeps it. Times and versions stay far below 2^63.
pub(super) fn to_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the caller can do about an error of SQLite.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
            StoreError::Corrupt(text)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            StoreError::Locked(text)
        }
        Some(_) => StoreError::Unavailable(text),
        // Not an answer of SQLite: a value that is of another type than was written.
        None => StoreError::Corrupt(text),
    }
}
