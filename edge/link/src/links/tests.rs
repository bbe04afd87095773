use panda_protocol::Time;
use panda_storage::embedded::EmbeddedLog;

use super::*;

fn links(limits: LinkLimits) -> Links<EmbeddedLog, u32> {
    Links::new(EmbeddedLog::new(1, 4, || Time(0)), LinkId(1), limits)
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

#[test]
fn however_many_signals_wait_questions_find_room() {
    let mut links = links(LinkLimits { up_max: 8, ..LinkLimits::default() });
    let chat = ChatId::direct(user(1), user(2));
    for _ in 0..100 {
        links.signal(chat, user(1), SignalKind::TYPING, Bytes::new());
    }
    for question in 0..4 {
        assert!(links.admit(0, user(1), chat.into(), None, None, question).is_ok());
    }
    let (rejection, context) = links.admit(0, user(1), chat.into(), None, None, 4).unwrap_err();
    assert_eq!((rejection.code, context), (ErrorCode::Unavailable, 4));
    let ups: Vec<Up> = std::iter::from_fn(|| links.next_up()).collect();
    assert_eq!(ups.iter().filter(|up| matches!(up, Up::Signal { .. })).count(), 4);
    assert_eq!(ups.len(), 8);
}

#[test]
fn what_is_not_answered_in_time_is_given_up_once_and_in_order() {
    let limits = LinkLimits { answer_timeout_ms: 100, ..LinkLimits::default() };
    let mut links = links(limits);
    let entity = EntityId::from(user(1));
    links.admit(0, user(1), entity, None, None, 1).unwrap();
    links.read(50, user(1), entity, ReadQuery::Info, 2).unwrap();
    assert_eq!(links.expire(99), None);
    let unavailable =
        |rejection: &Rejection| (rejection.code, rejection.retry_after_ms) == (ErrorCode::Unavailable, 1_000);
    let expired = links.expire(100);
    assert!(matches!(&expired, Some(Arrived::Admission { waiting: 1, outcome: Err(refused) }) if unavailable(refused)));
    assert_eq!(links.expire(149), None);
    let expired = links.expire(1_000);
    assert!(matches!(&expired, Some(Arrived::Read { waiting: 2, outcome: Err(refused) }) if unavailable(refused)));
    assert_eq!((links.expire(u64::MAX), links.waiting()), (None, 0));
}

#[test]
fn what_an_owner_before_says_is_not_taken() {
    let mut links = links(LinkLimits::default());
    let entity = EntityId::from(user(1));
    let head = |generation| Down::Head { generation: Generation(generation), entity, head: Seq(1), readmit: false };
    assert!(links.arrive(head(2)).is_some());
    assert!(links.arrive(head(1)).is_none());
    assert!(links.arrive(head(2)).is_some());
    assert!(links.arrive(head(3)).is_some());
    assert!(links.arrive(head(2)).is_none());
}
