//! Callers at targets that are ill.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use panda_protocol::{ChatId, UserId};

use super::*;

const OK: &str = "200 OK";
const GONE: &str = "";

/// A target that answers by what the path is, each time anew; with [`GONE`] it hangs up.
fn target(answer: fn(&str) -> (&'static str, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for asked in listener.incoming() {
            let (mut asked, mut heard) = (asked.unwrap(), Vec::new());
            // Head and body may come in two pieces.
            while !is_whole(&heard) {
                let mut piece = [0; 4_096];
                let count = asked.read(&mut piece).unwrap();
                assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
                heard.extend_from_slice(&piece[..count]);
            }
            let heard = String::from_utf8(heard).unwrap();
            let (status, body) = answer(heard.split(' ').nth(1).unwrap());
            if status != GONE {
                let length = body.len();
                write!(asked, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                    .unwrap();
            }
        }
    });
    base
}

fn is_whole(heard: &[u8]) -> bool {
    let heard = String::from_utf8_lossy(heard).to_ascii_lowercase();
    let Some((head, body)) = heard.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

fn api(bases: &[&str]) -> Arc<Api> {
    let user = |byte| UserId::from_random([byte; 16]);
    Api::new(&Arc::new(Run::at(bases, ChatId::direct(user(1), user(2)), user(1))))
}

async fn get(api: &Arc<Api>, at: usize) -> Answered {
    api.ask(0, Call::get("/tea".into()), at, None).await.unwrap()
}

const TOKEN: &str = r#"{"users":[{"id":"x","username":"lt0","access_token":"newer"}]}"#;
const EXPIRED: &str = r#"{"code":1200}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_gives_no_new_token_is_passed_over() {
    let ill = target(|path| match path {
        "/tea" => ("401 Unauthorized", EXPIRED),
        _ => ("500 Internal Server Error", "{}"),
    });
    let well = target(|path| if path == "/tea" { (OK, "tea") } else { (OK, TOKEN) });
    let api = api(&[&ill, &well]);
    let Answered { target, outcome, .. } = get(&api, 0).await;
    assert_eq!((target, outcome), (1, Ok(b"tea".to_vec())));
    let why = api.repeated().into_keys().next().unwrap();
    assert!(why.contains("token_expired") && why.contains("no new token") && why.contains("500"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_is_told_with_its_cause_and_may_still_happen() {
    let ill = target(|_| (GONE, ""));
    let well = target(|_| ("403 Forbidden", r#"{"code":2202}"#));
    let api = api(&[&ill, &well]);
    let Answered { outcome, certain, .. } = get(&api, 0).await;
    assert_eq!((outcome, certain), (Err(2202), false));
    let why = api.repeated().into_keys().next().unwrap();
    assert!(why.starts_with("no answer (") && why.len() > "no answer ()".len(), "{why}");
    assert!(get(&api, 1).await.certain);
}

#[test]
fn an_answer_that_is_not_what_the_document_says_is_told_with_what_it_is() {
    #[derive(Debug, Deserialize)]
    struct Sent {
        seq: u64,
    }
    assert_eq!(parsed::<Sent>(br#"{"seq":5}"#).unwrap().seq, 5);
    let Err(RunError::Malformed(told)) = parsed::<Sent>(br#"{"seq":"five"}"#) else { panic!("it was taken") };
    assert!(told.contains(r#"{"seq":"five"}"#), "{told}");
}
