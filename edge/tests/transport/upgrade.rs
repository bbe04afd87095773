//! The first request of a connection: upgraded, handed over, refused, or too slow.

use panda_access::FleetSecret;
use panda_edge::admission::{AdmissionLimits, Counted, Gate, Refusal};
use panda_edge::transport::socket::Socket;
use panda_edge::transport::tls::Identity;
use panda_edge::transport::websocket::{Accepted, WebSocketRules, accept, refuse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::support::{
    body_of, connector, counted, frame, hasty_gate, patient_gate, recv, tcp_pair, upgrade_head, within,
};

/// What becomes of a connection that sends these bytes, and what it is answered if that ends it.
async fn answered(head: &str, rules: &WebSocketRules) -> (Accepted, String) {
    let (server, peer, mut client) = tcp_pair().await;
    let gate = patient_gate();
    let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
    let talking = async {
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2_048];
        let len = client.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..len].to_vec()).unwrap()
    };
    let accepting = accept(server, peer, handshake, rules);
    tokio::pin!(talking);
    let accepted = tokio::select! {
        accepted = within(accepting) => accepted,
        answer = &mut talking => panic!("the server answered and goes on: {answer}"),
    };
    match accepted {
        Accepted::Http(_) => (accepted, String::new()),
        _ => (accepted, within(talking).await),
    }
}

