//! QUIC for native clients: quinn's protocol logic, driven by the worker itself.
//!
//! quinn's own driver has a task, a timer and two channels for each connection, which take as much memory as the
//! connection does. Here one [`QuicDriver`] a socket moves the packets of all connections (`endpoint.rs`), and a
//! session's task reaches its connection directly (`connection.rs`).

mod config;
mod connection;
mod connection_id;
mod containment;
mod crypto;
mod endpoint;
mod socket;
mod stream;
mod table;
mod timers;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use panda_access::FleetSecret;
use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;
use prometheus_client::metrics::counter::Counter;
use quinn_proto::{Dir, Incoming, StreamId};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

pub(super) use self::crypto::small_keys;

use self::connection::{Handle, Step};
use self::endpoint::{Endpoint, Next};
use self::socket::Socket;
use self::stream::FrameStream;
use super::tls::Identity;
use super::{Outgoing, Transport, TransportError};
use crate::admission::{Gate, Handshake};

/// Streams are served in the order of this: live events before pages.
const SESSION_PRIORITY: i32 = 1;
/// Clients that are answered at the gate before others on the thread have their turn.
const REFUSALS_A_TURN: usize = 64;

/// The one QUIC endpoint of a process. It belongs to the thread that bound it.
pub struct QuicListener {
    endpoint: Rc<RefCell<Endpoint>>,
    /// Whoever comes is refused.
    refuses: Cell<bool>,
}

/// Moves the packets of a listener's connections; nothing happens to them while nobody polls it.
///
/// It ends when the listener and all connections are gone. Dropping it earlier ends the connections without a word.
pub struct QuicDriver {
    endpoint: Rc<RefCell<Endpoint>>,
    /// The one timer of all connections.
    timer: Option<Pin<Box<Sleep>>>,
}

impl QuicListener {
    /// Binds `address` in the calling thread's runtime. Panics inside QUIC, each of which ends one connection at most,
    /// are counted in `panics`.
    ///
    /// # Errors
    /// What the kernel says, and an unusable certificate.
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        fleet: &FleetSecret,
        panics: Counter,
    ) -> io::Result<(Self, QuicDriver)> {
        let server = config::server(identity, fleet).map_err(io::Error::other)?;
        let socket = Socket::bind(address)?;
        // Whether the kernel could cut packets is no matter: no connection looks for a larger size.
        let finds_mtu = false;
        let proto =
            quinn_proto::Endpoint::new(Arc::new(config::endpoint(fleet)), Some(Arc::new(server)), finds_mtu, None);
        let endpoint = Rc::new(RefCell::new(Endpoint::new(proto, socket, panics, Instant::now().into_std())));
        let driver = QuicDriver { endpoint: Rc::clone(&endpoint), timer: None };
        Ok((Self { endpoint, refuses: Cell::new(false) }, driver))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.borrow().local_addr()
    }

    /// The next connection that the gate admits; refused ones are answered here. `None` once the driver is
    /// gone. Cancel safe.
    pub async fn accept(&self, gate: &Gate) -> Option<QuicIncoming> {
        loop {
            for _ in 0..REFUSALS_A_TURN {
                let incoming = poll_fn(|cx| self.endpoint.borrow_mut().poll_incoming(cx)).await?;
                if let Some(incoming) = self.look_at(incoming, gate) {
                    return Some(incoming);
                }
            }
            yield_now().await;
        }
    }

    fn look_at(&self, incoming: Incoming, gate: &Gate) -> Option<QuicIncoming> {
        let mut endpoint = self.endpoint.borrow_mut();
        if self.refuses.get() || endpoint.is_jammed() {
            endpoint.refuse(incoming);
            return None;
        }
        // Under load an address must be proven first: forged ones would take all the places. A handshake that was broken
        // off takes its memory for a while longer than its place at the gate.
        let crowded = gate.handshakes() + endpoint.leaving() >= gate.limits().handshakes_max / 2;
        if crowded && !incoming.remote_address_validated() {
            endpoint.retry(incoming);
            return None;
        }
        match gate.admit(incoming.remote_address().ip(), Instant::now()) {
            Ok(handshake) => {
                let incoming = Unanswered { endpoint: Rc::clone(&self.endpoint), incoming: Some(incoming) };
                Some(QuicIncoming { incoming, handshake })
            }
            Err(_) => {
                endpoint.refuse(incoming);
                None
            }
        }
    }

    /// Takes no more connections; those there are go on. Whoever comes is refused as long as
    /// [`Self::accept`] runs: without a word, a client would dial until its patience ends.
    pub fn refuse_all(&self) {
        self.refuses.set(true);
    }

    /// Waits until every connection is gone, so that the last packets of goodbyes are sent.
    pub async fn wait_idle(&self) {
        poll_fn(|cx| self.endpoint.borrow_mut().poll_idle(cx)).await;
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.endpoint.borrow_mut().unlisten();
    }
}

