//! What the driver does with an endpoint in each of its turns.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EndpointEvent, Transmit};

use super::{Endpoint, NONE, now, remember, wake, whole};
use crate::transport::quic::connection::{Connection, Progress};
use crate::transport::quic::socket::{Arrived, Socket};

/// Packets that are taken in a turn, whatever number of them the kernel joins to a message. What is left of a batch
/// comes first in the next turn.
const PACKETS_IN_A_TURN: usize = 128;
/// Packets that leave in a turn, and connections that are looked at for any.
const PACKETS_OUT_A_TURN: usize = 256;
/// Of them, packets of one connection before others have their turn.
const PACKETS_OUT_A_CONNECTION: usize = 20;
/// Connections whose deadlines are looked at in a turn.
const DEADLINES_A_TURN: usize = 256;
/// How long reading rests after the system refused it, so that its trouble does not become a busy loop.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// When the driver is to take its next turn.
pub(in crate::transport::quic) enum Next {
    /// After others had theirs.
    Soon,
    /// When it is woken, or at this moment.
    At(Option<Instant>),
    /// Never: nobody listens and all connections are gone.
    Over,
}

impl Endpoint {
    /// One turn: in, what is due, out.
    pub(in crate::transport::quic) fn turn(&mut self, cx: &mut Context<'_>) -> Next {
        remember(&mut self.driver, cx);
        let now = now();
        let mut more = self.receive(cx, now);
        more |= self.look_at_deadlines(now);
        more |= self.send(cx, now);
        if !self.listens && self.open == 0 {
            return Next::Over;
        }
        if more {
            return Next::Soon;
        }
        let due = self.timers.next().map(|at_us| self.began + Duration::from_micros(at_us));
        Next::At([due, self.rests_until].into_iter().flatten().min())
    }

    /// The driver is gone.
    pub(in crate::transport::quic) fn end(&mut self) {
        self.over = true;
        for incoming in std::mem::take(&mut self.incoming) {
            self.ignore(incoming);
        }
        for place in self.connections.places() {
            if let Some(mut connection) = self.connections.remove(place) {
                connection.wake();
            }
        }
        self.open = 0;
        self.leaving = 0;
        wake(&self.acceptor);
        wake(&self.idler);
    }

