//! Frames on one bidirectional stream.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use panda_protocol::framing::RawFrame;
use quinn::{RecvStream, SendStream};
use smallvec::SmallVec;

use crate::transport::assembler::{Assembler, Mask};
use crate::transport::scratch::{INPUT_TURN_BYTES, with_scratch};
use crate::transport::{Outgoing, TransportError};

/// Frames that are given to QUIC at once.
const WRITE_FRAMES_MAX: usize = 64;

type Delivered = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// One stream, both ways. Without anything in transit it holds no buffer.
pub(super) struct FrameStream {
    send: SendStream,
    recv: RecvStream,
    frames: Assembler,
    /// Read and not decoded: empty unless one read brought more than one frame.
    input: Bytes,
    /// Bytes read since the stream last had nothing to read.
    input_turn: usize,
    /// The rest of a frame that is part-written.
    partial: Bytes,
    /// Once it is being closed: ready when the peer has everything or is gone.
    delivered: Option<Delivered>,
}

impl FrameStream {
    pub(super) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self {
            send,
            recv,
            frames: Assembler::default(),
            input: Bytes::new(),
            input_turn: 0,
            partial: Bytes::new(),
            delivered: None,
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.frames.held() + self.input.len() + self.partial.len()
    }

    pub(super) fn poll_recv(
        &mut self,
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
                    // An empty slice would keep the whole buffer alive.
                    self.input = Bytes::new();
                }
                if let Some(frame) = frame {
                    return Poll::Ready(Ok(frame));
                }
            }
            if self.input_turn >= INPUT_TURN_BYTES {
                self.input_turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(frame) = ready!(self.poll_read(cx, bytes_max))? {
                return Poll::Ready(Ok(frame));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Option<RawFrame>, TransportError>> {
        with_scratch(|scratch| {
            let Poll::Ready(read) = self.recv.poll_read(cx, scratch) else {
                self.input_turn = 0;
                return Poll::Pending;
            };
            // Whether the stream ended, was reset or its connection is lost: the peer is gone.
            let len = read.map_err(|_| TransportError::Closed)?;
            if len == 0 {
                return Poll::Ready(Err(TransportError::Closed));
            }
            self.input_turn += len;
            let mut rest = &scratch[..len];
            let frame = self.frames.feed(&mut rest, &mut Mask::default(), bytes_max)?;
            if !rest.is_empty() {
                self.input = Bytes::copy_from_slice(rest);
            }
            Poll::Ready(Ok(frame))
        })
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut VecDeque<Outgoing>,
    ) -> Poll<Result<(), TransportError>> {
        if self.delivered.is_some() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        loop {
            let own = (!self.partial.is_empty()).then(|| self.partial.clone());
            let own_count = own.iter().len();
            let waiting = queue.iter().map(Outgoing::frame);
            let mut chunks: SmallVec<[Bytes; WRITE_FRAMES_MAX]> =
                own.into_iter().chain(waiting).take(WRITE_FRAMES_MAX).collect();
            if chunks.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(pin!(self.send.write_chunks(&mut chunks)).poll(cx));
            // Whether the peer stopped the stream or its connection is lost: it is gone.
            let written = written.map_err(|_| TransportError::Closed)?;
            let rest = chunks.into_iter().nth(written.chunks).unwrap_or_default();
            self.wrote(written.chunks, own_count, rest, queue);
        }
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
        if !rest.is_empty() && queue.front().is_some_and(|front| rest.len() < front.frame().len()) {
            queue.pop_front();
            self.partial = rest;
        }
    }

    /// Ends our side and waits until the peer has everything or is gone.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.partial.is_empty() {
            let mut chunks = [self.partial.clone()];
            let written = ready!(pin!(self.send.write_chunks(&mut chunks)).poll(cx));
            if written.is_err() {
                return Poll::Ready(());
            }
            let [rest] = chunks;
            self.partial = rest;
        }
        let delivered = match &mut self.delivered {
            Some(delivered) => delivered,
            none => {
                if let Err(error) = self.send.finish() {
                    tracing::trace!(%error, "the stream had ended already");
                }
                let stopped = self.send.stopped();
                none.insert(Box::pin(async move { drop(stopped.await) }))
            }
        };
        delivered.as_mut().poll(cx)
    }
}
