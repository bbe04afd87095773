//! An upgraded connection: what comes in is decoded, what goes out leaves in few system calls.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decoder::{CLOSE, Decoder, Input, PING, Payload};
use crate::transport::assembler::Assembler;
use crate::transport::scratch::{INPUT_TURN_BYTES, with_scratch};
use crate::transport::{Outgoing, Transport, TransportError};

/// Frames that leave in one system call.
const WRITE_FRAMES_MAX: usize = 64;

/// A close frame with status 1000: the reason is in the Bye before it.
const GOODBYE: &[u8] = &[0x80 | CLOSE, 2, 0x03, 0xe8];

/// One upgraded connection.
pub struct WebSocket<S>(Upgraded<S, Assembler>);

/// The same, whatever it carries.
struct Upgraded<S, P> {
    stream: S,
    /// What is on its way. Nothing is while the connection is idle, and mostly whole messages come in one
    /// read and leave in one write.
    transit: Option<Box<Transit<P>>>,
    /// Bytes read since the connection last had nothing to read; at most [`INPUT_TURN_BYTES`] and one read.
    input_turn: u32,
    /// Something was written that may still be in the stream's own buffer, or only in part.
    unflushed: bool,
    closing: Closing,
    heard: bool,
}

/// What a session adds to its socket; every one of an edge's sessions has it.
const _: () = assert!(size_of::<WebSocket<()>>() <= 16);

/// What came or left in part.
#[derive(Default)]
struct Transit<P> {
    decoder: Decoder<P>,
    /// Read and not decoded: empty unless one read brought more than one frame.
    input: Bytes,
    /// The rest of a message that is part-written.
    partial: Bytes,
    /// The answer to the peer's last ping or close, or our own close.
    control: Bytes,
}

impl<P: Payload> Transit<P> {
    fn is_over(&self) -> bool {
        self.decoder.is_between_messages()
            && self.input.is_empty()
            && self.partial.is_empty()
            && self.control.is_empty()
    }

