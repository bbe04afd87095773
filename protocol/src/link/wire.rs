//! The bytes of a link's frames, for links between machines. `LINK.md` is the law.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::frame::{
    Admit, Admitted, Answer, Down, Events, JOINING_USERS_MAX, LinkEvent, Membership, Opens, Outcome,
    RESUME_ENTITIES_MAX, Read, ReadQuery, ReadReply, Rejection, Resume, Up,
};
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::error_code::ErrorCode;
use crate::frame::{Admission, Direction, ErrorDetails, SignalKind};
use crate::framing::{RawFrame, frame_bytes};
use crate::limits::{COMMAND_EVENTS_MAX, EVENT_BYTES_MAX, FRAME_BYTES_MAX, SIGNAL_BYTES_MAX, WRITE_BYTES_MAX};

/// Bytes of a link's frame behind its length: type and body.
pub const LINK_FRAME_BYTES_MAX: usize = 320 * 1024;

/// The frames of a link and their types: [`Up`] first, then [`Down`].
pub const LINK_FRAME_TYPES: &[(u8, &str)] = &[
    (0x10, "Admit"),
    (0x11, "Forget"),
    (0x12, "Read"),
    (0x13, "Signal"),
    (0x14, "Attach"),
    (0x15, "Detach"),
    (0x16, "Ask"),
    (0x17, "Resume"),
    (0x20, "Admitted"),
    (0x21, "Events"),
    (0x22, "Head"),
    (0x23, "Answer"),
    (0x24, "Read"),
    (0x25, "Signal"),
    (0x26, "Replaced"),
    (0x27, "Watermark"),
    (0x28, "Backlog"),
    (0x29, "Owner"),
    (0x2a, "Readmit"),
];

/// Bytes around the events of an [`Events`] frame, and around each of them, at most.
const EVENTS_OVERHEAD: usize = 64;
const EVENT_OVERHEAD: usize = 32;

const _: () = {
    // The events of one write fit one frame, and so does a part of a read.
    assert!(WRITE_BYTES_MAX + COMMAND_EVENTS_MAX * EVENT_OVERHEAD + EVENTS_OVERHEAD < LINK_FRAME_BYTES_MAX);
    assert!(FRAME_BYTES_MAX + 64 < LINK_FRAME_BYTES_MAX);
};

impl Up {
    /// The whole frame: length, type, body.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Admit(admit) => frame_bytes(0x10, 96, |out| out.value(admit)),
            Self::Forget { entity } => frame_bytes(0x11, 16, |out| out.value(entity)),
            Self::Read(read) => frame_bytes(0x12, 64, |out| out.value(read)),
            Self::Signal { chat, user, kind, payload } => frame_bytes(0x13, 40 + payload.len(), |out| {
                out.value(chat);
                out.value(user);
                out.u8(kind.0);
                out.bytes(payload);
            }),
            Self::Attach { user, device, session } => frame_bytes(0x14, 48, |out| {
                out.value(user);
                out.value(device);
                out.value(session);
            }),
            Self::Detach { user, device, session } => frame_bytes(0x15, 48, |out| {
                out.value(user);
                out.value(device);
                out.value(session);
            }),
            Self::Ask { token, entity, position } => frame_bytes(0x16, 40, |out| {
                out.varint(*token);
                out.value(entity);
                out.value(position);
            }),
            Self::Resume(resume) => frame_bytes(0x17, 16 + 16 * resume.entities.len(), |out| out.value(resume)),
        }
    }

    /// Decodes a frame's body; bytes behind what this version knows are ignored.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFrame`] for a type that does not go up, and what the body's decoding returns.
    pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(raw.body);
        Ok(match raw.kind {
            0x10 => Self::Admit(input.value()?),
            0x11 => Self::Forget { entity: input.value()? },
            0x12 => Self::Read(input.value()?),
            0x13 => Self::Signal {
                chat: input.value()?,
                user: input.value()?,
                kind: SignalKind(input.u8()?),
                payload: input.bytes(SIGNAL_BYTES_MAX)?,
            },
            0x14 => Self::Attach { user: input.value()?, device: input.value()?, session: input.value()? },
            0x15 => Self::Detach { user: input.value()?, device: input.value()?, session: input.value()? },
            0x16 => Self::Ask { token: input.varint()?, entity: input.value()?, position: input.value()? },
            0x17 => Self::Resume(input.value()?),
            _ => return Err(DecodeError::UnknownFrame),
        })
    }
}

impl Down {
    /// Appends the whole frame: length, type, body. Events beyond a frame's limit go into further
    /// frames, which says the same.
    pub fn append_to(&self, out: &mut BytesMut) {
        if let Self::Events(events) = self {
            append_events(events, out);
        } else {
            out.extend_from_slice(&self.frame());
        }
    }

