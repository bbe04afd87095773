//! Pages of other origins: what a listed one may do and read, and that any other is refused before anything is done.

use std::time::Duration;

use panda_api::ApiConfig;
use panda_storage::cache::RateLimit;

use crate::support::{Answer, Request, Server};

const LISTED: &str = "https://pages.example";

async fn server() -> Server {
    Server::with(|config| config.origins = vec![LISTED.into()], None).await
}

/// What a browser asks before it sends what is no plain request.
fn preflight(server: &Server, path: &str, origin: &str) -> Request {
    Request::new(server.address, "OPTIONS", path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "authorization,if-match")
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// All values of a field that may be there several times.
fn lists(answer: &Answer, name: &str, wanted: &str) -> bool {
    let values = answer.headers.iter().filter(|(known, _)| known == name);
    values.flat_map(|(_, value)| value.split(',')).any(|value| value.trim() == wanted)
}

#[tokio::test]
async fn a_listed_page_registers_and_reads_what_concerns_it() {
    let server = server().await;
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    let answer = server.post("/register").header("Origin", LISTED).body(body).send().await;
    assert_eq!((answer.status, allowed(&answer)), (201, Some(LISTED)));
    for field in ["retry-after", "etag", "x-request-id", "date"] {
        assert!(lists(&answer, "access-control-expose-headers", field), "{field}: {answer:?}");
    }
    assert!(lists(&answer, "vary", "origin"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), None, "nothing of the API is in cookies");

    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let me = server.get("/user/me").header("Origin", LISTED).bearer(&token).send().await;
    assert_eq!((me.status, allowed(&me)), (200, Some(LISTED)));
    let found = server.get("/.well-known/panda").header("Origin", LISTED).send().await;
    assert_eq!((found.status, allowed(&found)), (200, Some(LISTED)));
}

#[tokio::test]
async fn a_listed_page_reads_refusals_too() {
    let once = RateLimit { count: 1, window: Duration::from_secs(60) };
    let change = |config: &mut ApiConfig| {
        config.origins = vec![LISTED.into()];
        config.logins_per_address = once;
    };
    let server = Server::with(change, None).await;
    let login = || {
        let body = r#"{"username":"ada","password":"wrong horse"}"#;
        server.post("/login").header("Origin", LISTED).body(body).send()
    };
    let refused = login().await;
    assert_eq!(refused.refusal(), (401, "bad_credentials".into()));
    assert_eq!(allowed(&refused), Some(LISTED));
    let limited = login().await;
    assert_eq!(limited.refusal(), (429, "rate_limited".into()));
    assert!(limited.header("retry-after").is_some() && allowed(&limited) == Some(LISTED), "{limited:?}");
    let nowhere = server.get("/nowhere").header("Origin", LISTED).send().await;
    assert_eq!((nowhere.status, allowed(&nowhere)), (404, Some(LISTED)));
    let not_so = server.delete("/chats").header("Origin", LISTED).send().await;
    assert_eq!((not_so.status, allowed(&not_so)), (405, Some(LISTED)));
}

#[tokio::test]
async fn a_request_that_took_too_long_is_told_to_a_listed_page() {
    let change = |config: &mut ApiConfig| {
        config.origins = vec![LISTED.into()];
        config.request_timeout = Duration::ZERO;
    };
    let server = Server::with(change, None).await;
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    let answer = server.post("/register").header("Origin", LISTED).body(body).send().await;
    assert_eq!(answer.refusal(), (504, "outcome_unknown".into()));
    assert_eq!(allowed(&answer), Some(LISTED));
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_what_a_listed_page_may_send() {
    let server = server().await;
    for path in ["/user/me", "/login", "/.well-known/panda"] {
        let answer = preflight(&server, path, LISTED).send().await;
        assert_eq!((answer.status, allowed(&answer), answer.body.as_str()), (204, Some(LISTED), ""), "{path}");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            assert!(lists(&answer, "access-control-allow-methods", method), "{path} {method}");
        }
        for field in ["authorization", "content-type", "idempotency-key", "if-match", "traceparent", "x-request-id"] {
            assert!(lists(&answer, "access-control-allow-headers", field), "{path} {field}");
        }
        assert_eq!(answer.header("access-control-max-age"), Some("600"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
        assert!(lists(&answer, "vary", "origin"), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
}

#[tokio::test]
async fn a_foreign_page_is_refused_before_anything_is_done() {
    let server = server().await;
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    for origin in ["https://evil.example", "http://pages.example", "https://pages.example.evil.example", "null"] {
        let first = preflight(&server, "/register", origin).send().await;
        // A plain request comes without asking first.
        let then = server.post("/register").header("Origin", origin).body(body).send().await;
        for answer in [first, then] {
            assert_eq!(answer.refusal(), (403, "origin_refused".into()), "{origin}");
            assert_eq!(answer.json()["code"], 1307);
            assert!(answer.body.contains("http.origins"), "it says where the origin is to be added: {answer:?}");
            assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{answer:?}");
            assert!(lists(&answer, "vary", "origin"), "{answer:?}");
        }
    }
    let twice = server.get("/.well-known/panda").header("Origin", LISTED).header("Origin", LISTED).send().await;
    assert_eq!(twice.refusal(), (403, "origin_refused".into()));
    assert_eq!(server.post("/register").body(body).send().await.status, 201, "the name was not taken");
}

#[tokio::test]
async fn the_own_page_and_who_is_none_need_no_leave() {
    let server = server().await;
    let own = format!("http://{}", server.address);
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    let answer = server.post("/register").header("Origin", &own).body(body).send().await;
    assert_eq!((answer.status, allowed(&answer)), (201, None));
    let answer = server.get("/.well-known/panda").send().await;
    assert_eq!((answer.status, allowed(&answer)), (200, None));
    // Without the question there is nothing to answer.
    let options = Request::new(server.address, "OPTIONS", "/login").header("Origin", LISTED).send().await;
    assert_eq!(options.status, 405);
}

#[tokio::test]
async fn files_of_the_page_are_the_same_for_whoever_asks() {
    let server = server().await;
    for origin in [LISTED, "https://evil.example"] {
        let page = server.get("/").header("Origin", origin).send().await;
        assert_eq!((page.status, allowed(&page)), (200, None), "{origin}");
    }
}

#[tokio::test]
async fn the_edges_of_a_deployment_are_told_and_the_policy_of_the_page_lets_it_reach_them() {
    let edges = || vec!["https://one.example".to_owned(), "https://two.example:8443".to_owned()];
    let server = Server::with(|config| config.discovery.edges = edges(), None).await;
    let found = server.get("/.well-known/panda").send().await.json();
    assert_eq!(found["edges"], serde_json::json!(edges()));
    let alone = Server::start().await;
    assert_eq!(alone.get("/.well-known/panda").send().await.json().get("edges"), None);
    let page = server.get("/app").send().await;
    // Where the page is not in this build there is nobody to let.
    if page.status == 200 {
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.contains(" https://one.example wss://one.example https://two.example:8443 wss://two.example:8443;")
        );
    }
}
