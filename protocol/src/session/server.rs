//! The server's end of a session: which frame may come when, versions, requests that wait, heartbeat.
//!
//! ```text
//!              Hello                 open()                drain()
//!  Handshake ────────▶ Opening ──────────────▶ Open ─────────────────▶ Draining
//!      │                  │                      │                         │
//!      └──── a refusal, a silence, a Bye of either side ──────────────────▶ Closed
//! ```
//!
//! It decides and never does: a driver gives it frames and the time, and sends what it asks for. One
//! lives as long as its connection, so it holds no buffer and few bytes; the limits are the worker's.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader};
use crate::error_code::ErrorCode;
use crate::frame::{
    ChatInfo, Chats, CommandBody, FRAME_TYPES, Frame, Hello, IGNORABLE_FROM, Members, PROTOCOL_VERSION, Page, Refresh,
    RequestId, Signal, Subscribe, Sync, Unsubscribe,
};
use crate::framing::RawFrame;
use crate::ids::{Counter, EntityId};
use crate::limits::{FRAME_BYTES_MAX, HELLO_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX};
use crate::trace::TraceContext;

/// What all sessions of a server share.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// From the connection to the Hello, in milliseconds.
    pub hello_timeout_ms: u64,
    /// Each side sends something at least this often, in milliseconds; twice this in silence is the end.
    pub heartbeat_ms: u64,
    /// Requests that may wait for their reply; at most [`REQUESTS_IN_FLIGHT_MAX`].
    pub requests_in_flight_max: u16,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { hello_timeout_ms: 10_000, heartbeat_ms: 25_000, requests_in_flight_max: 1_024 }
    }
}

const _: () = assert!(REQUESTS_IN_FLIGHT_MAX == 1_024, "the default above is the limit");

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but a Hello is expected.
    Handshake,
    /// The Hello is being looked at. Frames behind it wait with the transport.
    Opening,
    /// Requests are served.
    Open,
    /// As open, but the client was asked to leave.
    Draining,
    /// The Bye is the last frame.
    Closed,
}

/// Why a session ends: what the driver says in its Bye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: ErrorCode,
    /// Do not come back before this many milliseconds.
    pub retry_after_ms: u64,
}

impl From<ErrorCode> for Close {
    fn from(code: ErrorCode) -> Self {
        Self { code, retry_after_ms: 0 }
    }
}

impl From<DecodeError> for Close {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownFrame => ErrorCode::UnknownFrame,
            _ => ErrorCode::Malformed,
        }
        .into()
    }
}

/// A command as it goes into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRequest {
    /// The chat or inbox.
    pub entity: EntityId,
    /// At least 1.
    pub counter: Counter,
    /// Below `counter`.
    pub after: Counter,
    /// What it says.
    pub body: CommandBody,
    /// Kind and body and what stands behind it, byte for byte as they came.
    pub kind_and_body: Bytes,
    /// In whose context it is to be followed.
    pub trace: Option<TraceContext>,
}

/// What a client asks for. The request's number stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To change something.
    Command(CommandRequest),
    /// To resume chats.
    Sync(Sync),
    /// To listen to a chat.
    Subscribe(Subscribe),
    /// Not to listen any more.
    Unsubscribe(Unsubscribe),
    /// To take a newer token.
    Refresh(Refresh),
    /// A page of events.
    Page(Page),
    /// A page of members.
    Members(Members),
    /// A page of chats.
    Chats(Chats),
    /// A chat's state.
    ChatInfo(ChatInfo),
}

/// What the driver does about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Find out who it is, then [`ServerSession::open`] or close. No frame is taken meanwhile.
    Hello(Hello),
    /// Serve it, reply once, and say [`ServerSession::replied`].
    Request(RequestId, Request),
    /// Refuse it with this code; it does not count as waiting. A command's refusal names its entity, because
    /// it must not overtake the answers to earlier commands of it.
    Refused(RequestId, Option<EntityId>, ErrorCode),
    /// Pass it on if the session listens to the chat.
    Signal(Signal),
    /// Send this frame.
    Reply(Frame),
    /// The client said goodbye: close without a Bye.
    Left,
}

/// What the driver does because time went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment.
    At(u64),
    /// Send a Ping with this nonce, and say [`ServerSession::sent`].
    Ping(u64),
    /// End the session.
    Close(Close),
}

/// The server's end of one session. Times are milliseconds of one clock that never goes back.
#[derive(Clone, Debug)]
pub struct ServerSession {
    phase: Phase,
    in_flight: u16,
    heard_ms: u64,
    sent_ms: u64,
    /// When the right to be here ends; before the session is open, when the Hello must have come.
    right_ends_ms: u64,
}