    fn frame(&self) -> Bytes {
        match self {
            Self::Admitted(admitted) => frame_bytes(0x20, 96, |out| out.value(admitted)),
            Self::Events(events) => frame_bytes(0x21, 64, |out| encode_events(events, &events.events, out)),
            Self::Head { generation, entity, head, readmit } => frame_bytes(0x22, 40, |out| {
                out.value(generation);
                out.value(entity);
                out.value(head);
                out.bool(*readmit);
            }),
            Self::Answer(answer) => frame_bytes(0x23, 32, |out| out.value(answer)),
            Self::Read(reply) => frame_bytes(0x24, 32 + reply.body.as_ref().map_or(0, Bytes::len), |out| {
                out.value(reply);
            }),
            Self::Signal { chat, user, kind, payload } => frame_bytes(0x25, 40 + payload.len(), |out| {
                out.value(chat);
                out.value(user);
                out.u8(kind.0);
                out.bytes(payload);
            }),
            Self::Replaced { session } => frame_bytes(0x26, 16, |out| out.value(session)),
            Self::Watermark { shard, generation, position } => frame_bytes(0x27, 24, |out| {
                out.value(shard);
                out.value(generation);
                out.value(position);
            }),
            Self::Backlog { shard, age_ms } => frame_bytes(0x28, 12, |out| {
                out.value(shard);
                out.varint(*age_ms);
            }),
            Self::Owner { shard, generation } => frame_bytes(0x29, 12, |out| {
                out.value(shard);
                out.value(generation);
            }),
            Self::Readmit { shard, generation } => frame_bytes(0x2a, 12, |out| {
                out.value(shard);
                out.value(generation);
            }),
        }
    }

    /// Decodes a frame's body; bytes behind what this version knows are ignored.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFrame`] for a type that does not come down, and what the body's decoding returns.
    pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(raw.body);
        Ok(match raw.kind {
            0x20 => Self::Admitted(input.value()?),
            0x21 => Self::Events(decode_events(input)?),
            0x22 => Self::Head {
                generation: input.value()?,
                entity: input.value()?,
                head: input.value()?,
                readmit: input.bool()?,
            },
            0x23 => Self::Answer(input.value()?),
            0x24 => Self::Read(input.value()?),
            0x25 => Self::Signal {
                chat: input.value()?,
                user: input.value()?,
                kind: SignalKind(input.u8()?),
                payload: input.bytes(SIGNAL_BYTES_MAX)?,
            },
            0x26 => Self::Replaced { session: input.value()? },
            0x27 => Self::Watermark { shard: input.value()?, generation: input.value()?, position: input.value()? },
            0x28 => Self::Backlog { shard: input.value()?, age_ms: input.varint()? },
            0x29 => Self::Owner { shard: input.value()?, generation: input.value()? },
            0x2a => Self::Readmit { shard: input.value()?, generation: input.value()? },
            _ => return Err(DecodeError::UnknownFrame),
        })
    }
}

/// As few frames as their limit allows, each with at least one event.
fn append_events(events: &Events, out: &mut BytesMut) {
    let mut rest: &[LinkEvent] = &events.events;
    loop {
        let mut bytes = EVENTS_OVERHEAD;
        let fits = rest
            .iter()
            .take(COMMAND_EVENTS_MAX)
            .take_while(|event| {
                bytes += EVENT_OVERHEAD + event.event.len();
                bytes <= LINK_FRAME_BYTES_MAX
            })
            .count();
        let (now, later) = rest.split_at(fits.max(1).min(rest.len()));
        out.extend_from_slice(&frame_bytes(0x21, bytes, |out| encode_events(events, now, out)));
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

fn encode_events(events: &Events, part: &[LinkEvent], out: &mut Writer) {
    out.value(&events.generation);
    out.value(&events.entity);
    out.list(part, |out, event| {
        out.value(&event.seq);
        out.option(event.ends.as_ref(), Writer::value);
        out.bytes(&event.event);
    });
}

fn decode_events(input: &mut Reader) -> Result<Events, DecodeError> {
    let (generation, entity) = (input.value()?, input.value()?);
    let events: Vec<LinkEvent> = input.list(COMMAND_EVENTS_MAX, 3, |input| {
        Ok(LinkEvent { seq: input.value()?, ends: input.option(Reader::value)?, event: input.bytes(EVENT_BYTES_MAX)? })
    })?;
    Ok(Events { generation, entity, events })
}

impl Wire for Admit {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.token);
        out.value(&self.user);
        out.value(&self.entity);
        out.option(self.cursor.as_ref(), Writer::value);
        out.option(self.member.as_ref(), |out, member| out.value(&member.at));
        out.option(self.opens.as_ref(), Writer::value);
        out.option(self.member.as_ref(), |out, member| {
            out.value(&member.role);
            out.value(&member.visible_from);
        });
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (token, user, entity) = (input.varint()?, input.value()?, input.value()?);
        let (cursor, at, opens) =
            (input.option(Reader::value)?, input.option(Reader::value)?, input.option(Reader::value)?);
        // An edge of the release before ends here, and its proofs say too little.
        let as_what =
            if input.is_empty() { None } else { input.option(|input| Ok((input.value()?, input.value()?)))? };
        let member = at.zip(as_what).map(|(at, (role, visible_from))| Membership { at, role, visible_from });
        Ok(Self { token, user, entity, cursor, member, opens })
    }
}

