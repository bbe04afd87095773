//! One session that asks for more than it may, as fast as it can.

use std::collections::HashMap;

use bytes::Bytes;
use panda_client::TransportKind;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{
    ChatInfo, Command, CommandBody, Frame, Ping, Pong, RequestId, Subscribe, Sync, SyncEntry, Unsubscribe,
};
use panda_protocol::limits::REQUESTS_IN_FLIGHT_MAX;
use panda_protocol::{ChatId, Counter, ErrorCode};

use crate::raw::Raw;
use crate::scene::{Scene, TRANSPORTS};
use crate::support::user;

/// Subscribes of one session: a million, but for the slow code of a debug build.
const SUBSCRIBES: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
const SYNCS: u64 = 100;
const CHATS_A_SYNC: u64 = 256;
const INFOS: u64 = 10_000;
const COMMANDS: u64 = 2_000;
const PINGS: u64 = 50_000;
/// Frames that are sent in one piece.
const PIECE: u64 = 200;
/// Chats and inboxes that the bystanders, and who floods, keep in the router's memory.
const RESIDENT: i64 = 16;

/// A chat that is not there.
fn nowhere(number: u64) -> ChatId {
    let mut random = [0; 16];
    random[8..].copy_from_slice(&number.to_be_bytes());
    random[0] = 0x41;
    ChatId::from_bytes(random).unwrap()
}

fn entry(chat: ChatId) -> SyncEntry {
    SyncEntry { chat, cursor: None, proof: Bytes::new() }
}

/// Frames in pieces of many.
fn pieces(count: u64, frame: impl Fn(u64) -> Frame) -> impl Iterator<Item = Vec<u8>> {
    (0..count.div_ceil(PIECE)).map(move |piece| {
        let numbers = piece * PIECE..count.min((piece + 1) * PIECE);
        numbers.flat_map(|number| frame(number).to_bytes()).collect()
    })
}

async fn answers(raw: &mut Raw) {
    raw.say(Ping { nonce: 7 }).await;
    assert_eq!(raw.next().await, Some(Pong { nonce: 7 }.into()), "the session goes on");
}

