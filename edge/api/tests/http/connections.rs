//! Connections, discovery, the page, and what surrounds every answer.

use std::time::Duration;

use crate::support::{Answer, MemoryChats, Server, parts};
use bytes::Bytes;
use panda_api::{ApiConfig, Connection, Metrics, serve, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

const FINGERPRINT: [u8; 32] = [0xab; 32];

fn with_quic(config: &mut ApiConfig) {
    config.discovery.quic = Some("0.0.0.0:8443".parse().unwrap());
    config.discovery.quic_certificate_sha256 = Some(FINGERPRINT);
}

#[tokio::test]
async fn one_base_url_tells_a_client_all_it_needs() {
    let server = Server::with(with_quic, None).await;
    let answer = server.get("/.well-known/panda").send().await;
    let found = answer.json();
    assert_eq!(
        (&found["versions"], &found["websocket"], &found["api"]),
        (&serde_json::json!([1]), &serde_json::json!("/ws"), &serde_json::json!("/"))
    );
    assert_eq!(found["quic"], "127.0.0.1:8443");
    assert_eq!(found["quic_certificate_sha256"], "ab".repeat(32));
    assert_eq!(found["limits"]["frame_bytes"], 65_536);
}

#[tokio::test]
async fn a_fingerprint_is_not_told_where_it_could_be_forged() {
    let server = Server::with(with_quic, Some("192.0.2.7:1234".parse().unwrap())).await;
    let found = server.get("/.well-known/panda").send().await.json();
    assert_eq!(found["quic"], "127.0.0.1:8443");
    assert_eq!(found.get("quic_certificate_sha256"), None);
    let mapped = Server::with(with_quic, Some("[::ffff:127.0.0.1]:1234".parse().unwrap())).await;
    assert!(mapped.get("/.well-known/panda").send().await.json().get("quic_certificate_sha256").is_some());
}

#[tokio::test]
async fn the_page_runs_nothing_of_others_and_every_answer_has_its_headers() {
    let server = Server::start().await;
    let page = server.get("/").header("X-Request-Id", "trace-1.a").send().await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains("<title>Panda</title>"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(page.header("x-request-id"), Some("trace-1.a"));
    for path in ["/", "/nowhere", "/user/me", "/.well-known/panda", "/assets/nothing.js"] {
        let answer = server.get(path).header("X-Request-Id", "spaces are odd").send().await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        // The page may be kept if it is asked about each time; nothing that is somebody's may be.
        let kept = answer.header("cache-control").unwrap();
        assert!(kept == "no-store" || path == "/" && kept == "no-cache", "{path}: {kept}");
        assert_eq!(answer.header("x-request-id").unwrap().len(), 16, "{path}");
        assert!(answer.header("content-security-policy").is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_served_is_a_problem() {
    let server = Server::start().await;
    for path in ["/nowhere", "/chat", "/application", "/assets/nothing.js", "/icons/nothing.png", "/index.html"] {
        assert_eq!(server.get(path).send().await.refusal(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(server.delete("/login").send().await.refusal(), (405, "invalid_request".into()));
    assert_eq!(server.get("/ws").send().await.refusal(), (426, "invalid_request".into()));
    let method = server.delete("/login").send().await.json();
    assert_eq!(method["title"], "This path does not take this method.");
    assert_eq!(method["detail"], "the Allow header names those that it takes");
    assert_eq!(server.get("/ws").send().await.json()["title"], "Only a WebSocket is opened here.");
}

#[tokio::test]
async fn a_process_without_sessions_names_none_and_says_where_they_are() {
    let server = Server::with(|config| config.discovery.api_only = true, None).await;
    let found = server.get("/.well-known/panda").send().await.json();
    assert_eq!((found.get("websocket"), found.get("quic"), &found["api"]), (None, None, &serde_json::json!("/")));
    let answer = server.get("/ws").send().await;
    assert_eq!(answer.refusal(), (404, "not_found".into()));
    assert!(answer.body.contains("connect to an edge"), "{}", answer.body);
}

#[tokio::test]
async fn a_method_that_is_not_served_is_told_which_are() {
    let server = Server::start().await;
    assert_eq!(server.delete("/login").send().await.header("allow"), Some("POST"));
    assert_eq!(server.delete("/chats").send().await.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn a_path_that_is_no_text_names_nothing() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    for path in ["/user/%ff", "/chats/%ff", "/chats/%c3%28/members"] {
        assert_eq!(server.get(path).bearer(&ada).send().await.refusal(), (404, "not_found".into()), "{path}");
    }
    let nobody = server.delete("/chats/%ff/members/%ff").bearer(&ada).send().await;
    assert_eq!(nobody.refusal(), (404, "not_found".into()));
}

/// An API that is handed one end of pipes; the other ends are the clients.
async fn piped(
    change: impl FnOnce(&mut ApiConfig),
) -> (mpsc::Sender<DuplexStream>, watch::Sender<bool>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let mut config = ApiConfig::default();
    change(&mut config);
    let (parts, _, _, folder) = parts(&MemoryChats::default()).await;
    let (hand_over, handed_over) = mpsc::channel(8);
    let (stop, stopping) = watch::channel(false);
    let peer = "127.0.0.1:1".parse().unwrap();
    let accept = move |stream| Ok(Connection { stream, head: Bytes::new(), peer, tls: false, held: Box::new(()) });
    let serving = tokio::spawn(async move {
        let _folder = folder;
        serve(config, parts, Metrics::default(), handed_over, accept, stopping).await
    });
    (hand_over, stop, serving)
}

#[tokio::test]
async fn threads_that_serve_nobody_any_more_are_told_of() {
    let (parts, _, _, _folder) = parts(&MemoryChats::default()).await;
    let (hand_over, handed_over) = mpsc::channel(8);
    let peer = "127.0.0.1:1".parse().unwrap();
    let accept = move |stream| Ok(Connection { stream, head: Bytes::new(), peer, tls: false, held: Box::new(()) });
    let config = ApiConfig { threads: 1, ..ApiConfig::default() };
    let mut threads = start(config, parts, Metrics::default(), handed_over, accept).unwrap();
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    hand_over.send(server).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(&mut client).await.starts_with(b"HTTP/1.1 200"));
    assert!(futures_util::poll!(std::pin::pin!(threads.failed())).is_pending(), "they serve");
    drop(hand_over);
    threads.failed().await;
    threads.stop(Duration::from_secs(1)).await;
}

async fn to_end(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    bytes
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_or_none_is_closed() {
    let (hand_over, _stop, _serving) = piped(|config| config.idle_timeout = Duration::from_millis(50)).await;
    for sent in ["", "GET / HTTP/1.1\r\nHost: ", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        hand_over.send(server).await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        let answered = to_end(&mut client).await;
        assert_eq!(answered.starts_with(b"HTTP/1.1 200"), sent.ends_with("\r\n\r\n"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_client_that_sends_its_body_slowly_is_answered_in_time() {
    let (hand_over, _stop, _serving) = piped(|config| config.request_timeout = Duration::from_millis(50)).await;
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    hand_over.send(server).await.unwrap();
    client
        .write_all(b"POST /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    let answer = Answer::parse(&to_end(&mut client).await);
    assert_eq!(answer.refusal(), (504, "outcome_unknown".into()));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    let (hand_over, _stop, _serving) = piped(|config| config.write_timeout = Duration::from_millis(50)).await;
    // The page is larger than the pipe.
    let (mut client, server) = tokio::io::duplex(512);
    hand_over.send(server).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // Writing fails once the server has let go of its end.
    while client.write_all(b"x").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn heads_and_header_counts_above_their_limits_are_refused() {
    let (hand_over, _stop, _serving) = piped(|_| {}).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(100));
    for head in [long.as_str(), &many, "\u{0}\u{1}garbage\r\n\r\n"] {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        hand_over.send(server).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        let answered = to_end(&mut client).await;
        assert!(answered.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answered));
    }
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_room_is_given_back() {
    let (hand_over, _stop, _serving) = piped(|config| config.connections_max = 1).await;
    let (mut first, server) = tokio::io::duplex(64 * 1024);
    hand_over.send(server).await.unwrap();
    let (mut second, server) = tokio::io::duplex(64 * 1024);
    hand_over.send(server).await.unwrap();
    assert_eq!(to_end(&mut second).await, b"");
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(&mut first).await.starts_with(b"HTTP/1.1 200"));
    loop {
        let (mut third, server) = tokio::io::duplex(64 * 1024);
        hand_over.send(server).await.unwrap();
        drop(third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await);
        // The first's place is free a moment after its answer.
        if to_end(&mut third).await.starts_with(b"HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_then_the_api() {
    let server = Server::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.send(true).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    server.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_api_serves_and_stops_on_threads_of_its_own() {
    let (parts, _, _, _folder) = parts(&MemoryChats::default()).await;
    let (hand_over, handed_over) = mpsc::channel::<std::net::TcpStream>(8);
    let peer = "127.0.0.1:1".parse().unwrap();
    let accept = move |socket: std::net::TcpStream| {
        socket.set_nonblocking(true)?;
        Ok(Connection {
            stream: TcpStream::from_std(socket)?,
            head: Bytes::new(),
            peer,
            tls: false,
            held: Box::new(()),
        })
    };
    let api = start(ApiConfig::default(), parts, Metrics::default(), handed_over, accept).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    hand_over.send(listener.accept().unwrap().0).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    api.stop(Duration::from_secs(5)).await;
    assert!(hand_over.is_closed());
}
