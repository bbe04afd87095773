//! An account that is put aside, erased, or taken out.

use serde_json::{Value, json};

use crate::support::{Answer, Server};

const PASSWORD: &str = "correct horse";

async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.post(path).body(&body.to_string()).send().await
}

/// A new user: identifier, access token, refresh token.
async fn register(server: &Server, name: &str) -> (String, String, String) {
    let account = json!({ "username": name, "email": "a@example.org", "password": PASSWORD, "label": "laptop" });
    let answer = post(server, "/register", &account).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = answer.json();
    (text(&told["user"]["id"]), text(&told["access_token"]), text(&told["refresh_token"]))
}

async fn see(server: &Server, token: &str, who: &str) -> Answer {
    server.get(&format!("/user/{who}")).bearer(token).send().await
}

#[tokio::test]
async fn an_account_is_put_aside_by_who_knows_its_password_until_the_next_login() {
    let server = Server::start().await;
    let (ada, token, refresh) = register(&server, "ada").await;
    let (_, ben, _) = register(&server, "ben").await;
    // Cached.
    assert_eq!(see(&server, &ben, &ada).await.json()["username"], "ada");
    let deactivate = async |password: &str| {
        let body = json!({ "password": password }).to_string();
        server.post("/user/me/deactivate").bearer(&token).body(&body).send().await
    };
    assert_eq!(deactivate("wrong horse").await.refusal(), (401, "bad_credentials".into()));
    let done = deactivate(PASSWORD).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"ended":1}"#));
    assert_eq!(see(&server, &token, "me").await.refusal(), (401, "revoked".into()));
    let refused = post(&server, "/token/refresh", &json!({ "refresh_token": refresh })).await;
    assert_eq!(refused.refusal(), (401, "revoked".into()));
    let shown = see(&server, &ben, &ada).await.json();
    assert_eq!((&shown["deactivated"], &shown["username"]), (&json!(true), &json!("ada")));
    assert_eq!(see(&server, &ben, "@ada").await.json()["deactivated"], true);
    let again = post(&server, "/login", &json!({ "username": "ada", "password": PASSWORD })).await;
    assert_eq!(again.status, 200);
    assert!(see(&server, &ben, &ada).await.json()["deactivated"].is_null());
    let others = server.post("/user/@ada/deactivate").bearer(&ben).body(r#"{"password":"x"}"#).send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn an_erased_account_is_shown_as_such_and_nobody_takes_its_name() {
    let server = Server::start().await;
    let (ada, token, refresh) = register(&server, "ada").await;
    let (_, ben, _) = register(&server, "ben").await;
    let chat = server.chat(&token, &["@ben"]).await;
    let message = json!({ "text": "what stays" }).to_string();
    assert_eq!(server.post(&format!("/chats/{chat}/messages")).bearer(&token).body(&message).send().await.status, 201);
    let picture = server.put("/user/me").bearer(&token).body(r#"{"picture":"https://example.org/a.png"}"#).send().await;
    assert_eq!((picture.status, see(&server, &ben, &ada).await.status), (200, 200));
    let erase = async |password: &str| {
        server.delete("/user/me").bearer(&token).body(&json!({ "password": password }).to_string()).send().await
    };
    assert_eq!(erase("wrong horse").await.refusal(), (401, "bad_credentials".into()));
    assert_eq!(server.delete("/user/me").bearer(&token).send().await.status, 400);
    let others = server.delete("/user/@ada").bearer(&ben).body(r#"{"password":"x"}"#).send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
    let done = erase(PASSWORD).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"ended":1}"#));
    assert_eq!(see(&server, &token, "me").await.refusal(), (401, "revoked".into()));
    assert_eq!(post(&server, "/token/refresh", &json!({ "refresh_token": refresh })).await.status, 401);
    let shown = see(&server, &ben, &ada).await;
    assert_eq!(shown.json(), json!({ "id": ada, "picture": null, "version": 3, "erased": true }), "{}", shown.body);
    assert_eq!(see(&server, &ben, "@ada").await.refusal(), (404, "not_found".into()));
    let page = server.get(&format!("/chats/{chat}")).bearer(&ben).send().await.json();
    assert_eq!((&page["messages"][0]["text"], &page["messages"][0]["sender"]), (&json!("what stays"), &json!(ada)));
    // The name is nobody's.
    let login = json!({ "username": "ada", "password": PASSWORD });
    assert_eq!(post(&server, "/login", &login).await.refusal(), (401, "bad_credentials".into()));
    assert_eq!(post(&server, "/register", &login).await.refusal(), (409, "taken".into()));
    let bulk = json!({ "users": [{ "username": "ADA" }] }).to_string();
    let bulk = server.post("/bulk/users").bearer(&server.admin_key).body(&bulk).send().await;
    assert_eq!(bulk.refusal(), (409, "taken".into()));
    let rename = server.put("/user/me").bearer(&ben).body(r#"{"username":"ada"}"#).send().await;
    assert_eq!(rename.refusal(), (409, "taken".into()));
    let invite = json!({ "name": "tea", "members": [ada] }).to_string();
    let invite = server.post("/chats").bearer(&ben).body(&invite).send().await;
    assert_eq!((invite.status, &invite.json()["field"]), (400, &json!("members")));
}

#[tokio::test]
async fn everything_that_is_kept_of_an_account_is_taken_out() {
    let server = Server::start().await;
    let (ada, token, _) = register(&server, "ada").await;
    let (_, ben, _) = register(&server, "ben").await;
    let chat = server.chat(&token, &["@ben"]).await;
    let export = server.get("/user/me/export").bearer(&token).send().await;
    assert_eq!(export.status, 200, "{}", export.body);
    let export = export.json();
    let profile = &export["profile"];
    assert_eq!(
        (&profile["id"], &profile["username"], &profile["email"]),
        (&json!(ada), &json!("ada"), &json!("a@example.org"))
    );
    assert_eq!((&profile["has_password"], &profile["email_verified"]), (&json!(true), &json!(false)));
    assert_eq!((&export["logins"][0]["label"], &export["logins"][0]["current"]), (&json!("laptop"), &json!(true)));
    assert_eq!((&export["chats"][0]["id"], export["chats"].as_array().unwrap().len()), (&json!(chat), 1));
    assert!(!export.to_string().contains("argon2"));
    let others = server.get("/user/@ada/export").bearer(&ben).send().await;
    assert_eq!(others.refusal(), (403, "forbidden".into()));
    for _ in 0..9 {
        assert_eq!(server.get("/user/me/export").bearer(&token).send().await.status, 200);
    }
    let more = server.get("/user/me/export").bearer(&token).send().await;
    assert_eq!(more.refusal(), (429, "rate_limited".into()));
}
