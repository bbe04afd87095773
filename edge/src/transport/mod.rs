//! How bytes reach a client: WebSocket and QUIC behind one trait.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use panda_protocol::codec::DecodeError;
use panda_protocol::framing::RawFrame;

/// A frame on its way out, encoded once and shared by every session that gets it.
///
/// The bytes hold the header of a WebSocket message and then the frame: both transports send a slice
/// of the same buffer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    bytes: Bytes,
    header: u8,
}

impl Outgoing {
    /// Puts the WebSocket header before a whole frame.
    pub fn new(frame: &Bytes) -> Self {
        let mut bytes = BytesMut::with_capacity(frame.len() + 10);
        bytes.put_u8(0x82); // final fragment, binary
        match frame.len() {
            len @ 0..=125 => bytes.put_u8(len as u8),
            len @ 126..=0xffff => {
                bytes.put_u8(126);
                bytes.put_u16(len as u16);
            }
            len => {
                bytes.put_u8(127);
                bytes.put_u64(len as u64);
            }
        }
        let header = bytes.len() as u8;
        bytes.put_slice(frame);
        Self { bytes: bytes.freeze(), header }
    }

    /// A WebSocket message that holds the frame.
    pub fn websocket(&self) -> &Bytes {
        &self.bytes
    }

    /// The frame alone.
    pub fn frame(&self) -> Bytes {
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
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// One client's connection after its handshake. An idle one holds no buffer.
pub trait Transport {
    /// The next whole frame. Frames larger than `bytes_max` are refused as soon as their length is
    /// known. Control messages of the transport are answered inside.
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>>;

    /// Writes from the front of `queue` until it is empty (`Ready`) or the peer takes no more
    /// (`Pending`, and `cx` is woken when it does). Several frames leave in one system call. What is
    /// written is taken off the queue; a part-written frame is remembered inside.
    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>>;

    /// Says goodbye in the transport's own way and closes; what `poll_send` took is delivered first.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
