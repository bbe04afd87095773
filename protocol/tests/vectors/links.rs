//! The frames of a link between machines, and what its opening proves.

use bytes::{Bytes, BytesMut};
use panda_protocol::codec::DecodeError;
use panda_protocol::error_code::ErrorCode;
use panda_protocol::event::Role;
use panda_protocol::frame::{Direction, ErrorDetails, SignalKind, Start};
use panda_protocol::framing::{RawFrame, next_frame};
use panda_protocol::link::{
    Admit, Admitted, Answer, Challenge, Down, Events, LINK_FRAME_BYTES_MAX, LINK_FRAME_TYPES, LinkEvent, LinkId,
    LinkKey, Membership, Open, Opened, Opening, Opens, Outcome, Read, ReadQuery, ReadReply, Refused, Rejection, Resume,
    Up,
};
use panda_protocol::{Counter, EntityId, Generation, Position, Seq, ShardId};
use serde_json::json;

use super::samples::{admission, chat, cursor, device, session, user};
use super::{hex, pinned, unhex};

#[derive(Clone, Debug, PartialEq)]
enum Any {
    Opening(Opening),
    Up(Up),
    Down(Down),
}

impl Any {
    fn to_bytes(&self) -> Bytes {
        match self {
            Self::Opening(opening) => opening.to_bytes(),
            Self::Up(up) => up.to_bytes(),
            Self::Down(down) => {
                let mut out = BytesMut::new();
                down.append_to(&mut out);
                out.freeze()
            }
        }
    }

    /// Whatever frame the bytes are; an unknown one is told as what goes up.
    fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let raw = next_frame(&mut bytes.clone(), LINK_FRAME_BYTES_MAX)?.ok_or(DecodeError::Truncated)?;
        match raw.kind {
            0x01..=0x0f => Opening::decode(raw).map(Self::Opening),
            0x20..=0x2f => Down::decode(raw).map(Self::Down),
            _ => Up::decode(raw).map(Self::Up),
        }
    }
}

fn key() -> LinkKey {
    LinkKey([7; 32])
}

fn challenge() -> Challenge {
    Challenge { version_min: 1, version_max: 1, router: 0x1122_3344_5566_7788, nonce: [1; 16] }
}

fn open() -> Open {
    let (link, nonce) = (LinkId(0x0102_0304_0506_0708), [2; 16]);
    Open { version: 1, link, nonce, proof: key().edge_proof(&challenge(), 1, link, &nonce) }
}

fn samples() -> Vec<(&'static str, Any)> {
    let openings = openings().into_iter().map(|(name, frame)| (name, Any::Opening(frame)));
    let ups = ups().into_iter().map(|(name, frame)| (name, Any::Up(frame)));
    let downs = downs().into_iter().map(|(name, frame)| (name, Any::Down(frame)));
    openings.chain(ups).chain(downs).collect()
}

fn openings() -> Vec<(&'static str, Opening)> {
    let opened = Opened { proof: key().router_proof(&challenge(), &open()) };
    let refused = Refused { code: ErrorCode::Unauthenticated as u16, text: "no".into() };
    vec![
        ("challenge", Opening::Challenge(challenge())),
        ("open", Opening::Open(open())),
        ("opened", Opening::Opened(opened)),
        ("refused", Opening::Refused(refused)),
        ("alive", Opening::Alive),
    ]
}

fn ups() -> Vec<(&'static str, Up)> {
    let entity = EntityId::from(chat());
    let read = |query| Up::Read(Read { token: 300, user: user(1), entity, query });
    let payload = Bytes::from_static(b"p");
    vec![
        (
            "admit",
            Up::Admit(Admit {
                token: 77,
                user: user(1),
                entity,
                cursor: Some(cursor(42)),
                member: Some(Membership { at: Seq(2), role: Role::Admin, visible_from: Seq(1) }),
                opens: None,
            }),
        ),
        (
            "admit to the own inbox",
            Up::Admit(Admit {
                token: 1,
                user: user(1),
                entity: user(1).into(),
                cursor: None,
                member: None,
                opens: None,
            }),
        ),
        (
            "admit that opens a session",
            Up::Admit(Admit {
                token: 1,
                user: user(1),
                entity: user(1).into(),
                cursor: None,
                member: None,
                opens: Some(Opens { device: device(1), session: session(), again: true }),
            }),
        ),
        ("forget", Up::Forget { entity }),
        ("read a page", read(ReadQuery::Page { direction: Direction::Backward, from: Seq(100), limit: 50 })),
        ("read what is missed", read(ReadQuery::CatchUp { from: Seq(43), limit: 256 })),
        ("read members", read(ReadQuery::Members { after: Some(user(2)), limit: 100 })),
        ("read chats", read(ReadQuery::Chats { after: None, limit: 100 })),
        ("read the chat", read(ReadQuery::Info)),
        (
            "read how many chats a user is in",
            Up::Read(Read { token: 300, user: user(1), entity: user(2).into(), query: ReadQuery::ChatCount }),
        ),
        (
            "read whom a command would add",
            read(ReadQuery::Joining { device: device(1), counter: Counter(7), users: vec![user(1), user(2)] }),
        ),
        ("signal up", Up::Signal { chat: chat(), user: user(1), kind: SignalKind::TYPING, payload }),
        ("attach", Up::Attach { user: user(1), device: device(1), session: session() }),
        ("detach", Up::Detach { user: user(1), device: device(1), session: session() }),
        ("ask", Up::Ask { token: 77, entity, position: Position { epoch: 1, offset: 70_000 } }),
        (
            "resume",
            Up::Resume(Resume {
                shard: ShardId(3),
                generation: Generation(70_000),
                watermark: Some(Position { epoch: 1, offset: 70_001 }),
                last: true,
                entities: vec![entity, user(1).into()],
            }),
        ),
    ]
}

