//! What an event says, by kind.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::{ChatId, Seq};
use crate::limits::{CHAT_NAME_BYTES_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::text::Text;

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$item_doc])* $item = $code,)+
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Writer) {
                out.u8(*self as u8);
            }
            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                match input.u8()? {
                    $($code => Ok(Self::$item),)+
                    _ => Err(DecodeError::Invalid),
                }
            }
        }
    };
}

wire_enum!(
    /// How a chat came to be.
    ChatKind {
        /// Made by a user, with any number of members.
        Group = 1,
        /// The one chat of two users.
        Direct = 2,
    }
);
wire_enum!(
    /// What a member may do; a higher one may all that a lower one may.
    Role {
        /// Reads only.
        Reader = 1,
        /// Reads and sends.
        Member = 2,
        /// Also adds and removes members below its own role, and renames the chat.
        Admin = 3,
        /// Also gives and takes roles.
        Owner = 4,
    }
);
wire_enum!(
    /// How a message's bytes are to be read.
    MessageFormat {
        /// Plain text.
        Text = 0,
    }
);

/// What happened. Kinds below 0x40 are a chat's, from 0x40 an inbox's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// 0x01: the chat was made; the first event of every chat.
    ChatCreated {
        /// Which kind of chat.
        kind: ChatKind,
        /// Its name; empty for a direct chat.
        name: Text,
    },
    /// 0x02: the target became a member.
    MemberAdded {
        /// With this role.
        role: Role,
        /// The first event that the member may see.
        visible_from: Seq,
    },
    /// 0x03: the target is no longer a member. By itself where the actor is the target.
    MemberRemoved,
    /// 0x04: the target's role is another one.
    RoleChanged {
        /// The new role.
        role: Role,
    },
    /// 0x05: the chat has another name.
    ChatRenamed {
        /// The new name.
        name: Text,
    },
    /// 0x06: a message.
    MessageSent {
        /// How to read the text.
        format: MessageFormat,
        /// The text, byte for byte as it was sent.
        text: Text,
    },
    /// 0x40: the inbox's user became a member of a chat.
    ChatJoined {
        /// The chat.
        chat: ChatId,
        /// The event of that chat that says so.
        source: Seq,
        /// With this role.
        role: Role,
        /// The first event of the chat that the user may see.
        visible_from: Seq,
    },
    /// 0x41: the inbox's user is no longer a member of a chat.
    ChatLeft {
        /// The chat.
        chat: ChatId,
        /// The event of that chat that says so.
        source: Seq,
    },
    /// 0x42: the user has read a chat up to an event.
    ReadMoved {
        /// The chat.
        chat: ChatId,
        /// The last event read.
        read: Seq,
    },
    /// 0x43: a setting has another value; an empty one removes it.
    SettingChanged {
        /// Whether the setting had no value before.
        new: bool,
        /// The setting's name.
        key: Text,
        /// Its value, opaque to the server.
        value: Bytes,
    },
    /// The body was erased; the header stays.
    Blanked {
        /// Which kind of event it was.
        kind: u8,
    },
    /// A kind that this version does not know.
    Unknown {
        /// The kind.
        kind: u8,
        /// The body's bytes.
        body: Bytes,
    },
}

impl EventBody {
    /// The kind as it stands on the wire.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::ChatCreated { .. } => 0x01,
            Self::MemberAdded { .. } => 0x02,
            Self::MemberRemoved => 0x03,
            Self::RoleChanged { .. } => 0x04,
            Self::ChatRenamed { .. } => 0x05,
            Self::MessageSent { .. } => 0x06,
            Self::ChatJoined { .. } => 0x40,
            Self::ChatLeft { .. } => 0x41,
            Self::ReadMoved { .. } => 0x42,
            Self::SettingChanged { .. } => 0x43,
            Self::Blanked { kind } | Self::Unknown { kind, .. } => *kind,
        }
    }

    pub(super) fn size_hint(&self) -> usize {
        match self {
            Self::MessageSent { text, .. } => text.len() + 8,
            Self::ChatCreated { name, .. } | Self::ChatRenamed { name } => name.len() + 8,
            Self::SettingChanged { key, value, .. } => key.len() + value.len() + 8,
            Self::Unknown { body, .. } => body.len(),
            _ => 48,
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        match self {
            Self::ChatCreated { kind, name } => {
                out.value(kind);
                out.bytes(name.as_bytes());
            }
            Self::MemberAdded { role, visible_from } => {
                out.value(role);
                out.value(visible_from);
            }
            Self::MemberRemoved | Self::Blanked { .. } => {}
            Self::RoleChanged { role } => out.value(role),
            Self::ChatRenamed { name } => out.bytes(name.as_bytes()),
            Self::MessageSent { format, text } => {
                out.value(format);
                out.bytes(text.as_bytes());
            }
            Self::ChatJoined { chat, source, role, visible_from } => {
                out.value(chat);
                out.value(source);
                out.value(role);
                out.value(visible_from);
            }
            Self::ChatLeft { chat, source } => {
                out.value(chat);
                out.value(source);
            }
            Self::ReadMoved { chat, read } => {
                out.value(chat);
                out.value(read);
            }
            Self::SettingChanged { new, key, value } => {
                out.bool(*new);
                out.bytes(key.as_bytes());
                out.bytes(value);
            }
            Self::Unknown { body, .. } => out.raw(body),
        }
    }

    /// Bytes behind what this version knows of a kind are ignored: a kind may grow at its end.
    pub(super) fn decode(kind: u8, bytes: Bytes) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(bytes.clone());
        Ok(match kind {
            0x01 => Self::ChatCreated { kind: input.value()?, name: input.text(CHAT_NAME_BYTES_MAX)? },
            0x02 => Self::MemberAdded { role: input.value()?, visible_from: input.value()? },
            0x03 => Self::MemberRemoved,
            0x04 => Self::RoleChanged { role: input.value()? },
            0x05 => Self::ChatRenamed { name: input.text(CHAT_NAME_BYTES_MAX)? },
            0x06 => Self::MessageSent { format: input.value()?, text: input.text(TEXT_BYTES_MAX)? },
            0x40 => Self::ChatJoined {
                chat: input.value()?,
                source: input.value()?,
                role: input.value()?,
                visible_from: input.value()?,
            },
            0x41 => Self::ChatLeft { chat: input.value()?, source: input.value()? },
            0x42 => Self::ReadMoved { chat: input.value()?, read: input.value()? },
            0x43 => Self::SettingChanged {
                new: input.bool()?,
                key: input.text(SETTING_KEY_BYTES_MAX)?,
                value: input.bytes(SETTING_VALUE_BYTES_MAX)?,
            },
            kind => Self::Unknown { kind, body: bytes },
        })
    }
}
