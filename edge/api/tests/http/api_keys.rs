//! API keys over real HTTP: what opens, and from when on it does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use panda_api::{api_key_digest, new_api_key};
use panda_protocol::Time;
use panda_storage::UserStore as _;
use panda_storage::user_store::{ApiKey, ApiKeyLabel, Scopes};

use crate::support::{Answer, NOW, Server};

const SECOND: u64 = 1_000_000;

/// A new key as it is stored, and its text.
fn made(scopes: Scopes) -> (ApiKey, String) {
    let text = new_api_key().unwrap();
    (ApiKey::new(api_key_digest(&text), ApiKeyLabel::parse("robot").unwrap(), scopes, NOW), text)
}

async fn provision(server: &Server, key: &str) -> Answer {
    server.post("/bulk/users").bearer(key).body("{\"users\":[{\"username\":\"ada\"}]}").send().await
}

async fn refused(server: &Server, key: &str) -> (u16, String, String) {
    let answer = provision(server, key).await;
    let (status, label) = answer.refusal();
    (status, label, answer.json()["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_on_any_process_from_then_on() {
    let one = Server::start().await;
    let other = one.beside(|| NOW, |_| {}).await;
    let (key, text) = made(Scopes::PROVISION);
    one.store().add_api_key(key.clone()).await.unwrap();
    for server in [&one, &other] {
        assert_eq!(provision(server, &text).await.status, 200);
    }
    one.store().revoke_api_key(key.id(), NOW).await.unwrap();
    for server in [&one, &other] {
        let expected = (401, "unauthenticated".to_owned(), "this API key was revoked".to_owned());
        assert_eq!(refused(server, &text).await, expected);
        assert_eq!(provision(server, &one.admin_key).await.status, 200, "another key goes on");
    }
}

#[tokio::test]
async fn the_key_of_the_first_start_stays_revoked_at_the_next_one() {
    let server = Server::start().await;
    let first = api_key_digest(&server.admin_key);
    let key = server.store().api_key(first).await.unwrap().unwrap();
    server.store().revoke_api_key(key.id(), NOW).await.unwrap();
    let next = server.beside(|| NOW, |_| {}).await;
    assert_eq!(refused(&next, &server.admin_key).await.0, 401);
    assert_eq!(server.store().api_key_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_key_ends_at_its_time_and_its_use_is_noted_to_the_hour() {
    static CLOCK: AtomicU64 = AtomicU64::new(0);
    let server = Server::at(|| Time(NOW.0 + CLOCK.load(Ordering::Relaxed) * SECOND), |_| {}).await;
    let (key, text) = made(Scopes::PROVISION);
    let key = ApiKey { ends: Some(Time(NOW.0 + 7_300 * SECOND)), ..key };
    server.store().add_api_key(key.clone()).await.unwrap();
    let noted = async |hour: Time| {
        let patience = async {
            while server.store().api_key(key.digest).await.unwrap().unwrap().used != Some(hour) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), patience).await.expect("it is noted");
    };
    // The clock starts at a whole hour.
    assert_eq!(NOW.0 % (3_600 * SECOND), 0);
    for (now, hour) in [(0, 0), (3_599, 0), (3_600, 3_600), (7_299, 7_200)] {
        CLOCK.store(now, Ordering::Relaxed);
        assert_eq!(provision(&server, &text).await.status, 200);
        noted(Time(NOW.0 + hour * SECOND)).await;
    }
    CLOCK.store(7_300, Ordering::Relaxed);
    let expected = (401, "unauthenticated".to_owned(), "this API key's time is over".to_owned());
    assert_eq!(refused(&server, &text).await, expected);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let server = Server::start().await;
    let (key, text) = made(Scopes(0));
    server.store().add_api_key(key).await.unwrap();
    assert_eq!(provision(&server, &text).await.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn who_tries_keys_is_limited_and_who_has_one_is_not() {
    let server = Server::with(|config| config.api_key_tries_per_address.count = 5, None).await;
    server.seen_from("192.0.2.7");
    // The first use of a good one is a try, too.
    assert_eq!(provision(&server, &server.admin_key).await.status, 200);
    for _ in 0..4 {
        assert_eq!(refused(&server, &made(Scopes::PROVISION).1).await.0, 401);
    }
    for tried in [made(Scopes::PROVISION).1, "garbage".to_owned()] {
        let limited = provision(&server, &tried).await;
        assert_eq!(limited.refusal(), (429, "rate_limited".into()));
        assert!(limited.header("retry-after").is_some());
    }
    assert_eq!(provision(&server, &server.admin_key).await.status, 200);
    // Somebody else's tries are their own.
    server.seen_from("192.0.2.8");
    assert_eq!(refused(&server, &made(Scopes::PROVISION).1).await.0, 401);
}
