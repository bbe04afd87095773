use panda_protocol::event::{Digest, Event, EventBody};
use panda_protocol::frame::{Ack, Admission, Bye, EventFrame, Start, Synced, SyncedEntry};
use panda_protocol::{ErrorCode, Incarnation, Seq, Time, UserId};

use super::*;
use crate::engine::Role;

fn chat(byte: u8) -> ChatId {
    let user = |byte| UserId::from_random([byte; 16]);
    ChatId::direct(user(byte), user(0))
}

/// A seat in two chats, whose Sync was answered.
fn seated(is_checked: bool) -> (Lean, Peer) {
    seated_as(is_checked, false)
}

fn seated_as(is_checked: bool, comes_back: bool) -> (Lean, Peer) {
    let job = Job {
        agent: 0,
        servers: Vec::new(),
        path: "/ws".into(),
        sessions: 1,
        tls: false,
        comes_back,
        receive_bytes: None,
    };
    let mut lean = Lean::new(&job);
    let chats = [chat(1), chat(2)].map(|chat| chat.to_string());
    let (token, numbers, watched) = ("token".into(), [1, 2], [true; 2]);
    lean.add(Place { user: 7, server: 0, token, chats, numbers, watched, is_checked }).unwrap();
    let peer = Peer { number: 0, role: Role::Subscriber, channel: 0, step: 0, next_id: 0, expected: 0 };
    (lean, peer)
}

fn hear(lean: &mut Lean, peer: &mut Peer, message: &[u8]) -> Result<usize> {
    let mut bytes = Vec::new();
    let mut out = Outgoing { bytes: &mut bytes, opcode: None };
    lean.receive(peer, message, &mut out, &mut Events::default())
}

fn publish(lean: &mut Lean, peer: &mut Peer) {
    let mut bytes = Vec::new();
    let mut out = Outgoing { bytes: &mut bytes, opcode: None };
    lean.publish(peer, 0, &payload::write(1), false, &mut out).unwrap();
}

fn breaches(lean: &Lean) -> Vec<&str> {
    let breach = |seen: &'_ Seen| matches!(seen, Seen::Breach { session: 7, .. });
    lean.seen
        .iter()
        .filter(|seen| breach(seen))
        .map(|seen| match seen {
            Seen::Breach { why, .. } => why.as_str(),
            _ => "",
        })
        .collect()
}

fn admitted(start: Start, from: u64) -> Vec<u8> {
    let entry = |byte| SyncedEntry {
        chat: chat(byte),
        outcome: Ok(Admission {
            start,
            incarnation: Incarnation([5; 8]),
            from: Seq(from),
            head: Seq(from),
            role: panda_protocol::event::Role::Member,
            visible_from: Seq(1),
            proof: Bytes::new(),
        }),
    };
    Frame::from(Synced { request: SYNC, last: true, chats: vec![entry(1), entry(2)] }).to_bytes().to_vec()
}

fn message(of: ChatId, seq: u64) -> Vec<u8> {
    let text = Text::from("hello");
    let event = Event {
        seq: Seq(seq),
        time: Time(7),
        actor: UserId::from_random([9; 16]),
        device: DeviceId::from_random([4; 16]),
        counter: Counter(1),
        digest: Digest::default(),
        target: None,
        body: EventBody::MessageSent { format: MessageFormat::Text, text },
    };
    Frame::from(EventFrame { entity: of.into(), event: event.to_bytes() }).to_bytes().to_vec()
}

#[test]
fn what_keeps_the_protocol_is_no_breach() {
    for is_checked in [true, false] {
        let (mut lean, mut peer) = seated(is_checked);
        hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
        assert!(lean.may_send(0));
        hear(&mut lean, &mut peer, &message(chat(2), 3)).unwrap();
        publish(&mut lean, &mut peer);
        let ack = Frame::from(Ack { request: RequestId(SYNC.0 + 1), seq: Seq(3) }).to_bytes();
        hear(&mut lean, &mut peer, &ack).unwrap();
        assert!(lean.may_send(0));
        assert_eq!((lean.second.delivered, breaches(&lean)), (1, vec![]));
    }
}

#[test]
fn an_event_of_a_foreign_chat_is_a_breach_to_every_session() {
    for is_checked in [true, false] {
        let (mut lean, mut peer) = seated(is_checked);
        hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
        assert!(hear(&mut lean, &mut peer, &message(chat(3), 3)).is_err());
        assert!(matches!(breaches(&lean)[..], [why] if why.contains("not asked for")), "{:?}", lean.seen);
        assert_eq!(lean.second.delivered, 0);
    }
}

