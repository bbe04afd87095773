//! Opening a session and keeping its right to be there.

use alloc::vec::Vec;

use bytes::Bytes;

use super::RequestId;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::{Cursor, DeviceId, Incarnation, Seq, SessionId, UserId};
use crate::limits::{CLIENT_NAME_BYTES_MAX, TICKET_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::text::Text;

/// Bits of [`Hello::capabilities`] and [`Welcome::capabilities`]; a bit that a side does not know is
/// ignored. Both sides may use what both announced.
pub mod capabilities {
    /// Takes signals as datagrams (QUIC).
    pub const DATAGRAM_SIGNALS: u64 = 1;
}

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// 0: a JSON Web Token from the HTTP API.
    Token(Text),
    /// 1: a ticket that a Welcome, Refreshed or GoAway brought.
    Ticket(Bytes),
}

/// The client's first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version that the client speaks.
    pub version_min: u64,
    /// The highest.
    pub version_max: u64,
    /// Bits of [`capabilities`].
    pub capabilities: u64,
    /// Who it is.
    pub auth: Auth,
    /// Its installation.
    pub device: DeviceId,
    /// What it holds of its inbox; absent: live events only.
    pub inbox: Option<Cursor>,
    /// The client's name and version, for logs.
    pub client: Text,
}

impl Wire for Hello {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.version_min);
        out.varint(self.version_max);
        out.varint(self.capabilities);
        match &self.auth {
            Auth::Token(token) => {
                out.u8(0);
                out.bytes(token.as_bytes());
            }
            Auth::Ticket(ticket) => {
                out.u8(1);
                out.bytes(ticket);
            }
        }
        out.value(&self.device);
        out.option(self.inbox.as_ref(), Writer::value);
        out.bytes(self.client.as_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let version_min = input.varint()?;
        let version_max = input.varint()?;
        if version_min > version_max {
            return Err(DecodeError::Invalid);
        }
        let capabilities = input.varint()?;
        let auth = match input.u8()? {
            0 => Auth::Token(input.text(TOKEN_BYTES_MAX)?),
            1 => Auth::Ticket(input.bytes(TICKET_BYTES_MAX)?),
            _ => return Err(DecodeError::Invalid),
        };
        let device = input.value()?;
        if device == DeviceId::NONE {
            // Events that no device made directly name it: commands of it would have no window.
            return Err(DecodeError::Invalid);
        }
        Ok(Self {
            version_min,
            version_max,
            capabilities,
            auth,
            device,
            inbox: input.option(Reader::value)?,
            client: input.text(CLIENT_NAME_BYTES_MAX)?,
        })
    }
}

/// Which limit of [`Welcome::limits`] a number is; unknown kinds are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LimitKind {
    /// Bytes of a frame behind its length.
    FrameBytes = 1,
    /// Bytes of a message's text.
    TextBytes = 2,
    /// Subscriptions of this session.
    Subscriptions = 3,
    /// Requests that may wait for a reply.
    RequestsInFlight = 4,
    /// Members named in a command.
    CommandMembers = 5,
    /// Commands a second, over a longer time.
    CommandsPerSecond = 6,
}

/// What the session's inbox is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxState {
    /// The event store's incarnation.
    pub incarnation: Incarnation,
    /// The last event of the inbox.
    pub head: Seq,
    /// The first event that will be sent.
    pub from: Seq,
    /// The cursor in Hello was of another store or beyond the head: drop what was kept of the inbox.
    pub reset: bool,
}

impl Wire for InboxState {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.incarnation);
        out.value(&self.head);
        out.value(&self.from);
        out.bool(self.reset);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { incarnation: input.value()?, head: input.value()?, from: input.value()?, reset: input.bool()? })
    }
}

/// The server's answer to Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u64,
    /// Bits of [`capabilities`] that the server has.
    pub capabilities: u64,
    /// This connection.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Each side sends something at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long the access right lasts, in milliseconds; refresh it before.
    pub expires_in_ms: u64,
    /// Opens the next session without an access token.
    pub ticket: Bytes,
    /// Where the inbox is.
    pub inbox: InboxState,
    /// (kind, value) of each limit.
    pub limits: Vec<(u8, u64)>,
}

const LIMITS_MAX: usize = 64;

impl Wire for Welcome {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.version);
        out.varint(self.capabilities);
        out.value(&self.session);
        out.value(&self.user);
        out.varint(self.heartbeat_ms);
        out.varint(self.expires_in_ms);
        out.bytes(&self.ticket);
        out.value(&self.inbox);
        out.list(&self.limits, |out, (kind, value)| {
            out.u8(*kind);
            out.varint(*value);
        });
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            version: input.varint()?,
            capabilities: input.varint()?,
            session: input.value()?,
            user: input.value()?,
            heartbeat_ms: input.varint()?,
            expires_in_ms: input.varint()?,
            ticket: input.bytes(TICKET_BYTES_MAX)?,
            inbox: input.value()?,
            limits: input.list(LIMITS_MAX, 2, |input| Ok((input.u8()?, input.varint()?)))?,
        })
    }
}

/// A newer access token for the live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The request.
    pub request: RequestId,
    /// The token; it must be the same user's.
    pub token: Text,
}

impl Wire for Refresh {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.bytes(self.token.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, token: input.text(TOKEN_BYTES_MAX)? })
    }
}

/// The token is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// The request.
    pub request: RequestId,
    /// How long the access right lasts from now, in milliseconds.
    pub expires_in_ms: u64,
    /// Replaces the ticket before.
    pub ticket: Bytes,
}

impl Wire for Refreshed {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.varint(self.expires_in_ms);
        out.bytes(&self.ticket);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { request: input.value()?, expires_in_ms: input.varint()?, ticket: input.bytes(TICKET_BYTES_MAX)? })
    }
}
