//! What waits to be written to one session, with a bound on its bytes.
//!
//! Events find room only up to the bound; what finds none is read again later. Replies always find
//! room: their number is bounded by the requests in flight, and what is large among them is read only
//! while there is room for it. An empty outbox is a pointer to nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use prometheus_client::metrics::gauge::Gauge;

use crate::transport::{Outgoing, Transport, TransportError};

/// Frames on their way to one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// There while the transport does not have everything.
    queue: Option<Box<Queue>>,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Outgoing>,
    bytes: usize,
    /// The transport took less than it was offered.
    blocked: bool,
    /// Bytes that wait for all sessions.
    waiting: Rc<Gauge>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// The transport took something.
    pub(crate) sent: bool,
    /// It was full before, so the peer has taken something since: a sign of its life. What a transport
    /// with room takes is none.
    pub(crate) peer_took: bool,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.note(0);
    }
}

impl Queue {
    fn note(&mut self, bytes: usize) {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.waiting.inc_by(signed(bytes) - signed(self.bytes));
        self.bytes = bytes;
    }

    fn flush(&mut self, cx: &mut Context<'_>, transport: &mut impl Transport) -> Result<Flushed, TransportError> {
        let (before, was_blocked) = (self.frames.len(), self.blocked);
        self.blocked = match transport.poll_send(cx, &mut self.frames) {
            Poll::Ready(sent) => {
                sent?;
                false
            }
            Poll::Pending => true,
        };
        let took = self.frames.len() != before;
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
            self.note(0);
        } else if took {
            self.note(self.frames.iter().map(Outgoing::len).sum());
        }
        let sent = took || !self.blocked;
        Ok(Flushed { sent, peer_took: sent && was_blocked })
    }
}

impl Outbox {
    /// Puts a frame behind the others. Until it left, its bytes are counted in `waiting`, too, which is the
    /// same at every call.
    pub(crate) fn push(&mut self, frame: Outgoing, waiting: &Rc<Gauge>) {
        let empty = || Box::new(Queue { frames: VecDeque::new(), bytes: 0, blocked: false, waiting: waiting.clone() });
        let queue = self.queue.get_or_insert_with(empty);
        queue.note(queue.bytes + frame.len());
        queue.frames.push_back(frame);
    }

    /// Whether a frame of this size is within the bound.
    pub(crate) fn has_room(&self, len: usize, bytes_max: usize) -> bool {
        self.bytes() + len <= bytes_max
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// Whether the transport has everything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.queue.is_none()
    }

    /// Hands the transport what it takes. [`Self::is_empty`] says whether it took all.
    pub(crate) fn flush(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
    ) -> Result<Flushed, TransportError> {
        let Some(queue) = &mut self.queue else { return Ok(Flushed::default()) };
        let flushed = queue.flush(cx, transport)?;
        if queue.frames.is_empty() && !queue.blocked {
            self.queue = None;
        }
        Ok(flushed)
    }
}