fn downs() -> Vec<(&'static str, Down)> {
    let entity = EntityId::from(chat());
    let payload = Bytes::from_static(b"p");
    let generation = Generation(70_000);
    let details = Some(ErrorDetails { counter: Counter(7), seq: Seq(42) });
    let out_of_order = Rejection { code: ErrorCode::OutOfOrder, retry_after_ms: 0, details };
    let held = Rejection { code: ErrorCode::Held, retry_after_ms: 60_000, details: None };
    let later = Rejection { code: ErrorCode::Unavailable, retry_after_ms: 1_000, details: None };
    let events = vec![
        LinkEvent { seq: Seq(43), ends: None, event: Bytes::from_static(b"event") },
        LinkEvent { seq: Seq(44), ends: Some(user(2)), event: Bytes::from_static(b"removal") },
    ];
    vec![
        ("admitted", Down::Admitted(Admitted { token: 77, generation, entity, outcome: Ok(admission(Start::From)) })),
        (
            "not admitted",
            Down::Admitted(Admitted {
                token: 77,
                generation,
                entity,
                outcome: Err(Rejection::new(ErrorCode::NotMember)),
            }),
        ),
        ("events", Down::Events(Events { generation, entity, events })),
        ("head", Down::Head { generation, entity, head: Seq(44), readmit: true }),
        ("applied", Down::Answer(Answer { token: 77, generation, outcome: Outcome::Applied(Seq(43)) })),
        ("rejected", Down::Answer(Answer { token: 77, generation, outcome: Outcome::Rejected(out_of_order) })),
        ("held", Down::Answer(Answer { token: 77, generation, outcome: Outcome::Rejected(held) })),
        ("a part of a read", Down::Read(ReadReply { token: 300, last: true, body: Ok(Bytes::from_static(b"body")) })),
        ("a refused read", Down::Read(ReadReply { token: 300, last: true, body: Err(later) })),
        ("signal down", Down::Signal { chat: chat(), user: user(1), kind: SignalKind::TYPING, payload }),
        ("replaced", Down::Replaced { session: session() }),
        (
            "watermark",
            Down::Watermark { shard: ShardId(3), generation, position: Position { epoch: 1, offset: 70_001 } },
        ),
        ("backlog", Down::Backlog { shard: ShardId(3), age_ms: 5_001 }),
        ("owner", Down::Owner { shard: ShardId(3), generation }),
        ("readmit", Down::Readmit { shard: ShardId(3), generation }),
    ]
}

#[test]
fn link_frames_encode_and_decode_as_pinned() {
    let samples = samples();
    let made = samples.iter().map(|(name, any)| json!({"name": name, "hex": hex(&any.to_bytes())})).collect();
    let kept = pinned("link.json", made);
    let mut seen = Vec::new();
    for ((name, any), vector) in samples.iter().zip(kept.as_array().unwrap()) {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        assert_eq!(Any::decode(&bytes).as_ref(), Ok(any), "{name}");
        seen.push(bytes[body_at(&bytes) - 1]);
    }
    for (kind, name) in LINK_FRAME_TYPES {
        assert!(seen.contains(kind), "no vector for {name}");
    }
}

/// Where a frame's body begins, behind its length and type.
fn body_at(bytes: &[u8]) -> usize {
    (1 << (bytes[0] >> 6)) + 1
}

