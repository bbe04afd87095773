//! How a session opens, is refreshed, moves and ends.

use super::*;

#[test]
fn the_ticket_opens_the_next_session_and_the_token_follows_when_it_is_refused() {
    let mut session = ClientSession::<u32>::new(parameters());
    assert_eq!(auth(&connect(&mut session, 0)), &Auth::Token(Text::from("token")));
    hear(&mut session, welcome(), 0);
    hear(&mut session, Bye::new(ErrorCode::Going), 1);
    assert_eq!(session.due_ms(), Some(1), "at once");
    assert_eq!(auth(&connect(&mut session, 1)), &Auth::Ticket(Bytes::from_static(b"ticket")));
    hear(&mut session, Bye::new(ErrorCode::TicketInvalid), 2);
    assert_eq!(session.due_ms(), Some(2), "with the token, at once");
    assert_eq!(auth(&connect(&mut session, 2)), &Auth::Token(Text::from("token")));
    hear(&mut session, Bye::new(ErrorCode::TokenExpired), 3);
    assert_eq!(session.due_ms(), None, "waits for a token");
    assert_eq!(notices(&mut session).last(), Some(&Notice::TokenNeeded));
    session.refresh(Text::from("newer"), 1, 9);
    assert_eq!(auth(&connect(&mut session, 9)), &Auth::Token(Text::from("newer")));
    hear(&mut session, welcome(), 9);
    assert_eq!(answers(&mut session), [(1, Ok(Reply::Done))]);
}

#[test]
fn a_live_session_is_refreshed_in_band() {
    let mut session = opened();
    session.refresh(Text::from("newer"), 1, 5);
    let frames = sent(&mut session, 5);
    let [Frame::Refresh(refresh)] = &frames[..] else { panic!("{frames:?}") };
    let refreshed =
        Refreshed { request: refresh.request, expires_in_ms: 1_000_000, ticket: Bytes::from_static(b"ticket 2") };
    hear(&mut session, Frame::Refreshed(refreshed), 6);
    assert_eq!(answers(&mut session), [(1, Ok(Reply::Done))]);
    session.disconnected(7);
    assert_eq!(auth(&connect(&mut session, 60_000)), &Auth::Ticket(Bytes::from_static(b"ticket 2")));
}

#[test]
fn a_newer_token_is_asked_for_between_60_and_90_percent_of_the_time() {
    let mut session = opened();
    for now_ms in (0..3_600_000).step_by(20_000) {
        session.tick(now_ms);
        session.alive(now_ms);
        sent(&mut session, now_ms);
        if notices(&mut session).contains(&Notice::TokenNeeded) {
            assert!((2_160_000..=3_260_000).contains(&now_ms), "{now_ms}");
            return;
        }
    }
    panic!("nobody asked for a token");
}

#[test]
fn an_unusable_token_is_not_sent() {
    let session = ClientSession::<u32>::new(Parameters { token: Text::default(), ..parameters() });
    assert_eq!(session.due_ms(), None);
    let mut session = opened();
    session.refresh(Text::from("x".repeat(4_000)), 1, 0);
    assert!(
        matches!(&answers(&mut session)[..], [(1, Err(refusal))] if refusal.code == ErrorCode::TokenInvalid as u16)
    );
}

#[test]
fn a_replaced_session_does_not_come_back() {
    let mut session = opened();
    hear(&mut session, Bye::new(ErrorCode::Replaced), 1);
    assert!(matches!(&notices(&mut session)[..], [Notice::Ended { code: 1300, .. }]));
    assert!(session.is_ended());
    assert_eq!(session.due_ms(), None);
}

#[test]
fn a_person_who_asks_is_connected_at_once_but_not_before_the_server_says_nor_twice_a_second() {
    let mut session = ClientSession::<u32>::new(parameters());
    session.hurry(0);
    // Until waits are long.
    let mut now_ms = 0;
    for _ in 0..8 {
        now_ms = session.due_ms().unwrap();
        session.tick(now_ms);
        session.not_connected(now_ms);
    }
    let due_ms = session.due_ms().unwrap();
    session.hurry(now_ms + 10);
    assert_eq!(session.due_ms(), Some(due_ms.min(now_ms + 1_000)));
    session.hurry(now_ms + 1_200);
    assert!(session.due_ms().unwrap() <= now_ms + 1_000, "it is no later than before");

    let mut session = opened();
    let bye = Bye { code: ErrorCode::Overloaded as u16, retry_after_ms: 60_000, text: Text::default() };
    hear(&mut session, bye, 40_000);
    session.hurry(40_000);
    assert_eq!(session.due_ms(), Some(100_000));
    // Where none is waited for, nothing changes.
    connect(&mut session, 100_000);
    let due_ms = session.due_ms();
    session.hurry(100_000);
    assert_eq!(session.due_ms(), due_ms);
}