    /// The part of a message that is to be written before others, and the control message behind it.
    fn own(&self) -> impl Iterator<Item = &Bytes> {
        [&self.partial, &self.control].into_iter().filter(|bytes| !bytes.is_empty())
    }
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
        Self(Upgraded::new(stream, input))
    }

    /// Bytes of buffers that it holds now: nothing while it is idle.
    pub fn buffered(&self) -> usize {
        let bytes = |of: &Transit<_>| of.decoder.held() + of.input.len() + of.partial.len() + of.control.len();
        self.0.transit.as_deref().map_or(0, |transit| size_of::<Transit<Assembler>>() + bytes(transit))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, P: Payload> Upgraded<S, P> {
    fn new(stream: S, input: Bytes) -> Self {
        let transit = (!input.is_empty()).then(|| Box::new(Transit { input, ..Transit::default() }));
        Self { stream, transit, input_turn: 0, unflushed: false, closing: Closing::No, heard: false }
    }

    fn transit(&mut self) -> &mut Transit<P> {
        self.transit.get_or_insert_default()
    }

    /// Gives back what is held for nothing.
    fn rest(&mut self) {
        self.transit.take_if(|transit| transit.is_over());
    }

    /// What came in next, decoded. The socket is read only when nothing is left of the last read.
    fn poll_input(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Input<P::Whole>, TransportError>> {
        loop {
            let decoded = if let Some(Transit { decoder, input, .. }) =
                self.transit.as_deref_mut().filter(|transit| !transit.input.is_empty())
            {
                let mut rest = &input[..];
                let decoded = decoder.next(&mut rest, bytes_max)?;
                let used = input.len() - rest.len();
                input.advance(used);
                if input.is_empty() {
                    // An empty slice would keep the whole buffer alive.
                    *input = Bytes::new();
                }
                decoded
            } else {
                if self.input_turn as usize >= INPUT_TURN_BYTES {
                    self.input_turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ready!(self.poll_read(cx, bytes_max))?
            };
            if let Some(input) = decoded {
                return Poll::Ready(Ok(input));
            }
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<Option<Input<P::Whole>>, TransportError>> {
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
            self.input_turn += u32::try_from(rest.len()).expect("a read fits in the scratch");
            let decoded = self.decode(&mut rest, bytes_max)?;
            if !rest.is_empty() {
                self.transit().input = Bytes::copy_from_slice(rest);
            }
            Poll::Ready(Ok(decoded))
        })
    }

    /// Decodes what was read. A decoder is kept only if something is left open.
    fn decode(&mut self, read: &mut &[u8], bytes_max: usize) -> Result<Option<Input<P::Whole>>, TransportError> {
        if let Some(transit) = &mut self.transit {
            return transit.decoder.next(read, bytes_max);
        }
        let mut decoder = Decoder::default();
        let decoded = decoder.next(read, bytes_max)?;
        if !decoder.is_between_messages() {
            self.transit().decoder = decoder;
        }
        Ok(decoded)
    }

    /// Answers a control frame.
    fn react(&mut self, opcode: u8, payload: &Bytes, cx: &mut Context<'_>) -> Result<(), TransportError> {
        self.heard = true;
        match opcode {
            PING if self.closing == Closing::No => {
                // Only the newest ping needs an answer, so what waits here is one pong at most.
                self.transit().control = control_frame(super::decoder::PONG, payload);
            }
            CLOSE => {
                check_close(payload)?;
                if self.closing == Closing::No {
                    self.transit().control = control_frame(CLOSE, &payload.slice(..payload.len().min(2)));
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
            let own = self.transit.iter().flat_map(|transit| transit.own());
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(own.chain(waiting)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            if count == 0 {
                ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(closed_or)?;
                self.unflushed = false;
                self.rest();
                return Poll::Ready(Ok(()));
            }
            self.unflushed = true;
            let stream = Pin::new(&mut self.stream);
            // One message is the usual case, and `send` costs the kernel less than `writev`.
            let written = ready!(match count {
                1 => stream.poll_write(cx, &slices[0]),
                _ => stream.poll_write_vectored(cx, &slices[..count]),
            });
            match written.map_err(closed_or)? {
                0 => return Poll::Ready(Err(TransportError::Closed)),
                written => self.wrote(written, queue.as_deref_mut()),
            }
        }
    }

    /// Takes what was written off, and remembers what of it was begun.
    fn wrote(&mut self, mut written: usize, queue: Option<&mut VecDeque<Outgoing>>) {
        if let Some(Transit { partial, control, .. }) = self.transit.as_deref_mut() {
            let own = partial.len().min(written);
            partial.advance(own);
            written -= own;
            if !partial.is_empty() {
                return;
            }
            // An empty slice would keep the whole message alive.
            *partial = Bytes::new();
            if written > 0 && !control.is_empty() {
                let control = std::mem::take(control);
                self.begin(control, &mut written);
            }
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
            self.transit().partial = message.slice(len..);
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

impl<S: AsyncRead + AsyncWrite + Unpin, P: Payload> Upgraded<S, P> {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<P::Whole, TransportError>> {
        loop {
            // An answer that did not leave before; a peer that takes nothing still may send.
            if (self.unflushed || self.transit.as_ref().is_some_and(|transit| !transit.control.is_empty()))
                && let Poll::Ready(written) = self.poll_write(cx, None)
            {
                written?;
            }
            let input = self.poll_input(cx, bytes_max);
            self.rest();
            match ready!(input)? {
                Input::Whole(whole) => return Poll::Ready(Ok(whole)),
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

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing == Closing::No {
            self.transit().control = Bytes::from_static(GOODBYE);
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
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for WebSocket<S> {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        self.0.poll_recv(cx, bytes_max)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        self.0.poll_send(cx, queue)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        self.0.poll_close(cx)
    }

    fn heard(&mut self) -> bool {
        std::mem::take(&mut self.0.heard)
    }
}

/// Whether a close may say this (RFC 6455, sections 5.5.1 and 7.4): nothing, or a status and a reason.
fn check_close(payload: &[u8]) -> Result<(), TransportError> {
    let why = match payload {
        [] => return Ok(()),
        [_] => "a WebSocket close has half a status",
        [first, second, reason @ ..] => match u16::from_be_bytes([*first, *second]) {
            1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => return Ok(()),
            1000..=1003 | 1007..=1014 | 3000..=4999 => "the reason of a WebSocket close is not UTF-8",
            _ => "a WebSocket close has a status that nobody may send",
        },
    };
    Err(TransportError::Protocol(why))
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

#[cfg(test)]
mod autobahn;
