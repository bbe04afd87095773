//! One value of every frame, event, command and record, and of their corners.

use bytes::{Bytes, BytesMut};
use panda_protocol::codec::Writer;
use panda_protocol::error_code::ErrorCode;
use panda_protocol::event::{ChatKind, Digest, Event, EventBody, MessageFormat, Role};
use panda_protocol::frame::*;
use panda_protocol::framing::next_frame;
use panda_protocol::limits::{FRAME_BYTES_MAX, VARINT_MAX};
use panda_protocol::link::{CommandOrigin, CommandRecord, Effect, LinkId, Record};
use panda_protocol::{ChatId, Counter, Cursor, DeviceId, Incarnation, Seq, SessionId, Text, Time, UserId};

pub(crate) fn user(n: u8) -> UserId {
    UserId::from_random([n; 16])
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::from_random([n; 16])
}

pub(crate) fn chat() -> ChatId {
    ChatId::group(user(1), device(1), Counter(1))
}

pub(crate) fn session() -> SessionId {
    SessionId::from_random([9; 16])
}

const INCARNATION: Incarnation = Incarnation(*b"incarnat");

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor { incarnation: INCARNATION, seq: Seq(seq) }
}

pub(crate) fn admission(start: Start) -> Admission {
    Admission {
        start,
        incarnation: INCARNATION,
        from: Seq(43),
        head: Seq(16_384),
        role: Role::Member,
        visible_from: Seq(2),
        proof: Bytes::from_static(b"proof"),
    }
}

fn event(seq: u64, target: Option<UserId>, body: EventBody) -> Event {
    Event {
        seq: Seq(seq),
        time: Time(1_700_000_000_000_000 + seq),
        actor: user(1),
        device: device(1),
        counter: Counter(7),
        digest: Digest(*b"digest!!"),
        target,
        body,
    }
}

pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let effect = |seq, body| Event {
        device: DeviceId::NONE,
        counter: Counter(0),
        digest: Digest::default(),
        ..event(seq, None, body)
    };
    vec![
        ("group created", event(1, None, EventBody::ChatCreated { kind: ChatKind::Group, name: "Élan 🐼".into() })),
        (
            "direct chat created",
            event(1, None, EventBody::ChatCreated { kind: ChatKind::Direct, name: Text::default() }),
        ),
        ("member added", event(2, Some(user(2)), EventBody::MemberAdded { role: Role::Member, visible_from: Seq(1) })),
        ("member removed", event(63, Some(user(2)), EventBody::MemberRemoved)),
        ("role changed", event(64, Some(user(2)), EventBody::RoleChanged { role: Role::Admin })),
        ("chat renamed", event(16_383, None, EventBody::ChatRenamed { name: "new".into() })),
        (
            "message",
            event(
                16_384,
                None,
                EventBody::MessageSent {
                    format: MessageFormat::Text, text: "hello, שלום, नमस्ते".into()
                },
            ),
        ),
        (
            "message with a large seq",
            event(VARINT_MAX, None, EventBody::MessageSent { format: MessageFormat::Text, text: "x".into() }),
        ),
        ("erased message", event(5, None, EventBody::Blanked { kind: 6 })),
        ("unknown kind", event(6, None, EventBody::Unknown { kind: 0x3f, body: Bytes::from_static(b"newer") })),
        (
            "chat joined",
            effect(1, EventBody::ChatJoined { chat: chat(), source: Seq(2), role: Role::Member, visible_from: Seq(2) }),
        ),
        ("chat left", effect(2, EventBody::ChatLeft { chat: chat(), source: Seq(63) })),
        ("read moved", event(3, None, EventBody::ReadMoved { chat: chat(), read: Seq(40) })),
        (
            "setting changed",
            event(
                4,
                None,
                EventBody::SettingChanged { new: true, key: "theme".into(), value: Bytes::from_static(b"dark") },
            ),
        ),
    ]
}

pub(crate) fn commands() -> Vec<(&'static str, CommandBody)> {
    vec![
        ("send", CommandBody::Send { format: MessageFormat::Text, text: "hello".into() }),
        (
            "send of many scripts",
            CommandBody::Send { format: MessageFormat::Text, text: "你好 مرحبا 🐼 e\u{301}".into() },
        ),
        ("create group", CommandBody::CreateGroup { name: "pandas".into(), members: vec![user(2), user(3)] }),
        ("create group alone", CommandBody::CreateGroup { name: Text::default(), members: Vec::new() }),
        ("create direct", CommandBody::CreateDirect { peer: user(2) }),
        ("add members", CommandBody::AddMembers { role: Role::Reader, with_history: true, members: vec![user(4)] }),
        ("remove members", CommandBody::RemoveMembers { members: vec![user(4), user(5)] }),
        ("set role", CommandBody::SetRole { member: user(2), role: Role::Admin }),
        ("rename", CommandBody::Rename { name: "bears".into() }),
        ("mark read", CommandBody::MarkRead { chat: chat(), read: Seq(99) }),
        ("set setting", CommandBody::SetSetting { key: "theme".into(), value: Bytes::from_static(b"dark") }),
        ("remove setting", CommandBody::SetSetting { key: "theme".into(), value: Bytes::new() }),
    ]
}

pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let mut command = Writer::default();
    commands()[0].1.encode(&mut command);
    vec![
        (
            "command",
            Record::Command(CommandRecord {
                origin: CommandOrigin { link: LinkId(0x0102_0304_0506_0708), token: 77 },
                entity: chat().into(),
                actor: user(1),
                device: device(1),
                counter: Counter(7),
                after: Counter(6),
                command: command.freeze(),
            }),
        ),
        (
            "effect",
            Record::Effect(Effect {
                source: chat().into(),
                source_seq: Seq(2),
                target: user(2).into(),
                event: events()[2].1.to_bytes(),
            }),
        ),
        ("takeover", Record::Takeover { router: 0x1122_3344_5566_7788, rules_max: 1 }),
        ("rules", Record::Rules { version: 1 }),
    ]
}

fn hello(auth: Auth, inbox: Option<Cursor>) -> Frame {
    Hello {
        version_min: 1,
        version_max: 1,
        capabilities: capabilities::DATAGRAM_SIGNALS,
        auth,
        device: device(1),
        inbox,
        client: "vectors/1".into(),
    }
    .into()
}

fn opening() -> Vec<(&'static str, Frame)> {
    let inbox = InboxState { incarnation: INCARNATION, head: Seq(12), from: Seq(13), reset: false };
    vec![
        ("hello with a token", hello(Auth::Token("eyJ.eyJ.sig".into()), None)),
        ("hello with a ticket", hello(Auth::Ticket(Bytes::from_static(b"ticket")), Some(cursor(12)))),
        (
            "welcome",
            Welcome {
                version: 1,
                capabilities: 0,
                session: session(),
                user: user(1),
                heartbeat_ms: 45_000,
                expires_in_ms: 3_600_000,
                ticket: Bytes::from_static(b"ticket"),
                inbox,
                limits: vec![(LimitKind::FrameBytes as u8, 65_536), (LimitKind::TextBytes as u8, 16_384)],
            }
            .into(),
        ),
        ("refresh", Refresh { request: RequestId(1), token: "eyJ.eyJ.sig".into() }.into()),
        (
            "refreshed",
            Refreshed { request: RequestId(1), expires_in_ms: 3_600_000, ticket: Bytes::from_static(b"ticket") }.into(),
        ),
        ("ping", Ping { nonce: 64 }.into()),
        ("pong", Pong { nonce: 64 }.into()),
        (
            "go away",
            GoAway {
                code: ErrorCode::Going as u16,
                delay_ms: 1_500,
                closes_in_ms: 30_000,
                address: "edge-2:8443".into(),
                ticket: Bytes::from_static(b"ticket"),
            }
            .into(),
        ),
        ("bye", Bye::new(ErrorCode::Replaced).into()),
    ]
}

