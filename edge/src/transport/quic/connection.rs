//! One connection in the driver's table, and how the task of its session reaches it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use panda_protocol::ErrorCode;
use quinn_proto::{ConnectionHandle, Event, StreamEvent};

use super::endpoint::Endpoint;
use crate::transport::TransportError;

/// A connection. It has no task, no timer, no channel and no buffer of its own.
pub(super) struct Connection {
    pub(super) proto: quinn_proto::Connection,
    /// What QUIC calls it, until it is drained.
    pub(super) handle: ConnectionHandle,
    /// The one task that polls it, and both of its streams: whoever waits last is woken, for all that is waited for.
    waker: Option<Waker>,
    /// The task waits for whatever happens here.
    waits: bool,
    /// Transports that name it.
    pub(super) holders: u32,
    /// When it is forgotten, though QUIC may not be done with it: nobody names it any more.
    pub(super) leaves_at: Option<Instant>,
    /// It stands in the driver's queue.
    pub(super) queued: bool,
    pub(super) progress: Progress,
    /// QUIC panicked in it: nothing is asked of it any more.
    pub(super) broken: bool,
    /// It panics when something is next asked of it, as QUIC might.
    #[cfg(test)]
    pub(super) trips: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Handshake,
    Connected,
    /// One of both closed it, or it timed out: packets may still leave.
    Lost,
    /// QUIC is done with it.
    Drained,
}

impl Connection {
    pub(super) const fn new(handle: ConnectionHandle, proto: quinn_proto::Connection) -> Self {
        Self {
            proto,
            handle,
            waker: None,
            waits: false,
            holders: 1,
            leaves_at: None,
            queued: false,
            progress: Progress::Handshake,
            broken: false,
            #[cfg(test)]
            trips: false,
        }
    }

    /// Takes what QUIC tells the application; returns whether it told anything.
    pub(super) fn hear(&mut self) -> bool {
        let mut told = false;
        while let Some(event) = self.proto.poll() {
            told = true;
            match event {
                Event::Connected => self.advance(Progress::Connected),
                Event::ConnectionLost { reason } => {
                    let peer = self.proto.remote_address();
                    tracing::debug!(%peer, error = %reason, "a QUIC connection was lost");
                    self.advance(Progress::Lost);
                }
                // Who waits looks at all it waits for: one task polls both streams.
                Event::Stream(StreamEvent::Available { .. }) | Event::HandshakeDataReady => {}
                Event::Stream(_) => self.wake(),
                Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
        told
    }

    pub(super) fn advance(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
        self.wake();
    }

    /// Wakes the task, if it waits. Waking runs nothing: the task's turn comes later.
    pub(super) fn wake(&mut self) {
        if let (true, Some(waker)) = (std::mem::take(&mut self.waits), &self.waker) {
            waker.wake_by_ref();
        }
    }

    /// The task waits for what happens next. The waker is kept, because the next wait is most likely the
    /// same task's.
    fn wait(&mut self, waker: &Waker) {
        self.waits = true;
        match &mut self.waker {
            Some(present) => present.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Nobody polls it any more.
    pub(super) fn forget_waker(&mut self) {
        self.waker = None;
        self.waits = false;
    }
}

/// What a step on a connection came to.
pub(super) struct Step<T> {
    /// `None`: it is not possible yet.
    pub(super) done: Option<T>,
    /// Something may be to be sent, be it done or not.
    pub(super) transmits: bool,
}

/// A transport's share in a connection. The last one that is dropped closes it.
pub(super) struct Handle {
    pub(super) endpoint: Rc<RefCell<Endpoint>>,
    pub(super) place: u32,
}

impl Handle {
    /// Of a connection that counts one holder already.
    pub(super) const fn new(endpoint: Rc<RefCell<Endpoint>>, place: u32) -> Self {
        Self { endpoint, place }
    }

    /// Waits for the end of the handshake.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut endpoint = self.endpoint.borrow_mut();
        let Some(connection) = endpoint.connection(self.place) else { return Poll::Ready(Err(TransportError::Closed)) };
        match connection.progress {
            Progress::Handshake => {
                connection.wait(cx.waker());
                Poll::Pending
            }
            Progress::Connected => Poll::Ready(Ok(())),
            Progress::Lost | Progress::Drained => Poll::Ready(Err(TransportError::Closed)),
        }
    }

    /// Takes a step as soon as it is possible. What came before a connection was lost is still read.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut quinn_proto::Connection) -> Step<T>,
    ) -> Poll<Result<T, TransportError>> {
        let mut endpoint = self.endpoint.borrow_mut();
        let Some(Step { done, transmits }) = endpoint.ask(self.place, "take a step", step) else {
            return Poll::Ready(Err(TransportError::Closed));
        };
        if transmits {
            endpoint.stir(self.place);
        }
        match (done, endpoint.connection(self.place)) {
            (Some(done), _) => Poll::Ready(Ok(done)),
            (None, Some(connection)) if connection.progress < Progress::Lost => {
                connection.wait(cx.waker());
                Poll::Pending
            }
            (None, _) => Poll::Ready(Err(TransportError::Closed)),
        }
    }

    /// Does what needs no answer, unless the connection is gone.
    pub(super) fn tell(&self, tell: impl FnOnce(&mut quinn_proto::Connection)) {
        let mut endpoint = self.endpoint.borrow_mut();
        if endpoint.ask(self.place, "be told", tell).is_some() {
            endpoint.stir(self.place);
        }
    }

    /// Closes the connection, the first time that it is called for it.
    pub(super) fn close(&self, code: ErrorCode) {
        self.endpoint.borrow_mut().close(self.place, code);
    }

    /// Who the peer is now; it may change while the connection lives. `None` once it is gone.
    pub(super) fn remote_address(&self) -> Option<SocketAddr> {
        let mut endpoint = self.endpoint.try_borrow_mut().ok()?;
        endpoint.connection(self.place).map(|connection| connection.proto.remote_address())
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.endpoint.borrow_mut().hold(self.place);
        Self { endpoint: Rc::clone(&self.endpoint), place: self.place }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.endpoint.borrow_mut().release(self.place);
    }
}
