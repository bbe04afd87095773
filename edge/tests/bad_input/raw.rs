//! A client that sends exactly the bytes it is told, over either transport.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use panda_client::TransportKind;
use panda_protocol::frame::{Admission, Auth, Bye, Frame, Hello, RequestId, Subscribe, SyncEntry, Welcome};
use panda_protocol::framing::split_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{ChatId, Cursor, DeviceId, ErrorCode, UserId};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{interval, timeout};

use crate::support::{PATIENCE, Server};

/// The first byte of a whole binary message.
const BINARY: u8 = 0x82;
/// How long after one byte the next one of a slow sender comes. It stands for a second: the limits that such
/// a sender meets are as much shorter in these tests.
const DRIP: Duration = Duration::from_millis(50);

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

enum Writing<'r> {
    WebSocket(WriteHalf<'r>),
    Quic(&'r mut SendStream),
}

impl Writing<'_> {
    /// Bytes as they are. The server may have closed already.
    async fn bare(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(stream) => drop(stream.write_all(bytes).await),
            Self::Quic(send) => drop(send.write_all(bytes).await),
        }
    }

    /// On a WebSocket one binary message.
    async fn piece(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(_) => self.bare(&masked(BINARY, bytes)).await,
            Self::Quic(_) => self.bare(bytes).await,
        }
    }
}

struct Reading<'r> {
    half: Half<'r>,
    input: &'r mut BytesMut,
}

enum Half<'r> {
    WebSocket(ReadHalf<'r>),
    Quic(&'r mut RecvStream),
}

impl Reading<'_> {
    /// The next frame; `None` at the end. Not cancel safe.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = split_frame(self.input, FRAME_BYTES_MAX).unwrap() {
                return Some(Frame::decode(frame).unwrap().expect("a server sends only what is in the specification"));
            }
            match &mut self.half {
                Half::WebSocket(stream) => read_message(stream, self.input).await?,
                Half::Quic(recv) => {
                    let chunk = recv.read_chunk(FRAME_BYTES_MAX, true).await.ok()??;
                    self.input.extend_from_slice(&chunk.bytes);
                }
            }
        }
    }
}

