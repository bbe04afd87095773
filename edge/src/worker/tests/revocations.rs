//! Sessions that end with the login that they came in by.

use panda_access::{Heard, Revocations};
use panda_protocol::frame::{Auth, Frame, Refresh, RequestId};
use panda_protocol::{DeviceId, ErrorCode, LoginId};

use super::router::Router;
use super::sessions::settle;
use super::{Fixture, UNIX_S, user};
use crate::config::SessionLimits;
use crate::session::{Ending, SessionKey};

const ENDS: u64 = UNIX_S + 3_600;

struct World {
    fixture: Fixture,
    router: Router,
    revocations: Revocations,
}

impl World {
    fn new() -> Self {
        let fixture = Fixture::new(SessionLimits::default());
        let revocations = fixture.core.revocations.clone();
        Self { fixture, router: Router::default(), revocations }
    }

    fn token(&self, byte: u8, login: Option<u64>) -> Auth {
        let login = login.map(LoginId::from_random);
        Auth::Token(self.fixture.signer.sign_for(user(byte), login, UNIX_S, 3_600).into())
    }

    /// A connection whose Hello is heard, and not answered yet.
    fn hello(&mut self, byte: u8, login: Option<u64>) -> SessionKey {
        let token = self.token(byte, login);
        self.fixture.connect_with(token, DeviceId::from_random(rand::random()))
    }

    /// An open session.
    fn open(&mut self, byte: u8, login: Option<u64>) -> SessionKey {
        let key = self.hello(byte, login);
        settle(&mut self.fixture, &mut self.router);
        assert!(matches!(self.fixture.take_all(key)[..], [Frame::Welcome(_)]));
        key
    }

    /// As the worker hears of it.
    fn end(&mut self, byte: u8, login: u64) {
        let login = (user(byte), LoginId::from_random(login));
        self.revocations.end(login, ENDS);
        self.fixture.core.login_ended(Heard::Ended(login));
    }

    fn is_revoked(&mut self, key: SessionKey) -> bool {
        let said = self.fixture.take_all(key);
        match self.fixture.core.ending(key) {
            None => false,
            Some(Ending::Bye(close)) => {
                assert_eq!(close.code, ErrorCode::Revoked);
                assert!(
                    matches!(&said[..], [.., Frame::Bye(bye)] if bye.code == ErrorCode::Revoked as u16),
                    "{said:?}"
                );
                true
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_an_ended_login_are_said_goodbye_and_no_others() {
    let mut world = World::new();
    let ended = [world.open(1, Some(7)), world.open(1, Some(7))];
    let others = [world.open(1, Some(8)), world.open(1, None), world.open(2, Some(7))];
    world.end(1, 7);
    assert_eq!(ended.map(|key| world.is_revoked(key)), [true; 2]);
    assert_eq!(others.map(|key| world.is_revoked(key)), [false; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_not_told_of_each_end_looks_at_everybody() {
    let mut world = World::new();
    let (ended, other) = (world.open(1, Some(7)), world.open(2, Some(7)));
    world.revocations.end((user(1), LoginId::from_random(7)), ENDS);
    world.fixture.core.login_ended(Heard::Many);
    assert_eq!([world.is_revoked(ended), world.is_revoked(other)], [true, false]);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_were_asked_to_leave_are_said_goodbye_too() {
    let mut world = World::new();
    let [one, many, other] = [7, 8, 9].map(|login| world.open(1, Some(login)));
    world.fixture.core.go_away(10_000);
    world.end(1, 7);
    assert_eq!([one, many, other].map(|key| world.is_revoked(key)), [true, false, false]);
    world.revocations.end((user(1), LoginId::from_random(8)), ENDS);
    world.fixture.core.login_ended(Heard::Many);
    assert_eq!([many, other].map(|key| world.is_revoked(key)), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_login_ends_before_its_welcome_gets_none() {
    let mut world = World::new();
    let key = world.hello(1, Some(7));
    world.end(1, 7);
    settle(&mut world.fixture, &mut world.router);
    assert!(world.is_revoked(key));
}

#[tokio::test(start_paused = true)]
async fn neither_token_nor_ticket_of_an_ended_login_opens_a_session() {
    let mut world = World::new();
    let device = DeviceId::from_random([5; 16]);
    let token = world.token(1, Some(7));
    let key = world.fixture.connect_with(token, device);
    settle(&mut world.fixture, &mut world.router);
    let Some(Frame::Welcome(welcome)) = world.fixture.take_all(key).pop() else { panic!("no Welcome") };
    world.end(1, 7);
    assert!(world.is_revoked(key));
    let with_ticket = world.fixture.connect_with(Auth::Ticket(welcome.ticket), device);
    let with_token = world.hello(1, Some(7));
    assert!(world.is_revoked(with_ticket) && world.is_revoked(with_token));
    world.open(1, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_moves_a_session_to_its_login_unless_that_was_ended() {
    let mut world = World::new();
    let key = world.open(1, Some(7));
    world.end(1, 9);
    for (request, login, taken) in [(1, 9, false), (2, 8, true)] {
        let Auth::Token(token) = world.token(1, Some(login)) else { panic!("no token") };
        world.fixture.hear(key, Refresh { request: RequestId(request), token });
        let said = world.fixture.take_all(key);
        match &said[..] {
            [Frame::Refreshed(_)] => assert!(taken),
            [Frame::Error(error)] => assert_eq!((error.code, taken), (ErrorCode::TokenInvalid as u16, false)),
            other => panic!("{other:?}"),
        }
    }
    world.end(1, 7);
    assert!(!world.is_revoked(key));
    world.end(1, 8);
    assert!(world.is_revoked(key));
}
