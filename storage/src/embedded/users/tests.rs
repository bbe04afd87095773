use std::cell::RefCell;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::contract;
use crate::user_store::PasswordHash;

const NOW: Time = Time(1_800_000_000_000_000);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn ada(byte: u8) -> NewUser {
    NewUser {
        id: UserId::from_random([byte; 16]),
        username: Username::parse("ada").unwrap(),
        email: None,
        password: Some(PasswordHash("$argon2id$secret".into())),
        created: NOW,
    }
}

#[tokio::test]
async fn the_embedded_store_keeps_the_contract() {
    let folders = RefCell::new(Vec::new());
    let make = async || {
        let folder = folder();
        let store = SqliteUsers::open(&folder.path().join("users.sqlite"), NOW).unwrap();
        folders.borrow_mut().push(folder);
        store
    };
    contract::users::all(make).await;
    contract::logins::all(make).await;
    contract::signing_keys::all(make).await;
    contract::api_keys::all(make).await;
    contract::accounts::all(make).await;
    contract::failures::all(make).await;
    contract::identities::all(make).await;
}

#[tokio::test]
async fn users_are_there_after_a_restart() {
    let folder = folder();
    let path = folder.path().join("users.sqlite");
    let store = SqliteUsers::open(&path, NOW).unwrap();
    let made = store.create_user(ada(1)).await.unwrap();
    drop(store);
    let store = SqliteUsers::open(&path, NOW).unwrap();
    assert_eq!(store.users(vec![made.id]).await.unwrap(), [Some(made)]);
}

#[test]
fn ended_logins_that_are_over_are_found_by_an_index() {
    let folder = folder();
    let connection = schema::open_writer(&folder.path().join("users.sqlite"), NOW).unwrap();
    let plan = "EXPLAIN QUERY PLAN DELETE FROM ended_logins WHERE access_ends_us < 7";
    let plan: String = connection.query_row(plan, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("ended_logins_over"), "{plan}");
}

#[test]
fn the_users_file_waits_for_the_disk() {
    let folder = folder();
    let connection = schema::open_writer(&folder.path().join("users.sqlite"), NOW).unwrap();
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    let synchronous = connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, u8>(0));
    // 2 is FULL: a commit returns once the log is synced.
    assert_eq!((mode.as_deref(), synchronous), (Ok("wal"), Ok(2)));
}

#[tokio::test]
async fn a_newer_file_is_refused_and_not_touched() {
    let folder = folder();
    let path = folder.path().join("users.sqlite");
    drop(SqliteUsers::open(&path, NOW).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.execute("INSERT INTO migrations (version, applied_us) VALUES (99, 0)", []).unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteUsers::open(&path, NOW).map(drop);
    assert!(matches!(refused, Err(StoreError::Newer { found: 99, .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_user_store_is_refused() {
    let folder = folder();
    let path = folder.path().join("other.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert!(matches!(SqliteUsers::open(&path, NOW).map(drop), Err(StoreError::Corrupt(_))));
    std::fs::write(&path, b"this is no database at all, but a longer text than a header").unwrap();
    assert!(matches!(SqliteUsers::open(&path, NOW).map(drop), Err(StoreError::Corrupt(_))));
    let nowhere = folder.path().join("no").join("folder");
    assert!(matches!(SqliteUsers::open(&nowhere, NOW).map(drop), Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn stored_values_that_break_their_rule_are_corrupt_and_not_believed() {
    let folder = folder();
    let path = folder.path().join("users.sqlite");
    let store = SqliteUsers::open(&path, NOW).unwrap();
    let made = store.create_user(ada(1)).await.unwrap();
    Connection::open(&path).unwrap().execute("UPDATE users SET username = 'no good'", []).unwrap();
    let read = store.users(vec![made.id]).await;
    assert!(matches!(read, Err(UserStoreError::Store(StoreError::Corrupt(_)))), "{read:?}");
}

#[test]
fn no_hash_is_shown() {
    assert!(!format!("{:?}", ada(1)).contains("argon2id"));
}
