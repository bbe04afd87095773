//! Refusals and goodbyes.

use bytes::Bytes;

use super::RequestId;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::error_code::ErrorCode;
use crate::ids::{Counter, Seq};
use crate::limits::{ADDRESS_BYTES_MAX, ERROR_TEXT_BYTES_MAX, TICKET_BYTES_MAX};
use crate::text::Text;

/// What the server knows of a sender, with `out_of_order` and `nothing_to_do`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorDetails {
    /// The highest applied counter of the window; 0 if none.
    pub counter: Counter,
    /// The seq that it made, or the event that did already what was asked; 0 if none.
    pub seq: Seq,
}

/// A request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// The request.
    pub request: RequestId,
    /// One of [`ErrorCode`], or a newer one: its range says what to do.
    pub code: u16,
    /// Do not repeat before this many milliseconds; 0: no such wait.
    pub retry_after_ms: u64,
    /// How to go on.
    pub details: Option<ErrorDetails>,
    /// For a person.
    pub text: Text,
}

impl ErrorReply {
    /// A refusal with the code's own text.
    pub const fn new(request: RequestId, code: ErrorCode) -> Self {
        Self { request, code: code as u16, retry_after_ms: 0, details: None, text: Text::from_static(code.text()) }
    }

    /// Names a wait in milliseconds.
    #[must_use]
    pub const fn retry_after_ms(mut self, wait: u64) -> Self {
        self.retry_after_ms = wait;
        self
    }
}

impl Wire for ErrorReply {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.request);
        out.u16(self.code);
        out.varint(self.retry_after_ms);
        out.option(self.details.as_ref(), |out, details| {
            out.value(&details.counter);
            out.value(&details.seq);
        });
        out.bytes(self.text.as_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: input.value()?,
            code: input.u16()?,
            retry_after_ms: input.varint()?,
            details: input.option(|input| Ok(ErrorDetails { counter: input.value()?, seq: input.value()? }))?,
            text: input.text(ERROR_TEXT_BYTES_MAX)?,
        })
    }
}

/// The last frame of a session, of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye {
    /// One of [`ErrorCode`], or a newer one: its range says what to do.
    pub code: u16,
    /// Do not come back before this many milliseconds.
    pub retry_after_ms: u64,
    /// For a person.
    pub text: Text,
}

impl Bye {
    /// A goodbye with the code's own text.
    pub const fn new(code: ErrorCode) -> Self {
        Self { code: code as u16, retry_after_ms: 0, text: Text::from_static(code.text()) }
    }
}

impl Wire for Bye {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.code);
        out.varint(self.retry_after_ms);
        out.bytes(self.text.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { code: input.u16()?, retry_after_ms: input.varint()?, text: input.text(ERROR_TEXT_BYTES_MAX)? })
    }
}

/// Asks a client to move: connect elsewhere after `delay_ms`, then leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub code: u16,
    /// Open the new connection after this many milliseconds, this one's share of the spread.
    pub delay_ms: u64,
    /// This connection closes after so many milliseconds, whatever the client does.
    pub closes_in_ms: u64,
    /// `host:port` to go to; empty: the same address as before.
    pub address: Text,
    /// Opens the next session.
    pub ticket: Bytes,
}

impl Wire for GoAway {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.code);
        out.varint(self.delay_ms);
        out.varint(self.closes_in_ms);
        out.bytes(self.address.as_bytes());
        out.bytes(&self.ticket);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            code: input.u16()?,
            delay_ms: input.varint()?,
            closes_in_ms: input.varint()?,
            address: input.text(ADDRESS_BYTES_MAX)?,
            ticket: input.bytes(TICKET_BYTES_MAX)?,
        })
    }
}
