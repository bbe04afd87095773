//! Events: the numbered facts of chats and inboxes, as canonical bytes.
//!
//! The router writes an event's bytes once; they are stored as they are and sent as they are.
//! `EVENTS.md` is the law. An event that this version does not know keeps its header, so its seq
//! still moves a cursor.

mod body;

pub use body::{ChatKind, EventBody, MessageFormat, Role};
use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{Counter, DeviceId, Seq, Time, UserId};
use crate::limits::EVENT_BYTES_MAX;

/// The version of the event bytes that this code writes.
pub const EVENT_VERSION: u8 = 1;

const FLAG_TARGET: u8 = 1;
const FLAG_BLANKED: u8 = 2;
const FLAGS_KNOWN: u8 = FLAG_TARGET | FLAG_BLANKED;

/// The first 8 bytes of SHA-256 over a command's kind and body. It tells a resend from a counter
/// that was used twice, and stays when a body is blanked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 8]);

/// A numbered fact of a chat or an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in its entity.
    pub seq: Seq,
    /// Strictly above the time of the event before it.
    pub time: Time,
    /// Who made it.
    pub actor: UserId,
    /// From which device; [`DeviceId::NONE`] for an effect of another entity's event.
    pub device: DeviceId,
    /// The command's counter; 0 for an effect.
    pub counter: Counter,
    /// The digest of the command that made it; zeros for an effect.
    pub digest: Digest,
    /// Whom it concerns, if it concerns one user.
    pub target: Option<UserId>,
    /// What happened.
    pub body: EventBody,
}

impl Event {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(96 + self.body.size_hint());
        out.u8(EVENT_VERSION);
        out.u8(self.body.kind());
        let blanked = if matches!(self.body, EventBody::Blanked { .. }) { FLAG_BLANKED } else { 0 };
        out.u8(if self.target.is_some() { FLAG_TARGET } else { 0 } | blanked);
        out.value(&self.seq);
        out.value(&self.time);
        out.value(&self.actor);
        out.value(&self.device);
        out.value(&self.counter);
        out.raw(&self.digest.0);
        if let Some(target) = &self.target {
            out.value(target);
        }
        let mut body = Writer::with_capacity(self.body.size_hint());
        self.body.encode(&mut body);
        out.bytes(&body.into_inner());
        out.freeze()
    }

    /// Reads canonical bytes. An unknown kind gives [`EventBody::Unknown`]; bytes behind the body
    /// are a newer version's and are ignored.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::UnknownVersion`] for event bytes of another version.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes.clone());
        let header = Header::decode(&mut input)?;
        let body_bytes = input.bytes(EVENT_BYTES_MAX)?;
        let body = if header.flags & FLAG_BLANKED != 0 {
            EventBody::Blanked { kind: header.kind }
        } else {
            EventBody::decode(header.kind, body_bytes)?
        };
        let Header { seq, time, actor, device, counter, digest, target, .. } = header;
        Ok(Self { seq, time, actor, device, counter, digest, target, body })
    }
}

/// The seq of canonical bytes, without decoding the rest.
///
/// # Errors
/// [`DecodeError`] if the bytes are not an event's.
pub fn peek_seq(bytes: &Bytes) -> Result<Seq, DecodeError> {
    let mut input = Reader::new(bytes.clone());
    if input.u8()? != EVENT_VERSION {
        return Err(DecodeError::UnknownVersion);
    }
    input.take(2)?;
    input.value()
}

struct Header {
    kind: u8,
    flags: u8,
    seq: Seq,
    time: Time,
    actor: UserId,
    device: DeviceId,
    counter: Counter,
    digest: Digest,
    target: Option<UserId>,
}

impl Header {
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        if input.u8()? != EVENT_VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let kind = input.u8()?;
        let flags = input.u8()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(DecodeError::Invalid);
        }
        Ok(Self {
            kind,
            flags,
            seq: input.value()?,
            time: input.value()?,
            actor: input.value()?,
            device: input.value()?,
            counter: input.value()?,
            digest: Digest(input.array()?),
            target: if flags & FLAG_TARGET != 0 { Some(input.value()?) } else { None },
        })
    }
}
