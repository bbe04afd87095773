//! Mail that the API sends, as a mail server gets it, and what its links do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use panda_api::{MailWay, SmtpTls};
use serde_json::{Value, json};

use crate::support::{Answer, Logs, Server, SmtpSink};

const PASSWORD: &str = "correct horse";

/// A new user with this address; the access token.
async fn register(server: &Server, name: &str, email: &str) -> String {
    let body = json!({ "username": name, "email": email, "password": PASSWORD });
    let answer = server.post("/register").body(&body.to_string()).send().await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.post(path).body(&body.to_string()).send().await
}

async fn ask_for_proof(server: &Server, token: &str) -> Answer {
    server.post("/user/me/email/verification").bearer(token).send().await
}

async fn me(server: &Server, token: &str) -> Value {
    server.get("/user/me").bearer(token).send().await.json()
}

/// Proves the address of an account.
async fn prove(server: &Server, sink: &mut SmtpSink, token: &str) {
    assert_eq!(ask_for_proof(server, token).await.status, 202);
    let proof = sink.next().await.token();
    assert_eq!(post(server, "/email/verify", &json!({ "token": proof })).await.status, 200);
}

async fn change_email(server: &Server, token: &str, email: &str) {
    let answer = server.put("/user/me").bearer(token).body(&json!({ "email": email }).to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["email_verified"], false);
}

async fn log_in(server: &Server, name: &str, password: &str) -> Answer {
    post(server, "/login", &json!({ "username": name, "password": password })).await
}

/// Waits until the server has counted so many.
async fn counted(server: &Server, name: &str, count: u64) {
    let comes = async {
        while server.counted(name) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), comes).await.unwrap_or_else(|_| panic!("{name} {count}"));
}

