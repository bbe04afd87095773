use panda_protocol::event::{Digest, Event, EventBody, Role as ChatRole};
use panda_protocol::frame::{Ack, Admission, ErrorReply, EventFrame, Ping, Start, Subscribed, Welcome};
use panda_protocol::{ChatId, Cursor, EntityId, Incarnation, Seq, SessionId, Time, UserId};

use super::*;
use crate::payload;

const FROM: u64 = 70;

fn user() -> UserId {
    UserId::from_random([1; 16])
}

fn chat() -> ChatId {
    ChatId::direct(user(), UserId::from_random([2; 16]))
}

/// An adapter with one user, who has two tokens and one chat.
fn panda(auth: &str) -> Panda {
    let options = ["world=unused".to_owned(), format!("auth={auth}")];
    let mut panda = Panda::new(&Options::parse(&options).unwrap()).unwrap();
    let json = format!(r#"{{"tokens":[["first","second"]],"chats":["{}"]}}"#, chat());
    let folder = tempfile::tempdir().unwrap();
    panda.world_file = folder.path().join("world.json");
    std::fs::write(&panda.world_file, json).unwrap();
    panda.begin(&Plan::alone(1)).unwrap();
    panda
}

fn peer(number: u32, role: Role) -> Peer {
    Peer { number, role, channel: 0, step: 0, next_id: 0, expected: 0 }
}

/// The frames that an adapter wrote.
fn frames(mut written: Bytes) -> Vec<Frame> {
    let next = || panda_protocol::framing::next_frame(&mut written, FRAME_BYTES_MAX).unwrap();
    std::iter::from_fn(next).map(|raw| Frame::decode(raw).unwrap().unwrap()).collect()
}

fn open(panda: &mut Panda, peer: &mut Peer) -> Result<Vec<Frame>> {
    let mut written = Vec::new();
    panda.open(peer, &mut Outgoing { bytes: &mut written, opcode: None })?;
    Ok(frames(written.into()))
}

fn receive(panda: &mut Panda, peer: &mut Peer, said: &[Frame]) -> Result<(Vec<Frame>, Events)> {
    let message: Vec<u8> = said.iter().flat_map(Frame::to_bytes).collect();
    let (mut written, mut events) = (Vec::new(), Events::default());
    let mut out = Outgoing { bytes: &mut written, opcode: None };
    assert_eq!(panda.receive(peer, &message, &mut out, &mut events)?, message.len());
    Ok((frames(written.into()), events))
}

fn welcome(ticket: &'static [u8]) -> Frame {
    let at = Seq(0);
    let inbox =
        panda_protocol::frame::InboxState { incarnation: Incarnation::default(), head: at, from: at, reset: false };
    Frame::from(Welcome {
        version: PROTOCOL_VERSION,
        capabilities: 0,
        session: SessionId::from_random([3; 16]),
        user: user(),
        heartbeat_ms: 45_000,
        expires_in_ms: 1,
        ticket: Bytes::from_static(ticket),
        inbox,
        limits: Vec::new(),
    })
}

fn subscribed() -> Frame {
    let admission = Admission {
        start: Start::Live,
        incarnation: Incarnation::default(),
        from: Seq(FROM),
        head: Seq(FROM - 1),
        role: ChatRole::Member,
        visible_from: Seq(1),
        proof: Bytes::from_static(b"proof"),
    };
    Frame::from(Subscribed { request: request(SUBSCRIBE), admission })
}

fn event(entity: EntityId, seq: u64, target: Option<UserId>, body: EventBody) -> Frame {
    let event = Event {
        seq: Seq(seq),
        time: Time(7),
        actor: user(),
        device: DeviceId::from_random([4; 16]),
        counter: Counter(300),
        digest: Digest([5; 8]),
        target,
        body,
    };
    Frame::from(EventFrame { entity, event: event.to_bytes() })
}

fn message(seq: u64, due: u64) -> Frame {
    let text = Text::from_utf8(Bytes::copy_from_slice(&payload::write(due))).unwrap();
    event(chat().into(), seq, None, EventBody::MessageSent { format: MessageFormat::Text, text })
}

#[test]
fn a_subscriber_says_hello_with_a_token_of_its_own_and_is_ready_when_it_is_subscribed() {
    let mut panda = panda("token");
    for (number, token) in [(0, "first"), (1, "second")] {
        let mut peer = peer(number, Role::Subscriber);
        let said = open(&mut panda, &mut peer).unwrap();
        let [Frame::Hello(hello), Frame::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(hello.auth, Auth::Token(Text::from_static(token)));
        assert_eq!((subscribe.entry.chat, subscribe.entry.cursor), (chat(), None::<Cursor>));
        assert!(!receive(&mut panda, &mut peer, &[welcome(b"t")]).unwrap().1.ready);
        assert!(receive(&mut panda, &mut peer, &[subscribed()]).unwrap().1.ready);
    }
    assert!(open(&mut panda, &mut peer(2, Role::Subscriber)).is_err(), "no token is left");
}

#[test]
fn who_comes_back_with_a_ticket_is_the_same_device_and_brings_its_newest_ticket_and_proof() {
    let mut panda = panda("ticket");
    let mut devices = Vec::new();
    for (number, ticket) in [(0, None), (1, Some(&b"one"[..])), (2, Some(b"two"))] {
        let mut peer = peer(number, Role::Subscriber);
        let said = open(&mut panda, &mut peer).unwrap();
        let [Frame::Hello(hello), Frame::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
        let expected = ticket.map_or(Auth::Token(Text::from_static("first")), |t| Auth::Ticket(Bytes::from_static(t)));
        assert_eq!(hello.auth, expected);
        assert_eq!(subscribe.entry.proof.is_empty(), ticket.is_none());
        devices.push(hello.device);
        let next: &[u8] = if number == 0 { b"one" } else { b"two" };
        receive(&mut panda, &mut peer, &[welcome(next), subscribed()]).unwrap();
    }
    assert!(devices.iter().all(|device| *device == devices[0]));
}

#[test]
fn events_are_counted_as_the_codec_reads_them_and_only_those_of_the_chat() {
    let (mut panda, mut peer) = (panda("token"), peer(0, Role::Subscriber));
    open(&mut panda, &mut peer).unwrap();
    let added = EventBody::MemberAdded { role: ChatRole::Member, visible_from: Seq(1) };
    let read = EventBody::ReadMoved { chat: chat(), read: Seq(5) };
    let said = [
        subscribed(),
        message(FROM, 42),
        event(user().into(), 3, None, read),
        event(chat().into(), FROM + 1, Some(user()), added),
        message(FROM + 2, u64::MAX),
    ];
    let (_, events) = receive(&mut panda, &mut peer, &said).unwrap();
    assert_eq!(events.deliveries, [42, u64::MAX]);
}

#[test]
fn an_event_that_is_missing_or_comes_twice_ends_the_row() {
    for wrong in [FROM, FROM + 2] {
        let (mut panda, mut peer) = (panda("token"), peer(0, Role::Subscriber));
        open(&mut panda, &mut peer).unwrap();
        receive(&mut panda, &mut peer, &[subscribed(), message(FROM, 1)]).unwrap();
        let error = receive(&mut panda, &mut peer, &[message(wrong, 1)]).unwrap_err().to_string();
        assert!(error.contains(&(FROM + 1).to_string()), "{error}");
    }
}

#[test]
fn publications_follow_each_other_in_each_chat_and_their_acks_are_counted() {
    let (mut panda, mut peer) = (panda("token"), peer(0, Role::Publisher));
    let said = open(&mut panda, &mut peer).unwrap();
    assert!(matches!(&said[..], [Frame::Hello(_)]), "{said:?}");
    assert!(receive(&mut panda, &mut peer, &[welcome(b"t")]).unwrap().1.ready);
    for number in 1..=3 {
        let mut written = Vec::new();
        let mut out = Outgoing { bytes: &mut written, opcode: None };
        panda.publish(&mut peer, 0, &payload::write(9), true, &mut out).unwrap();
        let said = frames(written.into());
        let [Frame::Command(command)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((command.counter, command.after), (Counter(number), Counter(number - 1)));
        assert_eq!(command.entity, chat().into());
        let ack = Frame::from(Ack { request: command.request, seq: Seq(1) });
        assert_eq!(receive(&mut panda, &mut peer, &[ack]).unwrap().1.acks, 1);
    }
}

#[test]
fn a_ping_is_answered_and_a_refusal_ends_the_row() {
    let (mut panda, mut peer) = (panda("token"), peer(0, Role::Publisher));
    let (answer, _) = receive(&mut panda, &mut peer, &[Frame::from(Ping { nonce: 5 })]).unwrap();
    assert_eq!(answer, [Frame::from(Pong { nonce: 5 })]);
    for refusal in [
        Frame::from(ErrorReply::new(request(4), ErrorCode::RateLimited)),
        Frame::from(Bye::new(ErrorCode::TokenInvalid)),
    ] {
        assert!(receive(&mut panda, &mut peer, &[refusal]).is_err());
    }
}

#[test]
fn the_type_of_an_event_is_that_of_the_codec_and_one_that_is_cut_is_refused() {
    let frame = message(FROM, 1);
    assert_eq!(frame.kind(), EVENT);
    let bytes = frame.to_bytes();
    let (prefix, _) = panda_protocol::framing::peek_frame(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    let body = &bytes[prefix + 1..];
    assert!(Delivery::parse(body).is_ok());
    for cut in 0..body.len() {
        assert!(Delivery::parse(&body[..cut]).is_err(), "cut at {cut}");
    }
}