impl ServerSession {
    /// A connection that was just made.
    pub const fn new(limits: &ServerLimits, now_ms: u64) -> Self {
        Self {
            phase: Phase::Handshake,
            in_flight: 0,
            heard_ms: now_ms,
            sent_ms: now_ms,
            right_ends_ms: now_ms.saturating_add(limits.hello_timeout_ms),
        }
    }

    /// Where it is in its life.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// How many requests wait for their reply.
    pub const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// The largest frame that may come now, or `None` while frames are to wait with the transport.
    pub const fn frame_bytes_max(&self) -> Option<usize> {
        match self.phase {
            Phase::Handshake => Some(HELLO_BYTES_MAX),
            Phase::Open | Phase::Draining => Some(FRAME_BYTES_MAX),
            Phase::Opening | Phase::Closed => None,
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`Close`] if the frame ends the session; its phase is then [`Phase::Closed`].
    pub fn hear(&mut self, limits: &ServerLimits, raw: RawFrame, now_ms: u64) -> Result<Heard, Close> {
        self.heard_ms = now_ms;
        let heard = match self.phase {
            Phase::Handshake => self.hear_hello(limits, raw, now_ms),
            Phase::Open | Phase::Draining => self.hear_open(limits, raw),
            // The driver asks for no frame in these phases; one that comes anyway is not looked at.
            Phase::Opening | Phase::Closed => Ok(Heard::Nothing),
        };
        if heard.is_err() {
            self.phase = Phase::Closed;
        }
        heard
    }

    fn hear_hello(&mut self, limits: &ServerLimits, raw: RawFrame, now_ms: u64) -> Result<Heard, Close> {
        match raw.kind {
            0x01 => {}
            0x0a => return Ok(self.left()),
            kind if kind >= IGNORABLE_FROM && !is_known(kind) => return Ok(Heard::Nothing),
            kind => return Err(unexpected(kind)),
        }
        check_version(raw.body.clone())?;
        let Some(Frame::Hello(hello)) = Frame::decode(raw)? else {
            return Err(ErrorCode::UnexpectedFrame.into());
        };
        self.phase = Phase::Opening;
        // Looking at it has a limit of its own, above the one of the question to the router.
        self.right_ends_ms = now_ms.saturating_add(limits.hello_timeout_ms.saturating_mul(2));
        Ok(Heard::Hello(hello))
    }

    fn hear_open(&mut self, limits: &ServerLimits, raw: RawFrame) -> Result<Heard, Close> {
        match raw.kind {
            // What a client may say. Anything else is refused by its type, without a look inside.
            0x03 | 0x05 | 0x07 | 0x08 | 0x0a | 0x10 | 0x13 | 0x15 | 0x20 | 0x22 | 0x24 | 0x26 | 0x80 => {}
            kind if kind >= IGNORABLE_FROM && !is_known(kind) => return Ok(Heard::Nothing),
            kind => return Err(unexpected(kind)),
        }
        if raw.kind == 0x10 {
            return self.hear_command(limits, raw.body);
        }
        let Some(frame) = Frame::decode(raw)? else { return Ok(Heard::Nothing) };
        let (request, asked) = match frame {
            Frame::Sync(body) => (body.request, Request::Sync(body)),
            Frame::Subscribe(body) => (body.request, Request::Subscribe(body)),
            Frame::Unsubscribe(body) => (body.request, Request::Unsubscribe(body)),
            Frame::Refresh(body) => (body.request, Request::Refresh(body)),
            Frame::Page(body) => (body.request, Request::Page(body)),
            Frame::Members(body) => (body.request, Request::Members(body)),
            Frame::Chats(body) => (body.request, Request::Chats(body)),
            Frame::ChatInfo(body) => (body.request, Request::ChatInfo(body)),
            Frame::Signal(signal) => return Ok(Heard::Signal(signal)),
            Frame::Ping(ping) => return Ok(Heard::Reply(crate::frame::Pong { nonce: ping.nonce }.into())),
            Frame::Bye(_) => return Ok(self.left()),
            _ => return Ok(Heard::Nothing),
        };
        Ok(self.request(limits, request, asked))
    }

    /// The kind and body go into the log as they came, so they are cut out before they are read. A
    /// body that is well formed but not to be taken is the request's fault, not the connection's.
    fn hear_command(&mut self, limits: &ServerLimits, body: Bytes) -> Result<Heard, Close> {
        let input = &mut Reader::new(body);
        let request: RequestId = input.value()?;
        let (entity, counter, after): (EntityId, Counter, Counter) = (input.value()?, input.value()?, input.value()?);
        if counter.0 == 0 || after >= counter {
            return Err(DecodeError::Invalid.into());
        }
        let kind_and_body = input.take_rest();
        let input = &mut Reader::new(kind_and_body.clone());
        let body = match CommandBody::decode(input) {
            Ok(body) => body,
            Err(DecodeError::TooLarge) => return Ok(Heard::Refused(request, Some(entity), ErrorCode::TooLarge)),
            Err(DecodeError::UnknownVersion) => {
                return Ok(Heard::Refused(request, Some(entity), ErrorCode::InvalidRequest));
            }
            Err(error) => return Err(error.into()),
        };
        let trace = TraceContext::behind_body(&input.take_rest());
        let command = CommandRequest { entity, counter, after, body, kind_and_body, trace };
        Ok(self.request(limits, request, Request::Command(command)))
    }

    fn request(&mut self, limits: &ServerLimits, request: RequestId, asked: Request) -> Heard {
        if self.in_flight >= limits.requests_in_flight_max {
            let entity = match &asked {
                Request::Command(command) => Some(command.entity),
                _ => None,
            };
            return Heard::Refused(request, entity, ErrorCode::TooManyInFlight);
        }
        self.in_flight += 1;
        Heard::Request(request, asked)
    }

    fn left(&mut self) -> Heard {
        self.phase = Phase::Closed;
        Heard::Left
    }

    /// The Hello was good: requests are served until the right ends.
    pub fn open(&mut self, right_ends_ms: u64) {
        debug_assert_eq!(self.phase, Phase::Opening);
        self.phase = Phase::Open;
        self.right_ends_ms = right_ends_ms;
    }

    /// A newer token was taken.
    pub const fn refresh(&mut self, right_ends_ms: u64) {
        self.right_ends_ms = right_ends_ms;
    }

    /// The last frame of a reply was queued.
    pub const fn replied(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The client was asked to leave.
    pub fn drain(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
        }
    }

    /// The driver ends the session.
    pub const fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Something was handed to the transport.
    pub const fn sent(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
    }

    /// The peer gave a sign of life that is no frame: it took bytes while its own were left unread.
    pub const fn alive(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// What is due now, or when to ask again. Nothing needs to be asked earlier, whatever happens
    /// meanwhile, except after [`Self::open`] and [`Self::refresh`].
    pub const fn due(&self, limits: &ServerLimits, now_ms: u64) -> Due {
        match self.phase {
            Phase::Closed => return Due::At(u64::MAX),
            Phase::Handshake | Phase::Opening => {
                return if now_ms >= self.right_ends_ms {
                    Due::Close(Close { code: ErrorCode::HandshakeTimeout, retry_after_ms: 0 })
                } else {
                    Due::At(self.right_ends_ms)
                };
            }
            Phase::Open | Phase::Draining => {}
        }
        let silent_ms = self.heard_ms.saturating_add(limits.heartbeat_ms.saturating_mul(2));
        let ping_ms = self.sent_ms.saturating_add(limits.heartbeat_ms);
        if now_ms >= self.right_ends_ms {
            return Due::Close(Close { code: ErrorCode::TokenExpired, retry_after_ms: 0 });
        }
        if now_ms > silent_ms {
            return Due::Close(Close { code: ErrorCode::HeartbeatTimeout, retry_after_ms: 0 });
        }
        if now_ms >= ping_ms {
            return Due::Ping(now_ms);
        }
        let mut next = ping_ms;
        if silent_ms.saturating_add(1) < next {
            next = silent_ms.saturating_add(1);
        }
        if self.right_ends_ms < next {
            next = self.right_ends_ms;
        }
        Due::At(next)
    }
}

/// Looked at before the rest: what a later version has there need not be what this one knows.
fn check_version(hello: Bytes) -> Result<(), Close> {
    let input = &mut Reader::new(hello);
    let (min, max) = (input.varint()?, input.varint()?);
    if min <= max && !(min..=max).contains(&PROTOCOL_VERSION) {
        return Err(ErrorCode::VersionUnsupported.into());
    }
    Ok(())
}

/// Whether this version knows a frame of this type.
fn is_known(kind: u8) -> bool {
    FRAME_TYPES.iter().any(|(known, _)| *known == kind)
}

/// The code for a type that may not come now.
fn unexpected(kind: u8) -> Close {
    if is_known(kind) { ErrorCode::UnexpectedFrame } else { ErrorCode::UnknownFrame }.into()
}

#[cfg(test)]
mod tests;
