//! What a single session meets, step by step.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use panda_protocol::frame::{Admission, Frame, Ping, Refresh, RequestId, Subscribe, SyncEntry, Unsubscribe};
use panda_protocol::link::{Down, Membership, Read, ReadReply, Rejection, Up};
use panda_protocol::session::server::Close;
use panda_protocol::{ChatId, Cursor, ErrorCode, Generation, Incarnation, Seq};
use tokio::time::Instant;

use super::router::Router;
use super::{Fixture, Pipe, UNIX_S, raw, user};
use crate::config::SessionLimits;
use crate::session::{Ending, SessionKey, SessionTask};

/// A session that is open.
pub(super) fn open(fixture: &mut Fixture, router: &mut Router, byte: u8) -> SessionKey {
    let key = fixture.connect(user(byte));
    settle(fixture, router);
    let took = fixture.take_all(key);
    assert!(matches!(took[..], [Frame::Welcome(_)]), "{took:?}");
    key
}

pub(super) fn settle(fixture: &mut Fixture, router: &mut Router) {
    for up in fixture.ups() {
        router.take(up);
    }
    while router.answer() {}
    while let Some(down) = router.next_down() {
        fixture.core.arrive(vec![down]);
    }
    while fixture.core.slices.has_turns() {
        fixture.core.fan_out_on();
    }
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_left_unread_behind_a_full_outbox_are_read_once_it_is_empty() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let half = fixture.core.limits.outbox_bytes_max / 2;
    let core = std::rc::Rc::new(std::cell::RefCell::new(fixture.core));
    let pipe = Pipe::default();
    let mut task = pin!(SessionTask::new(core.clone(), key, pipe.clone()));
    let wakes = Arc::new(Counting::default());
    let waker = Waker::from(wakes.clone());
    let cx = &mut Context::from_waker(&waker);
    while core.borrow().session(key).unwrap().outbox.bytes() <= half {
        core.borrow_mut().send(key, &Ping { nonce: 7 }.into());
    }
    assert!(task.as_mut().poll(cx).is_pending());
    // The peer says something and then takes all that waits: nothing but the room wakes the task.
    pipe.0.borrow_mut().said.push_back(raw(Ping { nonce: 1 }));
    pipe.0.borrow_mut().room = usize::MAX;
    assert!(task.as_mut().poll(cx).is_pending());
    assert!(pipe.0.borrow().took.iter().any(|frame| matches!(frame, Frame::Pong(pong) if pong.nonce == 1)));
    assert!(pipe.0.borrow().said.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_in_the_wheel_once_however_often_it_refreshes() {
    let limits = SessionLimits { commands_per_second: 1_000, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    for request in 0..1_000 {
        let token = fixture.signer.sign(user(1), UNIX_S, 3_600).into();
        fixture.hear(key, Refresh { request: RequestId(request), token });
        assert!(matches!(fixture.take_all(key)[..], [Frame::Refreshed(_)]));
    }
    let mut due = Vec::new();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(20)).await;
        fixture.hear(key, Ping { nonce: 1 });
        fixture.core.turn(&mut due);
        fixture.take_all(key);
        assert!(fixture.core.wheel.len() <= 2, "{} entries", fixture.core.wheel.len());
    }
}

pub(super) fn subscribe(fixture: &mut Fixture, key: SessionKey, request: u64, chat: ChatId) {
    let entry = SyncEntry { chat, cursor: None, proof: Default::default() };
    fixture.hear(key, Subscribe { request: RequestId(request), entry });
}

#[tokio::test(start_paused = true)]
async fn events_that_come_together_leave_in_one_message_to_who_has_had_all_before_and_has_room() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    let sessions = [1, 2].map(|byte| {
        router.add(chat.into(), user(byte), true);
        let key = open(&mut fixture, &mut router, byte);
        subscribe(&mut fixture, key, 1, chat);
        settle(&mut fixture, &mut router);
        key
    });
    for key in sessions {
        fixture.take_all(key);
    }
    let told = |fixture: &mut Fixture, key| {
        let pipe = Pipe::default();
        pipe.0.borrow_mut().room = usize::MAX;
        fixture.core.flush(key, &mut Context::from_waker(Waker::noop()), &mut pipe.clone()).unwrap();
        let peer = pipe.0.borrow();
        let events = peer.took.iter().filter(|frame| matches!(frame, Frame::Event(_))).count();
        (peer.messages, events, peer.took.len() - events)
    };
    for _ in 0..5 {
        router.say(chat.into(), 100);
    }
    settle(&mut fixture, &mut router);
    assert_eq!(sessions.map(|key| told(&mut fixture, key)), [(1, 5, 0); 2]);
    // One has room for some of them only: the rest is read again.
    let nearly_full = fixture.core.limits.outbox_bytes_max - 400;
    while fixture.core.session(sessions[0]).unwrap().outbox.bytes() < nearly_full {
        fixture.core.send(sessions[0], &Ping { nonce: 1 }.into());
    }
    for _ in 0..5 {
        router.say(chat.into(), 100);
    }
    settle(&mut fixture, &mut router);
    let (messages, events, others) = told(&mut fixture, sessions[0]);
    assert!((1..5).contains(&events) && messages == events + others, "{events} events in {messages} messages");
    assert_eq!(told(&mut fixture, sessions[1]), (1, 5, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_listener_says_no_goodbye_while_an_admission_is_out() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    router.add(chat.into(), user(2), true);
    let (leaves, comes) = (open(&mut fixture, &mut router, 1), open(&mut fixture, &mut router, 2));
    subscribe(&mut fixture, leaves, 1, chat);
    settle(&mut fixture, &mut router);
    // The owner has admitted the second; its word is on the way when the first leaves.
    subscribe(&mut fixture, comes, 1, chat);
    fixture.ups().into_iter().for_each(|up| router.take(up));
    assert!(router.answer());
    fixture.hear(leaves, Unsubscribe { request: RequestId(2), chat });
    settle(&mut fixture, &mut router);
    assert_eq!(router.forgets, 0);
    router.say(chat.into(), 5);
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(comes);
    assert!(matches!(took[..], [Frame::Subscribed(_), Frame::Event(_)]), "{took:?}");
    fixture.core.remove(comes);
    settle(&mut fixture, &mut router);
    assert_eq!(router.forgets, 2, "of the chat and of an inbox");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_counts_as_a_command_because_a_signature_is_checked_for_it() {
    let limits = SessionLimits { commands_per_second: 1, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let token: panda_protocol::Text = fixture.signer.sign(user(1), UNIX_S, 3_600).into();
    for request in 0..65 {
        fixture.hear(key, Refresh { request: RequestId(request), token: token.clone() });
    }
    let took = fixture.take_all(key);
    assert_eq!(took.iter().filter(|frame| matches!(frame, Frame::Refreshed(_))).count(), 64);
    let Some(Frame::Error(error)) = took.last() else { panic!("{took:?}") };
    assert_eq!((error.request, error.code), (RequestId(64), ErrorCode::RateLimited as u16));
    assert!(error.retry_after_ms > 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ended_while_its_inbox_was_asked_for_is_not_opened() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = fixture.connect(user(1));
    fixture.core.end_all();
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    assert!(matches!(&took[..], [Frame::Bye(bye)] if bye.code == ErrorCode::Going as u16), "{took:?}");
    assert_eq!(fixture.core.metrics.sessions.get(), 0);
    // Goodbyes to what the owner noted.
    let ups = fixture.ups();
    assert!(matches!(ups[..], [Up::Detach { .. }, Up::Forget { .. }]), "{ups:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_one_deadline_for_its_handshake_and_its_hello() {
    let mut fixture = Fixture::new(SessionLimits::default());
    let handshake = fixture.gate.admit([127, 0, 0, 1].into(), Instant::now()).unwrap();
    // TLS and the upgrade took most of the time.
    tokio::time::advance(Duration::from_secs(8)).await;
    let key = fixture.core.insert(handshake);
    tokio::time::advance(Duration::from_millis(2_100)).await;
    fixture.core.turn(&mut Vec::new());
    let ending = fixture.core.ending(key);
    assert!(matches!(ending, Some(Ending::Bye(close)) if close.code == ErrorCode::HandshakeTimeout), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_to_catch_up_that_failed_is_repeated_whatever_else_is_due_before() {
    let limits = SessionLimits { heartbeat_ms: 10_000, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    let key = open(&mut fixture, &mut router, 1);
    // A Ping is due just before the repetition.
    tokio::time::advance(Duration::from_millis(9_900)).await;
    let cursor = Some(Cursor { incarnation: Incarnation::default(), seq: Seq(0) });
    let entry = SyncEntry { chat, cursor, proof: Default::default() };
    fixture.hear(key, Subscribe { request: RequestId(1), entry });
    fixture.ups().into_iter().for_each(|up| router.take(up));
    assert!(router.answer());
    let admitted = router.next_down().unwrap();
    fixture.core.arrive(vec![admitted]);
    let read = |fixture: &mut Fixture| {
        let mut reads =
            fixture.ups().into_iter().filter_map(|up| if let Up::Read(read) = up { Some(read) } else { None });
        reads.next()
    };
    let Some(Read { token, .. }) = read(&mut fixture) else { panic!("nothing was read") };
    let refused = ReadReply { token, last: true, body: Err(Rejection::new(ErrorCode::Unavailable)) };
    fixture.core.arrive(vec![Down::Read(refused)]);
    assert!(read(&mut fixture).is_none(), "not at once");
    for _ in 0..10 {
        tokio::time::advance(Duration::from_millis(50)).await;
        fixture.core.turn(&mut Vec::new());
    }
    assert!(read(&mut fixture).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_full_transport_takes_is_a_sign_of_life_and_what_one_with_room_takes_is_none() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let (silent, slow) = (open(&mut fixture, &mut router, 1), open(&mut fixture, &mut router, 2));
    // The slow one's peer takes nothing for almost as long as it may, and then all.
    fixture.core.send(slow, &Ping { nonce: 1 }.into());
    assert_eq!(fixture.take(slow, 0), []);
    let mut due = Vec::new();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(25)).await;
        fixture.core.turn(&mut due);
        assert!(matches!(fixture.take_all(silent)[..], [Frame::Ping(_)]));
    }
    assert!(!fixture.take_all(slow).is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    fixture.core.turn(&mut due);
    assert_eq!(fixture.core.ending(silent), Some(Ending::Bye(ErrorCode::HeartbeatTimeout.into())));
    assert_eq!(fixture.core.ending(slow), None);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_damaged_inbox_is_told_so_and_who_listens_to_a_damaged_chat_loses_that_alone() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let inbox_damaged = Some(Ending::Bye(Close { code: ErrorCode::InboxDamaged, retry_after_ms: 60_000 }));
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    let key = open(&mut fixture, &mut router, 1);
    fixture.hear(
        key,
        Subscribe { request: RequestId(1), entry: SyncEntry { chat, cursor: None, proof: Default::default() } },
    );
    settle(&mut fixture, &mut router);
    fixture.take_all(key);

    let readmit = |entity| Down::Head { generation: Generation(1), entity, head: Seq(0), readmit: true };
    router.damaged.insert(chat.into());
    fixture.core.arrive(vec![readmit(chat.into())]);
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    let [Frame::Ended(ended)] = &took[..] else { panic!("{took:?} is not the end of one subscription") };
    let expected = (chat.into(), ErrorCode::Damaged as u16, 60_000);
    assert_eq!((ended.entity, ended.code, ended.retry_after_ms), expected);
    assert_eq!(fixture.core.ending(key), None);

    router.damaged.insert(user(1).into());
    fixture.core.arrive(vec![readmit(user(1).into())]);
    settle(&mut fixture, &mut router);
    assert_eq!(fixture.core.ending(key), inbox_damaged);
    let key = fixture.connect(user(1));
    settle(&mut fixture, &mut router);
    assert_eq!(fixture.core.ending(key), inbox_damaged);
}

#[tokio::test(start_paused = true)]
async fn what_an_admission_proves_reaches_the_owner_with_a_cursor_of_its_incarnation_only() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    let key = open(&mut fixture, &mut router, 1);
    subscribe(&mut fixture, key, 1, chat);
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    let [Frame::Subscribed(subscribed)] = &took[..] else { panic!("{took:?}") };
    let Admission { incarnation: here, head: at, role, visible_from, proof, .. } = subscribed.admission.clone();
    let there = Incarnation([1; 8]);
    let member = Membership { at, role, visible_from };
    for (incarnation, expected) in [(Some(here), Some(member)), (Some(there), None), (None, None)] {
        let cursor = incarnation.map(|incarnation| Cursor { incarnation, seq: at });
        let entry = SyncEntry { chat, cursor, proof: proof.clone() };
        fixture.hear(key, Subscribe { request: RequestId(2), entry });
        let ups = fixture.ups();
        let asked = ups.iter().find_map(|up| if let Up::Admit(admit) = up { Some(admit.member) } else { None });
        assert_eq!(asked, Some(expected), "{incarnation:?}");
        ups.into_iter().for_each(|up| router.take(up));
        settle(&mut fixture, &mut router);
    }
}
