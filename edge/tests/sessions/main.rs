//! Sessions over real sockets, with the real router and the durable store behind the edge.
#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test that needs it")]

mod damage;
mod limits;
#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{join, join_all};
use panda_client::{RequestError, Submitted, TransportKind, Update};
use panda_edge::SessionLimits;
use panda_protocol::event::{EventBody, MessageFormat};
use panda_protocol::frame::{CommandBody, Direction, SignalKind};
use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{ChatId, DeviceId, EntityId, ErrorCode, Seq, Text};
use support::{PATIENCE, Person, Server, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_talk_over_both_transports_and_a_removal_is_the_last_event() {
    let server = Server::start(SessionLimits::default()).await;
    let mut ada = server.join(user(), TransportKind::Quic).await;
    let mut ben = server.join(user(), TransportKind::WebSocket).await;

    let (chat, created) = ada.client.create_group("tea".into(), vec![ben.user]).await.unwrap();
    assert_eq!(created, Seq(1));
    // Ben learns of the chat from his inbox, without asking or reconnecting.
    let joined = ben.event(ben.user, Seq(1)).await;
    assert!(matches!(joined.body, EventBody::ChatJoined { chat: of, .. } if of == chat));
    ben.client.subscribe(chat, None).await.unwrap();
    ada.client.subscribe(chat, None).await.unwrap();

    let said = ada.client.send(chat, "\u{1F375}?".into()).await.unwrap();
    for person in [&mut ada, &mut ben] {
        let event = person.event(chat, said).await;
        assert!(matches!(&event.body, EventBody::MessageSent { text, .. } if text.as_str() == "\u{1F375}?"));
    }
    let answered = ben.client.send(chat, "yes".into()).await.unwrap();
    ada.event(chat, answered).await;
    ben.client.signal(chat, SignalKind::TYPING, Default::default());
    ada.until(|update| matches!(update, Update::Signal(signal) if signal.user == Some(ben.user))).await;

    let removal = CommandBody::RemoveMembers { members: vec![ben.user] };
    let removed = ada.client.submit(chat.into(), removal).await.unwrap().outcome().await.unwrap();
    let after = ada.client.send(chat, "he is gone".into()).await.unwrap();
    ada.event(chat, after).await;
    let mut last = Seq(0);
    ben.until(|update| match update {
        Update::Event { entity, seq, .. } if *entity == EntityId::from(chat) => {
            last = last.max(*seq);
            false
        }
        Update::Lost { code, .. } => *code == ErrorCode::NotMember as u16,
        _ => false,
    })
    .await;
    assert_eq!(last, removed, "the removal is the last event that the removed member gets");
    let refused = ben.client.send(chat, "let me in".into()).await.unwrap_err();
    assert!(matches!(refused, RequestError::Refused { code, .. } if code == ErrorCode::NotMember as u16));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_and_a_late_listener_get_everything() {
    let server = Server::start(SessionLimits { commands_per_second: 1_000_000, ..Default::default() }).await;
    let ada = server.join(user(), TransportKind::WebSocket).await;
    let mut ben = server.join(user(), TransportKind::Quic).await;
    let (chat, _) = ada.client.create_group("notes".into(), vec![ben.user]).await.unwrap();
    for number in 0..300 {
        ada.client.send(chat, Text::from(format!("note {number}"))).await.unwrap();
    }
    let page = ada.client.page(chat.into(), Direction::Forward, Seq(1), 256).await.unwrap();
    assert_eq!(page.events.len(), 256);
    let incarnation = page.incarnation;
    let cursor = panda_protocol::Cursor { incarnation, seq: Seq(0) };
    let admission = ben.client.subscribe(chat, Some(cursor)).await.unwrap();
    let mut next = admission.from;
    let head = admission.head;
    ben.until(|update| {
        if let Update::Event { entity, seq, .. } = update
            && *entity == EntityId::from(chat)
        {
            assert_eq!(*seq, next, "no gap and nothing twice");
            next = next.next();
        }
        next > head
    })
    .await;
    server.stop().await;
}

/// Longer than what the router reads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_longest_texts_ends_at_its_limit_or_at_an_end_of_the_chat() {
    let server = Server::start(SessionLimits { commands_per_second: 1_000_000, ..Default::default() }).await;
    let ada = server.join(user(), TransportKind::WebSocket).await;
    let (chat, _) = ada.client.create_group("notes".into(), Vec::new()).await.unwrap();
    for _ in 0..70 {
        ada.client.send(chat, Text::from("x".repeat(TEXT_BYTES_MAX))).await.unwrap();
    }
    for (direction, from, limit, found) in [
        (Direction::Backward, 72, 256, 72),
        (Direction::Backward, 72, 64, 64),
        (Direction::Forward, 3, 256, 70),
        (Direction::Forward, 3, 33, 33),
    ] {
        let page = ada.client.page(chat.into(), direction, Seq(from), limit).await.unwrap();
        assert_eq!(page.events.len(), found, "{direction:?} from {from}, at most {limit}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_does_not_read_is_cut_and_catches_up() {
    let limits = SessionLimits { outbox_bytes_max: 64 * 1024, commands_per_second: 1_000_000, ..Default::default() };
    let server = Server::start(limits).await;
    let ada = server.join(user(), TransportKind::WebSocket).await;
    for transport in [TransportKind::WebSocket, TransportKind::Quic] {
        let mut ben = server.join(user(), transport).await;
        let (chat, _) = ada.client.create_group("flood".into(), vec![ben.user]).await.unwrap();
        let admission = ben.client.subscribe(chat, None).await.unwrap();
        let cuts = server.edge.metrics().cuts.get();
        let text = Text::from("x".repeat(8 * 1024));
        let mut last = Seq(0);
        // Far more than socket buffers, the client's queue and the outbox hold together.
        for _ in 0..3_000 {
            last = ada.client.send(chat, text.clone()).await.unwrap();
        }
        let mut next = admission.head.next();
        ben.until(|update| {
            if let Update::Event { entity, seq, .. } = update
                && *entity == EntityId::from(chat)
            {
                assert_eq!(*seq, next, "no gap and nothing twice");
                next = next.next();
            }
            next > last
        })
        .await;
        assert!(server.edge.metrics().cuts.get() > cuts, "the outbox was cut");
        ben.client.close().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_a_device_replaces_the_older() {
    let server = Server::start(SessionLimits::default()).await;
    let (who, device) = (user(), DeviceId::from_random(rand::random()));
    let mut older = server.join_as(who, device, TransportKind::WebSocket).await;
    let newer = server.join_as(who, device, TransportKind::Quic).await;
    older.until(|update| matches!(update, Update::Ended { code, .. } if *code == ErrorCode::Replaced as u16)).await;
    newer.client.create_group("mine".into(), Vec::new()).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_refused_with_its_code_and_nobody_else_notices() {
    let server = Server::start(SessionLimits::default()).await;
    let ada = server.join(user(), TransportKind::WebSocket).await;
    let other = Server::start(SessionLimits::default()).await;
    let foreign = other.token(user());
    let (_client, mut updates) = server.start_with(foreign.into());
    let refused = async {
        while let Some(update) = updates.next().await {
            match update {
                Update::Disconnected { code: Some(code), .. } if code == ErrorCode::TokenInvalid as u16 => return true,
                Update::Connected { .. } => return false,
                _ => {}
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, refused).await.unwrap());
    ada.client.create_group("still here".into(), Vec::new()).await.unwrap();
    other.stop().await;
    server.stop().await;
}

/// How long somebody does not read, and how much is said meanwhile.
const STALL: Duration = Duration::from_secs(30);
const A_SECOND: u32 = 2_000;
const SENDERS: u32 = 4;
/// What each of them says in all, however long that takes.
const EACH: u64 = STALL.as_secs() * A_SECOND as u64 / SENDERS as u64;
/// What each of them does not wait for: fewer than may be unanswered in one chat.
const UNANSWERED: usize = 48;

/// Says all that one sender says, no faster than its part of the rate; what a slow moment left out is made up for.
/// Returns the seq of its last event.
async fn storm(sender: Person, chat: ChatId) -> Seq {
    let Person { client, mut updates, .. } = sender;
    // Sockets hold some megabytes; the storm is larger by far.
    let body = CommandBody::Send { format: MessageFormat::Text, text: "x".repeat(1_024).into() };
    let sending = async {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / (A_SECOND / SENDERS));
        let mut unanswered = VecDeque::new();
        let mut last = Seq(0);
        for _ in 0..EACH {
            pace.tick().await;
            if unanswered.len() == UNANSWERED {
                last = answered(unanswered.pop_front()).await;
            }
            unanswered.push_back(client.submit(chat.into(), body.clone()).await.unwrap());
        }
        while !unanswered.is_empty() {
            last = answered(unanswered.pop_front()).await;
        }
        last
    };
    // A client whose updates nobody takes reads nothing.
    let taking = async { while updates.next().await.is_some() {} };
    tokio::select! {
        last = sending => last,
        () = taking => panic!("a sender's client ended"),
    }
}

async fn answered(submitted: Option<Submitted>) -> Seq {
    submitted.unwrap().outcome().await.unwrap()
}

/// A slow machine takes longer and has as much to do: nothing here ends by a clock but the 30 s at the least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_seconds_without_reading_cost_the_stated_bound_and_no_event() {
    // Who reads nothing for longer than two heartbeats is taken for dead, which has tests of its own.
    let limits = SessionLimits { commands_per_second: 1_000_000, heartbeat_ms: 3_600_000, ..Default::default() };
    let server = Server::start(limits).await;
    let mut ben = server.join(user(), TransportKind::WebSocket).await;
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(server.join(user(), TransportKind::WebSocket).await);
    }
    let members = senders[1..].iter().map(|sender| sender.user).chain([ben.user]).collect();
    let (chat, _) = senders[0].client.create_group("storm".into(), members).await.unwrap();
    let admission = ben.client.subscribe(chat, None).await.unwrap();
    let storms = senders.into_iter().map(|sender| tokio::spawn(storm(sender, chat)));
    let mut storms = pin!(join(join_all(storms), tokio::time::sleep(STALL)));
    // Ben takes no update meanwhile: his client does not read its socket.
    let mut highest = 0;
    let lasts = loop {
        highest = highest.max(server.edge.metrics().outbox_bytes.get());
        tokio::select! {
            (lasts, ()) = &mut storms => break lasts,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    let last = lasts.into_iter().map(Result::unwrap).max().unwrap();
    assert_eq!(last.0 - admission.head.0, EACH * u64::from(SENDERS), "all of the storm was stored");
    // The others read, so what waits is his: the bound, and what the others have at one moment.
    let bound = i64::try_from(limits.outbox_bytes_max).unwrap() + 128 * 1024;
    assert!(highest <= bound, "{highest} bytes waited");
    assert!(server.edge.metrics().cuts.get() > 0, "the outbox was cut");
    for expected in admission.head.0 + 1..=last.0 {
        ben.until(|update| match update {
            Update::Event { entity, seq, .. } if *entity == EntityId::from(chat) => {
                assert_eq!(seq.0, expected, "no gap and nothing twice");
                true
            }
            Update::Disconnected { .. } => panic!("a slow reader is not disconnected"),
            _ => false,
        })
        .await;
    }
    server.stop().await;
}
