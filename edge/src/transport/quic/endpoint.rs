//! The endpoint: one socket, all its connections, and what each turn of the driver does with them.
//!
//! Everything is in one place and on one thread, so a packet goes from the socket into its connection, and from a
//! session's frame into a packet, without a channel or a lock between. Work is bounded a turn: whoever has more of
//! it, a busy connection or a flood, comes again after everybody else on the thread had a turn.

mod turn;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use panda_protocol::ErrorCode;
use prometheus_client::metrics::counter::Counter;
use quinn_proto::{Incoming, Transmit, VarInt};

pub(super) use self::turn::Next;
use super::connection::{Connection, Progress};
use super::containment::Containment;
use super::socket::{Batch, Socket};
use super::table::Table;
use super::timers::Timers;

/// How long a closed connection that nobody names any more is kept, so that a peer that missed its last packet is told
/// again. QUIC itself would keep it for three times what the peer makes it believe of the way there and back; from
/// then on late packets are answered by a stateless reset (RFC 9000, section 10.2).
const LEAVES_AFTER: Duration = Duration::from_secs(2);
/// Closed connections that are kept at once: one that was closed in its handshake takes some 20 KB. Of more, each is
/// forgotten as soon as its last packet was sent.
const LEAVING_MAX: usize = 4_096;
/// No connection.
const NONE: u32 = u32::MAX;

/// A socket and its connections.
pub(super) struct Endpoint {
    proto: quinn_proto::Endpoint,
    pub(super) socket: Socket,
    /// Where packets arrive.
    batch: Batch,
    /// By place, which one keeps as long as a transport names it or QUIC is not done with it.
    connections: Table<Connection>,
    pub(super) containment: Containment,
    /// Places by what QUIC calls its connections, of which numbers are given again.
    places: Vec<u32>,
    /// Connections that QUIC is not done with.
    open: usize,
    /// Of them, those that nobody names any more.
    leaving: usize,
    pub(super) leaving_max: usize,
    timers: Timers,
    /// Connections of which something may be to be sent. One that is queued knows it.
    queue: VecDeque<u32>,
    /// Connections that wait to be looked at by the gate: the endpoint's configuration bounds them.
    incoming: VecDeque<Incoming>,
    /// The packets of one call, as long as the socket does not take them.
    out: Vec<u8>,
    pub(super) blocked: Option<Transmit>,
    /// A packet that belongs to no connection.
    response: Vec<u8>,
    began: Instant,
    /// Reading rests until then.
    rests_until: Option<Instant>,
    driver: Option<Waker>,
    acceptor: Option<Waker>,
    idler: Option<Waker>,
    /// Somebody takes new connections.
    listens: bool,
    /// The driver is gone, and all connections with it.
    over: bool,
}

impl Endpoint {
    /// Panics inside QUIC are counted in `panics`.
    pub(super) fn new(proto: quinn_proto::Endpoint, socket: Socket, panics: Counter, now: Instant) -> Self {
        let packet_bytes_max = usize::try_from(proto.config().get_max_udp_payload_size()).unwrap_or(usize::MAX);
        Self {
            batch: socket.batch(packet_bytes_max.min(64 * 1024)),
            proto,
            socket,
            connections: Table::new(),
            containment: Containment::new(panics),
            places: Vec::new(),
            open: 0,
            leaving: 0,
            leaving_max: LEAVING_MAX,
            timers: Timers::default(),
            queue: VecDeque::new(),
            incoming: VecDeque::new(),
            out: Vec::new(),
            blocked: None,
            response: Vec::new(),
            began: now,
            rests_until: None,
            driver: None,
            acceptor: None,
            idler: None,
            listens: true,
            over: false,
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    // What sessions do.

    /// A connection that something may still be asked of.
    pub(super) fn connection(&mut self, place: u32) -> Option<&mut Connection> {
        whole(&mut self.connections, place)
    }

    /// Asks something of a connection. `None`: it is gone, or QUIC panicked and only that one ends.
    pub(super) fn ask<T>(
        &mut self,
        place: u32,
        what: &str,
        ask: impl FnOnce(&mut quinn_proto::Connection) -> T,
    ) -> Option<T> {
        let connection = whole(&mut self.connections, place)?;
        let peer = connection.proto.remote_address();
        let asked = self.containment.run(what, peer, || {
            #[cfg(test)]
            assert!(!connection.trips, "a test wants this");
            ask(&mut connection.proto)
        });
        if asked.is_none() {
            self.break_off(place);
        }
        asked
    }

    /// Something may be to be sent for a connection: the driver looks at it in its next turn.
    pub(super) fn stir(&mut self, place: u32) {
        self.enqueue(place);
        wake(&self.driver);
    }

    pub(super) fn close(&mut self, place: u32, code: ErrorCode) {
        if self.connection(place).is_none_or(|connection| connection.progress >= Progress::Lost) {
            return;
        }
        let reason = Bytes::from_static(code.label().as_bytes());
        let closed = self.ask(place, "close", |proto| proto.close(now(), VarInt::from(code as u16), reason));
        if let (Some(()), Some(connection)) = (closed, self.connection(place)) {
            connection.advance(Progress::Lost);
            self.stir(place);
        }
    }

    pub(super) fn hold(&mut self, place: u32) {
        if let Some(connection) = self.connections.get_mut(place) {
            connection.holders += 1;
        }
    }

    pub(super) fn release(&mut self, place: u32) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.holders -= 1;
        if connection.holders > 0 {
            return;
        }
        connection.forget_waker();
        if connection.progress == Progress::Drained {
            self.connections.remove(place);
            return;
        }
        self.close(place, ErrorCode::Going);
        // It is gone already if QUIC panicked.
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.leaves_at = Some(now() + LEAVES_AFTER);
        self.leaving += 1;
        self.note_deadline(place);
        self.stir(place);
    }

    // What the listener does.

    /// Closed connections that nobody names any more, and of which the gate does not know.
    pub(super) const fn leaving(&self) -> usize {
        self.leaving
    }

    /// More closed connections are kept than may be.
    const fn is_overfull(&self) -> bool {
        self.leaving > self.leaving_max
    }

    /// So many are kept because the socket takes none of their last packets, and not because all of them closed at once:
    /// those are forgotten as fast as they are served, and each may be about to come back.
    pub(super) const fn is_jammed(&self) -> bool {
        self.is_overfull() && self.blocked.is_some()
    }

    /// The next one that wants to connect; `None` once the driver is gone.
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if self.over {
            return Poll::Ready(None);
        }
        let Some(incoming) = self.incoming.pop_front() else {
            remember(&mut self.acceptor, cx);
            return Poll::Pending;
        };
        Poll::Ready(Some(incoming))
    }

