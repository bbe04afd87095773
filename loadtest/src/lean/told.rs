//! What an agent tells of its sessions: what it counted, and what checked ones saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a checked session, or a send to a checked chat, showed. Chats go by their numbers in the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named as in `ChatCheck`, which takes them")]
pub enum Seen {
    /// It begins to listen.
    Listening { session: u32, chat: u32, device: String },
    /// Its subscription was answered.
    Admitted { session: u32, chat: u32, from: u64 },
    /// It goes on behind what it has.
    Resumed { session: u32, chat: u32, from: u64 },
    /// It got an event; the bytes are base64.
    Delivered { session: u32, chat: u32, seq: u64, event: String },
    /// An event of a chat, or of its inbox, was not the next one. Of a checked session's chats that is seen by what is delivered.
    Broken { session: u32, chat: Option<u32>, expected: u64, got: u64 },
    /// Its server broke the protocol.
    Breach { session: u32, why: String },
    /// A send left.
    Submitted { user: u32, chat: u32, device: String, counter: u64, text: String },
    /// It was acked at `seq`, refused for good with `refused`, or neither.
    Answered { chat: u32, device: String, counter: u64, seq: Option<u64>, refused: Option<u16> },
}

/// What was counted since the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Sends that left.
    pub sent: u64,
    /// Refusals of sends, by code.
    pub refused: BTreeMap<u16, u64>,
    /// Sends whose outcome nobody told.
    pub unknown: u64,
    /// Sends that were due and never left.
    pub unsent: u64,
    /// Events of chats that sessions got.
    pub delivered: u64,
    /// Connections that were lost unasked, by the place of their server.
    pub lost: BTreeMap<u16, u64>,
    /// Connections that came back after one was lost.
    pub reconnects: u64,
    /// Connections that were tried and did not become sessions; they are among the lost ones.
    pub failed: u64,
    /// When sessions were lost, and how many: milliseconds of the machine's clock.
    pub lost_at_ms: Vec<(u64, u64)>,
    /// When they were back, likewise.
    pub back_at_ms: Vec<(u64, u64)>,
    /// From the first packet of a connection to a session that has all that was there when it was admitted, of sessions that were
    /// away: microseconds and how often.
    pub caught_up_us: Vec<(u64, u64)>,
    /// From when sessions that had stalled read again until they had what waited for them, likewise.
    pub read_up_us: Vec<(u64, u64)>,
    /// Full handshakes of TLS.
    pub tls_full: u64,
    /// Resumed ones.
    pub tls_resumed: u64,
    /// Sessions that a token opened.
    pub by_token: u64,
    /// Sessions that a resume ticket opened.
    pub by_ticket: u64,
    /// Sessions that were closed and opened again on purpose.
    pub churned: u64,
    /// Sessions that are connected and subscribed now.
    pub connected: u64,
    /// Sessions that read nothing now.
    pub stalled: u64,
    /// Sends that wait for their answer now.
    pub waiting: u64,
    /// Send due to ack: microseconds and how often.
    pub ack_us: Vec<(u64, u64)>,
    /// Send due to delivery.
    pub delivery_us: Vec<(u64, u64)>,
    /// How late sends left, likewise.
    pub late_us: Vec<(u64, u64)>,
    /// User and system time of the agent, in thousandths of a core: 1,000 is all that its one thread can have.
    pub cpu_permille: u32,
}
