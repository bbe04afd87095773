//! Rights that are asked for anew, because a link or an owner was lost.

use std::time::Duration;

use panda_protocol::frame::Frame;
use panda_protocol::link::{Admit, Admitted, Down, Rejection, Up};
use panda_protocol::{ChatId, EntityId, ErrorCode, Generation, Seq, ShardId};

use super::router::Router;
use super::sessions::{open, settle, subscribe};
use super::{Fixture, user};
use crate::config::SessionLimits;
use crate::readmissions::READMISSIONS_OUT_MAX;
use crate::session::Ending;

fn admits(fixture: &mut Fixture) -> Vec<Admit> {
    let is_admit = |up| if let Up::Admit(admit) = up { Some(admit) } else { None };
    fixture.ups().into_iter().filter_map(is_admit).collect()
}

fn refuse(fixture: &mut Fixture, admit: &Admit, code: ErrorCode) {
    let (token, entity) = (admit.token, admit.entity);
    let outcome = Err(Rejection { retry_after_ms: 3_000, ..Rejection::new(code) });
    fixture.core.arrive(vec![Down::Admitted(Admitted { token, generation: Generation(1), entity, outcome })]);
}

async fn advance(fixture: &mut Fixture, ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
    fixture.core.turn(&mut Vec::new());
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_while_nobody_can_say_whether_its_inbox_is_its_own() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let inbox = EntityId::from(user(1));
    let key = open(&mut fixture, &mut router, 1);
    fixture.core.arrive(vec![Down::Head { generation: Generation(1), entity: inbox, head: Seq(0), readmit: true }]);
    // An owner that has too much to do, one that is away, and one that says nothing.
    for code in [ErrorCode::Unavailable, ErrorCode::Overloaded, ErrorCode::OutcomeUnknown] {
        let [admit] = &admits(&mut fixture)[..] else { panic!("the owner is asked") };
        assert_eq!((admit.entity, admit.opens), (inbox, None));
        if code == ErrorCode::Overloaded {
            advance(&mut fixture, 10_050).await;
        } else {
            refuse(&mut fixture, admit, code);
            advance(&mut fixture, 900).await;
            assert_eq!(admits(&mut fixture), [], "not before the wait is over");
        }
        advance(&mut fixture, 2_200).await;
        fixture.hear(key, panda_protocol::frame::Ping { nonce: 1 });
    }
    assert_eq!(fixture.core.ending(key), None);
    fixture.take_all(key);
    // What came meanwhile is read once the owner is there.
    router.say(inbox, 5);
    settle(&mut fixture, &mut router);
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    assert!(matches!(took[..], [Frame::Event(_)]), "{took:?}");
    let generation = Generation(1);
    fixture.core.arrive(vec![Down::Head { generation, entity: inbox, head: Seq(0), readmit: true }]);
    let [admit] = &admits(&mut fixture)[..] else { panic!("the owner is asked") };
    refuse(&mut fixture, admit, ErrorCode::InvalidRequest);
    assert!(matches!(fixture.core.ending(key), Some(Ending::Bye(_))), "what does not pass ends it");
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_which_something_was_missed_is_asked_for_a_few_at_a_time() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chats: Vec<ChatId> = (2..12).map(|other| ChatId::direct(user(1), user(other))).collect();
    for chat in &chats {
        router.add((*chat).into(), user(1), true);
        subscribe(&mut fixture, key, 1, *chat);
    }
    settle(&mut fixture, &mut router);
    fixture.take_all(key);
    let readmit = Down::Readmit { shard: ShardId(0), generation: Generation(1) };
    fixture.core.arrive(vec![readmit.clone(), readmit]);
    let mut asked = 0;
    loop {
        let ups = fixture.ups();
        if ups.is_empty() {
            break;
        }
        assert!(ups.len() <= READMISSIONS_OUT_MAX, "{} at once", ups.len());
        asked += ups.len();
        ups.into_iter().for_each(|up| router.take(up));
        // None of them is served before it was asked for.
        assert!(router.answer());
        while router.answer() {}
        while let Some(down) = router.next_down() {
            fixture.core.arrive(vec![down]);
        }
    }
    assert_eq!(asked, chats.len() + 1, "each chat and the inbox, once");
    for chat in &chats {
        router.say((*chat).into(), 5);
    }
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    assert_eq!(took.len(), chats.len());
    assert!(took.iter().all(|frame| matches!(frame, Frame::Event(_))), "{took:?}");
}
