//! What a client is started with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use panda_protocol::{Counter, Cursor, DeviceId, Text};

use crate::connector::Connector;

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// One stream of a QUIC connection.
    Quic,
    /// A WebSocket, with or without TLS as its URL says.
    WebSocket,
}

/// What a client is started with.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How it connects.
    pub transport: TransportKind,
    /// Goes on by WebSocket for good once the certificate of QUIC is refused, if every server has one. The token then
    /// goes the way that the WebSocket's URL says, without TLS too.
    pub or_websocket: bool,
    /// This installation; made once and kept. Two clients of one device replace each other.
    pub device: DeviceId,
    /// Its name and version for the server's logs, at most 64 bytes.
    pub name: Text,
    /// An access token.
    pub token: Text,
    /// What the application holds of its inbox; `None`: only what happens from now on.
    pub inbox: Option<Cursor>,
    /// Updates that wait for the application; while so many wait, the socket is not read. At least 1.
    pub updates_max: usize,
    /// The longest wait between two attempts to connect.
    pub backoff_max: Duration,
    /// The first command's counter: above all that this device ever used. The default is the wall
    /// clock in microseconds, which holds as long as it does not go back between two starts; if it
    /// did, the server says so and the first command is refused.
    pub counter: Counter,
    /// Other servers of the same deployment. Each attempt after a lost or failed connection goes to the
    /// next one in turn, the client's own among them. Empty where something in between chooses.
    pub others: Vec<Connector>,
}

impl ClientConfig {
    /// The defaults.
    pub fn new(transport: TransportKind, device: DeviceId, token: Text) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the wall clock is read once, when a client is made")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            transport,
            or_websocket: false,
            device,
            name: Text::from_static(concat!("panda-client/", env!("CARGO_PKG_VERSION"))),
            token,
            inbox: None,
            updates_max: 1024,
            backoff_max: Duration::from_secs(30),
            counter: Counter(u64::try_from(since.as_micros()).unwrap_or(1).max(1)),
            others: Vec::new(),
        }
    }
}
