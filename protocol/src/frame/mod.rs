//! The frames between a client and an edge.
//!
//! A frame's body may grow at its end: bytes behind what this version knows are ignored. Types from
//! 0x80 may be skipped by who does not know them; any other unknown type ends the connection.

mod command;
mod error;
mod hello;
mod history;
mod live;
mod subscription;

use bytes::Bytes;
pub use command::{Ack, Command, CommandBody, command_digest};
pub use error::{Bye, ErrorDetails, ErrorReply, GoAway};
pub use hello::{Auth, Hello, InboxState, LimitKind, Refresh, Refreshed, Welcome, capabilities};
pub use history::{
    ChatEntry, ChatInfo, ChatInfoReply, Chats, ChatsPage, Direction, MemberEntry, Members, MembersPage, Page, PageChunk,
};
pub use live::{EventFrame, Head, Ping, Pong, Signal, SignalKind};
pub use subscription::{
    Admission, Ended, Start, Subscribe, Subscribed, Sync, SyncEntry, Synced, SyncedEntry, Unsubscribe, Unsubscribed,
};

use crate::codec::{DecodeError, Reader, Wire};
use crate::framing::{RawFrame, frame_bytes};
use crate::limits::FRAME_BYTES_MAX;

/// The version of the frames in this crate.
pub const PROTOCOL_VERSION: u64 = 1;
/// The WebSocket subprotocol.
pub const WEBSOCKET_SUBPROTOCOL: &str = "panda.1";
/// The QUIC application protocol.
pub const QUIC_ALPN: &[u8] = b"panda/1";
/// Types from here on may be skipped by who does not know them.
pub const IGNORABLE_FROM: u8 = 0x80;

/// A request's number, chosen by the client, not in use by another request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl Wire for RequestId {
    fn encode(&self, out: &mut crate::Writer) {
        out.varint(self.0);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(input.varint()?))
    }
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident($body:ty) = $code:literal,)+) => {
        /// Any frame.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame {
            $($(#[$doc])* $name($body),)+
        }

        /// The types that this version knows, with their names in `SPEC.md`.
        pub const FRAME_TYPES: &[(u8, &str)] = &[$(($code, stringify!($name)),)+];

        impl Frame {
            /// The type on the wire.
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $code,)+
                }
            }

            /// The whole frame: length, type, body.
            pub fn to_bytes(&self) -> Bytes {
                let frame = match self {
                    $(Self::$name(body) => frame_bytes($code, 64, |out| body.encode(out)),)+
                };
                debug_assert!(frame.len() <= FRAME_BYTES_MAX + 4, "limits.rs keeps every frame below its maximum");
                frame
            }

            /// Decodes a frame's body; `None` for an unknown type of the ignorable range.
            ///
            /// # Errors
            /// [`DecodeError::UnknownFrame`] for another unknown type, and what the body's decoding returns.
            pub fn decode(raw: RawFrame) -> Result<Option<Self>, DecodeError> {
                let input = &mut Reader::new(raw.body);
                match raw.kind {
                    $($code => Ok(Some(Self::$name(input.value()?))),)+
                    IGNORABLE_FROM.. => Ok(None),
                    _ => Err(DecodeError::UnknownFrame),
                }
            }
        }

        $(impl From<$body> for Frame {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })+
    };
}

frames! {
    /// Client: the first frame.
    Hello(Hello) = 0x01,
    /// Server: the session is open.
    Welcome(Welcome) = 0x02,
    /// Client: resume these chats.
    Sync(Sync) = 0x03,
    /// Server: what became of them.
    Synced(Synced) = 0x04,
    /// Client: a newer access token.
    Refresh(Refresh) = 0x05,
    /// Server: it is taken.
    Refreshed(Refreshed) = 0x06,
    /// Either: are you there?
    Ping(Ping) = 0x07,
    /// Either: yes.
    Pong(Pong) = 0x08,
    /// Server: leave within this time.
    GoAway(GoAway) = 0x09,
    /// Either: the last frame.
    Bye(Bye) = 0x0a,
    /// Server: a request was refused.
    Error(ErrorReply) = 0x0b,
    /// Client: change something.
    Command(Command) = 0x10,
    /// Server: it is stored.
    Ack(Ack) = 0x11,
    /// Server: a numbered event.
    Event(EventFrame) = 0x12,
    /// Client: send me this chat's events.
    Subscribe(Subscribe) = 0x13,
    /// Server: from here on.
    Subscribed(Subscribed) = 0x14,
    /// Client: no more of this chat.
    Unsubscribe(Unsubscribe) = 0x15,
    /// Server: none will follow.
    Unsubscribed(Unsubscribed) = 0x16,
    /// Server: the subscription is over.
    Ended(Ended) = 0x17,
    /// Client: a page of history.
    Page(Page) = 0x20,
    /// Server: a part of it.
    PageChunk(PageChunk) = 0x21,
    /// Client: who is in this chat?
    Members(Members) = 0x22,
    /// Server: a page of members.
    MembersPage(MembersPage) = 0x23,
    /// Client: which chats am I in?
    Chats(Chats) = 0x24,
    /// Server: a page of chats.
    ChatsPage(ChatsPage) = 0x25,
    /// Client: what is this chat?
    ChatInfo(ChatInfo) = 0x26,
    /// Server: this.
    ChatInfoReply(ChatInfoReply) = 0x27,
    /// Either: ephemeral; may be dropped at any time.
    Signal(Signal) = 0x80,
    /// Server: you lag behind this chat's head.
    Head(Head) = 0x81,
}
