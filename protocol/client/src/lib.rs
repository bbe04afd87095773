//! The async Rust client: QUIC or WebSocket, one task a client, over any number of connections.
//!
//! ```no_run
//! # async fn example(body: &[u8], token: panda_protocol::Text, chat: panda_protocol::ChatId) -> Result<(), Box<dyn std::error::Error>> {
//! use panda_client::{ClientConfig, Connector, Target, TransportKind, Update};
//! use panda_protocol::DeviceId;
//!
//! let target = Target::from_discovery("http://127.0.0.1:8080", body)?;
//! let device = DeviceId::from_random(rand::random());
//! let config = ClientConfig::new(TransportKind::WebSocket, device, token);
//! let (client, mut updates) = panda_client::start(Connector::new(target)?, config);
//! client.subscribe(chat, None).await?;
//! let seq = client.send(chat, "hello".into()).await?;
//! while let Some(update) = updates.next().await {
//!     if let Update::Event { seq: of, .. } = update && of == seq {
//!         break;
//!     }
//! }
//! client.close().await;
//! # Ok(()) }
//! ```
//!
//! What the session does is decided in [`panda_protocol::session::client`]; this crate connects it to
//! sockets, the clock and the application. An idle client holds its socket, one timer and a few hundred
//! bytes of queues; buffers exist only while something is read or written.
#![warn(missing_docs)]

mod client;
mod config;
mod connector;
mod discovery;
mod operation;
mod task;
mod tls;
mod updates;
mod wire;

pub use client::{Client, RequestError, Submitted, start};
pub use config::{ClientConfig, TransportKind};
pub use connector::{ConnectError, Connector};
pub use discovery::{DiscoveryError, QuicTarget, Target};
pub use panda_protocol::session::client::{HistoryPage, Unexpected};
pub use updates::{Reason, Update, Updates};
