//! Rows as the store keeps them: a version byte, seq, time, then the value.

use std::collections::VecDeque;

use bytes::Bytes;
use panda_protocol::codec::{DecodeError, Reader, Writer};
use panda_protocol::event::Digest;
use panda_protocol::limits::{CHAT_NAME_BYTES_MAX, WINDOW_COMMANDS};
use panda_protocol::{ChatId, DeviceId, Text, UserId};
use panda_storage::RowKey;

use super::{AppliedCommand, ChatHead, InboxChat, InboxHead, MemberRow, Row, RowId, RowValue, SettingRow, Window};

const ROW_VERSION: u8 = 1;

/// Kinds of rows as they stand in the store.
pub(crate) mod kind {
    /// [`super::RowId::Head`]
    pub(crate) const HEAD: u8 = 1;
    /// [`super::RowId::Member`]
    pub(crate) const MEMBER: u8 = 2;
    /// [`super::RowId::Window`]
    pub(crate) const WINDOW: u8 = 3;
    /// [`super::RowId::InboxChat`]
    pub(crate) const INBOX_CHAT: u8 = 4;
    /// [`super::RowId::Setting`]
    pub(crate) const SETTING: u8 = 5;
    /// Through which seq every row is stored; the shard's own.
    pub(crate) const FLUSHED: u8 = 6;
}

impl RowId {
    /// The row's key in the store.
    pub fn key(&self) -> RowKey {
        let (kind, key) = match self {
            Self::Head => (kind::HEAD, Bytes::new()),
            Self::Member(user) => (kind::MEMBER, Bytes::copy_from_slice(user.as_bytes())),
            Self::Window(user, device) => (kind::WINDOW, [*user.as_bytes(), *device.as_bytes()].concat().into()),
            Self::InboxChat(chat) => (kind::INBOX_CHAT, Bytes::copy_from_slice(chat.as_bytes())),
            Self::Setting(key) => (kind::SETTING, key.as_shared().clone()),
        };
        RowKey { kind, key }
    }

    /// Reads what [`Self::key`] made.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no such key.
    pub fn from_key(key: &RowKey) -> Result<Self, DecodeError> {
        let mut input = Reader::new(key.key.clone());
        Ok(match key.kind {
            kind::HEAD => Self::Head,
            kind::MEMBER => Self::Member(input.value::<UserId>()?),
            kind::WINDOW => Self::Window(input.value::<UserId>()?, input.value::<DeviceId>()?),
            kind::INBOX_CHAT => Self::InboxChat(input.value::<ChatId>()?),
            kind::SETTING => Self::Setting(Text::from_utf8(input.take_rest()).map_err(|_| DecodeError::Utf8)?),
            _ => return Err(DecodeError::Invalid),
        })
    }
}

impl Row {
    /// The row's bytes in the store.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        out.u8(ROW_VERSION);
        out.value(&self.seq);
        out.value(&self.time);
        match &self.value {
            RowValue::Chat(head) => {
                out.u8(1);
                out.value(&head.position);
                out.value(&head.kind);
                out.bytes(head.name.as_bytes());
                out.value(&head.named);
                out.varint(u64::from(head.members));
            }
            RowValue::Inbox(head) => {
                out.u8(2);
                out.value(&head.position);
                out.varint(u64::from(head.chats));
                out.varint(u64::from(head.settings));
            }
            RowValue::Member(member) => {
                out.u8(3);
                out.value(&member.role);
                out.value(&member.joined);
                out.value(&member.visible_from);
                out.option(member.ended.as_ref(), Writer::value);
            }
            RowValue::Window(window) => {
                out.u8(4);
                out.length(window.applied.len());
                for command in &window.applied {
                    out.value(&command.counter);
                    out.value(&command.seq);
                    out.raw(&command.digest.0);
                }
            }
            RowValue::InboxChat(chat) => {
                out.u8(5);
                out.value(&chat.source);
                out.option(chat.joined.as_ref(), Writer::value);
                out.value(&chat.read);
            }
            RowValue::Setting(setting) => {
                out.u8(6);
                out.bool(setting.set);
            }
        }
        out.freeze()
    }

    /// Reads a row's bytes.
    ///
    /// # Errors
    /// [`DecodeError`]: the store is corrupt, or a newer version wrote the row.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(bytes);
        if input.u8()? != ROW_VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let (seq, time) = (input.value()?, input.value()?);
        let small = |input: &mut Reader| u32::try_from(input.varint()?).map_err(|_| DecodeError::Invalid);
        let value = match input.u8()? {
            1 => RowValue::Chat(ChatHead {
                position: input.value()?,
                kind: input.value()?,
                name: input.text(CHAT_NAME_BYTES_MAX)?,
                named: input.value()?,
                members: small(input)?,
            }),
            2 => RowValue::Inbox(InboxHead { position: input.value()?, chats: small(input)?, settings: small(input)? }),
            3 => RowValue::Member(MemberRow {
                role: input.value()?,
                joined: input.value()?,
                visible_from: input.value()?,
                ended: input.option(Reader::value)?,
            }),
            4 => RowValue::Window(decode_window(input)?),
            5 => RowValue::InboxChat(InboxChat {
                source: input.value()?,
                joined: input.option(Reader::value)?,
                read: input.value()?,
            }),
            6 => RowValue::Setting(SettingRow { set: input.bool()? }),
            _ => return Err(DecodeError::Invalid),
        };
        Ok(Self { seq, time, value })
    }
}

fn decode_window(input: &mut Reader) -> Result<Window, DecodeError> {
    let applied = input.list(WINDOW_COMMANDS, 10, |input| {
        Ok(AppliedCommand { counter: input.value()?, seq: input.value()?, digest: Digest(input.array()?) })
    })?;
    Ok(Window { applied: VecDeque::from(applied) })
}
