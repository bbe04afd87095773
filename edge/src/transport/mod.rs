//! How bytes reach a client: WebSocket and QUIC behind one trait.
//!
//! What happens here ends where a session begins: a [`Transport`] gives whole frames and takes whole
//! frames, and knows nothing of their meaning. [`websocket::accept`] and [`quic::QuicListener`] turn what
//! the network sends into transports, under the gates of [`crate::admission`].

mod assembler;
pub mod handover;
pub mod quic;
mod scratch;
pub mod socket;
mod tickets;
pub mod tls;
pub mod tls_stream;
pub mod websocket;

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use panda_protocol::ErrorCode;
use panda_protocol::codec::DecodeError;
use panda_protocol::framing::RawFrame;

/// A frame on its way out, or several that leave together, encoded once and shared by every session that gets it.
///
/// The bytes hold the header of one WebSocket message and then the frames: both transports send a slice
/// of the same buffer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    bytes: Bytes,
    header: u8,
}

impl Outgoing {
    /// Puts the WebSocket header before a whole frame.
    pub fn new(frame: &Bytes) -> Self {
        Self::of(std::slice::from_ref(frame))
    }

    /// Puts one WebSocket header before whole frames. There is at least one.
    pub fn of(frames: &[Bytes]) -> Self {
        let len = frames.iter().map(Bytes::len).sum();
        let mut bytes = BytesMut::with_capacity(len + 10);
        bytes.put_u8(0x82); // final fragment, binary
        match len {
            len @ 0..=125 => bytes.put_u8(u8::try_from(len).expect("at most 125")),
            len @ 126..=0xffff => {
                bytes.put_u8(126);
                bytes.put_u16(u16::try_from(len).expect("at most 0xffff"));
            }
            len => {
                bytes.put_u8(127);
                bytes.put_u64(len as u64);
            }
        }
        let header = u8::try_from(bytes.len()).expect("a header has at most 10 bytes");
        for frame in frames {
            bytes.put_slice(frame);
        }
        Self { bytes: bytes.freeze(), header }
    }

    /// As a text message, which Panda sends to nobody.
    #[cfg(test)]
    fn as_text(&self) -> Self {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        bytes[0] = 0x81;
        Self { bytes: bytes.freeze(), header: self.header }
    }

    /// A WebSocket message that holds the frames.
    pub fn websocket(&self) -> &Bytes {
        &self.bytes
    }

    /// The frames alone.
    pub fn frames(&self) -> Bytes {
        self.bytes.slice(usize::from(self.header)..)
    }

    /// What it counts for in a queue.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a frame has a length and a type at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Why a transport ended.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The peer is gone, with or without a goodbye.
    #[error("the connection is closed")]
    Closed,
    /// The peer sent what is no frame.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// The peer sent a text message.
    #[error("text message on the binary socket")]
    Text,
    /// The peer broke the rules of the transport itself.
    #[error("{0}")]
    Protocol(&'static str),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl TransportError {
    /// What to tell the peer in a Bye; `None` if it cannot hear anything any more.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Closed | Self::Io(_) => None,
            Self::Decode(DecodeError::TooLarge) => Some(ErrorCode::FrameTooLarge),
            Self::Decode(DecodeError::UnknownFrame) => Some(ErrorCode::UnknownFrame),
            Self::Decode(_) | Self::Protocol(_) => Some(ErrorCode::Malformed),
            Self::Text => Some(ErrorCode::TextMessage),
        }
    }
}

/// One client's connection after its handshake. An idle one holds no buffer.
///
/// Every method may be called again after `Pending` and may be left off at any time: nothing is lost
/// (cancel safe). One task polls all of them; the last waker wins.
pub trait Transport {
    /// The next whole frame. Frames larger than `bytes_max` are refused as soon as their length is
    /// known. Control messages of the transport are answered inside. After an error it is not called
    /// again.
    ///
    /// A peer that sends faster than we read does not starve others: after 64 KiB of input this yields
    /// by waking itself.
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>>;

    /// Writes from the front of `queue` until it is empty (`Ready`) or the peer takes no more
    /// (`Pending`, and `cx` is woken when it does). Several frames leave in one system call. What is
    /// written is taken off the queue; a part-written frame is remembered inside, so `queue` may be
    /// cut or cleared between calls without breaking the stream.
    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>>;

    /// Says goodbye in the transport's own way and closes; what `poll_send` took is delivered first.
    /// The first call's `code` counts. `Ready` once the peer has everything or is gone; a peer that
    /// does neither is the caller's to drop, after a while.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: ErrorCode) -> Poll<()>;

    /// Whether control messages of the transport itself came in since the last call: signs of life
    /// that [`Self::poll_recv`] answers but does not give out.
    fn heard(&mut self) -> bool {
        false
    }
}
