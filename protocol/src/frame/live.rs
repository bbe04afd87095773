//! What flows while a session lives: events, signals, heartbeats.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::{ChatId, EntityId, Seq, UserId};
use crate::limits::{EVENT_BYTES_MAX, SIGNAL_BYTES_MAX};

/// An event of a chat that the session subscribed to, or of its inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFrame {
    /// The chat or inbox.
    pub entity: EntityId,
    /// The canonical bytes, as in [`crate::event`].
    pub event: Bytes,
}

impl Wire for EventFrame {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.entity);
        out.bytes(&self.event);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { entity: input.value()?, event: input.bytes(EVENT_BYTES_MAX)? })
    }
}

/// The session lags: the chat has come to this event. The events between follow as the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chat or inbox.
    pub entity: EntityId,
    /// Its last event as far as the edge knows.
    pub head: Seq,
}

impl Wire for Head {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.entity);
        out.value(&self.head);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { entity: input.value()?, head: input.value()? })
    }
}

/// What a signal is about. A kind that a client does not know is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(pub u8);

impl SignalKind {
    /// The user types; empty payload. Shown for six seconds after the last one.
    pub const TYPING: Self = Self(1);
    /// The user stopped typing; empty payload.
    pub const TYPING_STOPPED: Self = Self(2);
    /// The user's presence: one byte, 0 away, 1 here.
    pub const PRESENCE: Self = Self(3);
}

/// Ephemeral, unnumbered, may be dropped anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The chat; the session must be subscribed to it.
    pub chat: ChatId,
    /// Who it is from, as the server says; absent from a client.
    pub user: Option<UserId>,
    /// What it is about.
    pub kind: SignalKind,
    /// At most [`SIGNAL_BYTES_MAX`] bytes.
    pub payload: Bytes,
}

impl Wire for Signal {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.chat);
        out.option(self.user.as_ref(), Writer::value);
        out.u8(self.kind.0);
        out.bytes(&self.payload);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            chat: input.value()?,
            user: input.option(Reader::value)?,
            kind: SignalKind(input.u8()?),
            payload: input.bytes(SIGNAL_BYTES_MAX)?,
        })
    }
}

macro_rules! heartbeat {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            /// Chosen by who asks, repeated in the answer.
            pub nonce: u64,
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Writer) {
                out.varint(self.nonce);
            }
            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                Ok(Self { nonce: input.varint()? })
            }
        }
    };
}
heartbeat!(
    /// Are you there?
    Ping
);
heartbeat!(
    /// Yes.
    Pong
);
