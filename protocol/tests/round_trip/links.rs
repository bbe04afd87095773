//! What goes up and comes down a link, and its opening.

use bytes::{Bytes, BytesMut};
use panda_protocol::error_code::ErrorCode;
use panda_protocol::frame::*;
use panda_protocol::framing::{RawFrame, next_frame};
use panda_protocol::limits::*;
use panda_protocol::link::{
    Admit, Admitted, Answer, Challenge, Down, Events, JOINING_USERS_MAX, LINK_FRAME_BYTES_MAX, LinkEvent, LinkId,
    Membership, Open, Opened, Opening, Opens, Outcome, Read, ReadQuery, ReadReply, Refused, Rejection, Resume, Up,
};
use panda_protocol::{Counter, Generation, Position, SessionId, ShardId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{admission, bytes, chat, cursor, device, entity, grown, number, role, seq, text, user};

fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), number()).prop_map(|(epoch, offset)| Position { epoch, offset })
}

fn generation() -> impl Strategy<Value = Generation> {
    number().prop_map(Generation)
}

fn rejection() -> impl Strategy<Value = Rejection> {
    let details = (number(), seq()).prop_map(|(counter, seq)| ErrorDetails { counter: Counter(counter), seq });
    (select(ErrorCode::ALL), number(), option::of(details)).prop_map(|(code, retry_after_ms, details)| Rejection {
        code,
        retry_after_ms,
        details,
    })
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId::from_random)
}

fn query() -> impl Strategy<Value = ReadQuery> {
    let direction = select(vec![Direction::Forward, Direction::Backward]);
    prop_oneof![
        (direction, seq(), number()).prop_map(|(direction, from, limit)| ReadQuery::Page { direction, from, limit }),
        (seq(), number()).prop_map(|(from, limit)| ReadQuery::CatchUp { from, limit }),
        (option::of(user()), number()).prop_map(|(after, limit)| ReadQuery::Members { after, limit }),
        (option::of(chat()), number()).prop_map(|(after, limit)| ReadQuery::Chats { after, limit }),
        Just(ReadQuery::Info),
        Just(ReadQuery::ChatCount),
        (device(), number(), vec(user(), 0..=JOINING_USERS_MAX))
            .prop_map(|(device, counter, users)| { ReadQuery::Joining { device, counter: Counter(counter), users } }),
    ]
}

fn opens() -> impl Strategy<Value = Opens> {
    (device(), session(), any::<bool>()).prop_map(|(device, session, again)| Opens { device, session, again })
}

fn membership() -> impl Strategy<Value = Membership> {
    (seq(), role(), seq()).prop_map(|(at, role, visible_from)| Membership { at, role, visible_from })
}

fn up() -> impl Strategy<Value = Up> {
    prop_oneof![
        (number(), user(), entity(), option::of(cursor()), option::of(membership()), option::of(opens())).prop_map(
            |(token, user, entity, cursor, member, opens)| {
                Up::Admit(Admit { token, user, entity, cursor, member, opens })
            }
        ),
        entity().prop_map(|entity| Up::Forget { entity }),
        (number(), user(), entity(), query()).prop_map(|(token, user, entity, query)| Up::Read(Read {
            token,
            user,
            entity,
            query
        })),
        (chat(), user(), any::<u8>(), bytes(SIGNAL_BYTES_MAX)).prop_map(|(chat, user, kind, payload)| Up::Signal {
            chat,
            user,
            kind: SignalKind(kind),
            payload
        }),
        (user(), device(), session()).prop_map(|(user, device, session)| Up::Attach { user, device, session }),
        (user(), device(), session()).prop_map(|(user, device, session)| Up::Detach { user, device, session }),
        (number(), entity(), position()).prop_map(|(token, entity, position)| Up::Ask { token, entity, position }),
        (any::<u16>(), generation(), option::of(position()), any::<bool>(), vec(entity(), 0..100)).prop_map(
            |(shard, generation, watermark, last, entities)| {
                Up::Resume(Resume { shard: ShardId(shard), generation, watermark, last, entities })
            }
        ),
    ]
}