/// An endpoint of QUIC clients that trusts the server.
pub(crate) fn quic_endpoint(server: &Server) -> Endpoint {
    let mut tls = tls_client(server);
    tls.alpn_protocols = vec![b"panda/1".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
    endpoint
}

/// A client of TLS that trusts the server's QUIC certificate.
pub(crate) fn tls_client(server: &Server) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

impl Raw {
    /// A connection on which no Hello was said.
    pub(crate) async fn connect(server: &Server, transport: TransportKind) -> Self {
        Self::try_connect(server, transport).await.unwrap_or_else(|answer| panic!("turned away: {answer}"))
    }

    /// The same, or how it was turned away.
    async fn try_connect(server: &Server, transport: TransportKind) -> Result<Self, String> {
        let wire = match transport {
            TransportKind::WebSocket => Wire::WebSocket(upgraded(server).await?),
            TransportKind::Quic => {
                let connecting = quic_endpoint(server).connect(server.edge.quic_address().unwrap(), "localhost");
                let connection = connecting.unwrap().await.map_err(|error| error.to_string())?;
                let (send, recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
                Wire::Quic { connection, send, recv }
            }
        };
        Ok(Self { wire, input: BytesMut::new() })
    }

    /// A session of a user, or why there is none now.
    pub(crate) async fn try_open(server: &Server, transport: TransportKind, user: UserId) -> Result<Self, String> {
        let mut raw = Self::try_connect(server, transport).await?;
        raw.say(hello(server.token(user))).await;
        match raw.next().await {
            Some(Frame::Welcome(_)) => Ok(raw),
            other => Err(format!("no Welcome: {other:?}")),
        }
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
        self.halves().0.piece(bytes).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bare(&mut self, bytes: &[u8]) {
        self.halves().0.bare(bytes).await;
    }

    /// Sends a piece; `false` once the connection is over.
    pub(crate) async fn try_send(&mut self, piece: &[u8]) -> bool {
        let bytes = self.bare_bytes(piece);
        let (writing, _) = self.halves();
        let sending = async {
            match writing {
                Writing::WebSocket(mut stream) => stream.write_all(&bytes).await.is_ok(),
                Writing::Quic(send) => send.write_all(&bytes).await.is_ok(),
            }
        };
        timeout(PATIENCE, sending).await.expect("it is taken or the connection ends")
    }

    /// Everything that comes.
    pub(crate) async fn frames_until_the_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Listens to a chat.
    pub(crate) async fn subscribe(&mut self, chat: ChatId, cursor: Option<Cursor>) -> Admission {
        let request = RequestId(1 << 40);
        self.say(Subscribe { request, entry: SyncEntry { chat, cursor, proof: Bytes::new() } }).await;
        loop {
            match self.next().await {
                Some(Frame::Subscribed(subscribed)) if subscribed.request == request => return subscribed.admission,
                Some(Frame::Event(_)) => {}
                other => panic!("not subscribed: {other:?}"),
            }
        }
    }

    /// The bytes of a piece as they leave.
    pub(crate) fn bare_bytes(&self, piece: &[u8]) -> Vec<u8> {
        match &self.wire {
            Wire::WebSocket(_) => masked(BINARY, piece),
            Wire::Quic { .. } => piece.to_vec(),
        }
    }

    /// Opens the second stream of QUIC and sends bytes on it.
    pub(crate) async fn send_on_pages(&mut self, bytes: &[u8]) {
        let Wire::Quic { connection, .. } = &self.wire else { panic!("a WebSocket has one stream") };
        let (mut send, _) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
    }

    /// Opens a further stream of QUIC with these bytes, and says whether the server answers on it.
    pub(crate) async fn is_answered_on_another_stream(&mut self, bytes: &[u8]) -> bool {
        let Wire::Quic { connection, .. } = &self.wire else { panic!("a WebSocket has one stream") };
        let (mut send, mut recv) = timeout(PATIENCE, connection.open_bi()).await.expect("it is let").unwrap();
        // Who is refused may learn of it here.
        drop(send.write_all(bytes).await);
        let answer = timeout(PATIENCE, recv.read_chunk(1, true)).await.expect("nobody is kept waiting");
        matches!(answer, Ok(Some(_)))
    }

    pub(crate) async fn say(&mut self, frame: impl Into<Frame>) {
        self.send(&frame.into().to_bytes()).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.receive()).await.expect("the server says something or closes")
    }

    async fn receive(&mut self) -> Option<Frame> {
        let (_, mut reading) = self.halves();
        reading.next().await
    }

    fn halves(&mut self) -> (Writing<'_>, Reading<'_>) {
        let Self { wire, input } = self;
        let (writing, half) = match wire {
            Wire::WebSocket(stream) => {
                let (read, write) = stream.split();
                (Writing::WebSocket(write), Half::WebSocket(read))
            }
            Wire::Quic { send, recv, .. } => (Writing::Quic(send), Half::Quic(recv)),
        };
        (writing, Reading { half, input })
    }

    /// Sends pieces, each on a WebSocket as one binary message, and takes frames meanwhile until `enough`.
    /// Who floods a server and does not read is not read from either.
    pub(crate) async fn flood(&mut self, pieces: impl Iterator<Item = Vec<u8>>, mut enough: impl FnMut(Frame) -> bool) {
        let (mut writing, mut reading) = self.halves();
        let sending = async {
            for piece in pieces {
                writing.piece(&piece).await;
            }
        };
        let receiving = async {
            while !enough(timeout(PATIENCE, reading.next()).await.expect("the server answers").expect("it goes on")) {}
        };
        tokio::join!(sending, receiving);
    }

    /// Sends bytes as they are, one at a time, until the connection ends; returns the frames that came.
    pub(crate) async fn drip(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let (mut writing, mut reading) = self.halves();
        let mut frames = Vec::new();
        let dripping = async {
            let mut pace = interval(DRIP);
            for byte in bytes.iter().cycle() {
                pace.tick().await;
                writing.bare(&[*byte]).await;
            }
        };
        let receiving = async {
            while let Some(frame) = reading.next().await {
                frames.push(frame);
            }
        };
        let ended = async {
            tokio::select! {
                () = dripping => {}
                () = receiving => {}
            }
        };
        timeout(PATIENCE, ended).await.expect("who sends a byte at a time is not waited for");
        frames
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

    /// Ends with `handshake_timeout`: on QUIC without a stream in the close of the connection itself.
    pub(crate) async fn ends_with_handshake_timeout(&mut self) {
        match &self.wire {
            Wire::WebSocket(_) => assert_eq!(self.code().await, ErrorCode::HandshakeTimeout),
            Wire::Quic { connection, .. } => {
                let closed = timeout(PATIENCE, connection.closed()).await.unwrap();
                let code = VarInt::from(ErrorCode::HandshakeTimeout as u16);
                assert!(
                    matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == code),
                    "{closed}"
                );
            }
        }
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

/// A TCP connection on which nothing was said.
pub(crate) async fn tcp(server: &Server) -> TcpStream {
    TcpStream::connect(server.edge.http_address()).await.unwrap()
}

/// Everything that comes before the connection ends, in whatever way.
pub(crate) async fn read_out(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes"));
    String::from_utf8(answer).unwrap()
}

async fn upgraded(server: &Server) -> Result<TcpStream, String> {
    let mut stream = tcp(server).await;
    stream.write_all(upgrade_head("").as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.map_err(|error| error.to_string())?);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(String::from_utf8_lossy(&answer).into_owned());
    }
    Ok(stream)
}

/// Appends the payload of the next binary message; `None` at the end.
async fn read_message(stream: &mut ReadHalf<'_>, input: &mut BytesMut) -> Option<()> {
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
