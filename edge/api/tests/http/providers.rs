//! Logging in at another provider, over real HTTP on both sides: who gets in, as whom, and what is refused.

use panda_api::ApiConfig;
use panda_protocol::Time;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, OpenProvider, Sent, Server};

const PAGE: &str = "https://chat.example";
/// RFC 7636, appendix B.
const SECRET: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn both() -> (Server, OpenProvider) {
    let provider = OpenProvider::start().await;
    (Server::with(|config| configure(config, &provider), None).await, provider)
}

fn configure(config: &mut ApiConfig, provider: &OpenProvider) {
    config.login_providers = vec![provider.configured("corp"), provider.configured("other")];
    // Where the page is: a request whose origin is the server's own name comes from nowhere else in tests.
    config.origins = vec![PAGE.to_owned()];
}

fn ada() -> Value {
    json!({ "sub": "ada-1", "email": "ada@example.org", "email_verified": true, "preferred_username": "ada" })
}

async fn begin_at(server: &Server, path: &str, token: Option<&str>) -> Sent {
    let request = server.post(path).header("Origin", PAGE);
    let request = match token {
        Some(token) => request.bearer(token),
        None => request,
    };
    let answer = request.body(&json!({ "challenge": CHALLENGE }).to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    Sent::parse(answer.json()["authorize_url"].as_str().unwrap())
}

async fn begin(server: &Server) -> Sent {
    begin_at(server, "/login/corp", None).await
}

async fn come_back(server: &Server, provider: &OpenProvider, state: &str, code: &str) -> Answer {
    let iss = provider.issuer().replace(':', "%3A").replace('/', "%2F");
    server.get(&format!("/login/corp/callback?state={state}&code={code}&iss={iss}")).send().await
}

/// What the page is sent back with.
fn came(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 303, "{}", answer.body);
    let place = answer.header("location").unwrap();
    let (name, value) = place.strip_prefix("https://chat.example/app#").unwrap().split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

async fn code_for(server: &Server, provider: &OpenProvider, sent: &Sent, person: Value) -> String {
    let code = provider.agree(sent, person);
    let (name, value) = came(&come_back(server, provider, &sent.query["state"], &code).await);
    assert_eq!(name, "login", "{value}");
    value
}

async fn redeem(server: &Server, code: &str, secret: &str) -> Answer {
    let body = json!({ "code": code, "secret": secret, "label": "browser" }).to_string();
    server.post("/login/provider/redeem").header("Origin", PAGE).body(&body).send().await
}

async fn log_in(server: &Server, provider: &OpenProvider, person: Value) -> Value {
    let code = code_for(server, provider, &begin(server).await, person).await;
    let answer = redeem(server, &code, SECRET).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn token(granted: &Value) -> &str {
    granted["access_token"].as_str().unwrap()
}

async fn identities(server: &Server, token: &str) -> Vec<Value> {
    let answer = server.get("/user/me/identities").bearer(token).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["identities"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_same_person_is_the_same_user_whatever_changes_but_the_subject() {
    let (server, provider) = both().await;
    let first = log_in(&server, &provider, ada()).await;
    assert_eq!(first["user"]["username"], "ada");
    let me = server.get("/user/me").bearer(token(&first)).send().await.json();
    assert_eq!(me["email"], "ada@example.org");
    let other = json!({ "sub": "ada-1", "email": "new@example.org", "preferred_username": "lovelace" });
    let second = log_in(&server, &provider, other).await;
    assert_eq!(second["user"], first["user"]);
    let known = identities(&server, token(&second)).await;
    assert_eq!(
        (known.len(), &known[0]["email"], &known[0]["email_verified"]),
        (1, &json!("new@example.org"), &json!(false))
    );
    // Another person of the same name.
    let ben = log_in(&server, &provider, json!({ "sub": "ada-2", "preferred_username": "Ada" })).await;
    let name = ben["user"]["username"].as_str().unwrap();
    assert!(ben["user"]["id"] != first["user"]["id"] && name.starts_with("Ada-"), "{name}");
    // The discovery document and the keys were asked for once.
    assert_eq!((provider.asked("/.well-known/openid-configuration"), provider.asked("/keys")), (1, 1));
    let sent = begin(&server).await.query;
    for (field, value) in
        [("response_type", "code"), ("code_challenge_method", "S256"), ("scope", "openid email profile")]
    {
        assert_eq!(sent[field], value);
    }
    assert_eq!(sent["redirect_uri"], "https://chat.example/login/corp/callback");
    let found = server.get("/.well-known/panda").send().await.json();
    assert_eq!(found["login_providers"][0], json!({ "name": "corp", "label": "Example" }));
}

#[tokio::test]
async fn a_mail_address_opens_no_account() {
    let (server, provider) = both().await;
    let body = json!({ "username": "ada", "email": "ada@example.org", "password": "correct horse" });
    let there = server.post("/register").body(&body.to_string()).send().await.json();
    for verified in [true, false] {
        let person = json!({ "sub": format!("eve-{verified}"), "email": "ada@example.org", "email_verified": verified,
                             "preferred_username": "ada" });
        let eve = log_in(&server, &provider, person).await;
        assert_ne!(eve["user"]["id"], there["user"]["id"], "verified: {verified}");
        let me = server.get("/user/me").bearer(token(&eve)).send().await.json();
        assert_eq!(me["email"], if verified { json!("ada@example.org") } else { Value::Null });
    }
}

#[tokio::test]
async fn a_code_is_of_use_once_soon_and_to_the_browser_that_began() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED_S: AtomicU64 = AtomicU64::new(0);
    let provider = OpenProvider::start().await;
    let clock = || Time(NOW.0 + PASSED_S.load(Ordering::Relaxed) * 1_000_000);
    let server = Server::at(clock, |config| configure(config, &provider)).await;
    let code = code_for(&server, &provider, &begin(&server).await, ada()).await;
    // Another browser has another secret, or none; it does not use the code up.
    for secret in ["", "another", CHALLENGE] {
        assert_eq!(redeem(&server, &code, secret).await.refusal(), (401, "token_invalid".into()), "{secret}");
    }
    let mut changed = code.clone();
    changed.replace_range(40..41, if &code[40..41] == "A" { "B" } else { "A" });
    assert_eq!(redeem(&server, &changed, SECRET).await.refusal(), (401, "token_invalid".into()));
    assert_eq!(redeem(&server, &code, SECRET).await.status, 200);
    assert_eq!(redeem(&server, &code, SECRET).await.refusal(), (401, "token_invalid".into()), "it was used");
    let late = code_for(&server, &provider, &begin(&server).await, ada()).await;
    PASSED_S.store(61, Ordering::Relaxed);
    assert_eq!(redeem(&server, &late, SECRET).await.refusal(), (401, "token_expired".into()));
    let sent = begin(&server).await;
    PASSED_S.store(61 + 601, Ordering::Relaxed);
    let answer = come_back(&server, &provider, &sent.query["state"], "code-9").await;
    assert_eq!(answer.refusal(), (401, "token_expired".into()));
}

#[tokio::test]
async fn a_state_that_was_not_made_here_goes_nowhere_and_asks_nobody() {
    let (server, provider) = both().await;
    let sent = begin(&server).await;
    let state = &sent.query["state"];
    let code = provider.agree(&sent, ada());
    let mut changed = state.clone();
    changed.replace_range(50..51, if &state[50..51] == "A" { "B" } else { "A" });
    for state in ["", "x", &changed, &state[1..]] {
        let answer = come_back(&server, &provider, state, &code).await;
        assert_eq!(answer.refusal(), (401, "token_invalid".into()));
        assert_eq!(answer.header("location"), None);
    }
    // Mix-up: begun at one provider, come back as from another.
    let iss = provider.issuer();
    let other = server.get(&format!("/login/other/callback?state={state}&code={code}&iss={iss}")).send().await;
    assert_eq!(other.refusal(), (401, "token_invalid".into()));
    for path in [
        format!("/login/corp/callback?state={state}&code={code}&iss=https://evil.example"),
        format!("/login/corp/callback?state={state}&code={code}"),
    ] {
        assert_eq!(came(&server.get(&path).send().await), ("login_error".into(), "refused".into()), "{path}");
    }
    assert_eq!(provider.asked("/token"), 0);
    // What the person decides.
    let denied = format!("/login/corp/callback?state={state}&error=access_denied&iss={iss}");
    assert_eq!(came(&server.get(&denied).send().await), ("login_error".into(), "denied".into()));
    // A result is no state.
    let result = code_for(&server, &provider, &sent, ada()).await;
    assert_eq!(come_back(&server, &provider, &result, "x").await.refusal(), (401, "token_invalid".into()));
}

#[tokio::test]
async fn a_code_of_another_login_and_one_that_was_used_are_refused() {
    let (server, provider) = both().await;
    let (mine, theirs) = (begin(&server).await, begin(&server).await);
    let code = provider.agree(&theirs, ada());
    let answer = come_back(&server, &provider, &mine.query["state"], &code).await;
    assert_eq!(came(&answer), ("login_error".into(), "refused".into()), "PKCE binds it to the other one");
    let code = provider.agree(&mine, ada());
    assert_eq!(came(&come_back(&server, &provider, &mine.query["state"], &code).await).0, "login");
    let again = come_back(&server, &provider, &mine.query["state"], &code).await;
    assert_eq!(came(&again), ("login_error".into(), "refused".into()));
}

#[tokio::test]
async fn every_defect_of_an_id_token_is_refused() {
    use crate::support::Twist;
    let defects: [(&str, Twist); 10] = [
        ("another nonce", |_, claims| claims["nonce"] = json!("another")),
        ("no nonce", |_, claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("another audience", |_, claims| claims["aud"] = json!("another")),
        ("two audiences", |_, claims| claims["aud"] = json!(["panda", "another"])),
        ("another issuer", |_, claims| claims["iss"] = json!("https://evil.example")),
        ("over", |_, claims| claims["exp"] = json!(NOW.0 / 1_000_000 - 61)),
        ("nobody signed", |head, _| head["alg"] = json!("none")),
        ("another kind of signature", |head, _| head["alg"] = json!("HS256")),
        ("no subject", |_, claims| drop(claims.as_object_mut().unwrap().remove("sub"))),
        ("a subject that is too long", |_, claims| claims["sub"] = json!("x".repeat(256))),
    ];
    let (server, provider) = both().await;
    for (what, twist) in defects {
        provider.twist(twist);
        let sent = begin(&server).await;
        let code = provider.agree(&sent, ada());
        let answer = come_back(&server, &provider, &sent.query["state"], &code).await;
        assert_eq!(came(&answer), ("login_error".into(), "refused".into()), "{what}");
    }
    provider.twist(|_, claims| claims["exp"] = json!(NOW.0 / 1_000_000 - 30));
    log_in(&server, &provider, ada()).await;
    provider.sign_with_another_key();
    let sent = begin(&server).await;
    let code = provider.agree(&sent, ada());
    let answer = come_back(&server, &provider, &sent.query["state"], &code).await;
    assert_eq!(came(&answer), ("login_error".into(), "refused".into()), "another key");
}

#[tokio::test]
async fn a_provider_that_is_away_or_says_too_much_is_unavailable_and_asked_seldom() {
    let (server, provider) = both().await;
    let asks = || async {
        let body = json!({ "challenge": CHALLENGE }).to_string();
        server.post("/login/corp").header("Origin", PAGE).body(&body).send().await
    };
    provider.go_away();
    for _ in 0..3 {
        assert_eq!(asks().await.refusal(), (503, "unavailable".into()));
    }
    assert_eq!(provider.asked("/.well-known/openid-configuration"), 1);
    let (server, provider) = both().await;
    provider.pad(300_000);
    let body = json!({ "challenge": CHALLENGE }).to_string();
    let refused = server.post("/login/corp").header("Origin", PAGE).body(&body).send().await;
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
}

#[tokio::test]
async fn keys_that_are_replaced_are_read_again() {
    let (server, provider) = both().await;
    log_in(&server, &provider, ada()).await;
    provider.replace_key();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    log_in(&server, &provider, ada()).await;
    assert_eq!(provider.asked("/keys"), 2);
}

#[tokio::test]
async fn browsers_are_sent_to_pages_of_this_deployment_and_programs_of_their_machine() {
    let (server, provider) = both().await;
    let body = |back: Option<&str>| json!({ "challenge": CHALLENGE, "return_to": back }).to_string();
    // The server's own name, which whoever asks chooses, is no page of the deployment.
    let own = format!("http://{}", server.address);
    let refused = server.post("/login/corp").header("Origin", &own).body(&body(None)).send().await;
    assert_eq!(refused.refusal(), (403, "origin_refused".into()));
    let refused = server.post("/login/corp").header("Origin", "https://evil.example").body(&body(None)).send().await;
    assert_eq!(refused.refusal(), (403, "origin_refused".into()));
    for back in ["https://evil.example/", "http://localhost:1/", "http://127.0.0.1:1/x", ""] {
        let refused = server.post("/login/corp").body(&body(Some(back))).send().await;
        assert_eq!(refused.json()["field"], "return_to", "{back}");
    }
    let refused = server.post("/login/corp").body(&body(None)).send().await;
    assert_eq!(refused.json()["field"], "return_to");
    let begun = server.post("/login/corp").body(&body(Some("http://127.0.0.1:4711/"))).send().await;
    let sent = Sent::parse(begun.json()["authorize_url"].as_str().unwrap());
    let code = provider.agree(&sent, ada());
    let answer = come_back(&server, &provider, &sent.query["state"], &code).await;
    let place = answer.header("location").unwrap();
    let code = place.strip_prefix("http://127.0.0.1:4711/?login=").unwrap();
    assert_eq!(redeem(&server, code, SECRET).await.status, 200);
    let nobody = server.post("/login/nobody").header("Origin", PAGE).body(&body(None)).send().await;
    assert_eq!(nobody.refusal(), (404, "not_found".into()));
    let bad = server.post("/login/corp").header("Origin", PAGE).body(r#"{"challenge":"x"}"#).send().await;
    assert_eq!(bad.json()["field"], "challenge");
}

#[tokio::test]
async fn a_login_is_linked_by_who_began_it_and_the_last_way_in_stays() {
    let (server, provider) = both().await;
    let body = json!({ "username": "ben", "password": "correct horse" });
    let ben = server.post("/register").body(&body.to_string()).send().await.json();
    let sent = begin_at(&server, "/user/me/identities/corp", Some(token(&ben))).await;
    let code = code_for(&server, &provider, &sent, ada()).await;
    let link = |code: &str, token: &str| {
        let body = json!({ "code": code, "secret": SECRET }).to_string();
        server.post("/user/me/identities").bearer(token).body(&body).send()
    };
    // It logs nobody in, and links to nobody else.
    assert_eq!(redeem(&server, &code, SECRET).await.refusal(), (401, "token_invalid".into()));
    let (_, eve) = server.user("eve").await;
    assert_eq!(link(&code, &eve).await.refusal(), (401, "token_invalid".into()));
    let linked = link(&code, token(&ben)).await;
    assert_eq!((linked.status, &linked.json()["subject"]), (200, &json!("ada-1")), "{}", linked.body);
    let again = log_in(&server, &provider, ada()).await;
    assert_eq!(again["user"], ben["user"]);
    // Another account cannot have it as well.
    let sent = begin_at(&server, "/user/me/identities/corp", Some(&eve)).await;
    let code = code_for(&server, &provider, &sent, ada()).await;
    let taken = link(&code, &eve).await;
    assert_eq!((taken.refusal(), taken.json()["field"].clone()), ((409, "taken".into()), json!("identity")));
    // A code of a login links nothing.
    let code = code_for(&server, &provider, &begin(&server).await, ada()).await;
    assert_eq!(link(&code, token(&ben)).await.refusal(), (401, "token_invalid".into()));
    // Whoever has a password needs no identity; whoever has none keeps the last.
    let unlink =
        |token: &str, subject: &str| server.delete(&format!("/user/me/identities/corp/{subject}")).bearer(token).send();
    assert_eq!(unlink(token(&ben), "ada-1").await.json(), json!({ "identities": [] }));
    assert_eq!(unlink(token(&ben), "ada-1").await.refusal(), (404, "not_found".into()));
    let ada = log_in(&server, &provider, ada()).await;
    assert_ne!(ada["user"], ben["user"]);
    let last = unlink(token(&ada), "ada-1").await;
    assert_eq!((last.refusal(), last.json()["field"].clone()), ((403, "forbidden".into()), json!("identity")));
    let others = server.get("/user/@ben/identities").bearer(token(&ada)).send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn a_device_is_let_in_once_the_person_agrees_and_polls_no_faster_than_it_may() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED_S: AtomicU64 = AtomicU64::new(0);
    let provider = OpenProvider::start().await;
    let clock = || Time(NOW.0 + PASSED_S.load(Ordering::Relaxed) * 1_000_000);
    let server = Server::at(clock, |config| configure(config, &provider)).await;
    provider.polls(&["authorization_pending", "slow_down", "person", "person"], ada());
    let begun = server.post("/login/corp/device").body(r#"{"label":"terminal"}"#).send().await.json();
    assert_eq!((&begun["user_code"], &begun["interval"]), (&json!("WDJB-MJHT"), &json!(5)));
    let poll = |device: &Value| {
        let body = json!({ "device": device }).to_string();
        server.post("/login/corp/device/poll").body(&body).send()
    };
    let first = poll(&begun["device"]).await;
    assert_eq!((first.status, &first.json()["interval"]), (202, &json!(5)));
    // At once again: the provider does not hear of it.
    let early = poll(&first.json()["device"]).await;
    assert_eq!((early.status, &early.json()["interval"], provider.asked("/token")), (202, &json!(10), 1));
    PASSED_S.store(10, Ordering::Relaxed);
    let slower = poll(&early.json()["device"]).await;
    assert_eq!((slower.status, &slower.json()["interval"]), (202, &json!(15)), "as the provider wants it");
    PASSED_S.store(25, Ordering::Relaxed);
    let other = json!({ "device": slower.json()["device"] }).to_string();
    let other = server.post("/login/other/device/poll").body(&other).send().await;
    assert_eq!(other.refusal(), (401, "token_invalid".into()));
    let device = slower.json()["device"].clone();
    let granted = poll(&device).await;
    assert_eq!((granted.status, &granted.json()["user"]["username"]), (200, &json!("ada")), "{}", granted.body);
    PASSED_S.store(60, Ordering::Relaxed);
    assert_eq!(poll(&device).await.refusal(), (401, "token_invalid".into()), "once");
    let listed = server.get("/user/me/logins").bearer(token(&granted.json())).send().await.json();
    assert_eq!(listed["logins"][0]["label"], "terminal");
    PASSED_S.store(601, Ordering::Relaxed);
    assert_eq!(poll(&device).await.refusal(), (401, "token_expired".into()));
    provider.polls(&["access_denied"], ada());
    let begun = server.post("/login/corp/device").body("{}").send().await.json();
    assert_eq!(poll(&begun["device"]).await.refusal(), (401, "bad_credentials".into()));
}
