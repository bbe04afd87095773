//! Sessions that are open and hardly move.

use panda_client::TransportKind;
use panda_protocol::frame::{Frame, Ping};
use panda_protocol::framing::frame_bytes;
use panda_protocol::{ErrorCode, Seq, Text};

use crate::raw::{Raw, hello};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::user;

/// Twice this in silence ends a session. Long enough for the bystanders of a busy machine.
const HEARTBEAT_MS: u64 = 2_000;
const OUTBOX_BYTES_MAX: usize = 64 * 1024;

async fn scene_of_short_heartbeats() -> Scene {
    Scene::with(|config| config.session.heartbeat_ms = HEARTBEAT_MS).await
}

/// Pings, and then a goodbye because nothing was heard.
fn was_given_up(frames: &[Frame]) -> bool {
    let Some((Frame::Bye(bye), pings)) = frames.split_last() else { return false };
    bye.code == ErrorCode::HeartbeatTimeout as u16 && pings.iter().all(|frame| matches!(frame, Frame::Ping(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_says_nothing_is_asked_and_then_heartbeat_timeout() {
    let scene = scene_of_short_heartbeats().await;
    let silent = async |transport| scene.open(transport).await.frames_until_the_end().await;
    let (websocket, quic) = tokio::join!(silent(TransportKind::WebSocket), silent(TransportKind::Quic));
    for frames in [websocket, quic] {
        assert!(frames.len() > 1 && was_given_up(&frames), "{frames:?}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_a_second_inside_a_frame_is_no_sign_of_life() {
    let scene = scene_of_short_heartbeats().await;
    // A frame that is skipped, of a length that is never reached.
    let frame = frame_bytes(0xf0, 60_000, |out| out.raw(&[0; 60_000]));
    let drip = async |transport| {
        let mut raw = scene.open(transport).await;
        let bytes = raw.bare_bytes(&frame);
        raw.drip(&bytes).await
    };
    let (websocket, quic) = tokio::join!(drip(TransportKind::WebSocket), drip(TransportKind::Quic));
    for frames in [websocket, quic] {
        assert!(was_given_up(&frames), "{frames:?}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_never_reads_is_not_answered_beyond_the_bound() {
    let scene = Scene::with(|config| {
        config.session.heartbeat_ms = HEARTBEAT_MS;
        config.session.outbox_bytes_max = OUTBOX_BYTES_MAX;
    })
    .await;
    let most = async |transport| {
        let mut raw = scene.open(transport).await;
        let pings = Frame::from(Ping { nonce: 1 << 40 }).to_bytes().repeat(1_000);
        let mut most = 0;
        // Until the server, which is not read from either, gives the session up.
        while raw.try_send(&pings).await {
            most = most.max(scene.server.edge.metrics().outbox_bytes.get());
        }
        most
    };
    let (websocket, quic) = tokio::join!(most(TransportKind::WebSocket), most(TransportKind::Quic));
    // Two such sessions: half of the bound each and what one more turn of 64 frames brings, and the bystanders.
    let bound = i64::try_from(2 * OUTBOX_BYTES_MAX).unwrap();
    assert!(websocket.max(quic) <= bound, "{websocket} and {quic} bytes waited");
    scene.until(|metrics, _| metrics.connections.get() == 2).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_and_never_reads_is_cut_and_others_of_the_chat_and_beside_it_are_not_held_up() {
    let mut scene = Scene::with(|config| {
        config.session.outbox_bytes_max = OUTBOX_BYTES_MAX;
        config.session.commands_per_second = 1_000_000;
    })
    .await;
    let (ada, ben) = (scene.server.join(user(), TransportKind::WebSocket).await, user());
    let (chat, _) = ada.client.create_group("storm".into(), vec![ben]).await.unwrap();
    let mut readers_not = Vec::new();
    for transport in TRANSPORTS {
        let (mut raw, _) = Raw::open_with(&scene.server, transport, hello(scene.server.token(ben))).await;
        let admission = raw.subscribe(chat, None).await;
        readers_not.push((raw, admission.from));
    }
    let text = Text::from("x".repeat(16 * 1024));
    let (mut last, mut most) = (Seq(0), 0);
    // Sockets take a few megabytes before an outbox waits at all.
    while scene.server.edge.metrics().cuts.get() < 2 {
        last = ada.client.send(chat, text.clone()).await.unwrap();
        most = most.max(scene.server.edge.metrics().outbox_bytes.get());
        assert!(last < Seq(5_000), "nobody was cut in {last:?} events");
    }
    let bound = i64::try_from(2 * OUTBOX_BYTES_MAX + 128 * 1024).unwrap();
    assert!(most <= bound, "{most} bytes waited");
    scene.nobody_notices().await;
    // Once they read, nothing is missing.
    for (mut raw, from) in readers_not {
        let mut next = from;
        while next <= last {
            if let Some(Frame::Event(event)) = raw.next().await {
                let seq = panda_protocol::event::peek_seq(&event.event).unwrap();
                if event.entity == chat.into() {
                    assert_eq!(seq, next, "no gap and nothing twice");
                    next = next.next();
                }
            }
        }
    }
    scene.end().await;
}