fn malformed() -> Vec<(&'static str, Bytes)> {
    let of = |name: &str| {
        samples().into_iter().find(|(known, _)| *known == name).map(|(_, any)| any.to_bytes()).expect("there is one")
    };
    let changed = |bytes: &Bytes, at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    let [admit, info, applied, rejected, events] = ["admit", "read the chat", "applied", "rejected", "events"].map(of);
    // Behind the generation, of four bytes, and the entity.
    let count_at = body_at(&events) + 4 + 16;
    vec![
        ("a type that does not exist", Bytes::from_static(&[1, 0x1f])),
        ("a frame above the limit", Bytes::from_static(&[0x80, 0x05, 0x00, 0x01, 0x21])),
        ("a frame without a type", Bytes::from_static(&[0])),
        ("a cursor that is neither there nor not", changed(&admit, body_at(&admit) + 2 + 32, 2)),
        ("an admission of a device", changed(&admit, body_at(&admit) + 2, 0x21)),
        ("a query that does not exist", changed(&info, info.len() - 1, 9)),
        ("more users than a command may add", {
            let joining = of("read whom a command would add");
            // Two users and their count are the end of the frame.
            let count_at = joining.len() - 2 * 16 - 1;
            let mut bytes = joining.to_vec();
            bytes.splice(count_at..=count_at, [0x40, 102]);
            // The length has two bytes.
            bytes[1] += 1;
            bytes.into()
        }),
        ("an outcome that does not exist", changed(&applied, applied.len() - 2, 2)),
        ("a rejection cut off", [&[rejected[0] - 1][..], &rejected[1..rejected.len() - 1]].concat().into()),
        ("more events than a frame may have", {
            let mut bytes = events.to_vec();
            bytes.splice(count_at..=count_at, [0x40, 0x81]);
            bytes[body_at(&events) - 2] += 1;
            bytes.into()
        }),
        ("events that are not there", changed(&events, count_at, 0x3f)),
        ("more entities than a resume may have", {
            let resume = of("resume");
            // Behind the shard, the term, the watermark of 1, 1 and 4 bytes, and whether it is the last part.
            let count_at = body_at(&resume) + 2 + 4 + 6 + 1;
            let mut bytes = resume.to_vec();
            bytes.splice(count_at..=count_at, [0x50, 0x01]);
            bytes[0] += 1;
            bytes.into()
        }),
    ]
}

#[test]
fn bytes_that_are_no_link_frame_give_the_error_that_is_pinned() {
    let made = malformed()
        .iter()
        .map(|(name, bytes)| {
            let error = Any::decode(bytes).expect_err(name);
            json!({"name": name, "hex": hex(bytes), "error": error.to_string()})
        })
        .collect();
    pinned("malformed_link.json", made);
}

/// A code that only a newer router knows asks of the client what its range says.
#[test]
fn an_unknown_code_is_taken_as_the_plainest_of_its_range() {
    for (code, alike) in [
        (2_099, ErrorCode::Unavailable),
        (2_199, ErrorCode::OutcomeUnknown),
        (2_299, ErrorCode::InvalidRequest),
        (2_399, ErrorCode::OutOfOrder),
    ] {
        assert_eq!(ErrorCode::from_u16_or_alike(code), alike);
    }
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_u16_or_alike(*code as u16), *code);
    }
}

#[test]
fn a_proof_holds_for_its_key_nonces_and_side_only() {
    let (challenge, open) = (challenge(), open());
    assert!(key().takes_edge(&challenge, &open));
    assert!(!LinkKey([8; 32]).takes_edge(&challenge, &open), "another key");
    assert!(!key().takes_edge(&Challenge { nonce: [9; 16], ..challenge }, &open), "a recorded proof");
    assert!(!key().takes_edge(&Challenge { router: 1, ..challenge }, &open), "a proof for another router");
    assert!(!key().takes_edge(&challenge, &Open { link: LinkId(1), ..open }), "a proof of another link");
    assert!(!key().takes_edge(&challenge, &Open { version: 2, ..open }), "a changed version");
    let opened = Opened { proof: key().router_proof(&challenge, &open) };
    assert!(key().takes_router(&challenge, &open, &opened));
    assert!(!key().takes_router(&challenge, &open, &Opened { proof: open.proof }), "the edge's own proof");
    assert!(!key().takes_router(&challenge, &Open { nonce: [9; 16], ..open }, &opened), "a recorded answer");
}

/// What it seals names no role, which an admission tells.
#[test]
fn an_admission_asked_for_by_an_edge_of_the_release_before_is_without_a_proof() {
    let (_, asked) = ups().remove(0);
    let mut whole = asked.to_bytes();
    let raw = next_frame(&mut whole, LINK_FRAME_BYTES_MAX).expect("a frame").expect("it is whole");
    // It ended before that there is a role, the role, and the first visible event.
    let before = RawFrame { kind: raw.kind, body: raw.body.slice(..raw.body.len() - 3) };
    let Up::Admit(admit) = asked else { panic!("the first one asks for an admission") };
    assert!(admit.member.is_some());
    assert_eq!(Up::decode(before), Ok(Up::Admit(Admit { member: None, ..admit })));
}
