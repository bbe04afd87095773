//! QUIC for native clients.

mod config;
mod connection_id;
mod stream;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::{collections::VecDeque, fmt};

use panda_access::FleetSecret;
use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TokioRuntime, VarInt};
use tokio::time::{Instant, timeout_at};

use self::stream::FrameStream;
use super::tls::Identity;
use super::{Outgoing, Transport, TransportError};
use crate::admission::{Gate, Handshake};

/// Streams are served in the order of this: live events before pages.
const SESSION_PRIORITY: i32 = 1;

type Opening = Pin<Box<dyn Future<Output = Result<(SendStream, RecvStream), ConnectionError>> + Send + Sync>>;

/// The one QUIC endpoint of a process. It belongs to the worker in whose runtime it was bound.
pub struct QuicListener {
    endpoint: quinn::Endpoint,
    /// Whoever comes is refused.
    refuses: AtomicBool,
}

impl QuicListener {
    /// Binds `address` in the calling thread's runtime.
    ///
    /// # Errors
    /// What the kernel says, and an unusable certificate.
    pub fn bind(address: SocketAddr, identity: &Identity, fleet: &FleetSecret) -> io::Result<Self> {
        let server = config::server(identity, fleet).map_err(io::Error::other)?;
        let socket = config::socket(address)?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = quinn::Endpoint::new(config::endpoint(fleet), Some(server), socket, runtime)?;
        Ok(Self { endpoint, refuses: AtomicBool::new(false) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next connection that the gate admits; refused ones are answered here. `None` once closed.
    pub async fn accept(&self, gate: &Gate) -> Option<QuicIncoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if self.refuses.load(Ordering::Relaxed) {
                incoming.refuse();
                continue;
            }
            // Under load an address must be proven first: forged ones would take all the places.
            let crowded = gate.handshakes() >= gate.limits().handshakes_max / 2;
            if crowded && !incoming.remote_address_validated() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a QUIC client was not asked to prove its address");
                }
                continue;
            }
            match gate.admit(incoming.remote_address().ip(), Instant::now()) {
                Ok(handshake) => return Some(QuicIncoming { incoming, handshake }),
                Err(_) => incoming.refuse(),
            }
        }
    }

    /// Takes no more connections; those there are go on. Whoever comes is refused as long as
    /// [`Self::accept`] runs: without a word, a client would dial until its patience ends.
    pub fn refuse_all(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Waits until every connection is gone, so that the last packets of goodbyes are sent.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

/// A connection in its handshake.
pub struct QuicIncoming {
    incoming: quinn::Incoming,
    handshake: Handshake,
}

impl QuicIncoming {
    /// Completes the handshake and waits for the session's stream, no longer than the deadline.
    /// `None`: it broke off or took too long, and was counted.
    pub async fn establish(self) -> Option<(QuicTransport, Handshake)> {
        let Self { incoming, handshake } = self;
        let peer = incoming.remote_address();
        let broke_off = |error: ConnectionError| tracing::debug!(%peer, %error, "a QUIC handshake broke off");
        let connecting = incoming.accept().inspect_err(|error| broke_off(error.clone())).ok()?;
        let Ok(connected) = timeout_at(handshake.deadline(), connecting).await else {
            handshake.timed_out();
            return None;
        };
        let connection = connected.inspect_err(|error| broke_off(error.clone())).ok()?;
        let Ok(opened) = timeout_at(handshake.deadline(), connection.accept_bi()).await else {
            close(&connection, ErrorCode::HandshakeTimeout);
            handshake.timed_out();
            return None;
        };
        let (send, recv) = opened.inspect_err(|error| broke_off(error.clone())).ok()?;
        if let Err(error) = send.set_priority(SESSION_PRIORITY) {
            tracing::debug!(%peer, %error, "the session's stream was closed at once");
        }
        Some((QuicTransport { connection, session: FrameStream::new(send, recv), pages: None, code: None }, handshake))
    }
}

/// The session's stream of a QUIC connection.
pub struct QuicTransport {
    connection: Connection,
    session: FrameStream,
    /// Waits for the second stream, once somebody does.
    pages: Option<Opening>,
    /// Why it is being closed.
    code: Option<ErrorCode>,
}

impl QuicTransport {
    /// Who the peer is now; it may change while the connection lives.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The second stream, for pages, when the client opens it. Its requests are handled like those of
    /// the first and answered on it. When it ends, only it ends. Further ones come the same way; one that is
    /// dropped is refused. Poll it while none is read from.
    pub fn poll_pages(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicPages, TransportError>> {
        let connection = &self.connection;
        let opening = self.pages.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.pages = None;
        let (send, recv) = opened.map_err(|_| TransportError::Closed)?;
        Poll::Ready(Ok(QuicPages { stream: FrameStream::new(send, recv) }))
    }

    /// Bytes of buffers that it holds now, besides those of QUIC itself: nothing while it is idle.
    pub fn buffered(&self) -> usize {
        self.session.buffered()
    }
}

impl Transport for QuicTransport {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        self.session.poll_recv(cx, bytes_max)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        self.session.poll_send(cx, queue)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: ErrorCode) -> Poll<()> {
        let code = *self.code.get_or_insert(code);
        // Closing throws away what the peer does not have yet.
        ready!(self.session.poll_finish(cx));
        close(&self.connection, code);
        Poll::Ready(())
    }
}

impl Drop for QuicTransport {
    /// The session's stream is the session: a second stream does not keep the connection.
    fn drop(&mut self) {
        close(&self.connection, self.code.unwrap_or(ErrorCode::Going));
    }
}

/// The second stream of a QUIC connection.
pub struct QuicPages {
    stream: FrameStream,
}

impl Transport for QuicPages {
    fn poll_recv(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<RawFrame, TransportError>> {
        self.stream.poll_recv(cx, bytes_max)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        self.stream.poll_send(cx, queue)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        self.stream.poll_finish(cx)
    }
}

impl fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicTransport").field("peer", &self.remote_address()).finish_non_exhaustive()
    }
}

/// Closes the connection, the first time that it is called for it.
fn close(connection: &Connection, code: ErrorCode) {
    connection.close(VarInt::from(code as u16), code.label().as_bytes());
}
