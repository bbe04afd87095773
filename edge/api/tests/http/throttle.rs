//! Who tries passwords waits, and nobody else does.

use std::sync::atomic::{AtomicU64, Ordering};

use panda_protocol::Time;
use serde_json::json;

use crate::support::{Answer, NOW, Server};

const PASSWORD: &str = "correct horse";

/// A clock of each test's own.
macro_rules! clock {
    () => {{
        static PASSED_S: AtomicU64 = AtomicU64::new(0);
        let clock: fn() -> Time = || Time(NOW.0 + PASSED_S.load(Ordering::SeqCst) * 1_000_000);
        let pass = |seconds: u64| {
            PASSED_S.fetch_add(seconds, Ordering::SeqCst);
        };
        (clock, pass)
    }};
}

async fn register(server: &Server, name: &str) {
    let body = json!({ "username": name, "password": PASSWORD });
    assert_eq!(server.post("/register").body(&body.to_string()).send().await.status, 201);
}

async fn log_in(server: &Server, name: &str, password: &str) -> Answer {
    server.post("/login").body(&json!({ "username": name, "password": password }).to_string()).send().await
}

/// How long who is refused has to wait, in seconds.
fn wait(answer: &Answer) -> u64 {
    assert_eq!(answer.refusal(), (429, "rate_limited".into()), "{}", answer.body);
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn wrong_passwords_cost_growing_waits_whether_or_not_there_is_an_account() {
    let (clock, pass) = clock!();
    let server = Server::at(clock, |_| {}).await;
    server.seen_from("192.0.2.1");
    register(&server, "ada").await;
    for _ in 0..5 {
        for name in ["ada", "nobody"] {
            assert_eq!(log_in(&server, name, "wrong horse").await.refusal(), (401, "bad_credentials".into()));
        }
    }
    for expected in [1, 2, 4, 8] {
        for name in ["ada", "nobody"] {
            assert_eq!(log_in(&server, name, "wrong horse").await.status, 401);
        }
        let (ada, nobody) = (log_in(&server, "ada", PASSWORD).await, log_in(&server, "nobody", PASSWORD).await);
        assert_eq!((wait(&ada), wait(&nobody)), (expected, expected), "the right one waits as well");
        assert_eq!(ada.body, nobody.body);
        pass(expected);
    }
    assert_eq!(server.counted("panda_api_logins_throttled_total"), 8);
    // Elsewhere the account is open meanwhile.
    assert_eq!(log_in(&server, "ada", "wrong horse").await.status, 401);
    wait(&log_in(&server, "ada", PASSWORD).await);
    server.seen_from("192.0.2.2");
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 200);
    // That success ended what was counted for the account, at that address alone.
    server.seen_from("192.0.2.1");
    wait(&log_in(&server, "ada", PASSWORD).await);
    pass(900);
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 200);
    for _ in 0..5 {
        assert_eq!(log_in(&server, "ada", "wrong horse").await.status, 401);
    }
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn who_fails_everywhere_keeps_nobody_out_and_waits_from_the_first_failure() {
    let (clock, pass) = clock!();
    let server = Server::at(clock, |_| {}).await;
    register(&server, "ada").await;
    for number in 0..100 {
        server.seen_from(&format!("198.51.100.{number}"));
        assert_eq!(log_in(&server, "ada", "wrong horse").await.status, 401, "{number}");
    }
    server.seen_from("203.0.113.1");
    assert_eq!(log_in(&server, "ada", "wrong horse").await.status, 401);
    assert_eq!(wait(&log_in(&server, "ada", PASSWORD).await), 1);
    // Whoever comes from where nobody failed is let in at once.
    server.seen_from("203.0.113.2");
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 200);
    // Now it is not attacked any more.
    server.seen_from("203.0.113.3");
    assert_eq!(log_in(&server, "ada", "wrong horse").await.status, 401);
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 200);
    pass(1);
}

#[tokio::test]
async fn an_address_that_tries_many_accounts_waits_and_a_success_of_its_own_does_not_help() {
    let (clock, pass) = clock!();
    let server = Server::at(clock, |_| {}).await;
    server.seen_from("192.0.2.1");
    register(&server, "eve").await;
    for number in 0..100 {
        assert_eq!(log_in(&server, &format!("user{number}"), "wrong horse").await.status, 401);
    }
    assert_eq!(log_in(&server, "eve", PASSWORD).await.status, 200);
    assert_eq!(log_in(&server, "another", "wrong horse").await.status, 401);
    assert_eq!(wait(&log_in(&server, "eve", PASSWORD).await), 1);
    // The whole /64 is one address; another one is another.
    server.seen_from("2001:db8:0:1::1");
    assert_eq!(log_in(&server, "eve", PASSWORD).await.status, 200);
    server.seen_from("192.0.2.1");
    pass(600);
    assert_eq!(log_in(&server, "eve", "wrong horse").await.status, 401);
    assert_eq!(log_in(&server, "eve", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_old_password_is_tried_within_the_same_bounds() {
    let (clock, _) = clock!();
    let server = Server::at(clock, |_| {}).await;
    register(&server, "ada").await;
    let token = log_in(&server, "ada", PASSWORD).await.json()["access_token"].as_str().unwrap().to_owned();
    let change = async |old: &str| {
        let body = json!({ "old": old, "new": "battery staple" }).to_string();
        server.put("/user/me/password").bearer(&token).body(&body).send().await
    };
    for _ in 0..6 {
        assert_eq!(change("wrong horse").await.refusal(), (401, "bad_credentials".into()));
    }
    assert_eq!(wait(&change(PASSWORD).await), 1);
    assert_eq!(wait(&log_in(&server, "ada", PASSWORD).await), 1);
}
