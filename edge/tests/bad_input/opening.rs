//! Hellos that open nothing, each with its code.

use bytes::{BufMut as _, Bytes, BytesMut};
use panda_client::TransportKind;
use panda_protocol::frame::{Frame, Hello, Ping, Pong, Refresh, RequestId};
use panda_protocol::framing::{frame_bytes, next_frame};
use panda_protocol::limits::{CLIENT_NAME_BYTES_MAX, HELLO_BYTES_MAX, TICKET_BYTES_MAX, TOKEN_BYTES_MAX};
use panda_protocol::{DeviceId, ErrorCode};

use crate::raw::{Raw, hello, hello_with_ticket};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::{Server, now, user};

/// The code with which the server ends a connection that begins with this Hello.
async fn refused(scene: &Scene, transport: TransportKind, hello: Hello) -> ErrorCode {
    let mut raw = Raw::connect(&scene.server, transport).await;
    raw.say(hello).await;
    raw.code().await
}

/// Each Hello is refused with the code, over both transports, and nobody else notices.
async fn all_refused(scene: &mut Scene, hellos: impl IntoIterator<Item = Hello>, code: ErrorCode) {
    for hello in hellos {
        for transport in TRANSPORTS {
            assert_eq!(refused(scene, transport, hello.clone()).await, code, "{transport:?}: {hello:?}");
        }
    }
    scene.nobody_notices().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_token_invalid() {
    let mut scene = Scene::new().await;
    let elsewhere = Server::start(Default::default()).await;
    let good = scene.server.token(user());
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let other_signature = format!("{unsigned}.{}", scene.server.token(user()).rsplit_once('.').unwrap().1);
    let tokens = [
        elsewhere.token(user()),
        other_signature,
        format!("{unsigned}."),
        unsigned.to_owned(),
        // `{"alg":"none"}`, with the claims of a good one.
        format!("eyJhbGciOiJub25lIn0.{}.", unsigned.split_once('.').unwrap().1),
        "garbage".to_owned(),
        String::new(),
        "x".repeat(TOKEN_BYTES_MAX),
    ];
    all_refused(&mut scene, tokens.map(hello), ErrorCode::TokenInvalid).await;
    elsewhere.stop().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_defect_of_a_token_has_its_code_in_a_hello_and_in_a_refresh() {
    let mut scene = Scene::new().await;
    let somebody = user();
    let mut raw = scene.open_as(TransportKind::WebSocket, somebody).await;
    let defects = scene.server.forger.defects(somebody, now().0 / 1_000_000);
    for (place, (defect, token, code)) in defects.into_iter().enumerate() {
        let request = RequestId(u64::try_from(place).unwrap());
        raw.say(Refresh { request, token: token.as_str().into() }).await;
        match (raw.next().await, code) {
            (Some(Frame::Error(error)), Some(code)) => {
                assert_eq!((error.request, error.code), (request, code as u16), "{defect}")
            }
            (Some(Frame::Refreshed(_)), None) => {}
            (other, code) => panic!("{defect}: {code:?}, and not {other:?}"),
        }
        if let Some(code) = code {
            all_refused(&mut scene, [hello(token)], code).await;
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_token_expired() {
    let mut scene = Scene::new().await;
    let expired = hello(scene.server.expired_token(user()));
    all_refused(&mut scene, [expired], ErrorCode::TokenExpired).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_or_changed_ticket_is_ticket_invalid() {
    let mut scene = Scene::new().await;
    let elsewhere = Server::start(Default::default()).await;
    let (who, device) = (user(), DeviceId::from_random(rand::random()));
    let with = |server: &Server| Hello { device, ..hello(server.token(who)) };
    let (_, foreign) = Raw::open_with(&elsewhere, TransportKind::WebSocket, with(&elsewhere)).await;
    let (_own, own) = Raw::open_with(&scene.server, TransportKind::WebSocket, with(&scene.server)).await;
    let mut changed = BytesMut::from(&own.ticket[..]);
    changed[20] ^= 1;
    let short = own.ticket.slice(1..);
    let mut long = BytesMut::from(&own.ticket[..]);
    long.put_u8(0);
    let tickets = [
        foreign.ticket,
        changed.freeze(),
        short,
        long.freeze(),
        Bytes::new(),
        Bytes::from(vec![7; TICKET_BYTES_MAX]),
        // A token is no ticket.
        Bytes::from(scene.server.token(who)).slice(..100),
    ];
    all_refused(&mut scene, hellos_of(device, tickets), ErrorCode::TicketInvalid).await;
    // What was changed was good.
    let (_raw, _) = Raw::open_with(&scene.server, TransportKind::Quic, hello_with_ticket(device, own.ticket)).await;
    elsewhere.stop().await;
    scene.end().await;
}

fn hellos_of(device: DeviceId, tickets: impl IntoIterator<Item = Bytes>) -> impl Iterator<Item = Hello> {
    tickets.into_iter().map(move |ticket| hello_with_ticket(device, ticket))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_another_device_is_ticket_invalid() {
    let mut scene = Scene::new().await;
    let (mut victim, welcome) =
        Raw::open_with(&scene.server, TransportKind::WebSocket, hello(scene.server.token(user()))).await;
    let stolen = hello_with_ticket(DeviceId::from_random(rand::random()), welcome.ticket);
    all_refused(&mut scene, [stolen], ErrorCode::TicketInvalid).await;
    victim.say(Ping { nonce: 1 }).await;
    assert_eq!(victim.next().await, Some(Pong { nonce: 1 }.into()), "whose ticket it is was not replaced");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_anothers_device_gets_a_device_of_that_name_and_replaces_nobody() {
    let scene = Scene::new().await;
    let claimed = DeviceId::from_random(rand::random());
    let mut sessions = Vec::new();
    for transport in TRANSPORTS {
        let hello = Hello { device: claimed, ..hello(scene.server.token(user())) };
        sessions.push(Raw::open_with(&scene.server, transport, hello).await.0);
    }
    for (nonce, session) in (1..).zip(&mut sessions) {
        session.say(Ping { nonce }).await;
        assert_eq!(session.next().await, Some(Pong { nonce }.into()));
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_with_a_wrong_token_is_refused_and_the_session_goes_on() {
    let scene = Scene::new().await;
    let mut raw = scene.open(TransportKind::WebSocket).await;
    for (request, token, code) in [
        (1, "garbage".to_owned(), ErrorCode::TokenInvalid),
        (2, scene.server.expired_token(user()), ErrorCode::TokenExpired),
        // Another user's.
        (3, scene.server.token(user()), ErrorCode::TokenInvalid),
    ] {
        let request = RequestId(request);
        raw.say(Refresh { request, token: token.into() }).await;
        let Some(Frame::Error(error)) = raw.next().await else { panic!("request {request:?} was not refused") };
        assert_eq!((error.request, error.code), (request, code as u16));
    }
    raw.say(Ping { nonce: 1 }).await;
    assert_eq!(raw.next().await, Some(Pong { nonce: 1 }.into()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_versions_are_version_unsupported() {
    let mut scene = Scene::new().await;
    let token = scene.server.token(user());
    let of = |(version_min, version_max)| Hello { version_min, version_max, ..hello(&token) };
    let versions = [(0, 0), (2, 2), (2, 9), (7, (1 << 62) - 1)];
    all_refused(&mut scene, versions.map(of), ErrorCode::VersionUnsupported).await;
    all_refused(&mut scene, [of((2, 1))], ErrorCode::Malformed).await;
    for transport in TRANSPORTS {
        // What a later version has in its Hello is not looked at.
        let later = frame_bytes(0x01, 64, |out| out.raw(&[2, 9, 0, 0x7f, 0xff, 0xff]));
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&later).await;
        assert_eq!(raw.code().await, ErrorCode::VersionUnsupported, "{transport:?}");
    }
    // Both speak version 1.
    let (_raw, welcome) = Raw::open_with(&scene.server, TransportKind::Quic, of((0, 9))).await;
    assert_eq!(welcome.version, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_above_4_kib_is_frame_too_large_and_one_with_long_fields_malformed() {
    let mut scene = Scene::new().await;
    let token = scene.server.token(user());
    // Exactly so long, by bytes behind its last field.
    let padded = |bytes: usize| {
        let mut whole = Frame::from(hello(&token)).to_bytes();
        let body = next_frame(&mut whole, HELLO_BYTES_MAX).unwrap().unwrap().body;
        frame_bytes(0x01, bytes, |out| {
            out.raw(&body);
            out.raw(&vec![0; bytes - 1 - body.len()]);
        })
    };
    for transport in TRANSPORTS {
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&padded(HELLO_BYTES_MAX)).await;
        assert!(matches!(raw.next().await, Some(Frame::Welcome(_))), "{transport:?}");
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&padded(HELLO_BYTES_MAX + 1)).await;
        assert_eq!(raw.code().await, ErrorCode::FrameTooLarge, "{transport:?}");
        // Its length alone suffices.
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&[0x50, 0x01]).await;
        assert_eq!(raw.code().await, ErrorCode::FrameTooLarge, "{transport:?}");
    }
    let long = [
        hello("x".repeat(TOKEN_BYTES_MAX + 1)),
        hello_with_ticket(DeviceId::from_random(rand::random()), Bytes::from(vec![0; TICKET_BYTES_MAX + 1])),
        Hello { client: "x".repeat(CLIENT_NAME_BYTES_MAX + 1).into(), ..hello(&token) },
    ];
    all_refused(&mut scene, long, ErrorCode::Malformed).await;
    scene.end().await;
}
