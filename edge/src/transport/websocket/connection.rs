//! An upgraded connection: what comes in is decoded, what goes out leaves in few system calls.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decoder::{CLOSE, Decoder, Input, PING};
use crate::transport::scratch::{INPUT_TURN_BYTES, with_scratch};
use crate::transport::{Outgoing, Transport, TransportError};

/// Frames that leave in one system call.
const WRITE_FRAMES_MAX: usize = 64;

/// A close frame with status 1000: the reason is in the Bye before it.
const GOODBYE: &[u8] = &[0x80 | CLOSE, 2, 0x03, 0xe8];

/// One upgraded connection.
pub struct WebSocket<S> {
    stream: S,
    decoder: Decoder,
    /// Read and not decoded: empty unless one read brought more than one frame.
    input: Bytes,
    /// Bytes read since the connection last had nothing to read.
    input_turn: usize,
    /// The rest of a message that is part-written.
    partial: Bytes,
    /// The answer to the peer's last ping or close, or our own close.
    control: Bytes,
    /// Something was written that may still be in the stream's own buffer, or only in part.
    unflushed: bool,
    closing: Closing,
    heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Open.
    No,
    /// A close frame is queued or sent.
    Said,
    /// Nothing more is written; the peer's end is waited for.
    Shut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A connection whose upgrade is done; `input` is what came behind the request's head.
    pub fn upgraded(stream: S, input: Bytes) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            input,
            input_turn: 0,
            partial: Bytes::new(),
            control: Bytes::new(),
            unflushed: false,
            closing: Closing::No,
            heard: false,
        }
    }

    /// Bytes of buffers that it holds now: nothing while it is idle.
    pub fn buffered(&self) -> usize {
        self.decoder.held() + self.input.len() + self.partial.len() + self.control.len()
    }

    /// What came in next, decoded. The socket is read only when nothing is left of the last read.
    fn poll_input(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Input, TransportError>> {
        loop {
            let decoded = if self.input.is_empty() {
                if self.input_turn >= INPUT_TURN_BYTES {
                    self.input_turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ready!(self.poll_read(cx, bytes_max))?
            } else {
                let mut rest = &self.input[..];
                let decoded = self.decoder.next(&mut rest, bytes_max)?;
                let used = self.input.len() - rest.len();
                self.input.advance(used);
                if self.input.is_empty() {
                    // An empty slice would keep the whole buffer alive.
                    self.input = Bytes::new();
                }
                decoded
            };
            if let Some(input) = decoded {
                return Poll::Ready(Ok(input));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Option<Input>, TransportError>> {
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) else {
                self.input_turn = 0;
                return Poll::Pending;
            };
            read.map_err(closed_or)?;
            let mut rest = buffer.filled();
            if rest.is_empty() {
                return Poll::Ready(Err(TransportError::Closed));
            }
            self.input_turn += rest.len();
            let decoded = self.decoder.next(&mut rest, bytes_max)?;
            if !rest.is_empty() {
                self.input = Bytes::copy_from_slice(rest);
            }
            Poll::Ready(Ok(decoded))
        })
    }

    /// Answers a control frame.
    fn react(&mut self, opcode: u8, payload: &Bytes, cx: &mut Context<'_>) -> Result<(), TransportError> {
        self.heard = true;
        match opcode {
            PING if self.closing == Closing::No => {
                // Only the newest ping needs an answer, so what waits here is one pong at most.
                self.control = control_frame(super::decoder::PONG, payload);
            }
            CLOSE => {
                if payload.len() == 1 {
                    return Err(TransportError::Protocol("a WebSocket close has half a status"));
                }
                if self.closing == Closing::No {
                    self.control = control_frame(CLOSE, &payload.slice(..payload.len().min(2)));
                    self.closing = Closing::Said;
                }
                // One attempt: who closes is not waited for here.
                return match self.poll_write(cx, None) {
                    Poll::Ready(Err(error)) => Err(error),
                    _ => Err(TransportError::Closed),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what is part-written, then a control frame, then from `queue`, and flushes.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut queue: Option<&mut VecDeque<Outgoing>>,
    ) -> Poll<Result<(), TransportError>> {
        loop {
            let mut slices = [IoSlice::new(&[]); WRITE_FRAMES_MAX];
            let waiting = queue.iter().flat_map(|queue| queue.iter()).map(Outgoing::websocket);
            let own = [&self.partial, &self.control].into_iter().filter(|bytes| !bytes.is_empty());
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(own.chain(waiting)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            if count == 0 {
                ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(closed_or)?;
                self.unflushed = false;
                return Poll::Ready(Ok(()));
            }
            self.unflushed = true;
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]));
            match written.map_err(closed_or)? {
                0 => return Poll::Ready(Err(TransportError::Closed)),
                written => self.wrote(written, queue.as_deref_mut()),
            }
        }
    }

    /// Takes what was written off, and remembers what of it was begun.
    fn wrote(&mut self, mut written: usize, queue: Option<&mut VecDeque<Outgoing>>) {
        let own = self.partial.len().min(written);
        self.partial.advance(own);
        written -= own;
        if !self.partial.is_empty() {
            return;
        }
        // An empty slice would keep the whole message alive.
        self.partial = Bytes::new();
        if written > 0 && !self.control.is_empty() {
            let control = std::mem::take(&mut self.control);
            self.begin(control, &mut written);
        }
        let Some(queue) = queue else { return };
        while written > 0
            && let Some(outgoing) = queue.pop_front()
        {
            self.begin(outgoing.websocket().clone(), &mut written);
        }
    }

    fn begin(&mut self, message: Bytes, written: &mut usize) {
        let len = message.len().min(*written);
        *written -= len;
        if len < message.len() {
            self.partial = message.slice(len..);
        }
    }

    /// Reads and forgets until the peer closes, so that the goodbye is not lost in a reset.
    fn poll_peer_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..INPUT_TURN_BYTES / super::super::scratch::READ_BYTES {
            let ended = with_scratch(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
                Poll::Ready(read.is_err() || buffer.filled().is_empty())
            });
            if ready!(ended) {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for WebSocket<S> {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        loop {
            // An answer that did not leave before; a peer that takes nothing still may send.
            if (self.unflushed || !self.control.is_empty())
                && let Poll::Ready(written) = self.poll_write(cx, None)
            {
                written?;
            }
            match ready!(self.poll_input(cx, bytes_max))? {
                Input::Frame(frame) => return Poll::Ready(Ok(frame)),
                Input::Control(opcode, payload) => self.react(opcode, &payload, cx)?,
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        // Nothing follows a close.
        if self.closing != Closing::No {
            return Poll::Ready(Err(TransportError::Closed));
        }
        self.poll_write(cx, Some(queue))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        if self.closing == Closing::No {
            self.control = Bytes::from_static(GOODBYE);
            self.closing = Closing::Said;
        }
        if self.closing == Closing::Said {
            let written = ready!(self.poll_write(cx, None));
            if written.is_err() || ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.closing = Closing::Shut;
        }
        self.poll_peer_end(cx)
    }

    fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }
}

/// A control frame of the server: not masked, its payload no longer than the peer's was.
fn control_frame(opcode: u8, payload: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(0x80 | opcode);
    frame.put_u8(u8::try_from(payload.len()).expect("the decoder refuses control frames above 125 bytes"));
    frame.put_slice(payload);
    frame.freeze()
}

/// An end that is no failure: the peer went away without a word.
fn closed_or(error: io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => TransportError::Closed,
        _ => TransportError::Io(error),
    }
}
