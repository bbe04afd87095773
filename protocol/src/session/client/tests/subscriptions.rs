//! What a session follows.

use super::*;

#[test]
fn a_removal_ends_a_subscription_and_another_reason_begins_it_again() {
    let mut session = opened();
    session.subscribe(chat(), None, 1);
    let subscribed = |session: &mut ClientSession<u32>, now_ms| {
        let frames = sent(session, now_ms);
        let [Frame::Subscribe(subscribe)] = &frames[..] else { panic!("{frames:?}") };
        let admission = admission(Start::Live, Incarnation([7; 8]), 5, 4);
        hear(session, Subscribed { request: subscribe.request, admission }, now_ms);
    };
    subscribed(&mut session, 0);
    assert!(matches!(&answers(&mut session)[..], [(1, Ok(Reply::Admitted(_)))]));
    let entity = chat().into();
    hear(&mut session, Ended { entity, code: ErrorCode::Unavailable as u16, retry_after_ms: 300 }, 1);
    assert_eq!(session.due_ms(), Some(301));
    session.tick(301);
    subscribed(&mut session, 301);
    assert!(matches!(&notices(&mut session)[..], [Notice::Resumed { .. }]));
    hear(&mut session, Ended { entity, code: ErrorCode::NotMember as u16, retry_after_ms: 0 }, 302);
    assert_eq!(notices(&mut session), [Notice::Lost { entity, code: 2202, resuming: false }]);
    session.disconnected(303);
    let frames = connect(&mut session, 100_000);
    assert_eq!(frames.len(), 1, "nothing is resumed: {frames:?}");
}

#[test]
fn a_chat_that_is_left_and_joined_again_before_anything_was_sent_is_listened_to() {
    let mut session = opened();
    session.subscribe(chat(), None, 1);
    session.unsubscribe(chat(), 2);
    session.subscribe(chat(), None, 3);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(first), Frame::Unsubscribe(_), Frame::Subscribe(last)] = &frames[..] else {
        panic!("{frames:?}")
    };
    answers(&mut session);
    let admission = admission(Start::Live, Incarnation([7; 8]), 5, 4);
    // The server drops what this one began when it hears the Unsubscribe.
    hear(&mut session, Subscribed { request: first.request, admission: admission.clone() }, 1);
    assert!(answers(&mut session).is_empty());
    hear(&mut session, Subscribed { request: last.request, admission }, 1);
    assert!(matches!(&answers(&mut session)[..], [(3, Ok(Reply::Admitted(_)))]));
}

#[test]
fn a_reset_moves_the_cursor_to_where_the_server_says() {
    let mut session = opened();
    let old = Cursor { incarnation: Incarnation([1; 8]), seq: Seq(90) };
    session.subscribe(chat(), Some(old), 1);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(subscribe)] = &frames[..] else { panic!("{frames:?}") };
    let admission = admission(Start::Reset, Incarnation([2; 8]), 11, 10);
    hear(&mut session, Subscribed { request: subscribe.request, admission }, 0);
    assert_eq!(session.cursor(chat()), Some(Cursor { incarnation: Incarnation([2; 8]), seq: Seq(10) }));
}

fn event_of(chat: ChatId, seq: u64) -> EventFrame {
    EventFrame { entity: chat.into(), event: model::event(seq) }
}

#[test]
fn an_event_that_may_not_come_is_told_and_dropped() {
    let mut session = opened();
    let unexpected = |seq, how| Notice::Unexpected { chat: chat(), seq: Seq(seq), how };
    hear(&mut session, event_of(chat(), 1), 0);
    assert_eq!(notices(&mut session), [unexpected(1, Unexpected::NotListening)], "it was never asked for");
    session.subscribe(chat(), None, 1);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(subscribe)] = &frames[..] else { panic!("{frames:?}") };
    hear(&mut session, event_of(chat(), 2), 0);
    assert_eq!(notices(&mut session), [unexpected(2, Unexpected::NotListening)], "it is ahead of its admission");
    let admission = admission(Start::Live, Incarnation([7; 8]), 5, 4);
    hear(&mut session, Subscribed { request: subscribe.request, admission: admission.clone() }, 0);
    hear(&mut session, event_of(chat(), 5), 0);
    outputs(&mut session);
    hear(&mut session, event_of(chat(), 5), 0);
    hear(&mut session, event_of(chat(), 8), 0);
    let gap = Unexpected::Gap { expected: Seq(6) };
    assert_eq!(notices(&mut session), [unexpected(5, Unexpected::Repeated), unexpected(8, gap)]);
    // It is resumed. What the server sends until it hears so is no fault of it.
    hear(&mut session, event_of(chat(), 9), 0);
    assert_eq!(notices(&mut session), []);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(again)] = &frames[..] else { panic!("{frames:?}") };
    hear(&mut session, Subscribed { request: again.request, admission: Admission { from: Seq(6), ..admission } }, 0);
    hear(&mut session, Ended { entity: chat().into(), code: ErrorCode::NotMember as u16, retry_after_ms: 0 }, 1);
    outputs(&mut session);
    hear(&mut session, event_of(chat(), 6), 2);
    assert_eq!(notices(&mut session), [unexpected(6, Unexpected::NotListening)], "the subscription was over");
}

#[test]
fn events_on_their_way_to_who_leaves_are_expected_until_that_is_answered() {
    let mut session = opened();
    session.subscribe(chat(), None, 1);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(subscribe)] = &frames[..] else { panic!("{frames:?}") };
    let admission = admission(Start::Live, Incarnation([7; 8]), 5, 4);
    hear(&mut session, Subscribed { request: subscribe.request, admission }, 0);
    session.unsubscribe(chat(), 2);
    outputs(&mut session);
    hear(&mut session, event_of(chat(), 5), 0);
    let frames = sent(&mut session, 0);
    let [Frame::Unsubscribe(unsubscribe)] = &frames[..] else { panic!("{frames:?}") };
    hear(&mut session, event_of(chat(), 6), 0);
    assert_eq!(notices(&mut session), []);
    hear(&mut session, crate::frame::Unsubscribed { request: unsubscribe.request }, 0);
    outputs(&mut session);
    hear(&mut session, event_of(chat(), 7), 0);
    let how = Unexpected::NotListening;
    assert_eq!(notices(&mut session), [Notice::Unexpected { chat: chat(), seq: Seq(7), how }]);
}

#[test]
fn a_subscription_that_is_refused_when_it_is_resumed_is_told_apart() {
    let mut session = opened();
    session.subscribe(chat(), None, 1);
    let frames = sent(&mut session, 0);
    let [Frame::Subscribe(subscribe)] = &frames[..] else { panic!("{frames:?}") };
    let admission = admission(Start::Live, Incarnation([7; 8]), 5, 4);
    hear(&mut session, Subscribed { request: subscribe.request, admission }, 0);
    session.disconnected(1);
    let frames = connect(&mut session, 100_000);
    let Some(Frame::Sync(sync)) = frames.last() else { panic!("{frames:?}") };
    hear(&mut session, welcome(), 100_000);
    outputs(&mut session);
    let outcome = Err((ErrorCode::NotMember as u16, 0));
    let chats = alloc::vec![crate::frame::SyncedEntry { chat: chat(), outcome }];
    hear(&mut session, crate::frame::Synced { request: sync.request, last: true, chats }, 100_000);
    assert_eq!(notices(&mut session), [Notice::Lost { entity: chat().into(), code: 2202, resuming: true }]);
}
