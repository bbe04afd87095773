//! Tests on a real server, which `PANDA_TEST_POSTGRES` names: the URL of a superuser. Each test has a
//! database of its own.

mod faults;
mod killed;
mod migrations;
mod server;
mod tls;

use std::time::Duration;

use server::{TestServer, with_database};

use super::*;
use crate::contract;
use crate::user_store::PasswordHash;

const NOW: Time = Time(1_800_000_000_000_000);

fn new_user(byte: u8, username: &str) -> NewUser {
    NewUser {
        id: UserId::from_random([byte; 16]),
        username: Username::parse(username).unwrap(),
        email: None,
        password: Some(PasswordHash("$argon2id$secret".into())),
        created: NOW,
    }
}

/// Limits that no busy machine reaches.
fn patient() -> PostgresLimits {
    let long = Duration::from_secs(300);
    PostgresLimits { wait: long, connect: long, statement: long, lock: long, call: long }
}

async fn open(url: &str) -> PostgresUsers {
    PostgresUsers::open(&PostgresConfig { limits: patient(), ..PostgresConfig::new(url) }, NOW).await.unwrap()
}

fn is_unavailable<T>(result: &Result<T, UserStoreError>) -> bool {
    matches!(result, Err(UserStoreError::Store(StoreError::Unavailable(_))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_postgres_keeps_the_contract() {
    let Some(server) = TestServer::named().await else { return };
    let databases = std::cell::RefCell::new(Vec::new());
    let make = async || {
        let database = server.create_database().await;
        let store = open(&server.url_of(&database)).await;
        databases.borrow_mut().push(database);
        store
    };
    contract::users::all(make).await;
    contract::logins::all(make).await;
    contract::signing_keys::all(make).await;
    contract::api_keys::all(make).await;
    contract::accounts::all(make).await;
    contract::failures::all(make).await;
    contract::identities::all(make).await;
    for database in databases.take() {
        server.drop_database(&database).await;
    }
}

#[tokio::test]
async fn users_are_there_for_another_process() {
    with_database(async |_, url| {
        let (one, other) = (open(url).await, open(url).await);
        let made = one.create_user(new_user(1, "ada")).await.unwrap();
        assert_eq!(other.users(vec![made.id]).await.unwrap(), [Some(made)]);
    })
    .await;
}

#[tokio::test]
async fn stored_values_that_break_their_rule_are_corrupt_and_not_believed() {
    with_database(async |server, url| {
        let store = open(url).await;
        let made = store.create_user(new_user(1, "ada")).await.unwrap();
        let client = server.connect(url).await;
        client.execute("UPDATE panda.users SET username = 'no good'", &[]).await.unwrap();
        let read = store.users(vec![made.id]).await;
        assert!(matches!(read, Err(UserStoreError::Store(StoreError::Corrupt(_)))), "{read:?}");
        client.batch_execute("ALTER TABLE panda.users ALTER COLUMN created_us TYPE TEXT").await.unwrap();
        let read = open(url).await.users(vec![made.id]).await;
        assert!(matches!(read, Err(UserStoreError::Store(StoreError::Corrupt(_)))), "{read:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_done_is_synced_whatever_the_server_does_by_itself() {
    with_database(async |_, url| {
        let store = open(&format!("{url}?options=-c%20synchronous_commit%3Doff")).await;
        let shown: String = store
            .connections
            .call(async |client| Ok(client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?))
            .await
            .unwrap();
        assert_eq!(shown, "on");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_not_waited_for() {
    with_database(async |server, _| {
        let url = server.url_at(server.address(), "panda-has-no-such-database");
        let refused = PostgresUsers::open(&PostgresConfig::new(url), NOW).await.map(drop);
        assert!(matches!(refused, Err(StoreError::Misconfigured(_))), "{refused:?}");
    })
    .await;
}
