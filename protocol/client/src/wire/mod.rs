//! How bytes reach a server: whole frames in, batches of whole frames out.

pub(crate) mod quic;
pub(crate) mod websocket;

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use panda_protocol::codec::DecodeError;
use panda_protocol::framing::RawFrame;
use panda_protocol::{ErrorCode, framing};
use tokio::io::{AsyncRead, AsyncWrite};

/// Frames are gathered into one write until it has so many bytes. The largest frame of a client on top
/// of it still is below a WebSocket message's limit.
pub(crate) const BATCH_BYTES: usize = 16 * 1024;

/// A byte stream below a WebSocket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What came.
pub(crate) enum Received {
    Frame(RawFrame),
    /// A sign of life that is no frame.
    Alive,
}

/// Why nothing comes any more.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection is gone.
    Gone,
    /// The server closed the connection with this code.
    Closed(u16),
    /// The server sent what is no frame.
    Defect(ErrorCode),
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Defect(if error == DecodeError::TooLarge { ErrorCode::FrameTooLarge } else { ErrorCode::Malformed })
    }
}

/// One connection. All methods may be left off at any time and called again (cancel safe).
pub(crate) enum Wire {
    WebSocket(Box<websocket::Socket>),
    Quic(Box<quic::Channel>),
}

impl Wire {
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Trouble>> {
        match self {
            Self::WebSocket(socket) => socket.poll_recv(cx),
            Self::Quic(channel) => channel.poll_recv(cx),
        }
    }

    /// Hands the batch to the transport: `Ready` once it is empty and another one may follow.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut BytesMut) -> Poll<Result<(), Trouble>> {
        match self {
            Self::WebSocket(socket) => socket.poll_send(cx, batch),
            Self::Quic(channel) => channel.poll_send(cx, batch),
        }
    }

    /// Drives what was handed over before. Errors are heard by [`Self::poll_recv`] too.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        match self {
            Self::WebSocket(socket) => socket.poll_flush(cx),
            Self::Quic(_) => Poll::Ready(Ok(())),
        }
    }

    /// Sends the rest of the batch and closes.
    pub(crate) async fn close(&mut self, batch: &mut BytesMut) {
        match self {
            Self::WebSocket(socket) => socket.close(batch).await,
            Self::Quic(channel) => channel.close(batch).await,
        }
    }

    /// Both sides take signals as datagrams.
    pub(crate) fn take_datagrams(&mut self) {
        if let Self::Quic(channel) = self {
            channel.take_datagrams();
        }
    }

    /// Sends a signal beside the stream. `false` if this connection does not.
    pub(crate) fn send_datagram(&mut self, frame: &Bytes) -> bool {
        match self {
            Self::WebSocket(_) => false,
            Self::Quic(channel) => channel.send_datagram(frame),
        }
    }
}

/// The one frame of a datagram, if it is a signal's.
fn signal_of(mut datagram: Bytes) -> Option<RawFrame> {
    const SIGNAL: u8 = 0x80;
    let raw = framing::next_frame(&mut datagram, panda_protocol::limits::FRAME_BYTES_MAX).ok()??;
    (raw.kind == SIGNAL && datagram.is_empty()).then_some(raw)
}
