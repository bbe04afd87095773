//! What the tests of both transports share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use panda_edge::admission::{AdmissionLimits, Counted, Gate};
use panda_edge::transport::{Outgoing, Transport, TransportError};
use panda_protocol::ErrorCode;
use panda_protocol::framing::{RawFrame, frame_bytes};
use panda_protocol::limits::FRAME_BYTES_MAX;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// Longer than anything here takes; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gate that gives a handshake the time that an honest client needs.
pub(crate) fn patient_gate() -> Gate {
    Gate::new(AdmissionLimits::default())
}

/// A gate that gives a handshake next to no time.
pub(crate) fn hasty_gate() -> Gate {
    Gate::new(AdmissionLimits { handshake_timeout: Duration::from_millis(150), ..AdmissionLimits::default() })
}

pub(crate) fn counted(gate: &Gate, counted: Counted) -> u64 {
    gate.counters().value(counted)
}

/// A frame of type 7 with a body of this length, its bytes counting up.
pub(crate) fn frame(len: usize) -> Bytes {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
    frame_bytes(7, len, |out| out.raw(&body))
}

pub(crate) fn body_of(frame: &Bytes, len: usize) -> Bytes {
    frame.slice(frame.len() - len..)
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("this takes too long")
}

pub(crate) async fn recv(transport: &mut impl Transport) -> Result<RawFrame, TransportError> {
    recv_max(transport, FRAME_BYTES_MAX).await
}

pub(crate) async fn recv_max(transport: &mut impl Transport, bytes_max: usize) -> Result<RawFrame, TransportError> {
    within(poll_fn(|cx| transport.poll_recv(cx, bytes_max))).await
}

/// The code that the peer is told.
pub(crate) async fn refused(transport: &mut impl Transport) -> Option<ErrorCode> {
    recv(transport).await.expect_err("this is no frame").code()
}

pub(crate) async fn send(transport: &mut impl Transport, queue: &mut VecDeque<Outgoing>) -> Result<(), TransportError> {
    within(poll_fn(|cx| transport.poll_send(cx, queue))).await
}

pub(crate) async fn close(transport: &mut impl Transport, code: ErrorCode) {
    within(poll_fn(|cx| transport.poll_close(cx, code))).await;
}

/// A server's and a client's end of one TCP connection.
pub(crate) async fn tcp_pair() -> (TcpStream, SocketAddr, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, client) = tokio::join!(listener.accept(), client);
    let (server, peer) = accepted.unwrap();
    (server, peer, client.unwrap())
}

/// A client that believes the development certificate of a folder.
pub(crate) fn connector(folder: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A correct upgrade, with `change` made to its head.
pub(crate) fn upgrade_head(change: impl FnOnce(String) -> String) -> String {
    change(
        "GET /ws HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: chat, panda.1\r\n\r\n"
            .to_owned(),
    )
}