#[test]
fn waits_are_random_below_a_doubling_bound_and_not_below_what_the_server_says() {
    let mut session = ClientSession::<u32>::new(parameters());
    let (mut now_ms, mut waits) = (0, Vec::new());
    for _ in 0..12 {
        session.tick(now_ms);
        session.not_connected(now_ms);
        let due = session.due_ms().unwrap();
        waits.push(due - now_ms);
        now_ms = due;
    }
    for (attempt, wait) in waits.iter().enumerate() {
        assert!(*wait <= 30_000.min(1_000 << attempt), "{waits:?}");
    }
    assert!(waits.iter().any(|wait| *wait > 5_000), "{waits:?}");
    let mut session = opened();
    hear(&mut session, Bye { retry_after_ms: 50_000, ..Bye::new(ErrorCode::Overloaded) }, 10);
    assert!(session.due_ms().unwrap() >= 50_010);
}

fn goaway() -> Frame {
    GoAway {
        code: 1000,
        delay_ms: 500,
        closes_in_ms: 2_000,
        address: Text::from("other:1"),
        ticket: Bytes::from_static(b"there"),
    }
    .into()
}

/// A session that was asked to leave and dials, since 600 ms.
fn moving() -> ClientSession<u32> {
    let mut session = opened();
    hear(&mut session, goaway(), 100);
    assert_eq!(session.due_ms(), Some(600));
    session.tick(600);
    assert!(matches!(&outputs(&mut session)[..], [Output::Connect { address, .. }] if address.as_str() == "other:1"));
    session
}

#[test]
fn a_session_that_is_asked_to_leave_goes_on_until_the_next_connection_is_there() {
    let mut session = moving();
    session.submit(chat().into(), say("a"), 1).unwrap();
    let went = commands(&sent(&mut session, 601));
    hear(&mut session, Ack { request: went[0].0, seq: Seq(1) }, 602);
    assert_eq!(answers(&mut session), [(1, Ok(Reply::Applied(Seq(1))))]);
    session.submit(chat().into(), say("b"), 2).unwrap();
    assert_eq!(commands(&sent(&mut session, 603)).len(), 1);
    session.connected(604);
    let over = outputs(&mut session);
    assert!(matches!(&over[0], Output::Close(Some(bye)) if raw_of(bye.clone()).kind == 0x0a), "{over:?}");
    let disconnected = Notice::Disconnected { code: Some(1000), retry_in_ms: Some(0) };
    assert_eq!(over[1..], [Output::Notice(disconnected)]);
    assert_eq!(auth(&sent(&mut session, 604)), &Auth::Ticket(Bytes::from_static(b"there")));
    hear(&mut session, welcome(), 605);
    assert_eq!(commands(&sent(&mut session, 605)).len(), 1, "what was not answered goes out again");
}

#[test]
fn a_move_that_does_not_come_about_is_tried_again_and_costs_nothing() {
    let mut session = moving();
    session.not_connected(700);
    assert!(session.is_open() && outputs(&mut session).is_empty());
    let due_ms = session.due_ms().unwrap();
    assert!((1_700..2_700).contains(&due_ms), "{due_ms}");
    session.tick(due_ms);
    assert!(matches!(&outputs(&mut session)[..], [Output::Connect { address, .. }] if address.is_empty()));
    // A dial without an end is given up, too.
    session.tick(due_ms + 15_000);
    assert!(session.is_open() && outputs(&mut session).is_empty());
    assert!(session.due_ms().unwrap() >= due_ms + 16_000);
}

#[test]
fn a_connection_that_ends_while_the_next_is_dialed_waits_for_that_one() {
    let mut session = moving();
    session.disconnected(700);
    assert!(matches!(&notices(&mut session)[..], [Notice::Disconnected { retry_in_ms: Some(0), .. }]));
    assert_eq!(session.due_ms(), Some(15_600), "the dial goes on, and no second one begins");
    session.connected(701);
    assert!(outputs(&mut session).is_empty(), "there is nothing to close");
    assert_eq!(auth(&sent(&mut session, 701)), &Auth::Ticket(Bytes::from_static(b"there")));
}

