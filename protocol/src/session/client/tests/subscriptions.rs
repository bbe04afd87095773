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
    assert_eq!(notices(&mut session), [Notice::Lost { entity, code: 2202 }]);
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