fn subscriptions() -> Vec<(&'static str, Frame)> {
    let entry =
        |seq: Option<u64>| SyncEntry { chat: chat(), cursor: seq.map(cursor), proof: Bytes::from_static(b"proof") };
    let other = ChatId::direct(user(1), user(2));
    vec![
        (
            "sync",
            Sync {
                request: RequestId(2),
                chats: vec![entry(Some(42)), SyncEntry { chat: other, cursor: None, proof: Bytes::new() }],
            }
            .into(),
        ),
        (
            "synced",
            Synced {
                request: RequestId(2),
                last: true,
                chats: vec![
                    SyncedEntry { chat: chat(), outcome: Ok(admission(Start::From)) },
                    SyncedEntry { chat: other, outcome: Err((ErrorCode::NotMember as u16, 0)) },
                ],
            }
            .into(),
        ),
        ("subscribe", Subscribe { request: RequestId(3), entry: entry(None) }.into()),
        ("subscribed from the cursor", Subscribed { request: RequestId(3), admission: admission(Start::From) }.into()),
        ("subscribed later", Subscribed { request: RequestId(3), admission: admission(Start::BeginsAt) }.into()),
        ("subscribed after a reset", Subscribed { request: RequestId(3), admission: admission(Start::Reset) }.into()),
        ("subscribed live", Subscribed { request: RequestId(3), admission: admission(Start::Live) }.into()),
        ("unsubscribe", Unsubscribe { request: RequestId(4), chat: chat() }.into()),
        ("unsubscribed", Unsubscribed { request: RequestId(4) }.into()),
        ("ended", Ended { entity: chat().into(), code: ErrorCode::NotMember as u16, retry_after_ms: 0 }.into()),
        ("head", Head { entity: chat().into(), head: Seq(99) }.into()),
        ("event", EventFrame { entity: chat().into(), event: events()[6].1.to_bytes() }.into()),
        ("inbox event", EventFrame { entity: user(1).into(), event: events()[10].1.to_bytes() }.into()),
        (
            "signal of a client",
            Signal { chat: chat(), user: None, kind: SignalKind::TYPING, payload: Bytes::new() }.into(),
        ),
        (
            "signal of the server",
            Signal { chat: chat(), user: Some(user(2)), kind: SignalKind::PRESENCE, payload: Bytes::from_static(&[1]) }
                .into(),
        ),
    ]
}

fn reads() -> Vec<(&'static str, Frame)> {
    let page =
        |direction, from| Page { request: RequestId(5), entity: chat().into(), direction, from: Seq(from), limit: 50 };
    vec![
        ("page forward", page(Direction::Forward, 1).into()),
        ("page backward", page(Direction::Backward, VARINT_MAX).into()),
        (
            "page chunk",
            PageChunk {
                request: RequestId(5),
                last: true,
                incarnation: INCARNATION,
                begins_at: Seq(1),
                head: Seq(2),
                events: events()[..2].iter().map(|(_, event)| event.to_bytes()).collect(),
            }
            .into(),
        ),
        ("members", Members { request: RequestId(6), chat: chat(), after: Some(user(1)), limit: 256 }.into()),
        (
            "members page",
            MembersPage {
                request: RequestId(6),
                more: false,
                members: vec![MemberEntry { user: user(2), role: Role::Owner, joined: Seq(2) }],
            }
            .into(),
        ),
        ("chats", Chats { request: RequestId(7), after: None, limit: 1 }.into()),
        (
            "chats page",
            ChatsPage {
                request: RequestId(7),
                more: true,
                inbox: Seq(12),
                chats: vec![ChatEntry { chat: chat(), joined: Seq(2), read: Seq(40) }],
            }
            .into(),
        ),
        ("chat info", ChatInfo { request: RequestId(8), chat: chat() }.into()),
        (
            "chat info reply",
            ChatInfoReply {
                request: RequestId(8),
                kind: ChatKind::Group,
                name: "pandas".into(),
                incarnation: INCARNATION,
                head: Seq(40),
                members: 3,
                role: Role::Owner,
                visible_from: Seq(1),
            }
            .into(),
        ),
    ]
}

fn changes() -> Vec<(&'static str, Frame)> {
    let details = ErrorDetails { counter: Counter(6), seq: Seq(41) };
    let command = |(name, body): (&'static str, CommandBody)| {
        let entity = if body.is_inbox() { user(1).into() } else { chat().into() };
        (
            name,
            Command { request: RequestId(70), entity, counter: Counter(7), after: Counter(6), body, trace: None }
                .into(),
        )
    };
    let mut frames: Vec<(&'static str, Frame)> = commands().into_iter().map(command).collect();
    frames.push(("ack", Ack { request: RequestId(70), seq: Seq(42) }.into()));
    frames.push(("error", ErrorReply::new(RequestId(70), ErrorCode::Unavailable).retry_after_ms(500).into()));
    frames.push((
        "error with details",
        ErrorReply { details: Some(details), ..ErrorReply::new(RequestId(70), ErrorCode::OutOfOrder) }.into(),
    ));
    frames
}

pub(crate) fn frames() -> Vec<(&'static str, Frame)> {
    [opening(), subscriptions(), reads(), changes()].concat()
}

/// The frame as a newer peer would write it: with bytes behind its end.
pub(crate) fn grown(frame: &Frame) -> Bytes {
    let raw = next_frame(&mut frame.to_bytes(), FRAME_BYTES_MAX).unwrap().unwrap();
    let mut body = BytesMut::from(&raw.body[..]);
    body.extend_from_slice(b"\x05newer");
    let mut out = Writer::default();
    out.length(body.len() + 1);
    out.u8(raw.kind);
    out.raw(&body);
    out.freeze()
}