    /// Begins the handshake; returns where the connection is, for its first holder.
    pub(super) fn accept(&mut self, incoming: Incoming) -> Option<u32> {
        if self.over {
            self.ignore(incoming);
            return None;
        }
        let peer = incoming.remote_address();
        let accepted = self.ask_all("begin a handshake", peer, |proto, response| {
            proto.accept(incoming, now(), response, None).map_err(Box::new)
        });
        let (handle, proto) = match accepted? {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%peer, error = %error.cause, "a QUIC handshake broke off");
                if let Some(transmit) = error.response {
                    self.respond(&transmit);
                }
                return None;
            }
        };
        let place = self.connections.insert(Connection::new(handle, proto));
        if handle.0 >= self.places.len() {
            self.places.resize(handle.0 + 1, NONE);
        }
        self.places[handle.0] = place;
        self.open += 1;
        self.settle(place, true);
        wake(&self.driver);
        Some(place)
    }

    pub(super) fn refuse(&mut self, incoming: Incoming) {
        let peer = incoming.remote_address();
        if let Some(transmit) = self.ask_all("refuse", peer, |proto, response| proto.refuse(incoming, response)) {
            self.respond(&transmit);
        }
    }

    /// Asks who wants to connect to prove its address, or refuses one that cannot be asked again.
    pub(super) fn retry(&mut self, incoming: Incoming) {
        let peer = incoming.remote_address();
        match self.ask_all("ask for a proof", peer, |proto, response| proto.retry(incoming, response)) {
            Some(Ok(transmit)) => self.respond(&transmit),
            Some(Err(error)) => {
                tracing::debug!(%error, "a QUIC client was not asked to prove its address");
                self.refuse(error.into_incoming());
            }
            None => {}
        }
    }

    fn ignore(&mut self, incoming: Incoming) {
        let peer = incoming.remote_address();
        self.ask_all("ignore", peer, |proto, _| proto.ignore(incoming));
    }

    /// Asks something of what all connections share; what belongs to none is answered in the buffer. `None`: QUIC
    /// panicked.
    fn ask_all<T>(
        &mut self,
        what: &str,
        peer: SocketAddr,
        ask: impl FnOnce(&mut quinn_proto::Endpoint, &mut Vec<u8>) -> T,
    ) -> Option<T> {
        let Self { proto, response, containment, .. } = self;
        response.clear();
        containment.run(what, peer, || {
            #[cfg(test)]
            assert!(!containment.trips.take(), "a test wants this");
            ask(proto, response)
        })
    }

    /// Waits until QUIC is done with every connection.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.open == 0 {
            return Poll::Ready(());
        }
        remember(&mut self.idler, cx);
        Poll::Pending
    }

    /// The listener is gone: what waits for it is forgotten, and whoever comes is refused.
    pub(super) fn unlisten(&mut self) {
        self.listens = false;
        for incoming in std::mem::take(&mut self.incoming) {
            self.refuse(incoming);
        }
        wake(&self.driver);
    }

    fn enqueue(&mut self, place: u32) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if !connection.queued && connection.progress < Progress::Drained {
            connection.queued = true;
            self.queue.push_back(place);
        }
    }

    /// Sends a packet of no connection, or drops it when the kernel has no room: whoever caused it comes again.
    fn respond(&self, transmit: &Transmit) {
        if !self.socket.try_send(transmit, &self.response) {
            tracing::trace!("a packet of no connection was dropped");
        }
    }
}

/// A connection that something may still be asked of, beside what else an endpoint has.
fn whole(connections: &mut Table<Connection>, place: u32) -> Option<&mut Connection> {
    connections.get_mut(place).filter(|connection| !connection.broken)
}

/// The clock that a test can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(present) => present.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// Waking runs nothing: the task's turn comes later.
fn wake(waker: &Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake_by_ref();
    }
}
