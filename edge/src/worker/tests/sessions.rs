//! What a single session meets, step by step.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use panda_protocol::ChatId;
use panda_protocol::frame::{Frame, Ping, Refresh, RequestId, Subscribe, SyncEntry, Unsubscribe};

use super::router::Router;
use super::{Fixture, Pipe, UNIX_S, raw, user};
use crate::config::SessionLimits;
use crate::session::{SessionKey, SessionTask};

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
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    for request in 0..1_000 {
        let token = fixture.signer.sign(user(1), UNIX_S, 3_600).into();
        fixture.hear(key, Refresh { request: RequestId(request), token });
        fixture.take_all(key);
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