/// The code of a refusal, which is one of these.
fn refused(frame: &Frame, known: &[ErrorCode]) -> ErrorCode {
    let Frame::Error(error) = frame else { panic!("{frame:?}") };
    *known.iter().find(|code| **code as u16 == error.code).unwrap_or_else(|| panic!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_subscribes_are_each_answered_and_nothing_of_them_stays() {
    let mut scene = Scene::new().await;
    let mut raw = scene.open(TransportKind::WebSocket).await;
    let subscribe = |number| Subscribe { request: RequestId(number), entry: entry(nowhere(number)) }.into();
    let mut answered = 0;
    raw.flood(pieces(SUBSCRIBES, subscribe), |frame| {
        if !matches!(frame, Frame::Ping(_)) {
            refused(&frame, &[ErrorCode::NotFound, ErrorCode::TooManyInFlight, ErrorCode::Unavailable]);
            answered += 1;
        }
        answered == SUBSCRIBES
    })
    .await;
    scene.nobody_notices().await;
    scene.until(|metrics, _| metrics.subscriptions.get() == 1 && scene.server.resident() <= RESIDENT).await;
    answers(&mut raw).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_syncs_is_answered_chat_by_chat() {
    let mut scene = Scene::new().await;
    for transport in TRANSPORTS {
        let mut raw = scene.open(transport).await;
        let sync = |number| {
            let chats = (number * CHATS_A_SYNC..(number + 1) * CHATS_A_SYNC).map(|chat| entry(nowhere(chat)));
            Sync { request: RequestId(number), chats: chats.collect() }.into()
        };
        // Small pieces: a Sync is large.
        let syncs = (0..SYNCS).map(|number| Frame::to_bytes(&sync(number)).to_vec());
        let mut outcomes: HashMap<RequestId, u64> = HashMap::new();
        let mut ended = 0;
        raw.flood(syncs, |frame| {
            match frame {
                Frame::Synced(synced) => {
                    assert!(synced.chats.iter().all(|chat| chat.outcome.is_err()));
                    *outcomes.entry(synced.request).or_default() += synced.chats.len() as u64;
                    ended += u64::from(synced.last);
                }
                Frame::Ping(_) => {}
                other => panic!("{other:?}"),
            }
            ended == SYNCS
        })
        .await;
        assert!((0..SYNCS).all(|request| outcomes[&RequestId(request)] == CHATS_A_SYNC), "{outcomes:?}");
        answers(&mut raw).await;
        scene.nobody_notices().await;
    }
    scene.until(|metrics, _| metrics.subscriptions.get() == 1 && scene.server.resident() <= RESIDENT).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_may_wait_are_too_many_in_flight() {
    let mut scene = Scene::new().await;
    for transport in TRANSPORTS {
        let mut raw = scene.open(transport).await;
        let info = |number| ChatInfo { request: RequestId(number), chat: nowhere(number) }.into();
        let (mut answered, mut too_many) = (0, 0);
        raw.flood(pieces(INFOS, info), |frame| {
            let code = refused(&frame, &[ErrorCode::NotFound, ErrorCode::TooManyInFlight]);
            too_many += u64::from(code == ErrorCode::TooManyInFlight);
            answered += 1;
            answered == INFOS
        })
        .await;
        let waited = INFOS - too_many;
        assert!(too_many > 0 && waited >= REQUESTS_IN_FLIGHT_MAX as u64, "{too_many} of {INFOS} were refused");
        answers(&mut raw).await;
        scene.nobody_notices().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_beyond_the_rate_are_rate_limited_and_answered_in_their_order() {
    let mut scene = Scene::new().await;
    for transport in TRANSPORTS {
        let ada = scene.server.join(user(), transport).await;
        let (chat, _) = ada.client.create_group("flood".into(), Vec::new()).await.unwrap();
        let mut raw = scene.open_as(transport, ada.user).await;
        let send = |number| {
            let body = CommandBody::Send { format: MessageFormat::Text, text: "again".into() };
            let (counter, after) = (Counter(number + 1), Counter(number));
            Command { request: RequestId(number), entity: chat.into(), counter, after, body, trace: None }.into()
        };
        let (mut next, mut limited) = (0, 0);
        raw.flood(pieces(COMMANDS, send), |frame| {
            let request = match &frame {
                Frame::Ack(ack) => ack.request,
                Frame::Error(error) => {
                    let known = [ErrorCode::RateLimited, ErrorCode::TooManyInFlight, ErrorCode::OutOfOrder];
                    if refused(&frame, &known) == ErrorCode::RateLimited {
                        assert!(error.retry_after_ms > 0);
                        limited += 1;
                    }
                    error.request
                }
                // The inbox tells of the chat.
                Frame::Event(_) => return false,
                other => panic!("{other:?}"),
            };
            assert_eq!(request, RequestId(next), "in the order in which they were sent");
            next += 1;
            next == COMMANDS
        })
        .await;
        assert!(limited > 0);
        answers(&mut raw).await;
        scene.nobody_notices().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_answered_ping_by_ping() {
    let mut scene = Scene::new().await;
    for transport in TRANSPORTS {
        let mut raw = scene.open(transport).await;
        let mut next = 0;
        raw.flood(pieces(PINGS, |nonce| Ping { nonce }.into()), |frame| {
            assert_eq!(frame, Pong { nonce: next }.into());
            next += 1;
            next == PINGS
        })
        .await;
        scene.nobody_notices().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_above_the_limit_is_too_many_subscriptions() {
    let mut scene = Scene::with(|config| config.session.subscriptions_max = 3).await;
    for transport in TRANSPORTS {
        let ada = scene.server.join(user(), transport).await;
        let mut chats = Vec::new();
        for name in ["one", "two", "three", "four"] {
            chats.push(ada.client.create_group(name.into(), Vec::new()).await.unwrap().0);
        }
        let mut raw = scene.open_as(transport, ada.user).await;
        for chat in &chats[..3] {
            raw.subscribe(*chat, None).await;
        }
        let fourth = entry(chats[3]);
        raw.say(Subscribe { request: RequestId(4), entry: fourth.clone() }).await;
        refused(&raw.next().await.unwrap(), &[ErrorCode::TooManySubscriptions]);
        raw.say(Sync { request: RequestId(5), chats: vec![fourth, entry(chats[0])] }).await;
        let mut outcomes = HashMap::new();
        while outcomes.len() < 2 {
            let Some(Frame::Synced(synced)) = raw.next().await else { panic!("not synced") };
            outcomes.extend(synced.chats.into_iter().map(|one| (one.chat, one.outcome)));
        }
        assert_eq!(outcomes[&chats[3]], Err((ErrorCode::TooManySubscriptions as u16, 0)));
        assert!(outcomes[&chats[0]].is_ok(), "one that is there begins anew");
        raw.say(Unsubscribe { request: RequestId(6), chat: chats[1] }).await;
        assert!(matches!(raw.next().await, Some(Frame::Unsubscribed(_))));
        raw.subscribe(chats[3], None).await;
        scene.nobody_notices().await;
    }
    scene.end().await;
}
