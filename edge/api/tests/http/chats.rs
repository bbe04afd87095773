//! Chats, messages, members and provisioning, over real HTTP.

use crate::support::{Answer, Server};
use panda_protocol::ErrorCode;
use serde_json::{Value, json};

fn texts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["text"].as_str().unwrap().to_owned())
        .collect()
}

async fn say(server: &Server, token: &str, chat: &str, text: &str) -> Answer {
    server
        .post(&format!("/chats/{chat}/messages"))
        .bearer(token)
        .body(&json!({ "text": text }).to_string())
        .send()
        .await
}

#[tokio::test]
async fn a_chat_is_made_listed_and_read_by_its_members() {
    let server = Server::start().await;
    let ((ada_id, ada), (bob_id, bob), (_, eve)) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let chat = server.chat(&ada, &[&bob_id, "@ADA", "@bob"]).await;
    let sent = say(&server, &ada, &chat, "hello \u{1f43c}").await;
    assert_eq!((sent.status, sent.json()), (201, json!({ "chat": chat, "seq": 4 })));
    let read = server.get(&format!("/chats/{chat}")).bearer(&bob).send().await;
    let expected = json!({ "id": chat, "kind": "group", "name": "tea", "members": 2, "role": "member", "head": 4, "begins_at": 1 });
    assert_eq!(read.json()["chat"], expected);
    assert_eq!(
        read.json()["messages"],
        json!([{ "seq": 4, "time_us": 4, "sender": ada_id, "text": "hello \u{1f43c}" }])
    );
    let list = server.get("/chats").bearer(&bob).send().await.json();
    assert_eq!(
        (&list["chats"][0]["id"], &list["chats"][0]["name"], &list["after"]),
        (&json!(chat), &json!("tea"), &Value::Null)
    );
    assert_eq!(server.get("/chats").bearer(&eve).send().await.json()["chats"], json!([]));
    assert_eq!(server.get(&format!("/chats/{chat}")).bearer(&eve).send().await.refusal(), (404, "not_found".into()));
    assert_eq!(say(&server, &eve, &chat, "hi").await.refusal(), (404, "not_found".into()));
    for path in ["/chats/nothing", &format!("/chats/{ada_id}")] {
        assert_eq!(server.get(path).bearer(&ada).send().await.refusal(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn history_is_paged_both_ways_without_a_gap() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let chat = server.chat(&ada, &[]).await;
    for number in 1..=5 {
        say(&server, &ada, &chat, &format!("m{number}")).await;
    }
    let page = async |query: &str| server.get(&format!("/chats/{chat}?{query}")).bearer(&ada).send().await;
    let latest = page("limit=2").await;
    assert_eq!(texts(&latest), ["m4", "m5"]);
    let older = page(&format!("limit=2&before={}", latest.json()["before"])).await;
    assert_eq!(texts(&older), ["m2", "m3"]);
    let oldest = page(&format!("limit=2&before={}", older.json()["before"])).await;
    assert_eq!(texts(&oldest), ["m1"]);
    assert_eq!(oldest.json()["before"], Value::Null);
    let newer = page(&format!("limit=2&after={}", oldest.json()["after"])).await;
    assert_eq!(texts(&newer), ["m2", "m3"]);
    let from_the_first = page("after=0&limit=3").await;
    assert_eq!(texts(&from_the_first), ["m1", "m2", "m3"], "events of other kinds take no message's place");
    let head = latest.json()["after"].clone();
    assert_eq!(head, 7);
    let nothing = page(&format!("after={head}")).await;
    assert_eq!((texts(&nothing).len(), &nothing.json()["after"]), (0, &head));
    say(&server, &ada, &chat, "m6").await;
    assert_eq!(texts(&page(&format!("after={head}")).await), ["m6"]);
    for query in ["limit=0", "limit=257", "limit=x", "before=1&after=1", "before=-1"] {
        assert_eq!(page(query).await.refusal(), (400, "invalid_request".into()), "{query}");
    }
    assert_eq!(texts(&page("before=0").await).len(), 0);
    assert_eq!(texts(&page(&format!("before={}", u64::MAX)).await).len(), 6);
    assert_eq!(texts(&page(&format!("after={}", u64::MAX)).await).len(), 0);
}

#[tokio::test]
async fn a_message_with_a_repeated_key_is_sent_once() {
    let server = Server::start().await;
    let ((_, ada), (bob_id, bob)) = (server.user("ada").await, server.user("bob").await);
    let chat = server.chat(&ada, &[&bob_id]).await;
    let path = format!("/chats/{chat}/messages");
    let send = async |token: &str, key: &str, text: &str| {
        server
            .post(&path)
            .bearer(token)
            .header("Idempotency-Key", key)
            .body(&json!({ "text": text }).to_string())
            .send()
            .await
    };
    let first = send(&ada, "k1", "once").await;
    let events = server.chats.events(&chat);
    for _ in 0..3 {
        let again = send(&ada, "k1", "once").await;
        assert_eq!((again.status, again.json()), (201, first.json()));
    }
    assert_eq!(server.chats.events(&chat), events);
    let reused = send(&ada, "k1", "another").await;
    assert_eq!(reused.refusal(), (422, "counter_reused".into()));
    assert_eq!(reused.json()["title"], "This key was used for another request; take a new one.");
    assert_ne!(send(&bob, "k1", "once").await.json()["seq"], first.json()["seq"], "a key is its user's own");
    assert_eq!(send(&ada, "k2", "once").await.status, 201);
    assert_eq!(server.chats.events(&chat), events + 2);
    say(&server, &ada, &chat, "keyless").await;
    say(&server, &ada, &chat, "keyless").await;
    assert_eq!(server.chats.events(&chat), events + 4, "without a key every request is its own message");
    assert_eq!(send(&ada, &"k".repeat(256), "long").await.refusal(), (413, "too_large".into()));
}

#[tokio::test]
async fn every_command_is_in_the_context_of_its_traceparent_and_one_that_is_none_is_ignored() {
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let server = Server::start().await;
    let ((_, ada), (bob_id, _)) = (server.user("ada").await, server.user("bob").await);
    let chat = server.chat(&ada, &[]).await;
    server.chats.take_traces();
    let (members, messages) = (format!("/chats/{chat}/members"), format!("/chats/{chat}/messages"));
    let bulk = json!({ "chats": [{ "key": "k", "name": "tea", "creator": "@ada", "members": ["@bob"] }] }).to_string();
    let requests = [
        (server.post("/chats").bearer(&ada), json!({ "name": "tea" }).to_string()),
        (server.post(&messages).bearer(&ada), json!({ "text": "hi" }).to_string()),
        (server.post(&members).bearer(&ada), json!({ "members": [bob_id] }).to_string()),
        (server.delete(&format!("{members}/{bob_id}")).bearer(&ada), String::new()),
        (server.post("/bulk/chats").bearer(&server.admin_key), bulk),
    ];
    for (request, body) in requests {
        let answer = request.header("Traceparent", GOOD).body(&body).send().await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.body);
    }
    assert_eq!(server.chats.take_traces(), [Some(GOOD.parse().unwrap()); 5]);
    let zeros = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
    for bad in [&[""][..], &["garbage"], &[zeros.as_str()], &[GOOD, GOOD]] {
        let request = server.post(&messages).bearer(&ada).body(&json!({ "text": "hi" }).to_string());
        let request = bad.iter().fold(request, |request, value| request.header("traceparent", value));
        assert_eq!((request.send().await.status, server.chats.take_traces()), (201, vec![None]), "{bad:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_repeated_in_another_context_is_the_same_request() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let chat = server.chat(&ada, &[]).await;
    let send = async |trace: &str| {
        let request = server.post(&format!("/chats/{chat}/messages")).bearer(&ada).header("Idempotency-Key", "k1");
        request.header("traceparent", trace).body(&json!({ "text": "once" }).to_string()).send().await
    };
    let first = send("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").await;
    let again = send("00-5bf92f3577b34da6a3ce929d0e0e4736-10f067aa0ba902b7-00").await;
    assert_eq!((first.status, again.status, first.json()), (201, 201, again.json()));
}

#[tokio::test]
async fn texts_beyond_their_limits_are_refused_before_they_travel() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let chat = server.chat(&ada, &[]).await;
    let commands = server.chats.commands();
    assert_eq!(say(&server, &ada, &chat, "").await.refusal(), (400, "invalid_request".into()));
    assert_eq!(say(&server, &ada, &chat, &"x".repeat(16 * 1024 + 1)).await.refusal(), (413, "too_large".into()));
    assert_eq!(server.chats.commands(), commands);
    assert_eq!(say(&server, &ada, &chat, &"x".repeat(16 * 1024)).await.status, 201);
}

#[tokio::test]
async fn a_chat_with_a_repeated_key_is_made_once() {
    let server = Server::start().await;
    let ((_, ada), (bob_id, _)) = (server.user("ada").await, server.user("bob").await);
    let make = async |key: &str| {
        server
            .post("/chats")
            .bearer(&ada)
            .header("Idempotency-Key", key)
            .body(&json!({ "name": "tea", "members": [bob_id] }).to_string())
            .send()
            .await
    };
    let first = make("k1").await;
    assert_eq!((first.status, make("k1").await.json()), (201, first.json()));
    assert_ne!(make("k2").await.json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn a_direct_chat_is_one_whoever_asks() {
    let server = Server::start().await;
    let ((ada_id, ada), (bob_id, bob)) = (server.user("ada").await, server.user("bob").await);
    let first = server.post("/chats").bearer(&ada).body(&json!({ "peer": bob_id }).to_string()).send().await;
    assert_eq!(first.status, 201, "{}", first.body);
    let again = server.post("/chats").bearer(&bob).body("{\"peer\":\"@ada\"}").send().await;
    assert_eq!((again.status, &again.json()["id"]), (200, &first.json()["id"]));
    for body in [json!({ "peer": ada_id }), json!({ "peer": bob_id, "name": "x" }), json!({ "peer": "@nobody" })] {
        let refused = server.post("/chats").bearer(&ada).body(&body.to_string()).send().await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("peer")));
    }
}

#[tokio::test]
async fn chats_beyond_their_limits_are_refused_and_unknown_members_named() {
    let server = Server::start().await;
    let (ada_id, ada) = server.user("ada").await;
    let make = async |body: Value| server.post("/chats").bearer(&ada).body(&body.to_string()).send().await;
    assert_eq!(make(json!({ "name": "x".repeat(257) })).await.refusal(), (413, "too_large".into()));
    assert_eq!(
        make(json!({ "name": "tea", "members": vec![ada_id.clone(); 102] })).await.refusal(),
        (413, "too_large".into())
    );
    let unknown = make(json!({ "name": "tea", "members": ["@nobody"] })).await;
    assert_eq!(unknown.refusal(), (400, "invalid_request".into()));
    assert_eq!(unknown.json()["detail"], "there is no user @nobody");
    assert_eq!(make(json!({ "name": "tea", "colour": "green" })).await.status, 400);
    for body in [json!({}), json!({ "name": "  " }), json!({ "members": [ada_id] })] {
        let nameless = make(body).await;
        assert_eq!((nameless.status, &nameless.json()["field"]), (400, &json!("name")));
    }
    assert_eq!(server.chats.commands(), 0);
}

#[tokio::test]
async fn whoever_is_in_too_many_chats_already_is_named() {
    let server = Server::start().await;
    let ((ada_id, ada), (bob_id, _), (cleo_id, _)) =
        (server.user("ada").await, server.user("bob").await, server.user("cleo").await);
    let chat = server.chat(&ada, &[]).await;
    server.chats.fill(&bob_id);
    let members = format!("/chats/{chat}/members");
    let bulk = json!({ "chats": [{ "key": "k", "name": "tea", "creator": cleo_id, "members": [bob_id] }] });
    for (path, key, body) in [
        ("/chats", &ada, json!({ "name": "tea", "members": [cleo_id, bob_id] })),
        ("/chats", &ada, json!({ "peer": "@bob" })),
        (&*members, &ada, json!({ "members": ["@cleo", "@bob"] })),
        ("/bulk/chats", &server.admin_key, bulk),
    ] {
        let refused = server.post(path).bearer(key).body(&body.to_string()).send().await;
        assert_eq!(refused.refusal(), (409, "limit_reached".into()), "{path}");
        assert_eq!(refused.json()["users"], json!([bob_id]), "{path}");
        let detail = "each of `users` is in as many chats as a user may be, and has to leave one first";
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        // A bulk request names the chat before it.
        assert!(told.ends_with(detail), "{told}");
    }
    assert_eq!(server.post(&members).bearer(&ada).body("{\"members\":[\"@cleo\"]}").send().await.status, 200);
    // Also the one who asks.
    server.chats.fill(&ada_id);
    let refused = server.post("/chats").bearer(&ada).body("{\"name\":\"alone\"}").send().await;
    assert_eq!((refused.refusal().0, &refused.json()["users"]), (409, &json!([ada_id])));
}

#[tokio::test]
async fn members_come_and_go_and_the_removed_read_nothing() {
    let server = Server::start().await;
    let ((ada_id, ada), (bob_id, bob)) = (server.user("ada").await, server.user("bob").await);
    let chat = server.chat(&ada, &[]).await;
    let path = format!("/chats/{chat}/members");
    let add = async || server.post(&path).bearer(&ada).body("{\"members\":[\"@bob\"]}").send().await;
    assert_eq!(add().await.json(), json!({ "seq": 3, "changed": true }));
    assert_eq!(add().await.json()["changed"], false);
    let members = server.get(&format!("{path}?limit=1")).bearer(&bob).send().await.json();
    let rest =
        server.get(&format!("{path}?after={}", members["after"].as_str().unwrap())).bearer(&bob).send().await.json();
    let mut ids = [members["members"][0]["id"].as_str().unwrap(), rest["members"][0]["id"].as_str().unwrap()];
    ids.sort_unstable();
    let mut expected = [ada_id.as_str(), bob_id.as_str()];
    expected.sort_unstable();
    assert_eq!((ids, &rest["after"]), (expected, &Value::Null));
    let remove = async |member: &str| server.delete(&format!("{path}/{member}")).bearer(&ada).send().await;
    assert_eq!(remove(&bob_id).await.json()["changed"], true);
    assert_eq!(remove(&bob_id).await.json()["changed"], false);
    assert_eq!(server.get(&format!("/chats/{chat}")).bearer(&bob).send().await.refusal(), (403, "not_member".into()));
    assert_eq!(remove("@nobody").await.refusal(), (404, "not_found".into()));
    // An identifier is taken as it is: whether its user still exists is no matter of the chat's.
    let unknown = panda_protocol::UserId::from_random([9; 16]).to_string();
    assert_eq!(remove(&unknown).await.json()["changed"], false);
    for body in [json!({ "members": [] }), json!({ "members": [bob_id], "role": "king" })] {
        assert_eq!(
            server.post(&path).bearer(&ada).body(&body.to_string()).send().await.refusal(),
            (400, "invalid_request".into())
        );
    }
    assert_eq!(remove("me").await.status, 200);
}

#[tokio::test]
async fn an_outage_says_whether_it_may_have_happened() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let chat = server.chat(&ada, &[]).await;
    for (code, status) in [
        (ErrorCode::Unavailable, 503),
        (ErrorCode::OutcomeUnknown, 504),
        (ErrorCode::Backlogged, 503),
        (ErrorCode::RateLimited, 429),
    ] {
        server.chats.fail_with(code);
        let refused = say(&server, &ada, &chat, "hello").await;
        assert_eq!(refused.refusal(), (status, code.label().into()));
        assert_eq!(refused.json()["code"], code as u16);
        assert_eq!(refused.header("retry-after").is_some(), status != 429, "{code}");
    }
    assert_eq!(server.get(&format!("/chats/{chat}")).bearer(&ada).send().await.status, 429);
    assert_eq!(server.get("/user/me").bearer(&ada).send().await.status, 200);
}

#[tokio::test]
async fn requests_of_one_user_are_limited() {
    let server = Server::with(|config| config.requests_per_user.count = 2, None).await;
    let ((_, ada), (_, bob)) = (server.user("ada").await, server.user("bob").await);
    for status in [200, 200, 429] {
        assert_eq!(server.get("/chats").bearer(&ada).send().await.status, status);
    }
    assert_eq!(server.get("/chats").bearer(&bob).send().await.status, 200);
}

#[tokio::test]
async fn users_are_provisioned_in_bulk_and_again() {
    let server = Server::start().await;
    let bulk = |count: usize| {
        json!({ "users": (0..count).map(|number| json!({ "username": format!("user{number}") })).collect::<Vec<_>>() })
            .to_string()
    };
    let first = server.post("/bulk/users").bearer(&server.admin_key).body(&bulk(1_000)).send().await;
    assert_eq!(first.status, 200, "{}", first.body);
    let again = server.post("/bulk/users").bearer(&server.admin_key).body(&bulk(1_000)).send().await;
    assert_eq!(first.json()["users"][999]["username"], "user999");
    assert_eq!(first.json()["users"][999]["id"], again.json()["users"][999]["id"]);
    let token = again.json()["users"][7]["access_token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/user/me").bearer(&token).send().await.json()["username"], "user7");
    let refused = server.post("/bulk/users").bearer(&server.admin_key).body(&bulk(1_001)).send().await;
    assert_eq!(refused.refusal(), (413, "too_large".into()));
    for key in [token.as_str(), "panda_0000", ""] {
        assert_eq!(
            server.post("/bulk/users").bearer(key).body(&bulk(1)).send().await.refusal(),
            (401, "unauthenticated".into())
        );
    }
}

#[tokio::test]
async fn chats_are_provisioned_in_bulk_and_a_repeated_request_changes_nothing() {
    let server = Server::start().await;
    let names: Vec<_> = (0..250).map(|number| format!("user{number}")).collect();
    let users =
        json!({ "users": names.iter().map(|name| json!({ "username": name })).collect::<Vec<_>>() }).to_string();
    let made = server.post("/bulk/users").bearer(&server.admin_key).body(&users).send().await.json();
    let ids: Vec<_> = made["users"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect();
    let chat = |key: &str, members: &[Value]| json!({ "key": key, "name": key, "creator": ids[0], "members": members });
    let body = json!({ "chats": [chat("big", &ids), chat("small", &ids[1..3]), chat("alone", &[])] }).to_string();
    let first = server.post("/bulk/chats").bearer(&server.admin_key).body(&body).send().await;
    assert_eq!(first.status, 200, "{}", first.body);
    let chats = first.json()["chats"].as_array().unwrap().clone();
    assert_eq!(chats.iter().map(|chat| chat["key"].as_str().unwrap()).collect::<Vec<_>>(), ["big", "small", "alone"]);
    let events = || chats.iter().map(|chat| server.chats.events(chat["id"].as_str().unwrap())).collect::<Vec<_>>();
    assert_eq!(events(), [251, 4, 2]);
    let again = server.post("/bulk/chats").bearer(&server.admin_key).body(&body).send().await;
    assert_eq!((again.json(), events()), (first.json(), vec![251, 4, 2]));
    // Of many chats, the one that is refused is named.
    for (refused, label) in
        [(chat("small", &[]), "counter_reused"), (chat("new", &[json!("@nobody")]), "invalid_request")]
    {
        let body = json!({ "chats": [chat("alone", &[]), refused] }).to_string();
        let told = server.post("/bulk/chats").bearer(&server.admin_key).body(&body).send().await.json();
        let which = format!("chats[1], key {}", refused["key"]);
        assert!(told["label"] == label && told["detail"].as_str().unwrap().starts_with(&which), "{told}");
    }
    let many =
        json!({ "chats": (0..101).map(|number| chat(&number.to_string(), &[])).collect::<Vec<_>>() }).to_string();
    assert_eq!(
        server.post("/bulk/chats").bearer(&server.admin_key).body(&many).send().await.refusal(),
        (413, "too_large".into())
    );
    assert_eq!(server.post("/bulk/chats").body(&body).send().await.refusal(), (401, "unauthenticated".into()));
    let keyless = json!({ "chats": [chat("", &[])] }).to_string();
    assert_eq!(
        server.post("/bulk/chats").bearer(&server.admin_key).body(&keyless).send().await.refusal(),
        (400, "invalid_request".into())
    );
}

#[tokio::test]
async fn who_comes_back_sees_what_was_said_meanwhile_only_if_that_is_asked_for() {
    let server = Server::start().await;
    let ((_, ada), (_, bob)) = (server.user("ada").await, server.user("bob").await);
    let chat = server.chat(&ada, &["@bob"]).await;
    let path = format!("/chats/{chat}/members");
    let come_back = async |body: &str| {
        assert_eq!(server.delete(&format!("{path}/@bob")).bearer(&ada).send().await.status, 200);
        assert_eq!(say(&server, &ada, &chat, "meanwhile").await.status, 201);
        assert_eq!(server.post(&path).bearer(&ada).body(body).send().await.status, 200);
        texts(&server.get(&format!("/chats/{chat}")).bearer(&bob).send().await)
    };
    assert_eq!(come_back("{\"members\":[\"@bob\"]}").await, Vec::<String>::new());
    assert_eq!(come_back("{\"members\":[\"@bob\"],\"with_history\":true}").await, ["meanwhile", "meanwhile"]);
}

#[tokio::test]
async fn a_query_that_is_not_what_is_asked_for_is_refused_with_its_name() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let chat = server.chat(&ada, &[]).await;
    for (path, field) in [
        (format!("/chats/{chat}?after=abc"), "after"),
        (format!("/chats/{chat}?before=-1"), "before"),
        (format!("/chats/{chat}?limit=many"), "limit"),
        ("/chats?limit=0".to_owned(), "limit"),
        (format!("/chats/{chat}/members?after=abc"), "after"),
    ] {
        let refused = server.get(&path).bearer(&ada).send().await;
        assert_eq!((refused.refusal().0, &refused.json()["field"]), (400, &json!(field)), "{path}");
    }
    for path in ["/chats?page=2".to_owned(), format!("/chats/{chat}?page=2"), format!("/chats/{chat}/members?page=2")] {
        let refused = server.get(&path).bearer(&ada).send().await;
        assert_eq!(refused.refusal(), (400, "invalid_request".into()), "{path}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("the query is not what is asked for: unknown field `page`, expected "), "{detail}");
    }
}

#[tokio::test]
async fn an_api_key_where_a_user_is_asked_for_is_told_so() {
    let server = Server::start().await;
    let refused = server.get("/chats").bearer(&server.admin_key).send().await;
    assert_eq!(refused.refusal(), (401, "token_invalid".into()));
    assert_eq!(refused.json()["title"], "This path is for users, not for API keys.");
}