fn down() -> impl Strategy<Value = Down> {
    let admitted = prop_oneof![admission().prop_map(Ok), rejection().prop_map(Err)];
    let outcome = prop_oneof![seq().prop_map(Outcome::Applied), rejection().prop_map(Outcome::Rejected)];
    let event = (seq(), option::of(user()), bytes(EVENT_BYTES_MAX)).prop_map(|(seq, ends, event)| LinkEvent {
        seq,
        ends,
        event,
    });
    let body = prop_oneof![bytes(FRAME_BYTES_MAX).prop_map(Ok), rejection().prop_map(Err)];
    prop_oneof![
        (number(), generation(), entity(), admitted).prop_map(|(token, generation, entity, outcome)| {
            Down::Admitted(Admitted { token, generation, entity, outcome })
        }),
        (generation(), entity(), vec(event, 1..300)).prop_map(|(generation, entity, events)| Down::Events(Events {
            generation,
            entity,
            events
        })),
        (generation(), entity(), seq(), any::<bool>()).prop_map(|(generation, entity, head, readmit)| Down::Head {
            generation,
            entity,
            head,
            readmit
        }),
        (number(), generation(), outcome).prop_map(|(token, generation, outcome)| Down::Answer(Answer {
            token,
            generation,
            outcome
        })),
        (number(), any::<bool>(), body).prop_map(|(token, last, body)| Down::Read(ReadReply { token, last, body })),
        (chat(), user(), any::<u8>(), bytes(SIGNAL_BYTES_MAX)).prop_map(|(chat, user, kind, payload)| Down::Signal {
            chat,
            user,
            kind: SignalKind(kind),
            payload
        }),
        session().prop_map(|session| Down::Replaced { session }),
        (any::<u16>(), generation(), position()).prop_map(|(shard, generation, position)| Down::Watermark {
            shard: ShardId(shard),
            generation,
            position
        }),
        (any::<u16>(), number()).prop_map(|(shard, age_ms)| Down::Backlog { shard: ShardId(shard), age_ms }),
        (any::<u16>(), generation()).prop_map(|(shard, generation)| Down::Owner { shard: ShardId(shard), generation }),
        (any::<u16>(), generation())
            .prop_map(|(shard, generation)| Down::Readmit { shard: ShardId(shard), generation }),
    ]
}

fn link_opening() -> impl Strategy<Value = Opening> {
    let nonce = any::<[u8; 16]>;
    prop_oneof![
        (any::<u8>(), any::<u8>(), any::<u64>(), nonce()).prop_map(|(version_min, version_max, router, nonce)| {
            Opening::Challenge(Challenge { version_min, version_max, router, nonce })
        }),
        (any::<u8>(), any::<u64>(), nonce(), any::<[u8; 32]>()).prop_map(|(version, link, nonce, proof)| {
            Opening::Open(Open { version, link: LinkId(link), nonce, proof })
        }),
        any::<[u8; 32]>().prop_map(|proof| Opening::Opened(Opened { proof })),
        (any::<u16>(), text(ERROR_TEXT_BYTES_MAX)).prop_map(|(code, text)| Opening::Refused(Refused { code, text })),
        Just(Opening::Alive),
    ]
}

/// The one frame that the bytes are, and the same frame with a newer version's bytes behind its end.
fn link_frames(mut bytes: Bytes) -> [RawFrame; 2] {
    let raw = next_frame(&mut bytes, LINK_FRAME_BYTES_MAX).expect("it is a frame").expect("it is whole");
    assert!(bytes.is_empty());
    let longer = RawFrame { kind: raw.kind, body: grown(&raw.body) };
    [raw, longer]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_up_a_link_comes_back_as_it_was(up in up()) {
        for raw in link_frames(up.to_bytes()) {
            prop_assert_eq!(Up::decode(raw), Ok(up.clone()));
        }
    }

    /// Many events become several frames, each below the limit, with the same events in the same order.
    #[test]
    fn what_comes_down_a_link_comes_back_as_it_was(down in down()) {
        let mut out = BytesMut::new();
        down.append_to(&mut out);
        let mut bytes = out.freeze();
        let mut came = Vec::new();
        while let Some(raw) = next_frame(&mut bytes, LINK_FRAME_BYTES_MAX).unwrap() {
            let longer = RawFrame { kind: raw.kind, body: grown(&raw.body) };
            came.push(Down::decode(raw).unwrap());
            prop_assert_eq!(Ok(came[came.len() - 1].clone()), Down::decode(longer));
        }
        if let Down::Events(all) = &down {
            let mut events = Vec::new();
            for part in came {
                let Down::Events(part) = part else { return Err(TestCaseError::fail("another frame")) };
                prop_assert_eq!((part.generation, part.entity), (all.generation, all.entity));
                prop_assert!(!part.events.is_empty());
                events.extend(part.events);
            }
            prop_assert_eq!(&events, &all.events);
        } else {
            prop_assert_eq!(came, vec![down]);
        }
    }

    #[test]
    fn a_links_opening_comes_back_as_it_was(opening in link_opening()) {
        for raw in link_frames(opening.to_bytes()) {
            prop_assert_eq!(Opening::decode(raw), Ok(opening.clone()));
        }
    }
}
