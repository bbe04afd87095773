//! WebSocket (RFC 6455), the server's side: request head, upgrade, codec.

mod answer;
mod connection;
mod decoder;
mod head;
mod upgrade;

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::answer::Answer;
pub use self::connection::WebSocket;
use self::head::Head;
use self::upgrade::Request;
use super::handover::HandedOver;
use super::scratch::with_scratch;
use super::socket::Socket;
use super::tls_stream::TlsStream;
use crate::admission::{Handshake, Refusal};

/// How long a refused connection may take to read its answer.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are read, and thrown away, of a refused connection.
const LINGER_BYTES: usize = 64 * 1024;

/// What the upgrade insists on; one for all workers.
#[derive(Clone, Default)]
pub struct WebSocketRules {
    /// TLS, if this listener speaks it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Origins of pages that may connect besides the address itself, as `https://host[:port]`.
    pub origins: Vec<String>,
    /// No WebSocket is served here: who asks for one is told so by the HTTP API.
    pub api_only: bool,
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

/// What the request head turned out to be.
enum Opened {
    WebSocket(WebSocket<Socket>),
    Http(Socket, Bytes),
    Refused,
}

/// Takes a connection that the gate admitted through TLS and its request head, and upgrades or hands
/// it over. Never waits longer than the handshake's deadline.
pub async fn accept(stream: TcpStream, peer: SocketAddr, handshake: Handshake, rules: &WebSocketRules) -> Accepted {
    match timeout_at(handshake.deadline(), open(stream, rules, handshake.deadline())).await {
        Ok(Ok(Opened::WebSocket(socket))) => Accepted::WebSocket(socket, handshake),
        Ok(Ok(Opened::Http(socket, head))) => match handshake.handed_over() {
            Ok(place) => Accepted::Http(HandedOver { socket, head, peer, place }),
            Err(handshake) => {
                let until = handshake.deadline().min(Instant::now() + LINGER);
                let told = say(socket, &Answer::refusal(Refusal::Http), until).await;
                tracing::debug!(%peer, ?told, "a connection of the HTTP API was turned away");
                Accepted::Ended
            }
        },
        Ok(Ok(Opened::Refused)) => Accepted::Ended,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a connection broke off before its first request");
            Accepted::Ended
        }
        Err(_) => {
            handshake.timed_out();
            Accepted::Ended
        }
    }
}

async fn open(stream: TcpStream, rules: &WebSocketRules, deadline: Instant) -> io::Result<Opened> {
    let mut socket = match &rules.tls {
        None => Socket::Plain(stream),
        Some(config) => Socket::Tls(TlsStream::accept(stream, config.clone()).await?),
    };
    let answer = match head::read(&mut socket).await? {
        Head::Refused(answer) => answer,
        Head::Complete { bytes, .. } if rules.api_only => return Ok(Opened::Http(socket, bytes)),
        Head::Complete { bytes, len } => match upgrade::examine(&bytes[..len], &rules.origins) {
            Request::Http => return Ok(Opened::Http(socket, bytes)),
            Request::Upgrade(response) => {
                socket.write_all(response.as_bytes()).await?;
                socket.flush().await?;
                return Ok(Opened::WebSocket(WebSocket::upgraded(socket, bytes.slice(len..))));
            }
            Request::Refused(answer) => answer,
        },
    };
    say(socket, &answer, deadline.min(Instant::now() + LINGER)).await?;
    Ok(Opened::Refused)
}

/// Sends an answer and waits until the peer has it: closing a socket with unread input would reset
/// the connection and take the answer with it.
async fn say(mut socket: Socket, answer: &Answer, deadline: Instant) -> io::Result<()> {
    let farewell = async {
        socket.write_all(answer.to_http().as_bytes()).await?;
        socket.shutdown().await?;
        let mut left = LINGER_BYTES;
        let mut discarded = [0; 1024];
        while left > 0 {
            match socket.read(&mut discarded).await? {
                0 => break,
                len => left = left.saturating_sub(len),
            }
        }
        Ok(())
    };
    // A peer that takes longer has lost its answer.
    timeout_at(deadline, farewell).await.unwrap_or(Ok(()))
}

/// Tells a connection that the gate refused why, as far as one write without waiting can, and closes it.
pub fn refuse(stream: TcpStream, refusal: Refusal, rules: &WebSocketRules) {
    // Without a handshake there is no way to say anything under TLS, and none is spent on it.
    if rules.tls.is_some() {
        return;
    }
    let socket = SockRef::from(&stream);
    // What the peer has sent is taken off first: left unread, it would turn the close into a reset.
    let taken = with_scratch(|scratch| (&*socket).read(scratch));
    let sent = socket.send(Answer::refusal(refusal).to_http().as_bytes());
    tracing::debug!(?taken, ?sent, %refusal, "a connection was turned away");
}
