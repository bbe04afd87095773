//! What a server, a network and a caller do at the worst moment.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::pool::WAITING_MAX;
use super::server::{TestServer, database_of};
use super::*;
use crate::contract::proxy::Proxy;
use crate::user_store::Email;

/// Ends a test that hangs; no limit of the store is near it.
const GUARD: Duration = Duration::from_secs(60);

/// One connection, and limits that a test can wait for.
async fn open_one(url: &str, limits: PostgresLimits) -> PostgresUsers {
    let config = PostgresConfig { connections_max: 1, limits, ..PostgresConfig::new(url) };
    PostgresUsers::open(&config, NOW).await.unwrap()
}

fn change(email: &str) -> UserChange {
    UserChange { email: Some(Some(Email::parse(email).unwrap())), ..UserChange::default() }
}

async fn backend(store: &PostgresUsers) -> i32 {
    let pid = async |client: &mut deadpool_postgres::Client| {
        Ok(client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?)
    };
    store.connections.call(pid).await.unwrap()
}

/// Polls a future a number of times, then drops it; whether it was ready.
async fn poll_times<F: Future>(mut future: Pin<Box<F>>, times: usize) -> bool {
    for _ in 0..times {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        // What the future waits for happens beside it.
        let woken = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => Poll::Ready(false),
        });
        if woken.await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn a_change_that_is_dropped_anywhere_happens_wholly_or_not_and_blocks_nobody() {
    with_database(async |server, url| {
        let store = open_one(url, patient()).await;
        let user = store.create_user(new_user(1, "ada")).await.unwrap();
        let (mut version, mut dropped) = (user.version, 0);
        for times in (0..).step_by(3) {
            let email = format!("{times}@example.org");
            let done = poll_times(Box::pin(store.update_user(user.id, change(&email), None)), times).await;
            // The same row, over the only connection: nothing is locked, nothing is half done.
            let next = store.update_user(user.id, UserChange::default(), None).await.unwrap();
            assert!([1, 2].contains(&(next.version - version)), "{version} {next:?}");
            assert_eq!(next.email.as_ref().map(Email::as_str) == Some(&email), next.version - version == 2);
            version = next.version;
            if done {
                break;
            }
            dropped += 1;
        }
        assert!(dropped > 3, "nothing was dropped in the middle");
        assert_eq!(server.transactions(database_of(url)).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_connection_whose_transaction_was_dropped_is_never_lent_again() {
    with_database(async |_, url| {
        let store = open_one(url, patient()).await;
        let user = store.create_user(new_user(1, "ada")).await.unwrap();
        let before = backend(&store).await;
        assert_eq!(backend(&store).await, before);
        let (began, has_begun) = oneshot::channel();
        let connections = store.connections.clone();
        let id = user.id;
        let call = tokio::spawn(async move {
            let job = async |client: &mut deadpool_postgres::Client| {
                let transaction = client.transaction().await?;
                transaction.execute("UPDATE users SET version = 99 WHERE id = $1", &[&&id.as_bytes()[..]]).await?;
                began.send(()).unwrap();
                pending::<()>().await;
                Ok(transaction.commit().await?)
            };
            connections.call(job).await
        });
        has_begun.await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(store.users(vec![user.id]).await.unwrap(), [Some(user)]);
        assert_ne!(backend(&store).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_costs_no_connection() {
    with_database(async |_, url| {
        let store = open_one(url, patient()).await;
        store.create_user(new_user(1, "ada")).await.unwrap();
        let eve = store.create_user(new_user(2, "eve")).await.unwrap();
        let (before, calls) = (backend(&store).await, store.clone().calls());
        assert!(matches!(store.create_user(new_user(3, "Ada")).await, Err(UserStoreError::Taken(_))));
        let rename = UserChange { username: Some(Username::parse("ada").unwrap()), ..UserChange::default() };
        assert!(matches!(store.update_user(eve.id, rename, None).await, Err(UserStoreError::Taken(_))));
        let clash = vec![new_user(4, "bob"), new_user(1, "zoe")];
        assert!(matches!(store.ensure_users(clash).await, Err(UserStoreError::Taken(_))));
        assert_eq!(store.calls() - calls, 3, "each is counted, whatever came of it");
        assert_eq!(backend(&store).await, before);
    })
    .await;
}

#[tokio::test]
async fn who_finds_all_connections_in_use_waits_a_stated_time() {
    with_database(async |_, url| {
        let wait = Duration::from_millis(50);
        let store = open_one(url, PostgresLimits { wait, ..patient() }).await;
        let (release, released) = oneshot::channel::<()>();
        let (lent, is_lent) = oneshot::channel();
        let connections = store.connections.clone();
        let holder = tokio::spawn(async move {
            connections
                .call(async |_| {
                    lent.send(()).unwrap();
                    released.await.unwrap();
                    Ok(())
                })
                .await
        });
        is_lent.await.unwrap();
        let refused = store.credential(Username::parse("ada").unwrap()).await;
        assert!(is_unavailable(&refused), "{refused:?}");
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        store.credential(Username::parse("ada").unwrap()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn more_than_the_limit_of_waiting_calls_are_refused_at_once() {
    with_database(async |_, url| {
        let store = open_one(url, patient()).await;
        let ada = || store.credential(Username::parse("ada").unwrap());
        let mut holder = Box::pin(store.connections.call(async |_| {
            pending::<()>().await;
            Ok(())
        }));
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(ada())).collect();
        assert!(!poll_fn(|cx| Poll::Ready(holder.as_mut().poll(cx).is_ready())).await);
        for call in &mut waiting {
            assert!(!poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await);
        }
        assert_eq!(store.connections.status().waiting, WAITING_MAX);
        assert!(is_unavailable(&ada().await));
        drop(waiting);
        drop(holder);
        ada().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_server_ends_a_statement_that_takes_too_long_and_a_wait_for_a_lock() {
    with_database(async |server, url| {
        let user = open(url).await.create_user(new_user(1, "ada")).await.unwrap();
        let limits =
            PostgresLimits { statement: Duration::from_millis(400), lock: Duration::from_millis(50), ..patient() };
        let config = PostgresConfig { connections_max: 1, limits, ..PostgresConfig::new(url) };
        let store = PostgresUsers { connections: Connections::new(&config).unwrap() };
        let slow =
            async |client: &mut deadpool_postgres::Client| Ok(client.batch_execute("SELECT pg_sleep(600)").await?);
        let ended = store.connections.call(slow).await;
        assert!(matches!(&ended, Err(UserStoreError::Store(StoreError::Unavailable(why))) if why.contains("57014")));
        let mut other = server.connect(url).await;
        let transaction = other.transaction().await.unwrap();
        transaction.batch_execute("UPDATE panda.users SET email = NULL").await.unwrap();
        let blocked = store.update_user(user.id, UserChange::default(), None).await;
        assert!(
            matches!(&blocked, Err(UserStoreError::Store(StoreError::Unavailable(why))) if why.contains("55P03")),
            "{blocked:?}"
        );
        transaction.rollback().await.unwrap();
        // Nothing of what was ended is left.
        let other = open(url).await;
        assert_eq!(other.update_user(user.id, UserChange::default(), None).await.unwrap().version, 2);
    })
    .await;
}

#[tokio::test]
async fn after_all_connections_were_ended_the_store_heals_by_itself() {
    with_database(async |server, url| {
        let store = open(url).await;
        let user = store.create_user(new_user(1, "ada")).await.unwrap();
        let read = || store.users(vec![user.id]);
        // Several lie idle.
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let (store, id) = (store.clone(), user.id);
                tokio::spawn(async move { store.users(vec![id]).await.unwrap() })
            })
            .collect();
        for read in reads {
            read.await.unwrap();
        }
        assert!(server.terminate(database_of(url)).await > 1);
        // One call may meet the end itself; it takes the idle ones with it.
        let mut failed = 0;
        while let Err(error) = read().await {
            assert!(matches!(error, UserStoreError::Store(StoreError::Unavailable(_))), "{error}");
            failed += 1;
            assert!(failed < 8, "every connection cost a call");
        }
        store.update_user(user.id, UserChange::default(), Some(1)).await.unwrap();
    })
    .await;
}

/// A store whose way to the server can be cut, and a user in it.
async fn behind_proxy(server: &TestServer, url: &str, limits: PostgresLimits) -> (Proxy, PostgresUsers, User) {
    let proxy = Proxy::to(server.address()).await;
    let store = open_one(&server.url_at(proxy.address, database_of(url)), limits).await;
    let user = store.create_user(new_user(1, "ada")).await.unwrap();
    (proxy, store, user)
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_back_when_it_is_back() {
    with_database(async |server, url| {
        let (proxy, store, user) = behind_proxy(server, url, patient()).await;
        proxy.cut();
        for _ in 0..3 {
            let failed = tokio::time::timeout(GUARD, store.users(vec![user.id])).await.unwrap();
            assert!(is_unavailable(&failed), "{failed:?}");
        }
        proxy.open();
        assert_eq!(store.users(vec![user.id]).await.unwrap(), [Some(user)]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_a_call_its_time_and_no_more() {
    with_database(async |server, url| {
        let call = Duration::from_millis(200);
        let (proxy, store, user) = behind_proxy(server, url, patient()).await;
        drop(store);
        let limits = PostgresLimits { call, connect: call, ..patient() };
        let config = PostgresConfig { limits, ..PostgresConfig::new(server.url_at(proxy.address, database_of(url))) };
        let store = PostgresUsers { connections: Connections::new(&config).unwrap() };
        let mut tries = 0;
        while store.users(vec![user.id]).await.is_err() {
            tries += 1;
            assert!(tries < 100, "no call within its time on a server that answers");
        }
        proxy.freeze();
        for _ in 0..3 {
            let failed = tokio::time::timeout(GUARD, store.users(vec![user.id])).await.unwrap();
            assert!(is_unavailable(&failed), "{failed:?}");
        }
        proxy.open();
        let healed = async { while store.users(vec![user.id]).await.is_err() {} };
        tokio::time::timeout(GUARD, healed).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_start_without_a_server_says_so() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = PostgresConfig::new(format!("postgres://panda:sesame@{nobody}/panda"));
    let refused = PostgresUsers::open(&config, NOW).await.map(drop).unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(text) if !text.contains("sesame")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_register_one_name_make_one_user() {
    with_database(async |_, url| {
        let stores = [Arc::new(open(url).await), Arc::new(open(url).await)];
        for round in 0..20 {
            let name = format!("user{round}");
            let calls: Vec<_> = stores
                .iter()
                .zip([1, 2])
                .map(|(store, process)| {
                    let (store, user) = (Arc::clone(store), new_user(round * 2 + process, &name));
                    tokio::spawn(async move { store.create_user(user).await })
                })
                .collect();
            let mut results = Vec::new();
            for call in calls {
                results.push(call.await.unwrap());
            }
            results.sort_by_key(Result::is_err);
            let [Ok(_), Err(UserStoreError::Taken(crate::user_store::UniqueField::Username))] = &results[..] else {
                panic!("{results:?}")
            };
        }
    })
    .await;
}
