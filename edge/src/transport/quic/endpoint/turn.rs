//! What the driver does with an endpoint in each of its turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{ConnectionHandle, DatagramEvent, EndpointEvent, Transmit};

use super::{Endpoint, NONE, now, remember, wake};
use crate::transport::quic::connection::{Connection, Progress};
use crate::transport::quic::socket::{Arrived, Socket};

/// Packets that are taken off the socket in a turn; a batch that was begun is finished.
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
            self.proto.ignore(incoming);
        }
        for place in self.connections.places() {
            if let Some(mut connection) = self.connections.remove(place) {
                connection.wake();
            }
        }
        self.open = 0;
        wake(&self.acceptor);
        wake(&self.idler);
    }

    /// Returns whether there may be more to read.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        self.rests_until = None;
        let mut packets = 0;
        while packets < PACKETS_IN_A_TURN {
            match self.socket.poll_recv(cx, &mut self.batch) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {
                    let batch = std::mem::take(&mut self.batch);
                    for arrived in batch.packets() {
                        packets += 1;
                        self.take(&arrived, now);
                    }
                    self.batch = batch;
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "the QUIC socket cannot be read from");
                    self.rests_until = Some(now + RECEIVE_PAUSE);
                    return false;
                }
            }
        }
        true
    }

    /// A packet of some connection, or of who wants one.
    fn take(&mut self, arrived: &Arrived<'_>, now: Instant) {
        self.response.clear();
        let (meta, ecn) = (arrived.meta, arrived.ecn());
        // Each packet has bytes of its own, so that one that must wait does not keep those that came with it.
        let bytes = BytesMut::from(arrived.bytes);
        let (proto, response) = (&mut self.proto, &mut self.response);
        let event = contained("take a packet", || proto.handle(now, meta.addr, meta.dst_ip, ecn, bytes, response));
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
                let Some(connection) = self.connection(place) else { return };
                if contained("hear a packet", || connection.proto.handle_event(event)).is_none() {
                    return self.break_off(place);
                }
                self.enqueue(place);
            }
        }
    }

    /// Returns whether more are due.
    fn look_at_deadlines(&mut self, now: Instant) -> bool {
        let now_us = u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX);
        for _ in 0..DEADLINES_A_TURN {
            let Some(place) = self.timers.pop_due(now_us) else { return false };
            let Some(connection) = self.connection(place) else { continue };
            if connection.proto.poll_timeout().is_none_or(|at| at > now) {
                // It moved back since it was noted.
                self.note_deadline(place);
                continue;
            }
            if contained("time out", || connection.proto.handle_timeout(now)).is_none() {
                self.break_off(place);
                continue;
            }
            self.enqueue(place);
        }
        true
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

    /// Tells a connection's task what happened, and sends its packets; returns how many.
    fn serve(&mut self, place: u32, now: Instant) -> usize {
        let Some(connection) = self.connections.get_mut(place).filter(|connection| connection.queued) else { return 0 };
        connection.queued = false;
        if connection.progress == Progress::Drained {
            return 0;
        }
        let Self { proto, socket, out, blocked, .. } = self;
        let served = contained("send packets", || {
            connection.hear();
            let drained = forward(proto, connection);
            let (packets, more) = transmit(connection, socket, out, blocked, now);
            // A closed connection may end in the middle of this.
            (packets, more, forward(proto, connection) || drained)
        });
        let Some((packets, more, drained)) = served else {
            self.break_off(place);
            return 0;
        };
        if drained {
            connection.hear();
            self.drained(place);
        } else {
            self.note_deadline(place);
            if more {
                self.enqueue(place);
            }
        }
        packets
    }

    fn note_deadline(&mut self, place: u32) {
        let began = self.began;
        match self.connection(place).and_then(|connection| connection.proto.poll_timeout()) {
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
            self.connections.remove(place);
        }
        self.open -= 1;
        if self.open == 0 {
            wake(&self.idler);
        }
    }

    /// QUIC panicked in a connection: only that one ends.
    fn break_off(&mut self, place: u32) {
        let Some(connection) = self.connection(place).filter(|connection| connection.progress < Progress::Drained)
        else {
            return;
        };
        connection.broken = true;
        let handle: ConnectionHandle = connection.handle;
        let proto = &mut self.proto;
        // Whether or not QUIC can still forget it, it is not asked for it again.
        contained("forget a connection", || proto.handle_event(handle, EndpointEvent::drained()));
        self.drained(place);
    }
}

/// Passes on what a connection and the endpoint have for each other; returns whether QUIC is done with it.
fn forward(proto: &mut quinn_proto::Endpoint, connection: &mut Connection) -> bool {
    let mut drained = false;
    while let Some(event) = connection.proto.poll_endpoint_events() {
        drained |= event.is_drained();
        if let Some(event) = proto.handle_event(connection.handle, event) {
            connection.proto.handle_event(event);
        }
    }
    drained
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

/// Runs QUIC's own code, whose panic over some peer's bytes must not end everybody's connections.
fn contained<T>(what: &str, run: impl FnOnce() -> T) -> Option<T> {
    let ran = catch_unwind(AssertUnwindSafe(run));
    if ran.is_err() {
        tracing::error!("QUIC panicked when it was to {what}");
    }
    ran.ok()
}
