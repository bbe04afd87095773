//! A client that sends exactly the bytes it is told, over either transport.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use panda_client::TransportKind;
use panda_protocol::frame::{Auth, Bye, Frame, Hello, Welcome};
use panda_protocol::framing::split_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{DeviceId, ErrorCode, UserId};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, Server};

/// The first byte of a whole binary message.
const BINARY: u8 = 0x82;

/// The head of a correct upgrade, with more fields if wanted.
pub(crate) fn upgrade_head(fields: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: panda.1\r\n{fields}\r\n"
    )
}

/// A frame of a WebSocket client, with a mask that changes nothing.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A Hello with this token, of a new device.
pub(crate) fn hello(token: impl AsRef<str>) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        capabilities: 0,
        auth: Auth::Token(token.as_ref().into()),
        device: DeviceId::from_random(rand::random()),
        inbox: None,
        client: "bad input".into(),
    }
}

/// The same of a device that comes back with a ticket.
pub(crate) fn hello_with_ticket(device: DeviceId, ticket: Bytes) -> Hello {
    Hello { auth: Auth::Ticket(ticket), device, ..hello("") }
}

enum Wire {
    WebSocket(TcpStream),
    Quic { connection: Connection, send: SendStream, recv: RecvStream },
}

/// One connection.
pub(crate) struct Raw {
    wire: Wire,
    input: BytesMut,
}

/// An endpoint of QUIC clients that trusts the server.
pub(crate) fn quic_endpoint(server: &Server) -> Endpoint {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"panda/1".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
    endpoint
}

impl Raw {
    /// A connection on which no Hello was said.
    pub(crate) async fn connect(server: &Server, transport: TransportKind) -> Self {
        let wire = match transport {
            TransportKind::WebSocket => Wire::WebSocket(upgraded(server).await),
            TransportKind::Quic => {
                let connecting = quic_endpoint(server).connect(server.edge.quic_address().unwrap(), "localhost");
                let connection = connecting.unwrap().await.unwrap();
                let (send, recv) = connection.open_bi().await.unwrap();
                Wire::Quic { connection, send, recv }
            }
        };
        Self { wire, input: BytesMut::new() }
    }

    /// A session of a user.
    pub(crate) async fn open(server: &Server, transport: TransportKind, user: UserId) -> Self {
        Self::open_with(server, transport, hello(server.token(user))).await.0
    }

    /// A session that begins with this Hello.
    pub(crate) async fn open_with(server: &Server, transport: TransportKind, hello: Hello) -> (Self, Welcome) {
        let mut raw = Self::connect(server, transport).await;
        raw.say(hello).await;
        match raw.next().await {
            Some(Frame::Welcome(welcome)) => (raw, welcome),
            other => panic!("no Welcome: {other:?}"),
        }
    }

    /// Sends bytes, on a WebSocket as one binary message. The server may have closed already.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::WebSocket(_) => self.send_bare(&masked(BINARY, bytes)).await,
            Wire::Quic { .. } => self.send_bare(bytes).await,
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bare(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::WebSocket(stream) => drop(stream.write_all(bytes).await),
            Wire::Quic { send, .. } => drop(send.write_all(bytes).await),
        }
    }

    /// Opens the second stream of QUIC and sends bytes on it.
    pub(crate) async fn send_on_pages(&mut self, bytes: &[u8]) {
        let Wire::Quic { connection, .. } = &self.wire else { panic!("a WebSocket has one stream") };
        let (mut send, _) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: impl Into<Frame>) {
        self.send(&frame.into().to_bytes()).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.receive()).await.expect("the server says something or closes")
    }

    async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = split_frame(&mut self.input, FRAME_BYTES_MAX).unwrap() {
                return Some(Frame::decode(frame).unwrap().expect("a server sends only what is in the specification"));
            }
            let Self { wire, input } = self;
            match wire {
                Wire::WebSocket(stream) => read_message(stream, input).await?,
                Wire::Quic { recv, .. } => {
                    let chunk = recv.read_chunk(FRAME_BYTES_MAX, true).await.ok()??;
                    input.extend_from_slice(&chunk.bytes);
                }
            }
        }
    }

    /// The Bye with which the connection ends, and that it ends in its transport's way.
    pub(crate) async fn bye(&mut self) -> Bye {
        let bye = loop {
            match self.next().await {
                Some(Frame::Bye(bye)) => break bye,
                Some(_) => {}
                None => panic!("the connection ended without a Bye"),
            }
        };
        assert_eq!(self.next().await, None, "nothing follows a Bye");
        if let Wire::Quic { connection, .. } = &self.wire {
            let closed = timeout(PATIENCE, connection.closed()).await.unwrap();
            let code = VarInt::from(bye.code);
            assert!(
                matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == code),
                "{closed}"
            );
        }
        bye
    }

    /// The code of that Bye.
    pub(crate) async fn code(&mut self) -> ErrorCode {
        let bye = self.bye().await;
        let code = ErrorCode::from_u16(bye.code).unwrap();
        assert_eq!(bye.text.as_str(), code.text());
        code
    }

    /// Says that nothing more comes, as a client does that breaks off.
    pub(crate) async fn finish(&mut self) {
        match &mut self.wire {
            Wire::WebSocket(stream) => stream.shutdown().await.unwrap(),
            Wire::Quic { send, .. } => send.finish().unwrap(),
        }
    }
}

async fn upgraded(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.edge.http_address()).await.unwrap();
    stream.write_all(upgrade_head("").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Appends the payload of the next binary message; `None` at the end.
async fn read_message(stream: &mut TcpStream, input: &mut BytesMut) -> Option<()> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.ok()?;
    let len = match header[1] {
        126 => usize::from(stream.read_u16().await.ok()?),
        127 => usize::try_from(stream.read_u64().await.ok()?).unwrap(),
        len => usize::from(len),
    };
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await.ok()?;
    match header[0] {
        BINARY => input.extend_from_slice(&payload),
        0x88 => {
            assert_eq!(payload, 1000_u16.to_be_bytes(), "the reason is in the Bye");
            return None;
        }
        other => panic!("a server sends no message that begins with {other:#x}"),
    }
    Some(())
}