async fn refused_with(head: &str) -> String {
    let (server, peer, mut client) = tcp_pair().await;
    let gate = patient_gate();
    let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
    let rules = WebSocketRules { tls: None, origins: vec!["https://listed.example".into()], api_only: false };
    let talking = async {
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (accepted, answer) = within(async { tokio::join!(accept(server, peer, handshake, &rules), talking) }).await;
    assert!(matches!(accepted, Accepted::Ended));
    assert_eq!((gate.handshakes(), counted(&gate, Counted::Abandoned)), (0, 1));
    answer
}

#[tokio::test]
async fn a_correct_upgrade_names_the_subprotocol() {
    let (accepted, answer) = answered(&upgrade_head(|head| head), &WebSocketRules::default()).await;
    assert!(matches!(accepted, Accepted::WebSocket(..)));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Protocol: panda.1\r\n"), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_with_403() {
    let with = |origin: &str| upgrade_head(|head| head.replacen("\r\n", &format!("\r\nOrigin: {origin}\r\n"), 1));
    let answer = refused_with(&with("https://evil.example")).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(r#""code":1307"#), "{answer}");
    assert!(answer.contains("http.origins"), "it says where the origin is to be added: {answer}");
    let rules = WebSocketRules { tls: None, origins: vec!["https://listed.example".into()], api_only: false };
    for allowed in ["https://listed.example", "http://localhost:8080"] {
        let (accepted, _) = answered(&with(allowed), &rules).await;
        assert!(matches!(accepted, Accepted::WebSocket(..)), "{allowed}");
    }
}

#[tokio::test]
async fn a_wrong_upgrade_is_told_what_is_wrong() {
    for (from, to, status) in [
        ("Version: 13", "Version: 8", "426"),
        ("Upgrade: websocket", "Upgrade: h2c", "426"),
        ("keep-alive, Upgrade", "keep-alive", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("panda.1", "panda.2", "400"),
        ("GET", "POST", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("Host: localhost:8080\r\n", "", "400"),
        ("Host: localhost:8080\r\n", "Host: a\r\nHost: b\r\n", "400"),
        ("Host: ", "Ho st: ", "400"),
        ("GET", "\u{16}\u{3}\u{1}", "400"),
    ] {
        let answer = refused_with(&upgrade_head(|head| head.replacen(from, to, 1))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn every_refusal_has_the_requests_id_or_a_new_one() {
    let with = |field: &str| {
        let wrong = upgrade_head(|head| head.replacen("Version: 13", "Version: 8", 1));
        wrong.replacen("\r\n", &format!("\r\n{field}\r\n"), 1)
    };
    let id_of = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("X-Request-Id: "));
        line.unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
    };
    let given = refused_with(&with("X-Request-ID: proxy-1.a_B")).await;
    assert_eq!(id_of(&given), "proxy-1.a_B");
    for none in ["X-Other: x".to_owned(), "X-Request-Id: a b".to_owned(), format!("X-Request-Id: {}", "x".repeat(65))] {
        let (one, other) = (refused_with(&with(&none)).await, refused_with(&with(&none)).await);
        assert_eq!(id_of(&one).len(), 16, "{one}");
        assert_ne!(id_of(&one), id_of(&other));
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024));
    assert_eq!(id_of(&refused_with(&long).await).len(), 16);
}

#[tokio::test]
async fn a_head_above_its_limits_is_refused() {
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024));
    assert!(refused_with(&long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(65));
    assert!(refused_with(&many).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn an_http_request_is_handed_over_whole() {
    let request = "POST /login HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let (server, peer, mut client) = tcp_pair().await;
    let gate = patient_gate();
    let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let accepted = within(accept(server, peer, handshake, &WebSocketRules::default())).await;
    let Accepted::Http(handed) = accepted else { panic!("not handed over") };
    assert_eq!(handed.peer, client.local_addr().unwrap());
    assert_eq!((gate.handshakes(), counted(&gate, Counted::HandedOver)), (0, 1));
    let mut handed = handed.adopt().unwrap();
    // What was not read yet is still in the socket.
    let mut rest = vec![0; request.len() - handed.head.len()];
    within(handed.socket.read_exact(&mut rest)).await.unwrap();
    assert_eq!([&handed.head[..], &rest].concat(), request.as_bytes());
    handed.socket.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    within(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn half_open_handshakes_time_out() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let tls = identity.https_config(&FleetSecret::generate().unwrap()).unwrap();
    for (tls, sent) in [(None, ""), (None, "GET /ws HTTP/1.1\r\nHost: h\r\n"), (Some(tls), "\u{16}\u{3}\u{1}")] {
        let rules = WebSocketRules { tls, origins: Vec::new(), api_only: false };
        let (server, peer, mut client) = tcp_pair().await;
        let gate = hasty_gate();
        let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        let accepted = within(accept(server, peer, handshake, &rules)).await;
        assert!(matches!(accepted, Accepted::Ended));
        assert_eq!((gate.handshakes(), counted(&gate, Counted::TimedOut)), (0, 1));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let (server, peer, mut client) = tcp_pair().await;
    let gate = patient_gate();
    let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
    client.write_all(b"GET /ws").await.unwrap();
    drop(client);
    assert!(matches!(within(accept(server, peer, handshake, &WebSocketRules::default())).await, Accepted::Ended));
    assert_eq!((gate.handshakes(), counted(&gate, Counted::Abandoned)), (0, 1));
}

#[tokio::test]
async fn a_turned_away_connection_hears_when_to_come_back() {
    for (refusal, status, wait) in [
        (Refusal::Address, "429", Refusal::Address.retry_after_s()),
        (Refusal::Sessions, "503", Refusal::Sessions.retry_after_s()),
        (Refusal::Handshakes, "503", Refusal::Handshakes.retry_after_s()),
    ] {
        let (server, _, mut client) = tcp_pair().await;
        client.write_all(upgrade_head(|head| head).as_bytes()).await.unwrap();
        server.readable().await.unwrap();
        refuse(server, refusal, &WebSocketRules::default());
        let mut answer = String::new();
        within(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(&format!("Retry-After: {wait}\r\n")), "{answer}");
        assert!(answer.contains(&format!(r#""retry_after_ms":{}}}"#, wait * 1_000)), "{answer}");
    }
}

#[tokio::test]
async fn tls_carries_the_upgrade_and_resumes_on_another_edge() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let fleet = FleetSecret::generate().unwrap();
    let connector = connector(folder.path());
    let gate = Gate::new(AdmissionLimits::default());
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        // Each turn is an edge of its own: only the fleet's secret is shared.
        let rules =
            WebSocketRules { tls: Some(identity.https_config(&fleet).unwrap()), origins: Vec::new(), api_only: false };
        let (server, peer, client) = tcp_pair().await;
        let handshake = gate.admit(peer.ip(), Instant::now()).unwrap();
        let talking = async {
            let mut client = connector.connect("localhost".try_into().unwrap(), client).await.unwrap();
            client.write_all(upgrade_head(|head| head).as_bytes()).await.unwrap();
            let mut answer = vec![0; 1_024];
            let len = client.read(&mut answer).await.unwrap();
            assert!(answer[..len].starts_with(b"HTTP/1.1 101 "));
            let small = frame(3);
            let mut message = vec![0x82, 0x80 | u8::try_from(small.len()).unwrap(), 0, 0, 0, 0];
            message.extend_from_slice(&small);
            client.write_all(&message).await.unwrap();
            client
        };
        let (accepted, client) = within(async { tokio::join!(accept(server, peer, handshake, &rules), talking) }).await;
        let Accepted::WebSocket(mut socket, _handshake) = accepted else { panic!("not upgraded") };
        assert_eq!(recv(&mut socket).await.unwrap().body, body_of(&frame(3), 3));
        assert_eq!(client.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn a_bare_connection_is_handed_over_as_such() {
    let (accepted, _) = answered("GET / HTTP/1.1\r\n\r\n", &WebSocketRules::default()).await;
    let Accepted::Http(handed) = accepted else { panic!("not handed over") };
    assert!(!handed.socket.is_secure() && matches!(handed.socket, Socket::Plain(_)));
}