impl Wire for Opens {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.device);
        out.value(&self.session);
        out.bool(self.again);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { device: input.value()?, session: input.value()?, again: input.bool()? })
    }
}

impl Wire for Resume {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.shard);
        out.value(&self.generation);
        out.option(self.watermark.as_ref(), Writer::value);
        out.bool(self.last);
        out.list(&self.entities, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            shard: input.value()?,
            generation: input.value()?,
            watermark: input.option(Reader::value)?,
            last: input.bool()?,
            entities: input.list(RESUME_ENTITIES_MAX, 16, Reader::value)?,
        })
    }
}

impl Wire for Read {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.token);
        out.value(&self.user);
        out.value(&self.entity);
        match &self.query {
            ReadQuery::Page { direction, from, limit } => {
                out.u8(0);
                out.value(direction);
                out.value(from);
                out.varint(*limit);
            }
            ReadQuery::CatchUp { from, limit } => {
                out.u8(1);
                out.value(from);
                out.varint(*limit);
            }
            ReadQuery::Members { after, limit } => {
                out.u8(2);
                out.option(after.as_ref(), Writer::value);
                out.varint(*limit);
            }
            ReadQuery::Chats { after, limit } => {
                out.u8(3);
                out.option(after.as_ref(), Writer::value);
                out.varint(*limit);
            }
            ReadQuery::Info => out.u8(4),
            ReadQuery::ChatCount => out.u8(5),
            ReadQuery::Joining { device, counter, users } => {
                out.u8(6);
                out.value(device);
                out.value(counter);
                out.list(users, Writer::value);
            }
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (token, user, entity) = (input.varint()?, input.value()?, input.value()?);
        let query = match input.u8()? {
            0 => {
                ReadQuery::Page { direction: input.value::<Direction>()?, from: input.value()?, limit: input.varint()? }
            }
            1 => ReadQuery::CatchUp { from: input.value()?, limit: input.varint()? },
            2 => ReadQuery::Members { after: input.option(Reader::value)?, limit: input.varint()? },
            3 => ReadQuery::Chats { after: input.option(Reader::value)?, limit: input.varint()? },
            4 => ReadQuery::Info,
            5 => ReadQuery::ChatCount,
            6 => ReadQuery::Joining {
                device: input.value()?,
                counter: input.value()?,
                users: input.list(JOINING_USERS_MAX, 16, Reader::value)?,
            },
            _ => return Err(DecodeError::Invalid),
        };
        Ok(Self { token, user, entity, query })
    }
}

impl Wire for Rejection {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.code as u16);
        out.varint(self.retry_after_ms);
        out.option(self.details.as_ref(), |out, details| {
            out.value(&details.counter);
            out.value(&details.seq);
        });
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            code: ErrorCode::from_u16_or_alike(input.u16()?),
            retry_after_ms: input.varint()?,
            details: input.option(|input| Ok(ErrorDetails { counter: input.value()?, seq: input.value()? }))?,
        })
    }
}

/// A byte 0 and the value, or a byte 1 and the refusal.
fn encode_outcome<T>(outcome: Result<&T, &Rejection>, out: &mut Writer, value: impl FnOnce(&mut Writer, &T)) {
    match outcome {
        Ok(ok) => {
            out.u8(0);
            value(out, ok);
        }
        Err(rejection) => {
            out.u8(1);
            out.value(rejection);
        }
    }
}

fn decode_outcome<T>(
    input: &mut Reader,
    value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Result<T, Rejection>, DecodeError> {
    match input.u8()? {
        0 => value(input).map(Ok),
        1 => input.value().map(Err),
        _ => Err(DecodeError::Invalid),
    }
}

impl Wire for Admitted {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.token);
        out.value(&self.generation);
        out.value(&self.entity);
        encode_outcome(self.outcome.as_ref(), out, Writer::value::<Admission>);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            token: input.varint()?,
            generation: input.value()?,
            entity: input.value()?,
            outcome: decode_outcome(input, Reader::value)?,
        })
    }
}

impl Wire for Answer {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.token);
        out.value(&self.generation);
        let outcome = match &self.outcome {
            Outcome::Applied(seq) => Ok(seq),
            Outcome::Rejected(rejection) => Err(rejection),
        };
        encode_outcome(outcome, out, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            token: input.varint()?,
            generation: input.value()?,
            outcome: decode_outcome(input, Reader::value)?.map_or_else(Outcome::Rejected, Outcome::Applied),
        })
    }
}

impl Wire for ReadReply {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.token);
        out.bool(self.last);
        encode_outcome(self.body.as_ref(), out, |out, body| out.bytes(body));
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            token: input.varint()?,
            last: input.bool()?,
            body: decode_outcome(input, |input| input.bytes(FRAME_BYTES_MAX))?,
        })
    }
}