impl Future for QuicDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let next = self.endpoint.borrow_mut().turn(cx);
        let at = match next {
            Next::Over => return Poll::Ready(()),
            Next::Soon => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Next::At(None) => return Poll::Pending,
            Next::At(Some(at)) => Instant::from_std(at),
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for QuicDriver {
    fn drop(&mut self) {
        self.endpoint.borrow_mut().end();
    }
}

/// Somebody who wants to connect and was not answered. Dropping it refuses.
struct Unanswered {
    endpoint: Rc<RefCell<Endpoint>>,
    incoming: Option<Incoming>,
}

impl Unanswered {
    fn accept(mut self) -> Option<Handle> {
        let incoming = self.incoming.take()?;
        let place = self.endpoint.borrow_mut().accept(incoming)?;
        Some(Handle::new(Rc::clone(&self.endpoint), place))
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.borrow_mut().refuse(incoming);
        }
    }
}

/// A connection in its handshake.
pub struct QuicIncoming {
    incoming: Unanswered,
    handshake: Handshake,
}

impl QuicIncoming {
    /// Completes the handshake and waits for the session's stream, no longer than the deadline.
    /// `None`: it broke off or took too long, and was counted.
    pub async fn establish(self) -> Option<(QuicTransport, Handshake)> {
        let Self { incoming, handshake } = self;
        let connection = incoming.accept()?;
        let Ok(connected) = timeout_at(handshake.deadline(), poll_fn(|cx| connection.poll_connected(cx))).await else {
            connection.close(ErrorCode::HandshakeTimeout);
            handshake.timed_out();
            return None;
        };
        connected.ok()?;
        let Ok(opened) = timeout_at(handshake.deadline(), poll_fn(|cx| poll_opened(&connection, cx))).await else {
            connection.close(ErrorCode::HandshakeTimeout);
            handshake.timed_out();
            return None;
        };
        let session = opened.ok()?;
        connection.tell(|connection| {
            if let Err(error) = connection.send_stream(session).set_priority(SESSION_PRIORITY) {
                tracing::debug!(%error, "the session's stream was closed at once");
            }
        });
        Some((QuicTransport { connection, session: FrameStream::new(session), code: None }, handshake))
    }
}

/// The next stream that the client opens.
fn poll_opened(connection: &Handle, cx: &mut Context<'_>) -> Poll<Result<StreamId, TransportError>> {
    connection.poll(cx, |connection| Step { done: connection.streams().accept(Dir::Bi), transmits: false })
}

/// The session's stream of a QUIC connection.
///
/// It and each [`QuicPages`] of its connection are one task's: a connection keeps one waker, the last that waited, and
/// whatever happens on any of its streams wakes that one. A task that waits on a stream while another one waits
/// on its neighbour would not be woken.
pub struct QuicTransport {
    connection: Handle,
    session: FrameStream,
    /// Why it is being closed.
    code: Option<ErrorCode>,
}

impl QuicTransport {
    /// The second stream, for pages, when the client opens it. Its requests are handled like those of
    /// the first and answered on it. When it ends, only it ends. Further ones come the same way; one that is
    /// dropped is refused. Poll it while none is read from, in the task that polls the session.
    pub fn poll_pages(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicPages, TransportError>> {
        let opened = ready!(poll_opened(&self.connection, cx))?;
        Poll::Ready(Ok(QuicPages { connection: self.connection.clone(), stream: FrameStream::new(opened) }))
    }

    /// Bytes of buffers that it holds now, besides those of QUIC itself: nothing while it is idle.
    pub fn buffered(&self) -> usize {
        self.session.buffered()
    }
}

impl Transport for QuicTransport {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        self.session.poll_recv(&self.connection, cx, bytes_max)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        self.session.poll_send(&self.connection, cx, queue)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: ErrorCode) -> Poll<()> {
        let code = *self.code.get_or_insert(code);
        // Closing throws away what the peer does not have yet.
        ready!(self.session.poll_finish(&self.connection, cx));
        self.connection.close(code);
        Poll::Ready(())
    }
}

impl Drop for QuicTransport {
    /// The session's stream is the session: a second stream does not keep the connection.
    fn drop(&mut self) {
        self.connection.close(self.code.unwrap_or(ErrorCode::Going));
    }
}

/// The second stream of a QUIC connection, polled by the task that polls its [`QuicTransport`].
pub struct QuicPages {
    connection: Handle,
    stream: FrameStream,
}

impl Transport for QuicPages {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        self.stream.poll_recv(&self.connection, cx, bytes_max)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        self.stream.poll_send(&self.connection, cx, queue)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        self.stream.poll_finish(&self.connection, cx)
    }
}

impl Drop for QuicPages {
    fn drop(&mut self) {
        self.stream.abandon(&self.connection);
    }
}

impl fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicTransport").field("peer", &self.connection.remote_address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
