//! What waits to be written to one session, with a bound on its bytes.
//!
//! Events find room only up to the bound; what finds none is read again later. Replies always find
//! room: their number is bounded by the requests in flight, and what is large among them is read only
//! while there is room for it. An empty outbox holds no memory.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use prometheus_client::metrics::gauge::Gauge;

use crate::transport::{Outgoing, Transport, TransportError};

/// Frames on their way to one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    /// The transport took less than it was offered.
    blocked: bool,
    /// Bytes that wait for all sessions.
    waiting: Gauge,
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

impl Drop for Outbox {
    fn drop(&mut self) {
        self.note(0);
    }
}

impl Outbox {
    /// An empty one, whose bytes are counted in `waiting`.
    pub(crate) fn new(waiting: Gauge) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, blocked: false, waiting }
    }

    /// Puts a frame behind the others.
    pub(crate) fn push(&mut self, frame: Outgoing) {
        self.note(self.bytes + frame.len());
        self.queue.push_back(frame);
    }

    fn note(&mut self, bytes: usize) {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.waiting.inc_by(signed(bytes) - signed(self.bytes));
        self.bytes = bytes;
    }

    /// Whether a frame of this size is within the bound.
    pub(crate) fn has_room(&self, len: usize, bytes_max: usize) -> bool {
        self.bytes + len <= bytes_max
    }

    /// Bytes that wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the transport has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.blocked
    }

    /// Hands the transport what it takes. [`Self::is_empty`] says whether it took all.
    pub(crate) fn flush(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
    ) -> Result<Flushed, TransportError> {
        if self.is_empty() {
            return Ok(Flushed::default());
        }
        let (before, was_blocked) = (self.queue.len(), self.blocked);
        self.blocked = match transport.poll_send(cx, &mut self.queue) {
            Poll::Ready(sent) => {
                sent?;
                false
            }
            Poll::Pending => true,
        };
        let took = self.queue.len() != before;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
            self.note(0);
        } else if took {
            self.note(self.queue.iter().map(Outgoing::len).sum());
        }
        let sent = took || !self.blocked;
        Ok(Flushed { sent, peer_took: sent && was_blocked })
    }
}