#[tokio::test]
async fn an_address_is_proven_by_a_link_whatever_the_encryption_and_told_when_it_is_changed() {
    for tls in [SmtpTls::None, SmtpTls::Starttls, SmtpTls::Implicit] {
        let mut sink = SmtpSink::start(tls).await;
        let server = Server::with_mail(sink.config(), |_| {}).await;
        let token = register(&server, "ada", "old@example.org").await;
        assert_eq!(me(&server, &token).await["email_verified"], false);
        let asked =
            server.post("/user/me/email/verification").bearer(&token).header("X-Forwarded-Host", "evil.example");
        let asked = asked.send().await;
        assert_eq!((asked.status, asked.body.as_str()), (202, r#"{"sent_to":"old@example.org"}"#));
        let mail = sink.next().await;
        let (from, to) = ("panda@chat.example", ["old@example.org".to_owned()]);
        assert_eq!((mail.from.as_str(), &mail.to[..]), (from, &to[..]), "{tls:?}");
        assert!(
            mail.data.contains("Subject: Is this your mail address?\n") && mail.data.contains("Hello ada,"),
            "{mail:?}"
        );
        assert!(!mail.data.contains("evil") && !mail.data.contains(&server.address.to_string()), "{mail:?}");
        assert_eq!(mail.encrypted, tls != SmtpTls::None);
        // "\0panda\0sesame"
        assert_eq!(mail.auth.as_deref(), (tls != SmtpTls::None).then_some("AHBhbmRhAHNlc2FtZQ=="));
        let proof = json!({ "token": mail.token() });
        let proven = post(&server, "/email/verify", &proof).await;
        assert_eq!((proven.status, proven.body.as_str()), (200, r#"{"username":"ada","email":"old@example.org"}"#));
        assert_eq!(me(&server, &token).await["email_verified"], true);
        let again = post(&server, "/email/verify", &proof).await;
        assert_eq!((again.refusal(), again.json()["field"].as_str()), ((400, "invalid_request".into()), Some("token")));
        assert_eq!(ask_for_proof(&server, &token).await.refusal(), (409, "nothing_to_do".into()));
        let others = server.user("ben").await.1;
        let shown = server.get("/user/@ada").bearer(&others).send().await.json();
        assert!(shown["email_verified"].is_null() && shown["email"].is_null(), "{shown}");
        change_email(&server, &token, "new@example.org").await;
        let mail = sink.next().await;
        assert_eq!(mail.to, ["old@example.org"]);
        assert!(mail.data.contains("Subject: The mail address of your account was changed\n"), "{mail:?}");
        assert!(!mail.data.contains("new@example.org"), "{mail:?}");
        // What was only filled in may be a stranger's, who is told nothing.
        change_email(&server, &token, "third@example.org").await;
        counted(&server, "panda_api_mails_sent_total", 2).await;
        assert!(sink.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_says_later_is_asked_again_and_one_that_says_never_is_not() {
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |_| {}).await;
    let token = register(&server, "ada", "ada@example.org").await;
    sink.refuse_next(2, "451 later");
    ask_for_proof(&server, &token).await;
    sink.next().await;
    counted(&server, "panda_api_mails_sent_total", 1).await;
    assert_eq!(server.counted("panda_api_mails_retried_total"), 2);
    sink.refuse_next(1, "550 never");
    ask_for_proof(&server, &token).await;
    counted(&server, "panda_api_mails_failed_total", 1).await;
    // At last it is given up.
    sink.refuse_next(u32::MAX, "451 later");
    ask_for_proof(&server, &token).await;
    counted(&server, "panda_api_mails_failed_total", 2).await;
    assert_eq!(server.counted("panda_api_mails_retried_total"), 2 + 4);
    assert_eq!(sink.connections.load(Ordering::SeqCst), 3 + 1 + 5);
    assert!(sink.is_empty());
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_gets_nothing() {
    let (mut sink, other) = (SmtpSink::start(SmtpTls::Starttls).await, SmtpSink::start(SmtpTls::Starttls).await);
    let (mut config, strangers) = (sink.config(), other.config());
    if let (MailWay::Smtp(smtp), MailWay::Smtp(stranger)) = (&mut config.way, strangers.way) {
        smtp.authorities = stranger.authorities;
    }
    let server = Server::with_mail(config, |_| {}).await;
    let token = register(&server, "ada", "ada@example.org").await;
    assert_eq!(ask_for_proof(&server, &token).await.status, 202);
    counted(&server, "panda_api_mails_failed_total", 1).await;
    assert!(sink.is_empty());
}

#[tokio::test]
async fn an_account_has_a_share_of_links_and_another_has_its_own() {
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |_| {}).await;
    let (ada, ben) =
        (register(&server, "ada", "ada@example.org").await, register(&server, "ben", "b@example.org").await);
    for _ in 0..5 {
        assert_eq!(ask_for_proof(&server, &ada).await.status, 202);
        sink.next().await;
    }
    let refused = ask_for_proof(&server, &ada).await;
    assert_eq!(refused.refusal(), (429, "rate_limited".into()));
    assert_eq!(refused.header("retry-after"), Some("3601"));
    assert_eq!(ask_for_proof(&server, &ben).await.status, 202);
    assert_eq!(sink.next().await.to, ["b@example.org"]);
    assert!(sink.is_empty());
    let nobody = server.user("bot").await.1;
    assert_eq!(ask_for_proof(&server, &nobody).await.json()["field"], "email", "no address");
    let others = server.post("/user/@ada/email/verification").bearer(&ben).send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn of_one_address_one_account_is_the_one_that_proved_it() {
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |_| {}).await;
    let (ada, eve) = (register(&server, "ada", "a@example.org").await, register(&server, "eve", "A@example.org").await);
    ask_for_proof(&server, &eve).await;
    let late = sink.next().await.token();
    prove(&server, &mut sink, &ada).await;
    let refused = post(&server, "/email/verify", &json!({ "token": late })).await;
    assert_eq!(refused.refusal(), (409, "taken".into()));
    assert_eq!(me(&server, &eve).await["email_verified"], false);
    assert_eq!(post(&server, "/password/forgot", &json!({ "email": "a@EXAMPLE.org" })).await.status, 202);
    assert!(sink.next().await.data.contains("Hello ada,"));
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_a_link_once_and_ends_all_logins() {
    Logs::capture();
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |_| {}).await;
    let ada = register(&server, "ada", "ada@example.org").await;
    register(&server, "eve", "eve@example.org").await;
    prove(&server, &mut sink, &ada).await;
    // Nobody learns who exists, and who never proved an address is sent nothing.
    for who in [
        json!({ "username": "eve" }),
        json!({ "email": "eve@example.org" }),
        json!({ "username": "nobody" }),
        json!({ "email": "nobody@example.org" }),
        json!({ "username": "ADA" }),
    ] {
        let answer = post(&server, "/password/forgot", &who).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"accepted":true}"#), "{who}");
    }
    let mail = sink.next().await;
    assert_eq!(mail.to, ["ada@example.org"]);
    let link = mail.token();
    assert!(!Logs::text().contains(&link), "a link is in no log");
    let reset = |token: &str, password: &str| {
        server.post("/password/reset").body(&json!({ "token": token, "password": password }).to_string())
    };
    assert_eq!(reset(&link, "short").send().await.json()["field"], "password");
    for other in ["", "panda_mt_", &format!("{link}A"), &"A".repeat(10_000)] {
        assert_eq!(reset(other, "battery staple").send().await.json()["field"], "token", "{other}");
    }
    let done = reset(&link, "battery staple").send().await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"ended":1}"#));
    assert_eq!(server.get("/user/me").bearer(&ada).send().await.refusal(), (401, "revoked".into()));
    assert_eq!(reset(&link, "another horse").send().await.json()["field"], "token");
    assert!(sink.next().await.data.contains("Subject: The password of your account was changed\n"));
    assert_eq!(log_in(&server, "ada", PASSWORD).await.refusal(), (401, "bad_credentials".into()));
    assert_eq!(log_in(&server, "ada", "battery staple").await.status, 200);
    for wrong in [json!({}), json!({ "username": "ada", "email": "ada@example.org" }), json!({ "username": "a b" })] {
        assert_eq!(post(&server, "/password/forgot", &wrong).await.status, 400, "{wrong}");
    }
    assert!(sink.is_empty());
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_other_logins_end() {
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |_| {}).await;
    let other = register(&server, "ada", "ada@example.org").await;
    prove(&server, &mut sink, &other).await;
    let this = log_in(&server, "ada", PASSWORD).await.json()["access_token"].as_str().unwrap().to_owned();
    let change = |token: &str, old: &str, new: &str| {
        server.put("/user/me/password").bearer(token).body(&json!({ "old": old, "new": new }).to_string())
    };
    let wrong = change(&this, "wrong horse", "battery staple").send().await;
    assert_eq!(wrong.refusal(), (401, "bad_credentials".into()));
    assert_eq!(change(&this, PASSWORD, "short").send().await.json()["field"], "password");
    assert_eq!(server.get("/user/me").bearer(&other).send().await.status, 200);
    let done = change(&this, PASSWORD, "battery staple").send().await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"ended":1}"#));
    assert_eq!(server.get("/user/me").bearer(&other).send().await.refusal(), (401, "revoked".into()));
    assert_eq!(server.get("/user/me").bearer(&this).send().await.status, 200);
    assert!(sink.next().await.data.contains("Subject: The password of your account was changed\n"));
    assert_eq!(log_in(&server, "ada", PASSWORD).await.status, 401);
    // Who has none gets one by mail.
    let bot = server.user("bot").await.1;
    assert_eq!(change(&bot, "anything", "battery staple").send().await.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn notices_of_one_account_have_an_end_and_the_changes_go_on() {
    let mut sink = SmtpSink::start(SmtpTls::None).await;
    let server = Server::with_mail(sink.config(), |config| config.notices_per_user.count = 1).await;
    let token = register(&server, "ada", "ada@example.org").await;
    prove(&server, &mut sink, &token).await;
    for (old, new) in [(PASSWORD, "battery staple"), ("battery staple", PASSWORD)] {
        let body = json!({ "old": old, "new": new }).to_string();
        assert_eq!(server.put("/user/me/password").bearer(&token).body(&body).send().await.status, 200);
    }
    sink.next().await;
    counted(&server, "panda_api_mails_sent_total", 2).await;
    assert!(sink.is_empty() && server.counted("panda_api_mails_waiting") == 0);
}

#[tokio::test]
async fn without_a_mail_server_what_needs_mail_is_refused_and_the_rest_works() {
    let server = Server::start().await;
    let token = register(&server, "ada", "ada@example.org").await;
    let told = server.get("/.well-known/panda").send().await.json();
    assert_eq!(told["mail"], false);
    for refused in
        [ask_for_proof(&server, &token).await, post(&server, "/password/forgot", &json!({ "username": "ada" })).await]
    {
        assert_eq!(refused.refusal(), (404, "not_found".into()));
        assert_eq!(refused.json()["title"], "This deployment sends no mail.");
    }
    change_email(&server, &token, "new@example.org").await;
    let body = json!({ "old": PASSWORD, "new": "battery staple" }).to_string();
    assert_eq!(server.put("/user/me/password").bearer(&token).body(&body).send().await.status, 200);
}
