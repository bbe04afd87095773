//! One peer's protocol is one file here and one line in [`make`].
//!
//! What it says over the engine's sockets is its [`Driver`]; an [`Adapter`] besides makes what its server needs.

pub mod centrifugo;
pub mod mqtt;
pub mod nats;
pub mod panda;
pub mod simple;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
pub use panda_loadtest::engine::{Driver, Events, Outgoing, Peer, Role, Transport};

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

/// Binary WebSocket messages, or bare TCP where the script says `transport=tcp`.
fn transport_of(options: &Options, path: &str, protocol: Option<&'static str>) -> Transport {
    if options.get("transport") == Some("tcp") {
        return Transport::Tcp;
    }
    Transport::WebSocket { path: path.to_owned(), protocol, opcode: websocket::BINARY }
}

/// Counts the payloads that came.
pub trait Deliver {
    /// A payload came.
    ///
    /// # Errors
    /// It is none of this run's.
    fn delivery(&mut self, payload: &[u8]) -> Result<()>;
}

impl Deliver for Events {
    #[inline]
    fn delivery(&mut self, payload: &[u8]) -> Result<()> {
        match payload::time(payload) {
            Some(time) => self.deliveries.push(time),
            None => bail!("a delivery of something else: {}", shown(payload)),
        }
        Ok(())
    }
}

/// A peer's protocol.
pub trait Adapter: Driver {
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
