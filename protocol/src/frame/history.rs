//! Reading what was: pages of events, members and chats.
//!
//! A reply's body behind its request number is written by the router and passed on by the edge as it is.

use alloc::vec::Vec;

use bytes::Bytes;

use super::RequestId;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::event::{ChatKind, Role};
use crate::ids::{ChatId, EntityId, Incarnation, Seq, UserId};
use crate::limits::{CHAT_NAME_BYTES_MAX, EVENT_BYTES_MAX, PAGE_EVENTS_MAX, PAGE_ROWS_MAX};
use crate::text::Text;

/// Which way a page of events runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// 0: rising seqs.
    Forward = 0,
    /// 1: falling seqs.
    Backward = 1,
}

impl Wire for Direction {
    fn encode(&self, out: &mut Writer) {
        out.u8(*self as u8);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.u8()? {
            0 => Ok(Self::Forward),
            1 => Ok(Self::Backward),
            _ => Err(DecodeError::Invalid),
        }
    }
}

/// A page of events of a chat, or of the own inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The request.
    pub request: RequestId,
    /// The chat or inbox.
    pub entity: EntityId,
    /// Which way.
    pub direction: Direction,
    /// The first event wanted; backward, a number beyond the head stands for the head.
    pub from: Seq,
    /// At most so many events, 1 to 256.
    pub limit: u64,
}

impl Wire for Page {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.entity);
        out.value(&self.direction);
        out.value(&self.from);
        out.varint(self.limit);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            entity: input.value()?,
            direction: input.value()?,
            from: input.value()?,
            limit: input.varint()?,
        })
    }
}

/// A part of a page: at most 16 KiB of events, in the page's direction, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageChunk {
    /// The request.
    pub request: RequestId,
    /// Whether the page ends here.
    pub last: bool,
    /// The store that numbered the events.
    pub incarnation: Incarnation,
    /// The first event that the user may see.
    pub begins_at: Seq,
    /// The last event at the time of the answer.
    pub head: Seq,
    /// Canonical bytes, as in [`crate::event`].
    pub events: Vec<Bytes>,
}

impl Wire for PageChunk {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.bool(self.last);
        out.value(&self.incarnation);
        out.value(&self.begins_at);
        out.value(&self.head);
        out.list(&self.events, |out, event| out.bytes(event));
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            last: input.bool()?,
            incarnation: input.value()?,
            begins_at: input.value()?,
            head: input.value()?,
            events: input.list(PAGE_EVENTS_MAX, 1, |input| input.bytes(EVENT_BYTES_MAX))?,
        })
    }
}

/// Who is in this chat?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// The request.
    pub request: RequestId,
    /// The chat.
    pub chat: ChatId,
    /// Behind this member; absent: from the first.
    pub after: Option<UserId>,
    /// At most so many, 1 to 256.
    pub limit: u64,
}

impl Wire for Members {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.chat);
        out.option(self.after.as_ref(), Writer::value);
        out.varint(self.limit);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            chat: input.value()?,
            after: input.option(Reader::value)?,
            limit: input.varint()?,
        })
    }
}

/// One member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// Who.
    pub user: UserId,
    /// With which role.
    pub role: Role,
    /// The event that added the member.
    pub joined: Seq,
}

impl Wire for MemberEntry {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.user);
        out.value(&self.role);
        out.value(&self.joined);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { user: input.value()?, role: input.value()?, joined: input.value()? })
    }
}

/// Members in the order of their identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersPage {
    /// The request.
    pub request: RequestId,
    /// Whether more follow behind the last one.
    pub more: bool,
    /// At most 256.
    pub members: Vec<MemberEntry>,
}

impl Wire for MembersPage {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.bool(self.more);
        out.list(&self.members, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            more: input.bool()?,
            members: input.list(PAGE_ROWS_MAX, 18, Reader::value)?,
        })
    }
}

/// Which chats is the session's user in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chats {
    /// The request.
    pub request: RequestId,
    /// Behind this chat; absent: from the first.
    pub after: Option<ChatId>,
    /// At most so many, 1 to 256.
    pub limit: u64,
}

impl Wire for Chats {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.option(self.after.as_ref(), Writer::value);
        out.varint(self.limit);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, after: input.option(Reader::value)?, limit: input.varint()? })
    }
}

/// One chat of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatEntry {
    /// The chat.
    pub chat: ChatId,
    /// The event of the chat that made the user a member.
    pub joined: Seq,
    /// The user has read up to this event.
    pub read: Seq,
}

impl Wire for ChatEntry {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.chat);
        out.value(&self.joined);
        out.value(&self.read);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { chat: input.value()?, joined: input.value()?, read: input.value()? })
    }
}

/// Chats in the order of their identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatsPage {
    /// The request.
    pub request: RequestId,
    /// Whether more follow behind the last one.
    pub more: bool,
    /// The inbox's last event that this page reflects: with the inbox's events from there on it
    /// stays true.
    pub inbox: Seq,
    /// At most 256.
    pub chats: Vec<ChatEntry>,
}

impl Wire for ChatsPage {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.bool(self.more);
        out.value(&self.inbox);
        out.list(&self.chats, Writer::value);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            more: input.bool()?,
            inbox: input.value()?,
            chats: input.list(PAGE_ROWS_MAX, 18, Reader::value)?,
        })
    }
}

/// What is this chat?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatInfo {
    /// The request.
    pub request: RequestId,
    /// The chat.
    pub chat: ChatId,
}

impl Wire for ChatInfo {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.chat);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, chat: input.value()? })
    }
}

/// What a chat is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatInfoReply {
    /// The request.
    pub request: RequestId,
    /// How it came to be.
    pub kind: ChatKind,
    /// Its name.
    pub name: Text,
    /// The store that numbers its events.
    pub incarnation: Incarnation,
    /// Its last event.
    pub head: Seq,
    /// How many members it has.
    pub members: u64,
    /// The user's role in it.
    pub role: Role,
    /// The first event that the user may see.
    pub visible_from: Seq,
}

impl Wire for ChatInfoReply {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.kind);
        out.bytes(self.name.as_bytes());
        out.value(&self.incarnation);
        out.value(&self.head);
        out.varint(self.members);
        out.value(&self.role);
        out.value(&self.visible_from);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            kind: input.value()?,
            name: input.text(CHAT_NAME_BYTES_MAX)?,
            incarnation: input.value()?,
            head: input.value()?,
            members: input.varint()?,
            role: input.value()?,
            visible_from: input.value()?,
        })
    }
}
