//! Which chats a session listens to, and from where.

use alloc::vec::Vec;

use bytes::Bytes;

use super::RequestId;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::event::Role;
use crate::ids::{ChatId, Cursor, EntityId, Incarnation, Seq};
use crate::limits::{PROOF_BYTES_MAX, SYNC_CHATS_MAX};

/// One chat to be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncEntry {
    /// The chat.
    pub chat: ChatId,
    /// What the client holds of it; absent: live events only.
    pub cursor: Option<Cursor>,
    /// The proof that the last admission brought; may be empty.
    pub proof: Bytes,
}

impl Wire for SyncEntry {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.chat);
        out.option(self.cursor.as_ref(), Writer::value);
        out.bytes(&self.proof);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { chat: input.value()?, cursor: input.option(Reader::value)?, proof: input.bytes(PROOF_BYTES_MAX)? })
    }
}

/// A page of chats to be resumed; any number of them may follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The request.
    pub request: RequestId,
    /// At most [`SYNC_CHATS_MAX`] chats.
    pub chats: Vec<SyncEntry>,
}

impl Wire for Sync {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.list(&self.chats, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, chats: input.list(SYNC_CHATS_MAX, 18, Reader::value)? })
    }
}

/// Where the events of an admitted chat begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Start {
    /// 0: right behind the cursor, nothing is missing.
    From = 0,
    /// 1: later than right behind the cursor, because the user may not see what lies between
    /// (joined later) or it is kept no longer.
    BeginsAt = 1,
    /// 2: the cursor is of another store or beyond the head: drop what was kept of this chat, and
    /// read its history by pages. Live events follow.
    Reset = 2,
    /// 3: no cursor was given: live events only.
    Live = 3,
}

/// A session was admitted to a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Where its events begin.
    pub start: Start,
    /// The event store's incarnation.
    pub incarnation: Incarnation,
    /// The first event that will be sent. It and all after it follow without a gap.
    pub from: Seq,
    /// The last event at the time of the answer.
    pub head: Seq,
    /// The user's role.
    pub role: Role,
    /// The first event that the user may see.
    pub visible_from: Seq,
    /// To be given back in the next Sync; opaque.
    pub proof: Bytes,
}

impl Wire for Admission {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.start as u8);
        out.value(&self.incarnation);
        out.value(&self.from);
        out.value(&self.head);
        out.value(&self.role);
        out.value(&self.visible_from);
        out.bytes(&self.proof);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let start = match input.u8()? {
            0 => Start::From,
            1 => Start::BeginsAt,
            2 => Start::Reset,
            3 => Start::Live,
            _ => return Err(DecodeError::Invalid),
        };
        Ok(Self {
            start,
            incarnation: input.value()?,
            from: input.value()?,
            head: input.value()?,
            role: input.value()?,
            visible_from: input.value()?,
            proof: input.bytes(PROOF_BYTES_MAX)?,
        })
    }
}

/// What became of one chat of a Sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedEntry {
    /// The chat.
    pub chat: ChatId,
    /// Admitted, or the error code and after how many milliseconds to try again.
    pub outcome: Result<Admission, (u16, u64)>,
}

impl Wire for SyncedEntry {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.chat);
        match &self.outcome {
            Ok(admission) => {
                out.u8(0);
                out.value(admission);
            }
            Err((code, retry_after_ms)) => {
                out.u8(1);
                out.u16(*code);
                out.varint(*retry_after_ms);
            }
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let chat = input.value()?;
        let outcome = match input.u8()? {
            0 => Ok(input.value()?),
            1 => Err((input.u16()?, input.varint()?)),
            _ => return Err(DecodeError::Invalid),
        };
        Ok(Self { chat, outcome })
    }
}

/// What became of a Sync. A Sync is answered by one or more of these; the last has `last` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The request.
    pub request: RequestId,
    /// Whether every chat of the Sync is answered now.
    pub last: bool,
    /// Chats of the Sync, in any order, each once.
    pub chats: Vec<SyncedEntry>,
}

impl Wire for Synced {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.bool(self.last);
        out.list(&self.chats, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, last: input.bool()?, chats: input.list(SYNC_CHATS_MAX, 20, Reader::value)? })
    }
}

/// Subscribe to one chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The request.
    pub request: RequestId,
    /// The chat and what the client holds of it.
    pub entry: SyncEntry,
}

impl Wire for Subscribe {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.entry);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, entry: input.value()? })
    }
}

/// The session is subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The request.
    pub request: RequestId,
    /// Where its events begin.
    pub admission: Admission,
}

impl Wire for Subscribed {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.admission);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, admission: input.value()? })
    }
}

/// No more of this chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The request.
    pub request: RequestId,
    /// The chat.
    pub chat: ChatId,
}

impl Wire for Unsubscribe {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.chat);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, chat: input.value()? })
    }
}

/// No event of the chat follows this reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The request.
    pub request: RequestId,
}

impl Wire for Unsubscribed {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()? })
    }
}

/// The server ended a subscription: no event of the chat follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The chat.
    pub entity: EntityId,
    /// Why; its range says what to do.
    pub code: u16,
    /// Try to subscribe again after this many milliseconds, where the code allows it.
    pub retry_after_ms: u64,
}

impl Wire for Ended {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.entity);
        out.u16(self.code);
        out.varint(self.retry_after_ms);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { entity: input.value()?, code: input.u16()?, retry_after_ms: input.varint()? })
    }
}
