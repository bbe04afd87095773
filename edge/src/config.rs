//! What an edge is started with.

use std::net::SocketAddr;

use panda_access::{AccessKeys, FleetSecret, Revocations};
use panda_link::LinkLimits;
use panda_protocol::Time;
use panda_protocol::limits::{EVENT_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, SUBSCRIPTIONS_MAX};
use panda_protocol::link::{Down, LinkId, Up};
use panda_protocol::session::server::ServerLimits;
use panda_storage::command_log::CommandLog;
use tokio::sync::mpsc;

use crate::admission::AdmissionLimits;
use crate::transport::handover::HandedOver;
use crate::transport::tls::Identity;
use crate::transport::websocket::WebSocketRules;

/// How an edge runs.
pub struct EdgeConfig {
    /// Threads, each with sessions of its own; at least 1.
    pub workers: usize,
    /// Where HTTP and WebSocket are listened for.
    pub http: SocketAddr,
    /// Where QUIC is listened for.
    pub quic: Option<SocketAddr>,
    /// What a WebSocket upgrade must satisfy.
    pub rules: WebSocketRules,
    /// The certificate of QUIC; needed with `quic`.
    pub quic_identity: Option<Identity>,
    /// Limits before a session exists.
    pub admission: AdmissionLimits,
    /// Limits of each session.
    pub session: SessionLimits,
    /// Limits of each worker's link.
    pub link: LinkLimits,
}

/// Limits of each session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Each side sends something at least this often, in milliseconds. Default 25,000.
    pub heartbeat_ms: u64,
    /// From the connection to the Hello, in milliseconds. Default 10,000.
    pub hello_timeout_ms: u64,
    /// Bytes of events that may wait for a slow reader; beyond, it catches up by reading. At least
    /// 64 KiB. Default 256 KiB.
    pub outbox_bytes_max: usize,
    /// Chats that a session may listen to. Default and most 10,000.
    pub subscriptions_max: usize,
    /// Commands a second, over a longer time, each Refresh counted as one. Default 100.
    pub commands_per_second: u32,
}

/// The least room that still takes an event and its reply.
const OUTBOX_BYTES_LEAST: usize = 64 * 1024;
const _: () = assert!(OUTBOX_BYTES_LEAST >= 2 * EVENT_BYTES_MAX);

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            heartbeat_ms: 25_000,
            hello_timeout_ms: 10_000,
            outbox_bytes_max: 256 * 1024,
            subscriptions_max: SUBSCRIPTIONS_MAX,
            commands_per_second: 100,
        }
    }
}

impl SessionLimits {
    /// The limits with every value in its range.
    #[must_use]
    pub(crate) fn clamped(mut self) -> Self {
        self.heartbeat_ms = self.heartbeat_ms.max(1);
        self.outbox_bytes_max = self.outbox_bytes_max.max(OUTBOX_BYTES_LEAST);
        self.subscriptions_max = self.subscriptions_max.min(SUBSCRIPTIONS_MAX);
        self.commands_per_second = self.commands_per_second.max(1);
        self
    }

    pub(crate) fn server(&self) -> ServerLimits {
        ServerLimits {
            hello_timeout_ms: self.hello_timeout_ms,
            heartbeat_ms: self.heartbeat_ms,
            requests_in_flight_max: u16::try_from(REQUESTS_IN_FLIGHT_MAX).unwrap_or(u16::MAX),
        }
    }
}

/// One worker's channels to the routers; the other ends are attached to them by who starts the edge.
pub struct WorkerLink {
    /// The link's name, new at each start.
    pub link: LinkId,
    /// Which of those that share the link this worker is.
    pub lane: u8,
    /// What goes up.
    pub up: mpsc::Sender<Up>,
    /// What comes down.
    pub down: mpsc::Receiver<Vec<Down>>,
}

/// What an edge works with.
pub struct EdgeParts<L: CommandLog> {
    /// Where commands are appended.
    pub log: L,
    /// One for each worker.
    pub links: Vec<WorkerLink>,
    /// Whose tokens are accepted.
    pub keys: AccessKeys,
    /// Which logins were ended: their tokens and tickets open nothing, and their sessions end.
    pub revocations: Revocations,
    /// What tickets, proofs and QUIC's own tokens are sealed with.
    pub fleet: FleetSecret,
    /// Where connections that are not sessions go. One that finds it full is closed and counted.
    pub handed_over: mpsc::Sender<HandedOver>,
    /// The time.
    pub clock: fn() -> Time,
}
