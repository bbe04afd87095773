//! What a client asks to change, and the answer.

use alloc::vec::Vec;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::RequestId;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::event::{Digest, MessageFormat, Role};
use crate::ids::{ChatId, Counter, EntityId, Seq, UserId};
use crate::limits::{
    CHAT_NAME_BYTES_MAX, COMMAND_MEMBERS_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::text::Text;
use crate::trace::TraceContext;

/// A change asked for. (entity, user, device) have one row of counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The request.
    pub request: RequestId,
    /// The chat, or the user's own inbox.
    pub entity: EntityId,
    /// Above every counter that this device used for this entity.
    pub counter: Counter,
    /// The counter of the command before; 0 for the first.
    pub after: Counter,
    /// What to change.
    pub body: CommandBody,
    /// In whose context it is to be followed. It stands behind the body and is a part of what the digest is of, so a
    /// command that is sent again has the same.
    pub trace: Option<TraceContext>,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody {
    /// 0x01: say something. Needs [`Role::Member`].
    Send {
        /// How to read the text.
        format: MessageFormat,
        /// 1 byte to 16 KiB.
        text: Text,
    },
    /// 0x02: make a group. The entity is [`ChatId::group`] of the user, its device and the counter.
    CreateGroup {
        /// At most 256 bytes.
        name: Text,
        /// At most 100 others.
        members: Vec<UserId>,
    },
    /// 0x03: make the direct chat with `peer`. The entity is [`ChatId::direct`] of both.
    CreateDirect {
        /// The other user.
        peer: UserId,
    },
    /// 0x04: add members. Needs [`Role::Admin`], and more than `role`.
    AddMembers {
        /// The role they get; below the own one, unless that is [`Role::Owner`].
        role: Role,
        /// Whether they may see what was said before.
        with_history: bool,
        /// 1 to 100.
        members: Vec<UserId>,
    },
    /// 0x05: remove members of a lower role; oneself: always (leave).
    RemoveMembers {
        /// 1 to 100.
        members: Vec<UserId>,
    },
    /// 0x06: give a member another role. Needs [`Role::Owner`].
    SetRole {
        /// Whom.
        member: UserId,
        /// The new role.
        role: Role,
    },
    /// 0x07: give the chat another name. Needs [`Role::Admin`].
    Rename {
        /// At most 256 bytes.
        name: Text,
    },
    /// 0x40, inbox: a chat was read up to an event; never moves back.
    MarkRead {
        /// The chat.
        chat: ChatId,
        /// The last event read.
        read: Seq,
    },
    /// 0x41, inbox: set a setting; an empty value removes it.
    SetSetting {
        /// 1 to 64 bytes.
        key: Text,
        /// At most 4 KiB.
        value: Bytes,
    },
}

impl CommandBody {
    /// The kind as it stands on the wire.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Send { .. } => 0x01,
            Self::CreateGroup { .. } => 0x02,
            Self::CreateDirect { .. } => 0x03,
            Self::AddMembers { .. } => 0x04,
            Self::RemoveMembers { .. } => 0x05,
            Self::SetRole { .. } => 0x06,
            Self::Rename { .. } => 0x07,
            Self::MarkRead { .. } => 0x40,
            Self::SetSetting { .. } => 0x41,
        }
    }

    /// Whether it is a command to an inbox.
    pub const fn is_inbox(&self) -> bool {
        self.kind() >= 0x40
    }

    /// The kind and then the body's bytes, as the command record carries them.
    pub fn encode(&self, out: &mut Writer) {
        out.u8(self.kind());
        match self {
            Self::Send { format, text } => {
                out.value(format);
                out.bytes(text.as_bytes());
            }
            Self::CreateGroup { name, members } => {
                out.bytes(name.as_bytes());
                out.list(members, Writer::value);
            }
            Self::CreateDirect { peer } => out.value(peer),
            Self::AddMembers { role, with_history, members } => {
                out.value(role);
                out.bool(*with_history);
                out.list(members, Writer::value);
            }
            Self::RemoveMembers { members } => out.list(members, Writer::value),
            Self::SetRole { member, role } => {
                out.value(member);
                out.value(role);
            }
            Self::Rename { name } => out.bytes(name.as_bytes()),
            Self::MarkRead { chat, read } => {
                out.value(chat);
                out.value(read);
            }
            Self::SetSetting { key, value } => {
                out.bytes(key.as_bytes());
                out.bytes(value);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError::UnknownVersion`] for a kind that this version does not know, and others.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let members = |input: &mut Reader| input.list(COMMAND_MEMBERS_MAX, 16, Reader::value);
        Ok(match input.u8()? {
            0x01 => Self::Send { format: input.value()?, text: input.text(TEXT_BYTES_MAX)? },
            0x02 => Self::CreateGroup { name: input.text(CHAT_NAME_BYTES_MAX)?, members: members(input)? },
            0x03 => Self::CreateDirect { peer: input.value()? },
            0x04 => Self::AddMembers { role: input.value()?, with_history: input.bool()?, members: members(input)? },
            0x05 => Self::RemoveMembers { members: members(input)? },
            0x06 => Self::SetRole { member: input.value()?, role: input.value()? },
            0x07 => Self::Rename { name: input.text(CHAT_NAME_BYTES_MAX)? },
            0x40 => Self::MarkRead { chat: input.value()?, read: input.value()? },
            0x41 => Self::SetSetting {
                key: input.text(SETTING_KEY_BYTES_MAX)?,
                value: input.bytes(SETTING_VALUE_BYTES_MAX)?,
            },
            _ => return Err(DecodeError::UnknownVersion),
        })
    }
}

/// The digest of a command's kind and body bytes, as they stand in the frame and the record.
pub fn command_digest(kind_and_body: &[u8]) -> Digest {
    let mut digest = [0; 8];
    digest.copy_from_slice(&Sha256::digest(kind_and_body)[..8]);
    Digest(digest)
}

impl Wire for Command {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.entity);
        out.value(&self.counter);
        out.value(&self.after);
        self.body.encode(out);
        if let Some(trace) = &self.trace {
            trace.encode_behind_body(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let command = Self {
            request: input.value()?,
            entity: input.value()?,
            counter: input.value()?,
            after: input.value()?,
            body: CommandBody::decode(input)?,
            trace: TraceContext::behind_body(&input.take_rest()),
        };
        if command.counter.0 == 0 || command.after >= command.counter {
            return Err(DecodeError::Invalid);
        }
        Ok(command)
    }
}

/// A command was applied, and what it did is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The request.
    pub request: RequestId,
    /// The first event that the command made.
    pub seq: Seq,
}

impl Wire for Ack {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.value(&self.seq);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, seq: input.value()? })
    }
}
