use super::*;
use crate::frame::{Auth, Bye, Command, Ping, SyncEntry};
use crate::ids::{ChatId, Cursor, DeviceId, UserId};
use crate::text::Text;

const LIMITS: ServerLimits = ServerLimits { hello_timeout_ms: 10_000, heartbeat_ms: 25_000, requests_in_flight_max: 4 };

fn raw(frame: impl Into<Frame>) -> RawFrame {
    let frame = frame.into();
    let mut bytes = frame.to_bytes();
    crate::framing::next_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap()
}

fn user() -> UserId {
    UserId::from_random([1; 16])
}

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        capabilities: 0,
        auth: Auth::Token(Text::from("token")),
        device: DeviceId::from_random([2; 16]),
        inbox: None::<Cursor>,
        client: Text::from("test"),
    }
}

fn chat() -> ChatId {
    ChatId::direct(user(), UserId::from_random([3; 16]))
}

fn subscribe(request: u64) -> Subscribe {
    let entry = SyncEntry { chat: chat(), cursor: None, proof: Bytes::new() };
    Subscribe { request: RequestId(request), entry }
}

fn opened() -> ServerSession {
    let mut session = ServerSession::new(&LIMITS, 0);
    assert!(matches!(session.hear(&LIMITS, raw(hello()), 0), Ok(Heard::Hello(_))));
    session.open(u64::MAX);
    session
}

#[test]
fn a_session_opens_with_a_hello_and_takes_nothing_before_it() {
    let mut session = ServerSession::new(&LIMITS, 0);
    assert_eq!(session.frame_bytes_max(), Some(HELLO_BYTES_MAX));
    assert_eq!(session.hear(&LIMITS, raw(hello()), 0), Ok(Heard::Hello(hello())));
    assert_eq!(session.frame_bytes_max(), None, "frames behind the Hello wait");
    session.open(1_000);
    assert_eq!(session.frame_bytes_max(), Some(FRAME_BYTES_MAX));

    let mut early = ServerSession::new(&LIMITS, 0);
    assert_eq!(early.hear(&LIMITS, raw(Ping { nonce: 1 }), 0), Err(ErrorCode::UnexpectedFrame.into()));
    assert_eq!(early.phase(), Phase::Closed);
}

#[test]
fn a_version_that_is_not_spoken_here_is_refused() {
    for (version_min, version_max) in [(0, 0), (2, 9)] {
        let mut session = ServerSession::new(&LIMITS, 0);
        let heard = session.hear(&LIMITS, raw(Hello { version_min, version_max, ..hello() }), 0);
        assert_eq!(heard, Err(ErrorCode::VersionUnsupported.into()));
    }
    let mut session = ServerSession::new(&LIMITS, 0);
    let of_a_later_version = RawFrame { kind: 0x01, body: Bytes::from_static(&[2, 9, 0, 0x7f, 0xff]) };
    assert_eq!(session.clone().hear(&LIMITS, of_a_later_version, 0), Err(ErrorCode::VersionUnsupported.into()));
    let turned = RawFrame { kind: 0x01, body: Bytes::from_static(&[9, 2]) };
    assert_eq!(session.clone().hear(&LIMITS, turned, 0), Err(ErrorCode::Malformed.into()));
    let newer = Hello { version_min: 0, version_max: 7, ..hello() };
    assert!(matches!(session.hear(&LIMITS, raw(newer), 0), Ok(Heard::Hello(_))));
}

#[test]
fn frames_of_a_server_and_a_second_hello_are_unexpected() {
    let frames: [Frame; 2] = [
        hello().into(),
        Frame::GoAway(crate::frame::GoAway {
            code: 1000,
            delay_ms: 0,
            closes_in_ms: 0,
            address: Text::default(),
            ticket: Bytes::new(),
        }),
    ];
    for frame in frames {
        assert_eq!(opened().hear(&LIMITS, raw(frame), 0), Err(ErrorCode::UnexpectedFrame.into()));
    }
    // Not even decoded: its body is no Welcome's.
    let welcome = RawFrame { kind: 0x02, body: Bytes::new() };
    assert_eq!(opened().hear(&LIMITS, welcome, 0), Err(ErrorCode::UnexpectedFrame.into()));
}

#[test]
fn unknown_frames_are_skipped_where_they_may_be() {
    let ignorable = RawFrame { kind: 0xf0, body: Bytes::from_static(b"anything") };
    assert_eq!(opened().hear(&LIMITS, ignorable, 0), Ok(Heard::Nothing));
    let unknown = RawFrame { kind: 0x7f, body: Bytes::new() };
    assert_eq!(opened().hear(&LIMITS, unknown, 0), Err(ErrorCode::UnknownFrame.into()));
}

#[test]
fn a_request_above_the_limit_is_refused_and_does_not_count() {
    let mut session = opened();
    for request in 0..4 {
        let heard = session.hear(&LIMITS, raw(subscribe(request)), 0);
        assert!(matches!(heard, Ok(Heard::Request(id, Request::Subscribe(_))) if id == RequestId(request)));
    }
    let refused = Ok(Heard::Refused(RequestId(4), None, ErrorCode::TooManyInFlight));
    assert_eq!(session.hear(&LIMITS, raw(subscribe(4)), 0), refused);
    session.replied();
    assert!(matches!(session.hear(&LIMITS, raw(subscribe(5)), 0), Ok(Heard::Request(..))));
    assert_eq!(session.in_flight(), 4);
}