#[test]
fn a_code_without_a_bye_says_the_same() {
    let mut session = opened();
    session.closed(ErrorCode::Replaced as u16, 5);
    let over = outputs(&mut session);
    assert!(matches!(&over[..], [Output::Close(None), Output::Notice(Notice::Ended { code: 1300, .. })]), "{over:?}");
    assert!(session.is_ended());
    let mut session = opened();
    session.closed(0, 5);
    let over = outputs(&mut session);
    assert!(matches!(&over[..], [Output::Notice(Notice::Disconnected { code: None, .. })]), "{over:?}");
}

#[test]
fn a_token_given_while_an_older_one_is_looked_at_is_not_taken_for_it() {
    let greeting = || {
        let mut session = ClientSession::new(parameters());
        connect(&mut session, 0);
        session.refresh(Text::from("newer"), 1, 1);
        session
    };
    let newer = Auth::Token(Text::from("newer"));
    // The older one is refused: the newer one is tried before anybody is told that it is not good.
    let mut session = greeting();
    hear(&mut session, Bye::new(ErrorCode::TokenExpired), 2);
    assert!(answers(&mut session).is_empty());
    assert_eq!(auth(&connect(&mut session, 2)), &newer);
    hear(&mut session, welcome(), 3);
    assert_eq!(answers(&mut session), [(1, Ok(Reply::Done))]);
    // The older one is taken: the newer one is still to be said.
    let mut session = greeting();
    hear(&mut session, welcome(), 2);
    assert!(answers(&mut session).is_empty());
    assert!(matches!(&sent(&mut session, 2)[..], [Frame::Refresh(refresh)] if refresh.token.as_str() == "newer"));
}

#[test]
fn a_chat_left_while_the_welcome_is_waited_for_is_left_at_the_server_too() {
    let mut session = ClientSession::new(parameters());
    session.subscribe(chat(), None, 1);
    connect(&mut session, 0);
    session.unsubscribe(chat(), 2);
    hear(&mut session, welcome(), 1);
    assert!(matches!(&sent(&mut session, 1)[..], [Frame::Unsubscribe(left)] if left.chat == chat()));
}

#[test]
fn the_highest_counter_is_the_last() {
    let mut session = opened();
    session.submit(chat().into(), say("a"), 1).unwrap();
    let went = commands(&sent(&mut session, 0));
    let details = Some(ErrorDetails { counter: Counter(crate::limits::VARINT_MAX), seq: Seq(4) });
    hear(&mut session, ErrorReply { details, ..ErrorReply::new(went[0].0, ErrorCode::OutOfOrder) }, 1);
    assert_eq!(session.submit(chat().into(), say("b"), 2), Err((2, ErrorCode::LimitReached)));
    let group = session.create_group(Text::from("g"), Vec::new(), 3);
    assert_eq!(group, Err((3, ErrorCode::LimitReached)));
}

#[test]
fn a_ping_goes_out_after_a_silence_and_twice_a_silence_is_the_end() {
    let mut session = opened();
    assert_eq!(session.due_ms(), Some(25_000));
    session.tick(25_000);
    assert!(matches!(&sent(&mut session, 25_000)[..], [Frame::Ping(_)]));
    hear(&mut session, crate::frame::Ping { nonce: 9 }, 25_001);
    assert!(matches!(&sent(&mut session, 25_001)[..], [Frame::Pong(pong)] if pong.nonce == 9));
    session.tick(75_002);
    let over = outputs(&mut session);
    assert!(matches!(&over[..], [Output::Close(Some(_)), Output::Notice(Notice::Disconnected { code: None, .. })]));
}

#[test]
fn a_frame_that_is_none_ends_the_connection_and_a_newer_one_does_not() {
    let mut session = opened();
    session.hear(RawFrame { kind: 0xf0, body: Bytes::new() }, 1);
    assert!(session.is_open());
    session.hear(RawFrame { kind: 0x11, body: Bytes::new() }, 1);
    assert!(!session.is_open());
    assert!(matches!(&outputs(&mut session)[0], Output::Close(Some(_))));
    let mut session = opened();
    hear(&mut session, Frame::Event(EventFrame { entity: chat().into(), event: Bytes::from_static(b"?") }), 1);
    assert!(!session.is_open(), "an event that is none");
}
