//! Bytes that are no frame, or none that may come now.

use bytes::Bytes;
use panda_client::TransportKind;
use panda_protocol::frame::{Ack, Bye, Chats, Frame, Ping, Pong, RequestId, Subscribe, SyncEntry};
use panda_protocol::framing::{frame_bytes, peek_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{ChatId, ErrorCode, Seq};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::raw::{Raw, hello, masked};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::{PATIENCE, user};

/// Connections that say nothing sensible.
const GARBAGE_CONNECTIONS: u64 = 150;

/// A session that was opened, or a connection that said no Hello.
#[derive(Clone, Copy, Debug)]
enum Moment {
    BeforeHello,
    Open,
}

/// The code with which these bytes end a connection.
async fn code_of(scene: &Scene, transport: TransportKind, moment: Moment, bytes: &[u8]) -> ErrorCode {
    let mut raw = match moment {
        Moment::BeforeHello => Raw::connect(&scene.server, transport).await,
        Moment::Open => scene.open(transport).await,
    };
    raw.send(bytes).await;
    raw.code().await
}

/// Both before and after the Hello, over both transports, these bytes end the connection with the code.
async fn always(scene: &mut Scene, bytes: &[u8], code: ErrorCode) {
    for transport in TRANSPORTS {
        for moment in [Moment::BeforeHello, Moment::Open] {
            assert_eq!(code_of(scene, transport, moment, bytes).await, code, "{transport:?}, {moment:?}");
        }
    }
    scene.nobody_notices().await;
}

async fn answers(raw: &mut Raw) {
    raw.say(Ping { nonce: 7 }).await;
    assert_eq!(raw.next().await, Some(Pong { nonce: 7 }.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_frame_is_frame_too_large_at_its_length() {
    let mut scene = Scene::new().await;
    always(&mut scene, &[0x80, 0x01, 0x00, 0x01], ErrorCode::FrameTooLarge).await;
    always(&mut scene, &[0xff; 8], ErrorCode::FrameTooLarge).await;
    // The largest that may be, of a kind that is skipped.
    for transport in TRANSPORTS {
        let mut raw = scene.open(transport).await;
        raw.send(&frame_bytes(0xf0, 65_535, |out| out.raw(&[0; 65_535]))).await;
        answers(&mut raw).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_inside_a_frame_is_gone_and_nothing_of_it_stays() {
    let scene = Scene::new().await;
    let metrics = scene.server.edge.metrics();
    let before = metrics.connections.get();
    let subscribe = Subscribe {
        request: RequestId(1),
        entry: SyncEntry { chat: ChatId::direct(user(), user()), cursor: None, proof: Bytes::new() },
    };
    let hello = Frame::from(hello(scene.server.token(user()))).to_bytes();
    let subscribe = Frame::from(subscribe).to_bytes();
    for transport in TRANSPORTS {
        for cut in [1, 2, 10, hello.len() - 1] {
            let mut raw = Raw::connect(&scene.server, transport).await;
            // A message that was announced whole and is not.
            let whole = if transport == TransportKind::WebSocket { masked(0x82, &hello) } else { hello.to_vec() };
            raw.send_bare(&whole[..whole.len() - (hello.len() - cut)]).await;
            raw.finish().await;
            assert_eq!(raw.next().await, None, "{transport:?}, {cut}: nobody is there to be told");
        }
        let mut raw = scene.open(transport).await;
        let whole = if transport == TransportKind::WebSocket { masked(0x82, &subscribe) } else { subscribe.to_vec() };
        raw.send_bare(&whole[..whole.len() - 1]).await;
        raw.finish().await;
        assert_eq!(raw.next().await, None, "{transport:?}");
    }
    scene.until(|metrics, gate| metrics.connections.get() == before && gate("abandoned") == 8).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_frame_is_malformed() {
    let mut scene = Scene::new().await;
    // A body that is shorter than its fields, and a message that ends inside a frame.
    for transport in TRANSPORTS {
        for short in [&[1, 0x07][..], &[3, 0x13, 0x01, 0x31], &[1, 0x10], &[2, 0x20, 0x40]] {
            assert_eq!(code_of(&scene, transport, Moment::Open, short).await, ErrorCode::Malformed, "{short:?}");
        }
    }
    for moment in [Moment::BeforeHello, Moment::Open] {
        let code = code_of(&scene, TransportKind::WebSocket, moment, &[20, 0x01, 1]).await;
        assert_eq!(code, ErrorCode::Malformed);
    }
    always(&mut scene, &[0], ErrorCode::Malformed).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_varint_that_is_not_in_its_shortest_form_is_malformed() {
    let mut scene = Scene::new().await;
    for length in [&[0x40, 0x02, 0x07, 0x00][..], &[0x80, 0, 0, 2, 0x07, 0], &[0xc0, 0, 0, 0, 0, 0, 0, 2, 0x07, 0]] {
        always(&mut scene, length, ErrorCode::Malformed).await;
    }
    for transport in TRANSPORTS {
        let in_a_body = code_of(&scene, transport, Moment::Open, &[3, 0x07, 0x40, 0x01]).await;
        assert_eq!(in_a_body, ErrorCode::Malformed, "{transport:?}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_frame_type_is_unknown_frame_and_an_ignorable_one_skipped() {
    let mut scene = Scene::new().await;
    for kind in [0x00, 0x0c, 0x7f] {
        always(&mut scene, &[1, kind], ErrorCode::UnknownFrame).await;
    }
    for transport in TRANSPORTS {
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&[3, 0xf0, 1, 2]).await;
        raw.say(hello(scene.server.token(user()))).await;
        assert!(matches!(raw.next().await, Some(Frame::Welcome(_))), "{transport:?}");
        raw.send(&[3, 0xff, 1, 2]).await;
        answers(&mut raw).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_frame_at_a_wrong_moment_or_from_a_wrong_side_is_unexpected_frame() {
    let mut scene = Scene::new().await;
    let ack = Frame::from(Ack { request: RequestId(1), seq: Seq(1) }).to_bytes();
    always(&mut scene, &ack, ErrorCode::UnexpectedFrame).await;
    // A server's, whose body is not even looked at; a Head is known, so it is not skipped.
    for kind in [0x02, 0x12, 0x81] {
        always(&mut scene, &[1, kind], ErrorCode::UnexpectedFrame).await;
    }
    let again = Frame::from(hello(scene.server.token(user()))).to_bytes();
    for transport in TRANSPORTS {
        let second = code_of(&scene, transport, Moment::Open, &again).await;
        assert_eq!(second, ErrorCode::UnexpectedFrame, "{transport:?}: a second Hello");
        for early in [Frame::from(Ping { nonce: 1 }).to_bytes(), Bytes::from_static(&[1, 0x10])] {
            let early = code_of(&scene, transport, Moment::BeforeHello, &early).await;
            assert_eq!(early, ErrorCode::UnexpectedFrame, "{transport:?}: before the Hello");
        }
        // But for a goodbye, which is not answered.
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.say(Bye::new(ErrorCode::Going)).await;
        assert_eq!(raw.next().await, None);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_on_the_stream_for_pages_is_unexpected_frame() {
    let scene = Scene::new().await;
    for bytes in [&[2, 0x07, 0x01][..], &[1, 0x10]] {
        let mut raw = scene.open(TransportKind::Quic).await;
        raw.send_on_pages(bytes).await;
        assert_eq!(raw.code().await, ErrorCode::UnexpectedFrame);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_behind_the_one_for_pages_is_refused() {
    let scene = Scene::new().await;
    let mut raw = scene.open(TransportKind::Quic).await;
    let page = Frame::from(Chats { request: RequestId(1), after: None, limit: 10 }).to_bytes();
    // Each of them ends, and so the next one may be opened.
    assert!(raw.is_answered_on_another_stream(&page).await);
    for _ in 0..3 {
        assert!(!raw.is_answered_on_another_stream(&page).await);
    }
    raw.say(Ping { nonce: 7 }).await;
    assert!(matches!(raw.next().await, Some(Frame::Pong(pong)) if pong.nonce == 7));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_message_is_text_message() {
    let scene = Scene::new().await;
    for text in [masked(0x81, b"hello"), masked(0x81, &hello_bytes(&scene)), masked(0x01, b"")] {
        for moment in [Moment::BeforeHello, Moment::Open] {
            let mut raw = match moment {
                Moment::BeforeHello => Raw::connect(&scene.server, TransportKind::WebSocket).await,
                Moment::Open => scene.open(TransportKind::WebSocket).await,
            };
            raw.send_bare(&text).await;
            assert_eq!(raw.code().await, ErrorCode::TextMessage, "{moment:?}");
        }
    }
    scene.end().await;
}

fn hello_bytes(scene: &Scene) -> Bytes {
    Frame::from(hello(scene.server.token(user()))).to_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_vector_ends_a_session_with_its_code() {
    let scene = Scene::new().await;
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../protocol/vectors/malformed.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let (name, hex) = (vector["name"].as_str().unwrap(), vector["hex"].as_str().unwrap());
        let expected = vector["error"].as_str().unwrap().split(':').next().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        // A Hello is looked into where it may come, and what only a server says is refused by its type.
        let kind = peek_frame(&bytes, FRAME_BYTES_MAX).ok().flatten().and_then(|(prefix, _)| bytes.get(prefix));
        let mut raw = match kind {
            Some(0x01) => Raw::connect(&scene.server, TransportKind::WebSocket).await,
            _ => scene.open(TransportKind::WebSocket).await,
        };
        raw.send(&bytes).await;
        let code = match raw.next().await {
            Some(Frame::Bye(bye)) => bye.code,
            // Of a command too much is only refused.
            Some(Frame::Error(error)) => error.code,
            other => panic!("{name}: {other:?}"),
        };
        let code = ErrorCode::from_u16(code).unwrap();
        assert!(code.label() == expected || code == ErrorCode::UnexpectedFrame, "{name}: {code:?}, not {expected}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_whatever_it_is() {
    let mut scene = Scene::new().await;
    for seed in 0..GARBAGE_CONNECTIONS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut garbage = vec![0; random.random_range(1..2_000)];
        random.fill(&mut garbage[..]);
        let transport = TRANSPORTS[usize::try_from(seed % 2).unwrap()];
        let mut raw =
            if seed % 3 == 0 { Raw::connect(&scene.server, transport).await } else { scene.open(transport).await };
        raw.send(&garbage).await;
        raw.finish().await;
        // It may end inside a frame, or hold frames that are skipped or answered.
        while let Some(frame) = raw.next().await {
            let Frame::Bye(bye) = frame else { continue };
            assert!((1_300..1_400).contains(&bye.code), "seed {seed}: {bye:?}");
        }
    }
    scene.nobody_notices().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_http_or_quic_is_refused() {
    let mut scene = Scene::new().await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for seed in 0..GARBAGE_CONNECTIONS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut garbage = vec![0; random.random_range(1..1_400)];
        random.fill(&mut garbage[..]);
        udp.send_to(&garbage, scene.server.edge.quic_address().unwrap()).await.unwrap();
        // Not a letter, with which a method begins.
        garbage[0] |= 0x80;
        let mut stream = TcpStream::connect(scene.server.edge.http_address()).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is answered").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "seed {seed}: {}", String::from_utf8_lossy(&answer));
    }
    scene.nobody_notices().await;
    scene.end().await;
}
