//! What an agent is to hold.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// Sessions to these servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The number of the agent.
    pub agent: u16,
    /// Addresses of the servers.
    pub servers: Vec<SocketAddrV4>,
    /// Where their WebSocket is.
    pub path: String,
    /// How many sessions it will get.
    pub sessions: u32,
    /// Whether the servers speak TLS. Their certificate is not verified: what that costs is no matter of the servers.
    pub tls: bool,
    /// Whether a session that was lost is the same one when it comes back, as a person's client is: with its TLS ticket, its
    /// resume ticket, cursors and proofs, and what it had sent. Otherwise it is another device of its user, with a token: that
    /// costs 300 bytes a session less.
    pub comes_back: bool,
    /// Bytes that the kernel keeps of a connection for who does not read it, about; otherwise as it likes.
    pub receive_bytes: Option<u32>,
}
