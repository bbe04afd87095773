//! Sessions that are asked to leave.

use std::time::Duration;

use panda_protocol::frame::{Frame, GoAway};

use super::router::Router;
use super::sessions::{open, settle};
use super::{Fixture, user};
use crate::config::SessionLimits;
use crate::session::SessionKey;

const DRAIN_MS: u64 = 10_000;

fn asked_to_leave(fixture: &mut Fixture, key: SessionKey) -> GoAway {
    match fixture.take_all(key).pop() {
        Some(Frame::GoAway(away)) => away,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_leave_one_by_one_and_the_last_has_time_to_move() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let keys: Vec<SessionKey> = (0..100).map(|byte| open(&mut fixture, &mut router, byte)).collect();
    fixture.core.go_away(DRAIN_MS);
    let delays: Vec<u64> = keys
        .iter()
        .map(|key| {
            let away = asked_to_leave(&mut fixture, *key);
            assert_eq!(away.closes_in_ms, DRAIN_MS);
            assert!(!away.ticket.is_empty());
            away.delay_ms
        })
        .collect();
    assert!(delays.windows(2).all(|two| two[1] - two[0] == 75), "{delays:?}");
    assert_eq!(delays.last(), Some(&7_425));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_worker_drains_is_asked_to_leave_within_what_is_left() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let keys: Vec<SessionKey> = (0..50).map(|byte| fixture.connect(user(byte))).collect();
    fixture.core.go_away(DRAIN_MS);
    tokio::time::advance(Duration::from_millis(6_000)).await;
    settle(&mut fixture, &mut router);
    for key in keys {
        let away = asked_to_leave(&mut fixture, key);
        assert_eq!(away.closes_in_ms, 4_000);
        assert!(away.delay_ms <= 3_000, "{}", away.delay_ms);
    }
}
