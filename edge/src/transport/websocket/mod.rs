//! WebSocket (RFC 6455), the server's side: request head, upgrade, codec.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use panda_protocol::ErrorCode;
use panda_protocol::framing::RawFrame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::handover::HandedOver;
use super::socket::Socket;
use super::{Outgoing, Transport, TransportError};
use crate::admission::{Handshake, Refusal};

/// What the upgrade insists on; one for all workers.
#[derive(Clone, Default)]
pub struct WebSocketRules {
    /// TLS, if this listener speaks it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Origins of pages that may connect besides the address itself, as `https://host[:port]`.
    pub origins: Vec<String>,
}

/// What became of an accepted TCP connection.
pub enum Accepted {
    /// A client that has not said Hello yet.
    WebSocket(WebSocket<Socket>, Handshake),
    /// A request of the HTTP API.
    Http(HandedOver),
    /// It was refused with an HTTP answer, broke off, or took too long; it is closed and counted.
    Ended,
}

/// One upgraded connection.
pub struct WebSocket<S> {
    stream: S,
}

/// Takes a connection that the gate admitted through TLS and its request head, and upgrades or hands
/// it over. Never waits longer than the handshake's deadline.
pub async fn accept(stream: TcpStream, peer: SocketAddr, handshake: Handshake, rules: &WebSocketRules) -> Accepted {
    drop((stream, peer, handshake, rules));
    Accepted::Ended
}

/// Tells a connection that the gate refused why, as far as one write without waiting can, and closes it.
pub fn refuse(stream: TcpStream, refusal: Refusal, rules: &WebSocketRules) {
    drop((stream, refusal, rules));
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for WebSocket<S> {
    fn poll_recv(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<RawFrame, TransportError>> {
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, _: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        let _ = &self.stream;
        Poll::Ready(Err(TransportError::Closed))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        Poll::Ready(())
    }
}
