//! What a protocol over the engine's sockets says.
//!
//! The engine owns sockets, TLS, the WebSocket with its control frames, and the clocks. A driver only says what to send
//! when the transport is up, what a message that came means, and how to publish.

use anyhow::Result;

use super::websocket;

/// What a server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A plain stream of bytes.
    Tcp,
    /// WebSocket.
    WebSocket {
        /// Where.
        path: String,
        /// The subprotocol that is asked for.
        protocol: Option<&'static str>,
        /// [`websocket::TEXT`] or [`websocket::BINARY`].
        opcode: u8,
    },
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Connects, authenticates, subscribes to its channel, then is ready.
    Subscriber,
    /// Connects, authenticates; will publish. Must not receive deliveries.
    Publisher,
    /// Opened alone before a workload: makes what the server needs.
    Setup,
}

/// What an adapter keeps of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its place among all connections of the run.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// To which channel it subscribes.
    pub channel: u32,
    /// The adapter's own: how far the handshake is.
    pub step: u32,
    /// The adapter's own: the next number of a request.
    pub next_id: u32,
    /// The adapter's own: the number of the next message that must come.
    pub expected: u64,
}

/// Where to put what goes to a connection; each message is framed as the transport needs.
#[derive(Debug)]
pub struct Outgoing<'b> {
    /// What is to be written.
    pub bytes: &'b mut Vec<u8>,
    /// Of a WebSocket.
    pub opcode: Option<u8>,
}

impl Outgoing<'_> {
    /// Appends a message.
    pub fn send(&mut self, message: &[u8]) {
        if let Some(opcode) = self.opcode {
            websocket::write_header(self.bytes, opcode, message.len());
        }
        self.bytes.extend_from_slice(message);
    }
}

/// What the messages that came meant.
#[derive(Debug, Default)]
pub struct Events {
    /// The connection did what its role asks for.
    pub ready: bool,
    /// Publications that are acknowledged.
    pub acks: u32,
    /// When each payload that came was due.
    pub deliveries: Vec<u64>,
}

/// A protocol.
pub trait Driver {
    /// What it runs over.
    fn transport(&self) -> Transport;

    /// Whether [`Self::receive`] takes the bytes of all messages as one stream and may leave a rest; otherwise it is given
    /// one whole WebSocket message at a time.
    fn is_stream(&self) -> bool;

    /// The transport is up.
    ///
    /// # Errors
    /// There is nobody left whom this connection could be.
    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()>;

    /// A handshake of TLS is done, a full one or one that resumed.
    fn secured(&mut self, _resumed: bool) {}

    /// Bytes came; returns how many were used.
    ///
    /// # Errors
    /// The server refused something or said what cannot be: the connection is ended.
    fn receive(&mut self, peer: &mut Peer, bytes: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<usize>;

    /// Publishes a payload to a channel. Where the protocol leaves the acknowledgement to the publisher, asks for it if
    /// `ack`.
    ///
    /// # Errors
    /// There is no such channel.
    fn publish(
        &mut self,
        peer: &mut Peer,
        channel: u32,
        payload: &[u8],
        ack: bool,
        out: &mut Outgoing<'_>,
    ) -> Result<()>;
}
