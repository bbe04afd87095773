//! One peer's protocol is one file here and one line in [`make`].
//!
//! The engine owns sockets, TLS, the WebSocket with its control frames, and the clocks. An adapter only says what to send
//! when the transport is up, what a message that came means, and how to publish.

pub mod centrifugo;
pub mod mqtt;
pub mod nats;
pub mod panda;
pub mod simple;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::payload;
use crate::plan::Plan;
use crate::websocket;

/// What a peer's script says with `--opt KEY=VALUE`.
#[derive(Clone, Debug, Default)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads `KEY=VALUE` of each.
    ///
    /// # Errors
    /// One without `=`.
    pub fn parse(given: &[String]) -> Result<Self> {
        let pair = |option: &String| {
            let (key, value) = option.split_once('=').with_context(|| format!("--opt {option} is not KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        given.iter().map(pair).collect::<Result<_>>().map(Self)
    }

    /// The value of a key, if there is one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value, or this one.
    pub fn or(&self, key: &str, otherwise: &str) -> String {
        self.get(key).unwrap_or(otherwise).to_owned()
    }

    /// The value.
    ///
    /// # Errors
    /// There is none.
    pub fn need(&self, key: &str) -> Result<&str> {
        self.get(key).with_context(|| format!("--opt {key}=... is missing"))
    }
}

/// What the peer speaks.
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

impl Transport {
    /// Binary WebSocket messages, or bare TCP where the script says `transport=tcp`.
    fn of(options: &Options, path: &str, protocol: Option<&'static str>) -> Self {
        if options.get("transport") == Some("tcp") {
            return Self::Tcp;
        }
        Self::WebSocket { path: path.to_owned(), protocol, opcode: websocket::BINARY }
    }
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

impl Events {
    /// A payload came.
    ///
    /// # Errors
    /// It is none of this run's.
    #[inline]
    pub fn delivery(&mut self, payload: &[u8]) -> Result<()> {
        match payload::time(payload) {
            Some(time) => self.deliveries.push(time),
            None => bail!("a delivery of something else: {}", shown(payload)),
        }
        Ok(())
    }
}

/// A peer's protocol.
pub trait Adapter {
    /// What it runs over.
    fn transport(&self) -> Transport;

    /// Whether [`Self::receive`] takes the bytes of all messages as one stream and may leave a rest; otherwise it is given
    /// one whole WebSocket message at a time.
    fn is_stream(&self) -> bool;

    /// Makes what the server must have before the workload. In a run of its own, so that the server that is measured was
    /// started behind it and holds nothing of it in memory.
    ///
    /// # Errors
    /// The server does not do it.
    fn provision(&self, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    /// The workload begins.
    ///
    /// # Errors
    /// What [`Self::provision`] made is not there, or not enough.
    fn begin(&mut self, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    /// Whether a connection of [`Role::Setup`] has to be ready before all others.
    fn needs_setup(&self) -> bool {
        false
    }

    /// The transport is up.
    ///
    /// # Errors
    /// There is nobody left whom this connection could be.
    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()>;

    /// Bytes came; returns how many were used.
    ///
    /// # Errors
    /// The server refused something or said what cannot be: the row is void.
    fn receive(&mut self, peer: &mut Peer, bytes: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<usize>;

    /// Publishes a payload of [`payload::LENGTH`] bytes to a channel. Where the protocol leaves the acknowledgement to the
    /// publisher, asks for it if `ack`.
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

/// The adapter of this name.
///
/// # Errors
/// There is none, or an option is missing.
pub fn make(name: &str, options: &Options) -> Result<Box<dyn Adapter>> {
    Ok(match name {
        "panda" => Box::new(panda::Panda::new(options)?),
        "simple" => Box::new(simple::Simple::new(options)),
        "centrifugo-pb" => Box::new(centrifugo::Protobuf::new(options)),
        "centrifugo-json" => Box::new(centrifugo::Json::new(options)),
        "nats" => Box::new(nats::Nats::new(options)),
        "mqtt" => Box::new(mqtt::Mqtt::new(options)),
        _ => bail!("no adapter is named {name}"),
    })
}

/// The beginning of what a server said, for an error.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}
