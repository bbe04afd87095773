//! What the log says of a session that a defect ended: whose it was, and of what.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::Bytes;
use panda_protocol::frame::{Direction, Page, RequestId, Subscribe, SyncEntry};
use panda_protocol::link::{Down, Read, ReadReply, Up};
use panda_protocol::{ChatId, Cursor, EntityId, Incarnation, Seq, SessionId};
use tracing::subscriber::DefaultGuard;

use super::router::Router;
use super::sessions::open;
use super::{Fixture, Pipe, user};
use crate::config::SessionLimits;
use crate::session::{SessionKey, SessionTask};

/// What this thread's log said.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, until the guard is dropped.
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let said = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || said.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The only line that has `text` is an ERROR with these fields.
    fn has_error(&self, text: &str, fields: &[(&str, String)]) {
        let said = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(text)).collect();
        let [line] = lines[..] else { panic!("one line has {text:?}: {said}") };
        assert!(line.contains(" ERROR "), "{line}");
        for (name, value) in fields {
            assert!(line.contains(&format!(" {name}={value}")), "{name}={value}: {line}");
        }
    }
}

fn id(fixture: &Fixture, key: SessionKey) -> SessionId {
    fixture.core.member(key).unwrap().id
}

#[tokio::test(start_paused = true)]
async fn a_panic_names_the_session_that_it_closed_and_its_user() {
    let (log, _listening) = Log::listen();
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let id = id(&fixture, key);
    let core = Rc::new(RefCell::new(fixture.core));
    let pipe = Pipe::default();
    pipe.0.borrow_mut().breaks = true;
    let mut task = pin!(SessionTask::new(core.clone(), key, pipe));
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(core.borrow().metrics.panics.get(), 1);
    let who = [("session", id.to_string()), ("user", user(1).to_string())];
    log.has_error("a session was closed after a panic", &who);
}

/// Answers the read that is out with bytes that are no page.
fn answer_with_garbage(fixture: &mut Fixture) {
    let read = fixture.ups().into_iter().find_map(|up| if let Up::Read(read) = up { Some(read) } else { None });
    let Read { token, .. } = read.expect("something is read");
    let garbage = ReadReply { token, last: true, body: Ok(Bytes::from_static(b"\xff")) };
    fixture.core.arrive(vec![Down::Read(garbage)]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_read_is_told_with_its_session_user_and_chat() {
    let chat = ChatId::direct(user(1), user(2));
    let entity = EntityId::from(chat);
    let page = Page { request: RequestId(1), entity, direction: Direction::Forward, from: Seq(1), limit: 10 };
    let cursor = Some(Cursor { incarnation: Incarnation::default(), seq: Seq(0) });
    let entry = SyncEntry { chat, cursor, proof: Default::default() };
    let missed = Subscribe { request: RequestId(1), entry };
    for (asked, is_page) in [(page.into(), true), (missed.into(), false)] {
        let asked: panda_protocol::frame::Frame = asked;
        let (log, _listening) = Log::listen();
        let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
        router.add(entity, user(1), true);
        let key = open(&mut fixture, &mut router, 1);
        fixture.hear(key, asked);
        if !is_page {
            // Admitted behind its cursor, it reads what it missed.
            fixture.ups().into_iter().for_each(|up| router.take(up));
            assert!(router.answer());
            let admitted = router.next_down().unwrap();
            fixture.core.arrive(vec![admitted]);
        }
        answer_with_garbage(&mut fixture);
        let session = id(&fixture, key).to_string();
        let whose = [("session", session), ("user", user(1).to_string()), ("entity", entity.to_string())];
        log.has_error("a router sent a page that cannot be read", &whose);
    }
}
