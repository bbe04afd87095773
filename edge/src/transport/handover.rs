//! A connection whose request is not the WebSocket upgrade, on its way to the HTTP API.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use super::socket::Socket;
use crate::admission::Place;

/// A socket whose first request belongs to the HTTP API, with everything that was read from it.
#[derive(Debug)]
pub struct HandedOver {
    /// The socket; nothing was written to it.
    pub socket: Socket,
    /// What was read: the whole head of the first request and whatever came with it.
    pub head: Bytes,
    /// Who connected.
    pub peer: SocketAddr,
    /// Counts the connection for its address; hold it as long as the socket is open.
    pub place: Place,
}

impl HandedOver {
    /// Moves a plain socket to the runtime of the calling thread, so that the worker's reactor hears
    /// no more of it. A TLS socket stays with the reactor of the worker that accepted it, because its
    /// keys cannot be taken apart from it; it works on any thread until its edge or door is dropped.
    ///
    /// Call it inside the runtime that will serve the connection.
    ///
    /// # Errors
    /// What the reactor says.
    pub fn adopt(self) -> io::Result<Self> {
        let socket = match self.socket {
            Socket::Plain(stream) => Socket::Plain(tokio::net::TcpStream::from_std(stream.into_std()?)?),
            tls @ Socket::Tls(_) => tls,
        };
        Ok(Self { socket, ..self })
    }
}
