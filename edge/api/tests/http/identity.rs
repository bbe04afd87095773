//! Registering, logging in and profiles, over real HTTP.

use std::time::Duration;

use crate::support::{Answer, HeldCache, Logs, NOW, Server, memory_cache};
use serde_json::{Value, json};

const NOW_S: u64 = NOW.0 / 1_000_000;

async fn register(server: &Server, name: &str, password: &str) -> Answer {
    let body = json!({ "username": name, "email": "a@example.org", "password": password });
    server.post("/register").body(&body.to_string()).send().await
}

/// Ends a test that would wait for ever.
async fn until(comes: impl Fn() -> bool) {
    let come = async {
        while !comes() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), come).await.unwrap();
}

async fn login(server: &Server, name: &str, password: &str) -> Answer {
    server.post("/login").body(&json!({ "username": name, "password": password }).to_string()).send().await
}

#[tokio::test]
async fn a_registered_user_logs_in_and_the_token_names_the_user() {
    let server = Server::start().await;
    let registered = register(&server, "Ada", "correct horse").await;
    assert_eq!(registered.status, 201, "{}", registered.body);
    assert_eq!(registered.json()["user"]["username"], "Ada");
    let answer = login(&server, "aDA", "correct horse").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let granted = answer.json();
    assert_eq!(granted["user"], registered.json()["user"]);
    assert_eq!(granted["expires_in"], 86_400);
    let access = server.identity.keys.accepted().verify(granted["access_token"].as_str().unwrap(), NOW_S).unwrap();
    assert_eq!(access.user.to_string(), granted["user"]["id"].as_str().unwrap());
    assert_eq!(access.expires_unix_s, NOW_S + 86_400);
}