#[test]
fn a_command_keeps_its_bytes_even_those_of_a_newer_version() {
    let command = Command {
        request: RequestId(9),
        entity: chat().into(),
        counter: Counter(2),
        after: Counter(1),
        body: CommandBody::Rename { name: Text::from("new") },
        trace: None,
    };
    let RawFrame { kind, body } = raw(command.clone());
    let mut grown = body.to_vec();
    grown.extend_from_slice(b"grown");
    let heard = opened().hear(&LIMITS, RawFrame { kind, body: grown.into() }, 0).unwrap();
    let Heard::Request(RequestId(9), Request::Command(heard)) = heard else { panic!("{heard:?}") };
    assert_eq!(heard.body, command.body);
    assert!(heard.kind_and_body.starts_with(&[0x07]) && heard.kind_and_body.ends_with(b"grown"));
}

#[test]
fn a_trace_context_is_heard_and_stays_among_the_commands_bytes() {
    let trace = TraceContext::new([7; 16], [3; 8], 1);
    let body = CommandBody::Rename { name: Text::from("new") };
    let command =
        Command { request: RequestId(9), entity: chat().into(), counter: Counter(2), after: Counter(1), body, trace };
    let heard = opened().hear(&LIMITS, raw(command), 0).unwrap();
    let Heard::Request(_, Request::Command(heard)) = heard else { panic!("{heard:?}") };
    assert_eq!(heard.trace, trace);
    // Kind, length, name; then the context.
    assert_eq!((heard.kind_and_body.len(), TraceContext::behind_body(&heard.kind_and_body[5..])), (5 + 26, trace));
}

#[test]
fn a_name_above_its_limit_fails_the_request_and_a_broken_one_the_session() {
    let head = |kind: u8| {
        let mut out = crate::Writer::default();
        out.value(&RequestId(3));
        out.value(&EntityId::from(chat()));
        out.value(&Counter(1));
        out.value(&Counter(0));
        out.u8(kind);
        out
    };
    let mut long = head(0x07);
    long.bytes(&[b'x'; 60 * 1024]);
    let long = RawFrame { kind: 0x10, body: long.freeze() };
    let refused = |code| Ok(Heard::Refused(RequestId(3), Some(chat().into()), code));
    assert_eq!(opened().hear(&LIMITS, long, 0), refused(ErrorCode::TooLarge));

    let unknown = RawFrame { kind: 0x10, body: head(0x3f).freeze() };
    assert_eq!(opened().hear(&LIMITS, unknown, 0), refused(ErrorCode::InvalidRequest));

    let mut broken = head(0x07);
    broken.bytes(&[0xff, 0xfe]);
    let broken = RawFrame { kind: 0x10, body: broken.freeze() };
    assert_eq!(opened().hear(&LIMITS, broken, 0), Err(ErrorCode::Malformed.into()));
}

#[test]
fn a_silent_client_is_asked_and_then_given_up() {
    let mut session = opened();
    assert_eq!(session.due(&LIMITS, 0), Due::At(25_000));
    assert_eq!(session.due(&LIMITS, 25_000), Due::Ping(25_000));
    session.sent(25_000);
    assert_eq!(session.due(&LIMITS, 25_001), Due::At(50_000));
    session.sent(50_000);
    assert_eq!(session.due(&LIMITS, 50_001), Due::Close(ErrorCode::HeartbeatTimeout.into()));
    let pong = raw(crate::frame::Pong { nonce: 25_000 });
    assert_eq!(session.hear(&LIMITS, pong, 50_000), Ok(Heard::Nothing));
    assert!(matches!(session.due(&LIMITS, 50_001), Due::At(_)));
}

#[test]
fn nothing_is_pinged_while_frames_are_sent_anyway() {
    let mut session = opened();
    session.sent(20_000);
    session.alive(20_000);
    assert_eq!(session.due(&LIMITS, 25_000), Due::At(45_000));
}

#[test]
fn a_hello_that_does_not_come_and_a_right_that_ends_close_the_session() {
    let session = ServerSession::new(&LIMITS, 5);
    assert_eq!(session.due(&LIMITS, 5), Due::At(10_005));
    assert_eq!(session.due(&LIMITS, 10_005), Due::Close(ErrorCode::HandshakeTimeout.into()));

    let mut session = opened();
    session.refresh(100);
    assert_eq!(session.due(&LIMITS, 99), Due::At(100));
    assert_eq!(session.due(&LIMITS, 100), Due::Close(ErrorCode::TokenExpired.into()));
}

#[test]
fn a_ping_is_answered_and_a_bye_ends_it_without_another() {
    let mut session = opened();
    let pong = Heard::Reply(crate::frame::Pong { nonce: 7 }.into());
    assert_eq!(session.hear(&LIMITS, raw(Ping { nonce: 7 }), 0), Ok(pong));
    session.drain();
    assert_eq!(session.phase(), Phase::Draining);
    assert_eq!(session.hear(&LIMITS, raw(Bye::new(ErrorCode::Going)), 0), Ok(Heard::Left));
    assert_eq!(session.hear(&LIMITS, raw(Ping { nonce: 8 }), 0), Ok(Heard::Nothing), "nothing is heard after it");
}

#[test]
fn the_machine_stays_small() {
    assert!(size_of::<ServerSession>() <= 32, "{}", size_of::<ServerSession>());
}