#[test]
fn a_second_ack_and_an_ack_of_another_send_are_breaches() {
    let (mut lean, mut peer) = seated(false);
    hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
    publish(&mut lean, &mut peer);
    let ack = Frame::from(Ack { request: RequestId(SYNC.0 + 1), seq: Seq(3) }).to_bytes();
    hear(&mut lean, &mut peer, &ack).unwrap();
    assert!(hear(&mut lean, &mut peer, &ack).is_err());
    assert_eq!(breaches(&lean).len(), 1);
    publish(&mut lean, &mut peer);
    assert!(hear(&mut lean, &mut peer, &ack).is_err(), "the next send waits, and this is no answer to it");
    assert_eq!((breaches(&lean).len(), lean.acks.len()), (2, 1));
}

#[test]
fn bytes_that_are_no_frame_are_a_breach() {
    for garbage in [&b"\xff\xff\xff\xff\xff\xff"[..], b"\x05\x12"] {
        let (mut lean, mut peer) = seated(false);
        assert!(hear(&mut lean, &mut peer, garbage).is_err());
        assert_eq!(breaches(&lean).len(), 1, "{garbage:?}");
    }
}

#[test]
fn a_reset_is_a_breach_and_does_not_move_the_cursor() {
    let (mut lean, mut peer) = seated(true);
    hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
    let before = lean.held[&0].entry(0, chat(1));
    peer.step = 0;
    assert!(hear(&mut lean, &mut peer, &admitted(Start::Reset, 9)).is_err());
    assert!(matches!(breaches(&lean)[..], [why] if why.contains("another store")), "{:?}", lean.seen);
    assert_eq!(lean.held[&0].entry(0, chat(1)), before);
}

#[test]
fn who_is_sent_away_or_refused_for_now_is_lost_and_who_is_refused_for_good_was_wronged() {
    let bye = |code: ErrorCode| Frame::from(Bye { code: code as u16, retry_after_ms: 0, text: "x".into() }).to_bytes();
    for (code, breaks) in [(ErrorCode::Going, 0), (ErrorCode::Internal, 0), (ErrorCode::UnexpectedFrame, 1)] {
        let (mut lean, mut peer) = seated(false);
        assert!(hear(&mut lean, &mut peer, &bye(code)).is_err());
        assert_eq!(breaches(&lean).len(), breaks, "{code}");
    }
}

#[test]
fn a_send_whose_answer_did_not_come_is_sent_again_by_who_comes_back_and_unknown_of_who_does_not() {
    for comes_back in [true, false] {
        let (mut lean, mut peer) = seated_as(false, comes_back);
        hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
        publish(&mut lean, &mut peer);
        lean.gone(0);
        assert_eq!((lean.second.unknown, lean.is_waiting()), (u64::from(!comes_back), comes_back));
        peer.step = 0;
        let mut bytes = Vec::new();
        let mut out = Outgoing { bytes: &mut bytes, opcode: None };
        lean.receive(&mut peer, &admitted(Start::From, 3), &mut out, &mut Events::default()).unwrap();
        assert_eq!((bytes.is_empty(), lean.may_send(0)), (!comes_back, !comes_back));
        if comes_back {
            let ack = Frame::from(Ack { request: RequestId(SYNC.0 + 1), seq: Seq(3) }).to_bytes();
            hear(&mut lean, &mut peer, &ack).unwrap();
            assert_eq!((lean.acks.len(), lean.second.sent), (1, 1), "it was one send");
        }
    }
}

#[test]
fn who_comes_back_is_the_same_device_and_misses_nothing_unseen() {
    let (mut lean, mut peer) = seated_as(false, true);
    let device = lean.device(&lean.seats[0]);
    hear(&mut lean, &mut peer, &admitted(Start::Live, 3)).unwrap();
    lean.gone(0);
    lean.seats[0].round += 1;
    peer.step = 0;
    hear(&mut lean, &mut peer, &admitted(Start::From, 3)).unwrap();
    assert_eq!((lean.device(&lean.seats[0]), &lean.seen[..]), (device, &[][..]));
    hear(&mut lean, &mut peer, &message(chat(1), 4)).unwrap();
    assert_eq!(lean.seen, [Seen::Broken { session: 7, chat: Some(1), expected: 3, got: 4 }]);
}

#[test]
fn a_ticket_that_is_refused_is_not_tried_again() {
    let (mut lean, mut peer) = seated_as(false, true);
    lean.held.get_mut(&0).unwrap().keep(&Bytes::from_static(b"ticket"));
    let says_ticket = |lean: &mut Lean| lean.flight(0).windows(6).any(|bytes| bytes == b"ticket");
    assert!(says_ticket(&mut lean));
    let bye = Bye { code: ErrorCode::TicketInvalid as u16, retry_after_ms: 0, text: "x".into() };
    let why = hear(&mut lean, &mut peer, &Frame::from(bye).to_bytes()).unwrap_err();
    assert!(why.is::<Away>() && !says_ticket(&mut lean), "{why}");
}