#[tokio::test]
async fn a_taken_name_is_409_and_names_the_field() {
    let server = Server::start().await;
    register(&server, "ada", "correct horse").await;
    let refused = register(&server, "ADA", "another horse").await;
    assert_eq!(refused.refusal(), (409, "taken".into()));
    assert_eq!(refused.json()["field"], "username");
    assert_eq!(refused.json()["code"], 2207);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_the_same_401() {
    let server = Server::start().await;
    register(&server, "ada", "correct horse").await;
    let wrong = login(&server, "ada", "wrong horse").await;
    let unknown = login(&server, "bob", "wrong horse").await;
    let impossible = login(&server, "no such name!", "wrong horse").await;
    assert_eq!(wrong.refusal(), (401, "bad_credentials".into()));
    assert_eq!(wrong.json(), unknown.json());
    assert_eq!(wrong.json(), impossible.json());
}

#[tokio::test]
async fn a_user_without_a_password_cannot_log_in() {
    let server = Server::start().await;
    server.user("bot").await;
    assert_eq!(login(&server, "bot", "nobody's password").await.refusal(), (401, "bad_credentials".into()));
}

#[tokio::test]
async fn fields_that_break_their_rules_are_refused_by_name() {
    let server = Server::start().await;
    let cases = [
        (json!({ "username": "a!", "password": "long enough" }), 400, "username"),
        (json!({ "username": "x".repeat(33), "password": "long enough" }), 413, "username"),
        (json!({ "username": "x".repeat(60_000), "password": "long enough" }), 413, "username"),
        (json!({ "username": "ada", "password": "short" }), 400, "password"),
        (json!({ "username": "ada", "password": "x".repeat(1_025) }), 413, "password"),
        (json!({ "username": "ada", "password": "long enough", "email": "nobody" }), 400, "email"),
    ];
    for (body, status, field) in cases {
        let refused = server.post("/register").body(&body.to_string()).send().await;
        let label = if status == 413 { "too_large" } else { "invalid_request" };
        assert_eq!(refused.refusal(), (status, label.into()), "{field}");
        assert_eq!(refused.json()["field"], field);
    }
}

#[tokio::test]
async fn a_name_of_64_kib_and_bodies_that_are_no_json_are_refused() {
    let server = Server::start().await;
    let huge = json!({ "username": "x".repeat(64 * 1024), "password": "long enough" }).to_string();
    assert_eq!(server.post("/register").body(&huge).send().await.refusal(), (413, "too_large".into()));
    let bodies: [&[u8]; 5] = [b"", b"{", b"[]", b"\xff\xfe", b"{\"username\":\"ada\",\"password\":\"\xff\"}"];
    for body in bodies {
        assert_eq!(
            server.post("/register").bytes(body).send().await.refusal(),
            (400, "invalid_request".into()),
            "{body:?}"
        );
    }
    let missing = server.post("/login").body("{\"username\":\"ada\"}").send().await;
    assert!(missing.json()["detail"].as_str().unwrap().contains("missing field `password`"), "{}", missing.body);
}

#[tokio::test]
async fn a_refused_body_is_not_repeated_in_the_answer() {
    let server = Server::start().await;
    let secret = "hunter2-hunter2";
    for body in [
        json!({ "username": "ada", "password": [secret] }),
        json!({ "username": {}, "password": secret }),
        json!([secret]),
    ] {
        let refused = server.post("/login").body(&body.to_string()).send().await;
        assert_eq!(refused.status, 400);
        assert!(!refused.body.contains(secret), "{}", refused.body);
    }
}

#[tokio::test]
async fn profiles_show_the_email_to_their_user_only() {
    let server = Server::start().await;
    let ada = register(&server, "ada", "correct horse").await.json();
    let (bob_id, bob) = server.user("bob").await;
    let (ada_id, ada) = (ada["user"]["id"].as_str().unwrap(), ada["access_token"].as_str().unwrap());
    for path in ["/user/me", "/user/@ADA", &format!("/user/{ada_id}")] {
        let own = server.get(path).bearer(ada).send().await;
        assert_eq!((own.status, &own.json()["email"]), (200, &json!("a@example.org")), "{path}");
        assert_eq!(own.header("etag"), Some("\"v1\""));
    }
    let seen = server.get(&format!("/user/{ada_id}")).bearer(&bob).send().await;
    assert_eq!(seen.json(), json!({ "id": ada_id, "username": "ada", "picture": null, "version": 1 }));
    assert_eq!(server.get("/user/me").bearer(&bob).send().await.json()["id"], bob_id.as_str());
    for path in ["/user/nobody", "/user/@nobody", "/user/@!", &format!("/user/{}", ada_id.replace('0', "1"))] {
        let refused = server.get(path).bearer(&bob).send().await;
        assert_eq!(refused.refusal().0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_profile_is_changed_by_its_user_and_others_see_it() {
    a_profile_is_changed(Server::start().await).await;
}

#[tokio::test]
async fn everything_works_while_the_cache_is_away() {
    let server = Server::without_cache().await;
    register(&server, "eve", "correct horse").await;
    assert_eq!(login(&server, "eve", "correct horse").await.status, 200);
    assert_eq!(login(&server, "eve", "another horse").await.status, 401);
    a_profile_is_changed(server).await;
}

/// A cached profile would be believed for a minute.
#[tokio::test]
async fn a_change_whose_caller_hangs_up_is_seen_by_others_all_the_same() {
    let cache = HeldCache::new(memory_cache());
    let server = Server::with_cache(cache.clone()).await;
    let (ada_id, ada) = server.user("ada").await;
    let (_, bob) = server.user("bob").await;
    let path = format!("/user/{ada_id}");
    let seen = async || server.get(&path).bearer(&bob).send().await.json()["picture"].clone();
    assert_eq!(seen().await, json!(null));
    let change = json!({ "picture": "https://example.org/a.png" }).to_string();
    let connection = server.put(&path).bearer(&ada).body(&change).begin().await;
    cache.begun().await;
    drop(connection);
    until(|| server.connections() == 0).await;
    cache.let_one_through();
    until(|| cache.done() == 1).await;
    assert_eq!(seen().await, "https://example.org/a.png");
}

async fn a_profile_is_changed(server: Server) {
    let (ada_id, ada) = server.user("ada").await;
    let (_, bob) = server.user("bob").await;
    let path = format!("/user/{ada_id}");
    assert_eq!(server.get(&path).bearer(&bob).send().await.json()["picture"], Value::Null);
    let change = json!({ "picture": "https://example.org/a.png", "email": "a@b.org" }).to_string();
    let changed = server.put(&path).bearer(&ada).header("If-Match", "\"v1\"").body(&change).send().await;
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"v2\"")), "{}", changed.body);
    assert_eq!(server.get(&path).bearer(&bob).send().await.json()["picture"], "https://example.org/a.png");
    let stale = server.put(&path).bearer(&ada).header("If-Match", "\"v1\"").body("{\"email\":null}").send().await;
    assert_eq!(stale.refusal(), (412, "version_conflict".into()));
    let emptied = server.put("/user/me").bearer(&ada).body("{\"email\":null}").send().await.json();
    assert_eq!((&emptied["email"], &emptied["picture"]), (&Value::Null, &json!("https://example.org/a.png")));
    let renamed = server.put("/user/me").bearer(&ada).body("{\"username\":\"Bob\"}").send().await;
    assert_eq!(renamed.refusal(), (409, "taken".into()));
    let others = server.put(&path).bearer(&bob).body("{}").send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
    assert_eq!(others.json()["title"], "A profile is changed by its user only.");
    let script = server.put(&path).bearer(&ada).body("{\"picture\":\"javascript:alert(1)\"}").send().await;
    assert_eq!((script.status, &script.json()["field"]), (400, &json!("picture")));
}

#[tokio::test]
async fn requests_without_a_valid_token_are_401_with_the_reason() {
    let server = Server::start().await;
    let (id, _) = server.user("ada").await;
    let user = id.parse().unwrap();
    let expired = server.identity.keys.signing(NOW).unwrap().sign(user, NOW_S - 100, 10);
    let early = server.identity.keys.signing(NOW).unwrap().sign(user, NOW_S + 100, 10);
    for (token, label) in [
        (expired.as_str(), "token_expired"),
        (&early, "token_invalid"),
        ("garbage", "token_invalid"),
        (&server.admin_key, "token_invalid"),
    ] {
        let refused = server.get("/user/me").bearer(token).send().await;
        assert_eq!(refused.refusal(), (401, label.into()));
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(server.get("/user/me").send().await.refusal(), (401, "unauthenticated".into()));
    assert_eq!(
        server.get("/user/me").header("Authorization", "Basic YTpi").send().await.refusal(),
        (401, "unauthenticated".into())
    );
}

#[tokio::test]
async fn guesses_under_one_name_are_limited_and_told_how_long() {
    let server = Server::with(|config| config.logins_per_name_and_address.count = 2, None).await;
    server.seen_from("2001:db8:0:1::1");
    for _ in 0..2 {
        let guessed = login(&server, "ada", "guess guess").await;
        assert_eq!(guessed.status, 401);
        let told = guessed.header("ratelimit").unwrap();
        assert!(told.starts_with("\"address\";r=") && !told.contains("login"), "who else guesses is nobody's: {told}");
    }
    let refused = login(&server, "ADA", "guess guess").await;
    assert_eq!(refused.refusal(), (429, "rate_limited".into()));
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(login(&server, "bob", "guess guess").await.status, 401);
    // Whoever guesses keeps nobody out who is elsewhere.
    server.seen_from("2001:db8:0:2::1");
    assert_eq!(login(&server, "ada", "guess guess").await.status, 401);
}

#[tokio::test]
async fn guesses_under_one_name_from_many_addresses_are_limited() {
    let server = Server::with(|config| config.logins_per_name.count = 2, None).await;
    for (host, status) in [(1, 401), (2, 401), (3, 429)] {
        server.seen_from(&format!("192.0.2.{host}"));
        assert_eq!(login(&server, "ada", "guess guess").await.status, status, "{host}");
    }
}

#[tokio::test]
async fn logins_of_one_address_are_limited() {
    let server = Server::with(|config| config.logins_per_address.count = 1, None).await;
    server.seen_from("2001:db8:0:1::1");
    assert_eq!(login(&server, "ada", "guess guess").await.status, 401);
    // One household has a whole /64 of them.
    server.seen_from("2001:db8:0:1::2");
    assert_eq!(login(&server, "bob", "guess guess").await.refusal(), (429, "rate_limited".into()));
    server.seen_from("2001:db8:0:2::1");
    assert_eq!(login(&server, "bob", "guess guess").await.status, 401);
}

#[tokio::test]
async fn a_flood_of_logins_is_refused_and_everything_else_is_served() {
    const FLOOD: usize = 40;
    let server = Server::with(|config| config.hash_queue_max = 2, None).await;
    let (_, ada) = server.user("ada").await;
    let guesses = (0..FLOOD).map(|number| {
        let server = &server;
        async move { login(server, &format!("name{number}"), "guess guess").await }
    });
    let (answers, profile) =
        tokio::join!(futures_util::future::join_all(guesses), server.get("/user/me").bearer(&ada).send());
    assert_eq!(profile.status, 200);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        assert_eq!(answer.refusal(), (503, "overloaded".into()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(answers.iter().all(|answer| [401, 503].contains(&answer.status)));
    assert!(answers.iter().any(|answer| answer.status == 401), "those that found room were compared");
}

#[tokio::test]
async fn no_log_holds_a_password_a_token_or_a_key() {
    Logs::capture();
    let server = Server::start().await;
    let registered = register(&server, "secretive", "a password of mine").await;
    let token = registered.json()["access_token"].as_str().unwrap().to_owned();
    let refresh = registered.json()["refresh_token"].as_str().unwrap().to_owned();
    let brought = json!({ "refresh_token": refresh }).to_string();
    for path in ["/token/refresh", "/token/refresh", "/logout", "/token/refresh"] {
        server.post(path).body(&brought).send().await;
    }
    login(&server, "secretive", "a wrong password").await;
    server.get("/user/me").bearer(&token).send().await;
    server.user("another").await;
    let logs = Logs::text();
    assert!(logs.contains("answered") && logs.contains("registered"), "the log was captured: {logs}");
    for secret in [
        "a password of mine",
        "a wrong password",
        &token,
        &refresh,
        "panda_rt_",
        server.admin_key.as_str(),
        "argon2id$",
    ] {
        assert!(!logs.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test]
async fn what_a_request_makes_the_log_say_has_its_id() {
    Logs::capture();
    let server = Server::start().await;
    let id = format!("traced-{:016x}", rand::random::<u64>());
    let body = json!({ "username": "traceable", "password": "correct horse" }).to_string();
    let registered = server.post("/register").header("X-Request-Id", &id).body(&body).send().await;
    assert_eq!((registered.status, registered.header("x-request-id")), (201, Some(id.as_str())));
    let logs = Logs::text();
    let told: Vec<&str> = logs.lines().filter(|line| line.contains(&id)).collect();
    // Its handler's own line, and the one that says how it was answered.
    for what in ["registered", "answered"] {
        assert!(told.iter().any(|line| line.contains(what)), "{what}: {told:?}");
    }
}
