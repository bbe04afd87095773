//! Logins over real HTTP: refresh tokens, what is listed, and what ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use panda_access::{REFRESH_TOKEN_LEN, RefreshToken};
use panda_protocol::{LoginId, Time};
use serde_json::{Value, json};

use crate::support::{Answer, NOW, Server};

const SECOND: u64 = 1_000_000;

/// The user whom all of these log in as.
async fn register(server: &Server) -> Value {
    let body = json!({ "username": "ada", "password": "correct horse", "label": "laptop" });
    let answer = server.post("/register").body(&body.to_string()).send().await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

async fn log_in(server: &Server, label: &str) -> Value {
    let body = json!({ "username": "ada", "password": "correct horse", "label": label });
    let answer = server.post("/login").body(&body.to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

async fn bring(server: &Server, path: &str, token: &str) -> Answer {
    server.post(path).body(&json!({ "refresh_token": token }).to_string()).send().await
}

async fn refresh(server: &Server, granted: &Value) -> Answer {
    bring(server, "/token/refresh", text(granted, "refresh_token")).await
}

fn text<'a>(granted: &'a Value, name: &str) -> &'a str {
    granted[name].as_str().unwrap_or_else(|| panic!("no {name}: {granted}"))
}

/// Whether the access token is taken.
async fn is_in(server: &Server, granted: &Value) -> bool {
    let answer = server.get("/user/me").bearer(text(granted, "access_token")).send().await;
    if answer.status == 200 {
        return true;
    }
    assert_eq!(answer.refusal(), (401, "revoked".into()));
    false
}

async fn listed(server: &Server, granted: &Value) -> Vec<Value> {
    let answer = server.get("/user/me/logins").bearer(text(granted, "access_token")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["logins"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_refresh_token_gives_the_next_one_and_an_access_token_of_the_same_login() {
    let server = Server::start().await;
    let first = register(&server).await;
    assert_eq!(text(&first, "refresh_token").len(), REFRESH_TOKEN_LEN);
    assert_eq!(first["refresh_expires_in"], 30 * 24 * 3_600);
    let answer = refresh(&server, &first).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let second = answer.json();
    assert_eq!((&second["user"], &second["login"]), (&first["user"], &first["login"]));
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let access = server.identity.keys.accepted().verify(text(&second, "access_token"), NOW.0 / SECOND).unwrap();
    assert_eq!(access.login.unwrap().to_string(), text(&first, "login"));
    // What was given out before lives as long as it does.
    assert!(is_in(&server, &first).await && is_in(&server, &second).await);
    assert_eq!(refresh(&server, &second).await.status, 200);
}

/// As after an answer that was lost on its way, or that a killed process did not give any more.
#[tokio::test]
async fn the_token_before_the_present_one_is_given_the_same_answer_once_more() {
    let server = Server::start().await;
    let first = register(&server).await;
    let second = refresh(&server, &first).await.json();
    let again = refresh(&server, &first).await.json();
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    assert_eq!(again["login"], second["login"]);
    assert_eq!(refresh(&server, &again).await.status, 200);
}

#[tokio::test]
async fn two_refreshes_at_once_log_nobody_out() {
    let server = Server::start().await;
    let first = register(&server).await;
    let answers = futures_util::future::join_all((0..8).map(|_| refresh(&server, &first))).await;
    let next: Vec<_> = answers.iter().map(|answer| answer.json()["refresh_token"].clone()).collect();
    assert!(
        answers.iter().all(|answer| answer.status == 200) && next.iter().all(|token| *token == next[0]),
        "{next:?}"
    );
    assert_eq!(refresh(&server, &answers[7].json()).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_used_before_ends_its_login_at_once() {
    let server = Server::start().await;
    let first = register(&server).await;
    let other = log_in(&server, "phone").await;
    let second = refresh(&server, &first).await.json();
    let third = refresh(&server, &second).await.json();
    let reused = refresh(&server, &first).await;
    assert_eq!(reused.refusal(), (401, "revoked".into()));
    assert!(reused.json()["detail"].as_str().unwrap().contains("used before"), "{}", reused.body);
    for granted in [&first, &second, &third] {
        assert_eq!(refresh(&server, granted).await.refusal(), (401, "revoked".into()));
        assert!(!is_in(&server, granted).await);
    }
    assert!(is_in(&server, &other).await);
    assert_eq!(refresh(&server, &other).await.status, 200);
}

/// A client may wait for 10 s for an answer, half a minute until its session asks again, and all that several times.
#[tokio::test]
async fn the_grace_of_a_deployment_that_says_nothing_outlasts_many_tries() {
    static NOW_US: AtomicU64 = AtomicU64::new(NOW.0);
    let server = Server::at(|| Time(NOW_US.load(Ordering::SeqCst)), |_| {}).await;
    let first = register(&server).await;
    let second = refresh(&server, &first).await.json();
    NOW_US.fetch_add(299 * SECOND, Ordering::SeqCst);
    let again = refresh(&server, &first).await;
    assert_eq!((again.status, &again.json()["refresh_token"]), (200, &second["refresh_token"]));
    NOW_US.fetch_add(SECOND, Ordering::SeqCst);
    assert_eq!(refresh(&server, &first).await.refusal(), (401, "revoked".into()));
}

#[tokio::test]
async fn without_grace_a_token_is_good_once() {
    let server = Server::with(|config| config.refresh_grace = Duration::ZERO, None).await;
    let first = register(&server).await;
    assert_eq!(refresh(&server, &first).await.status, 200);
    assert_eq!(refresh(&server, &first).await.refusal(), (401, "revoked".into()));
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_ends_nothing() {
    let server = Server::start().await;
    let granted = register(&server).await;
    let (user, login) = (text(&granted["user"], "id").parse().unwrap(), text(&granted, "login").parse().unwrap());
    // Its form is right, and another deployment made it for this very login.
    let elsewhere = panda_access::RefreshTokens::new(&panda_access::FleetSecret::generate().unwrap())
        .text(&RefreshToken::generate(user, login).unwrap());
    let good = text(&granted, "refresh_token");
    let mut changed = good.to_owned();
    changed.replace_range(60..61, if &good[60..61] == "A" { "B" } else { "A" });
    for token in
        ["", "panda_rt_", text(&granted, "access_token"), &elsewhere, &changed, &good[1..], &"x".repeat(10_000)]
    {
        for path in ["/token/refresh", "/logout"] {
            assert_eq!(bring(&server, path, token).await.refusal(), (401, "token_invalid".into()), "{token}");
        }
    }
    for body in ["{}", "[]", "{\"refresh_token\":7}", "{\"refresh_token\":\"x\",\"more\":1}"] {
        assert_eq!(server.post("/token/refresh").body(body).send().await.refusal().0, 400, "{body}");
    }
    // One that was made here, and never given out for a login that is there.
    let made_up = RefreshToken::generate(user, LoginId::from_random(1)).unwrap();
    let made_up = bring(&server, "/token/refresh", &server.identity.refresh_tokens.text(&made_up)).await;
    assert_eq!(made_up.refusal(), (401, "revoked".into()));
    assert_eq!(refresh(&server, &granted).await.status, 200);
}

#[tokio::test]
async fn a_login_ends_when_it_is_not_used_or_old() {
    static NOW_US: AtomicU64 = AtomicU64::new(NOW.0);
    let day = 24 * 3_600;
    let server = Server::at(
        || Time(NOW_US.load(Ordering::SeqCst)),
        |config| {
            config.login_idle = Duration::from_secs(10 * day);
            config.login_lifetime = Duration::from_secs(25 * day);
        },
    )
    .await;
    let unused = register(&server).await;
    let mut used = log_in(&server, "phone").await;
    for _ in 0..2 {
        NOW_US.fetch_add(9 * day * SECOND, Ordering::SeqCst);
        used = refresh(&server, &used).await.json();
    }
    let over = refresh(&server, &unused).await;
    assert_eq!(over.refusal(), (401, "token_expired".into()));
    assert_eq!(listed(&server, &used).await.len(), 1);
    // A quarter of an hour is left of the 25 days, so no token lasts longer.
    NOW_US.fetch_add((7 * day - 900) * SECOND, Ordering::SeqCst);
    let last = refresh(&server, &used).await.json();
    assert_eq!((&last["expires_in"], &last["refresh_expires_in"]), (&json!(900), &json!(900)));
    NOW_US.fetch_add(900 * SECOND, Ordering::SeqCst);
    assert_eq!(refresh(&server, &last).await.refusal(), (401, "token_expired".into()));
}

#[tokio::test]
async fn ones_logins_are_listed_and_ended_one_or_all_others() {
    let server = Server::start().await;
    let laptop = register(&server).await;
    let [phone, tablet, desk] =
        [log_in(&server, "phone").await, log_in(&server, "tablet").await, log_in(&server, "desk").await];
    let seen = listed(&server, &phone).await;
    let mut labels: Vec<_> = seen.iter().map(|login| text(login, "label")).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["desk", "laptop", "phone", "tablet"]);
    for login in &seen {
        assert_eq!(login["current"], login["label"] == "phone");
        assert_eq!((&login["created_us"], &login["used_us"]), (&json!(NOW.0), &json!(NOW.0)));
        assert_eq!(login["ends_us"], json!(NOW.0 + 30 * 24 * 3_600 * SECOND));
    }
    let end = async |path: &str| server.delete(path).bearer(text(&phone, "access_token")).send().await;
    let path = format!("/user/me/logins/{}", text(&laptop, "login"));
    assert_eq!(end(&path).await.json(), json!({ "ended": 1 }));
    assert!(!is_in(&server, &laptop).await);
    assert_eq!(refresh(&server, &laptop).await.refusal(), (401, "revoked".into()));
    for path in [path.as_str(), "/user/me/logins/0", "/user/me/logins/zz", "/user/@ada/logins/0000000000000000"] {
        assert_eq!(end(path).await.refusal(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(end("/user/@ada/logins").await.json(), json!({ "ended": 2 }));
    assert!(!is_in(&server, &tablet).await && !is_in(&server, &desk).await && is_in(&server, &phone).await);
    assert_eq!(listed(&server, &phone).await.len(), 1);
}

/// Whoever stole a token could otherwise see its owner refresh, and bring it within the grace.
#[tokio::test]
async fn uses_are_told_to_the_hour_and_repeated_ones_are_counted() {
    static NOW_US: AtomicU64 = AtomicU64::new(NOW.0);
    let (minute, hour) = (60 * SECOND, 3_600 * SECOND);
    let server = Server::at(|| Time(NOW_US.load(Ordering::SeqCst)), |_| {}).await;
    NOW_US.fetch_add(minute, Ordering::SeqCst);
    let mut granted = [register(&server).await, log_in(&server, "phone").await];
    let (begun, month) = (NOW.0 + minute, 30 * 24 * hour);
    for (minutes, used) in [(29, begun), (30, NOW.0 + hour)] {
        for granted in &mut granted {
            NOW_US.fetch_add(minutes * minute, Ordering::SeqCst);
            *granted = refresh(&server, granted).await.json();
        }
        let seen = listed(&server, &granted[0]).await;
        for login in &seen {
            let times = ["created_us", "used_us", "ends_us"].map(|name| login[name].as_u64().unwrap());
            assert_eq!(times, [begun, used, used + month]);
        }
        assert!(text(&seen[0], "id") < text(&seen[1], "id"), "their order tells nothing either");
    }
    assert_eq!(server.counted("panda_api_refreshes_repeated_total"), 0);
    for _ in 0..3 {
        assert_eq!(refresh(&server, &granted[0]).await.status, 200);
    }
    assert_eq!(server.counted("panda_api_refreshes_repeated_total"), 2);
    assert_eq!(server.counted("panda_api_refreshes_reused_total"), 0);
}

#[tokio::test]
async fn logins_of_others_are_neither_seen_nor_ended() {
    let server = Server::start().await;
    let ada = register(&server).await;
    let (_, ben) = server.user("ben").await;
    let login = text(&ada, "login");
    for (method, path) in [
        ("GET", "/user/@ada/logins".to_owned()),
        ("DELETE", "/user/@ada/logins".to_owned()),
        ("DELETE", format!("/user/@ada/logins/{login}")),
    ] {
        let asked = if method == "GET" { server.get(&path) } else { server.delete(&path) };
        let refused = asked.bearer(&ben).send().await;
        assert_eq!(refused.refusal(), (403, "forbidden".into()), "{method} {path}");
        assert_eq!(refused.json()["title"], "Logins are seen and ended by their user only.");
    }
    // One's own path does not reach them either.
    let own = server.delete(&format!("/user/me/logins/{login}")).bearer(&ben).send().await;
    assert_eq!(own.refusal(), (404, "not_found".into()));
    assert!(is_in(&server, &ada).await);
    assert_eq!(server.get("/user/me/logins").send().await.refusal(), (401, "unauthenticated".into()));
}

#[tokio::test]
async fn who_logs_out_is_out_and_may_say_so_twice() {
    let server = Server::start().await;
    let granted = register(&server).await;
    let other = log_in(&server, "phone").await;
    for ended in [1, 0] {
        let out = bring(&server, "/logout", text(&granted, "refresh_token")).await;
        assert_eq!((out.status, out.json()), (200, json!({ "ended": ended })));
    }
    assert!(!is_in(&server, &granted).await && is_in(&server, &other).await);
    assert_eq!(refresh(&server, &granted).await.refusal(), (401, "revoked".into()));
}

#[tokio::test]
async fn a_token_of_a_program_is_of_no_login() {
    let server = Server::start().await;
    let ada = register(&server).await;
    let body = json!({ "users": [{ "username": "ada" }] }).to_string();
    let made = server.post("/bulk/users").bearer(&server.admin_key).body(&body).send().await.json();
    let program = &made["users"][0];
    assert!(listed(&server, program).await.iter().all(|login| login["current"] == false));
    let ended = server.delete("/user/me/logins").bearer(text(program, "access_token")).send().await;
    assert_eq!(ended.json(), json!({ "ended": 1 }));
    assert!(!is_in(&server, &ada).await && is_in(&server, program).await);
}

#[tokio::test]
async fn labels_that_break_their_rule_are_refused_by_name() {
    let server = Server::start().await;
    register(&server).await;
    for (label, status) in [("", 400), ("a\u{1b}[31m", 400), (&*"x".repeat(65), 413)] {
        for (path, name) in [("/register", "ben"), ("/login", "ada")] {
            let body = json!({ "username": name, "password": "correct horse", "label": label }).to_string();
            let refused = server.post(path).body(&body).send().await;
            assert_eq!((refused.refusal().0, &refused.json()["field"]), (status, &json!("label")), "{path} {label:?}");
        }
    }
    let without = json!({ "username": "ada", "password": "correct horse", "label": null }).to_string();
    let granted = server.post("/login").body(&without).send().await.json();
    assert!(listed(&server, &granted).await.iter().any(|login| login["label"].is_null()));
}

#[tokio::test]
async fn refreshes_of_one_login_are_limited_and_told_how_long() {
    let server = Server::with(|config| config.refreshes_per_login.count = 2, None).await;
    let granted = register(&server).await;
    let other = log_in(&server, "phone").await;
    for left in ["\"refresh\";r=1;t=60", "\"refresh\";r=0;t=60"] {
        let refreshed = refresh(&server, &granted).await;
        assert_eq!((refreshed.status, refreshed.header("ratelimit")), (200, Some(left)));
        assert_eq!(refreshed.header("ratelimit-policy"), Some("\"refresh\";q=2;w=60"));
    }
    let refused = refresh(&server, &granted).await;
    assert_eq!((refused.refusal(), refused.header("retry-after")), ((429, "rate_limited".into()), Some("60")));
    assert_eq!(refused.header("ratelimit"), Some("\"refresh\";r=0;t=60"));
    // Logging out is a use like any other, and each takes the store's locks.
    let out = async |granted: &Value| bring(&server, "/logout", text(granted, "refresh_token")).await;
    let refused = out(&granted).await;
    assert_eq!((refused.refusal(), refused.header("retry-after")), ((429, "rate_limited".into()), Some("60")));
    assert!(is_in(&server, &granted).await);
    assert_eq!(refresh(&server, &other).await.status, 200);
    assert_eq!(out(&other).await.status, 200);
    assert_eq!(out(&other).await.refusal(), (429, "rate_limited".into()));
}

/// What another process of the deployment ends is no business of this one's memory.
#[tokio::test]
async fn a_login_that_another_process_ended_is_out_here_soon() {
    let server = Server::with(|config| config.ended_logins_every = Duration::from_millis(1), None).await;
    let granted = register(&server).await;
    let user = text(&granted["user"], "id").parse().unwrap();
    server.end_elsewhere(user).await;
    let out = async {
        while is_in(&server, &granted).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), out).await.expect("the end is read");
}