    /// Returns whether there may be more to take.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        self.rests_until = None;
        let mut packets = 0;
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            while packets < PACKETS_IN_A_TURN
                && let Some(arrived) = batch.next()
            {
                packets += 1;
                self.take(&arrived, now);
            }
            self.batch = batch;
            if packets == PACKETS_IN_A_TURN {
                return true;
            }
            match self.socket.poll_recv(cx, &mut self.batch) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "the QUIC socket cannot be read from");
                    self.rests_until = Some(now + RECEIVE_PAUSE);
                    return false;
                }
            }
        }
    }

    /// A packet of some connection, or of who wants one.
    fn take(&mut self, arrived: &Arrived<'_>, now: Instant) {
        let (meta, ecn) = (arrived.meta, arrived.ecn());
        // Each packet has bytes of its own, so that one that must wait does not keep those that came with it.
        let bytes = BytesMut::from(arrived.bytes);
        let event = self.ask_all("take a packet", meta.addr, |proto, response| {
            proto.handle(now, meta.addr, meta.dst_ip, ecn, bytes, response)
        });
        match event.flatten() {
            None => {}
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            Some(DatagramEvent::NewConnection(incoming)) if self.listens => {
                self.incoming.push_back(incoming);
                wake(&self.acceptor);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.refuse(incoming),
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let place = self.places.get(handle.0).copied().unwrap_or(NONE);
                if self.ask(place, "hear a packet", |proto| proto.handle_event(event)).is_some() {
                    self.settle(place, true);
                }
            }
        }
    }

    /// Returns whether more are due.
    fn look_at_deadlines(&mut self, now: Instant) -> bool {
        let now_us = u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX);
        for _ in 0..DEADLINES_A_TURN {
            let Some(place) = self.timers.pop_due(now_us) else { return false };
            let Some(connection) = self.connection(place) else { continue };
            if connection.leaves_at.is_some_and(|at| at <= now) {
                self.forget(place);
            } else if connection.proto.poll_timeout().is_none_or(|at| at > now) {
                // It moved back since it was noted.
                self.note_deadline(place);
            } else if self.ask(place, "time out", |proto| proto.handle_timeout(now)).is_some() {
                self.settle(place, true);
            }
        }
        true
    }

    /// Passes on what came of something that a connection was asked. Whether or not the socket takes packets, its task
    /// is told, and what QUIC is done with goes. `more`: packets may be to be sent.
    pub(super) fn settle(&mut self, place: u32, mut more: bool) {
        let Self { proto, connections, containment, .. } = self;
        let Some(connection) = whole(connections, place) else { return };
        let peer = connection.proto.remote_address();
        let passed = containment.run("pass on what happened", peer, || {
            let forwarded = forward(proto, connection);
            (forwarded.drained, forwarded.told | connection.hear())
        });
        let Some((drained, happened)) = passed else { return self.break_off(place) };
        if drained {
            return self.drained(place);
        }
        // What it was told it may have to tell the peer.
        more |= happened;
        if !more && connection.leaves_at.is_some() && self.is_overfull() {
            return self.forget(place);
        }
        self.note_deadline(place);
        if more {
            self.enqueue(place);
        }
    }

    /// Sends what connections have to send; returns whether there is more that the socket would take.
    fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut room = PACKETS_OUT_A_TURN;
        loop {
            if let Some(transmit) = &self.blocked {
                match self.socket.poll_send(cx, transmit, &self.out) {
                    // It is woken when the socket takes packets again.
                    Poll::Pending => return false,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => tracing::warn!(%error, "a QUIC packet was not sent"),
                }
                self.blocked = None;
            }
            if room == 0 {
                return !self.queue.is_empty();
            }
            let Some(place) = self.queue.pop_front() else { return false };
            room -= self.serve(place, now).clamp(1, room);
        }
    }

    /// Sends a connection's packets; returns how many.
    fn serve(&mut self, place: u32, now: Instant) -> usize {
        let Self { connections, containment, socket, out, blocked, .. } = self;
        let Some(connection) = whole(connections, place).filter(|connection| connection.queued) else { return 0 };
        connection.queued = false;
        if connection.progress == Progress::Drained {
            return 0;
        }
        let peer = connection.proto.remote_address();
        let served = containment.run("send packets", peer, || transmit(connection, socket, out, blocked, now));
        let Some((packets, more)) = served else {
            self.break_off(place);
            return 0;
        };
        self.settle(place, more);
        packets
    }

    pub(super) fn note_deadline(&mut self, place: u32) {
        let began = self.began;
        let due =
            |connection: &mut Connection| connection.proto.poll_timeout().into_iter().chain(connection.leaves_at).min();
        match self.connection(place).and_then(due) {
            // Rounded up: who is due is never looked at early.
            Some(at) => {
                let at_us = (at.saturating_duration_since(began) + Duration::from_nanos(999)).as_micros();
                self.timers.set(place, u64::try_from(at_us).unwrap_or(u64::MAX));
            }
            None => self.timers.remove(place),
        }
    }

    /// QUIC is done with a connection, which was told so.
    fn drained(&mut self, place: u32) {
        self.timers.remove(place);
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.advance(Progress::Drained);
        self.places[connection.handle.0] = NONE;
        if connection.holders == 0 {
            self.leaving -= usize::from(connection.leaves_at.is_some());
            self.connections.remove(place);
        }
        self.open -= 1;
        if self.open == 0 {
            wake(&self.idler);
        }
    }

    /// QUIC panicked in a connection: only that one ends.
    pub(super) fn break_off(&mut self, place: u32) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.broken = true;
        self.forget(place);
    }

    /// Ends a connection with which QUIC is not done.
    fn forget(&mut self, place: u32) {
        let Self { proto, connections, containment, .. } = self;
        let Some(connection) = connections.get_mut(place).filter(|one| one.progress < Progress::Drained) else {
            return;
        };
        let (handle, peer) = (connection.handle, connection.proto.remote_address());
        // Whether or not QUIC can still forget it, it is not asked for it again.
        containment.run("forget a connection", peer, || proto.handle_event(handle, EndpointEvent::drained()));
        self.drained(place);
    }
}

/// What a connection and the endpoint had for each other.
struct Forwarded {
    /// QUIC is done with the connection.
    drained: bool,
    /// The connection was told something.
    told: bool,
}

fn forward(proto: &mut quinn_proto::Endpoint, connection: &mut Connection) -> Forwarded {
    let mut forwarded = Forwarded { drained: false, told: false };
    while let Some(event) = connection.proto.poll_endpoint_events() {
        forwarded.drained |= event.is_drained();
        if let Some(event) = proto.handle_event(connection.handle, event) {
            connection.proto.handle_event(event);
            forwarded.told = true;
        }
    }
    forwarded
}

/// Sends a connection's packets; returns how many, and whether there may be more.
fn transmit(
    connection: &mut Connection,
    socket: &Socket,
    out: &mut Vec<u8>,
    blocked: &mut Option<Transmit>,
    now: Instant,
) -> (usize, bool) {
    let mut packets = 0;
    while packets < PACKETS_OUT_A_CONNECTION {
        out.clear();
        let Some(transmit) = connection.proto.poll_transmit(now, socket.segments_max(), out) else {
            return (packets, false);
        };
        packets += transmit.segment_size.map_or(1, |segment| transmit.size.div_ceil(segment.max(1)));
        if !socket.try_send(&transmit, out) {
            *blocked = Some(transmit);
            break;
        }
    }
    (packets, true)
}
