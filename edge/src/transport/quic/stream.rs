//! Frames on one bidirectional stream.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use panda_protocol::framing::RawFrame;
use quinn_proto::{FinishError, ReadError, StreamId, VarInt, WriteError, Written};
use smallvec::SmallVec;

use super::connection::{Handle, Step};
use crate::transport::assembler::{Assembler, Mask};
use crate::transport::scratch::INPUT_TURN_BYTES;
use crate::transport::{Outgoing, TransportError};

/// Frames that are given to QUIC at once.
const WRITE_FRAMES_MAX: usize = 64;

/// One stream, both ways. Without anything in transit it holds no buffer.
pub(super) struct FrameStream {
    id: StreamId,
    frames: Assembler,
    /// A packet's bytes that were not decoded yet: empty unless it brought more than one frame.
    input: Bytes,
    /// Bytes read since the stream last had nothing to read.
    input_turn: usize,
    /// The rest of a frame that is part-written.
    partial: Bytes,
    /// It is being closed: nothing more is written.
    finished: bool,
}

impl FrameStream {
    pub(super) fn new(id: StreamId) -> Self {
        Self {
            id,
            frames: Assembler::default(),
            input: Bytes::new(),
            input_turn: 0,
            partial: Bytes::new(),
            finished: false,
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.frames.held() + self.input.len() + self.partial.len()
    }

    pub(super) fn poll_recv(
        &mut self,
        handle: &Handle,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<RawFrame, TransportError>> {
        loop {
            if !self.input.is_empty() {
                let mut rest = &self.input[..];
                let frame = self.frames.feed(&mut rest, &mut Mask::default(), bytes_max)?;
                let used = self.input.len() - rest.len();
                self.input.advance(used);
                if self.input.is_empty() {
                    // An empty slice would keep the whole packet alive.
                    self.input = Bytes::new();
                }
                if let Some(frame) = frame {
                    return Poll::Ready(Ok(frame));
                }
                continue;
            }
            if self.input_turn >= INPUT_TURN_BYTES {
                self.input_turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(read) = self.poll_read(handle, cx) else {
                self.input_turn = 0;
                return Poll::Pending;
            };
            // Whether the stream ended, was reset or its connection is lost: the peer is gone.
            self.input = read?.ok_or(TransportError::Closed)?;
            self.input_turn += self.input.len();
        }
    }

    /// What is left to read of one packet.
    fn poll_read(&self, handle: &Handle, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, TransportError>> {
        handle.poll(cx, |connection| {
            let mut stream = connection.recv_stream(self.id);
            let Ok(mut chunks) = stream.read(true) else { return Step { done: Some(None), transmits: false } };
            let chunk = chunks.next(usize::MAX);
            // A read that finds nothing may say it, too: the peer may open a stream instead of one that ended.
            let transmits = chunks.finalize().should_transmit();
            let done = match chunk {
                Ok(chunk) => Some(chunk.map(|chunk| chunk.bytes)),
                Err(ReadError::Blocked) => None,
                Err(ReadError::Reset(_)) => Some(None),
            };
            Step { done, transmits }
        })
    }

    pub(super) fn poll_send(
        &mut self,
        handle: &Handle,
        cx: &mut Context<'_>,
        queue: &mut VecDeque<Outgoing>,
    ) -> Poll<Result<(), TransportError>> {
        if self.finished {
            return Poll::Ready(Err(TransportError::Closed));
        }
        loop {
            let own = (!self.partial.is_empty()).then(|| self.partial.clone());
            let own_count = own.iter().len();
            let waiting = queue.iter().map(Outgoing::frames);
            let mut chunks: SmallVec<[Bytes; WRITE_FRAMES_MAX]> =
                own.into_iter().chain(waiting).take(WRITE_FRAMES_MAX).collect();
            if chunks.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(self.poll_write(handle, cx, &mut chunks))?;
            let rest = chunks.into_iter().nth(written.chunks).unwrap_or_default();
            self.wrote(written.chunks, own_count, rest, queue);
        }
    }

    /// Writes whole chunks, and perhaps a part of the one behind them.
    fn poll_write(
        &self,
        handle: &Handle,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Written, TransportError>> {
        let written = handle.poll(cx, |connection| match connection.send_stream(self.id).write_chunks(chunks) {
            Ok(written) => Step { done: Some(Some(written)), transmits: true },
            Err(WriteError::Blocked) => Step { done: None, transmits: false },
            // The peer stopped the stream: it is gone.
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => Step { done: Some(None), transmits: false },
        });
        written.map(|written| written?.ok_or(TransportError::Closed))
    }

    /// Takes what was written off: `whole` chunks, the first `own` of them the rest of an earlier frame.
    /// `rest` is what is left of the chunk behind them.
    fn wrote(&mut self, whole: usize, own: usize, rest: Bytes, queue: &mut VecDeque<Outgoing>) {
        if whole < own {
            self.partial = rest;
            return;
        }
        queue.drain(..whole - own);
        self.partial = Bytes::new();
        // A frame that was begun leaves the queue, which may be cut before the next call.
        if !rest.is_empty() && queue.front().is_some_and(|front| rest.len() < front.frames().len()) {
            queue.pop_front();
            self.partial = rest;
        }
    }

    /// Ends our side and waits until the peer has everything or is gone.
    pub(super) fn poll_finish(&mut self, handle: &Handle, cx: &mut Context<'_>) -> Poll<()> {
        while !self.partial.is_empty() {
            let mut chunks = [self.partial.clone()];
            if ready!(self.poll_write(handle, cx, &mut chunks)).is_err() {
                return Poll::Ready(());
            }
            let [rest] = chunks;
            self.partial = rest;
        }
        if !self.finished {
            self.finished = true;
            handle.tell(|connection| {
                if let Err(error) = connection.send_stream(self.id).finish() {
                    tracing::trace!(%error, "the stream had ended already");
                }
            });
        }
        let delivered = handle.poll(cx, |connection| {
            // Until it was stopped, or all that was written on it has arrived.
            let waits = matches!(connection.send_stream(self.id).stopped(), Ok(None));
            Step { done: (!waits).then_some(()), transmits: false }
        });
        // Also an error says that nobody waits for more.
        delivered.map(drop)
    }

    /// Nobody reads or writes it any more: what was written still arrives, and the peer is told to send no more.
    pub(super) fn abandon(&self, handle: &Handle) {
        handle.tell(|connection| {
            let mut send = connection.send_stream(self.id);
            let ended = match send.finish() {
                // A stream that the peer stopped ends by a reset: until then it may open no further one.
                Err(FinishError::Stopped(code)) => send.reset(code).is_ok(),
                finished => finished.is_ok(),
            };
            let stopped = connection.recv_stream(self.id).stop(VarInt::from(0_u32)).is_ok();
            tracing::trace!(ended, stopped, "a stream was left");
        });
    }
}
