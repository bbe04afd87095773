//! The client's end of a session, over any number of connections.
//!
//! ```text
//!             due             connected          Welcome
//!  Waiting ─────────▶ Dialing ──────────▶ Greeting ──────▶ Open
//!     ▲ ▲                │                   │              │
//!     │ └── token ── NeedToken ◀── refused ──┤              │
//!     └──────── the connection is gone ──────┴──────────────┘──▶ Ended
//! ```
//!
//! After a GoAway the next connection is dialed while the session stays open; once it is there, the
//! session goes back to Greeting on it.
//!
//! It decides and never does: a driver gives it frames and the time, sends what [`ClientSession::next_frame`]
//! gives and does what [`ClientSession::next_output`] says. What the application asked for outlives a
//! connection: commands go out again under the same counters until they are answered, questions are asked
//! again, subscriptions are resumed at their cursors. `W` is whatever the driver uses to find who asked.
//!
//! Memory: a request costs its body until it is answered; a chat costs its cursor and proof; an entity that
//! commands went to costs its last counter, for at most [`LANES_MAX`] entities.

mod commands;
mod connection;
mod follow;
mod hear;
mod lane;
mod output;
mod questions;
mod right;
mod subscriptions;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
pub use output::{HistoryPage, Notice, Output, Parameters, Question, Refusal, Reply, Unexpected};

use self::follow::Subscription;
use self::lane::Lane;
use self::questions::Asked;
use crate::frame::{Command, Frame, RequestId, Signal};
use crate::ids::{ChatId, Cursor, EntityId, SessionId, UserId};
use crate::limits::{REQUESTS_IN_FLIGHT_MAX, SIGNAL_BYTES_MAX};
use crate::text::Text;

/// Entities whose last counter is remembered while no command waits. A forgotten one costs a round
/// trip: the server names the counter.
pub const LANES_MAX: usize = 10_000;
/// Signals that wait to be sent; more are dropped.
const SIGNALS_MAX: usize = 16;

/// The client's end of a session. Times are milliseconds of one clock that never goes back.
pub struct ClientSession<W> {
    parameters: Parameters,
    phase: Phase,
    attempt: u32,
    /// The next attempt is not made before this, whoever asks for it.
    earliest_ms: u64,
    /// Where GoAway pointed to; used once.
    address: Text,
    ticket: Bytes,
    /// Whether the Hello that is out carried the ticket.
    by_ticket: bool,
    /// The token was refused, or the right that it gave is over.
    token_spent: bool,
    /// The token came after the Hello that is out, and no Refresh has said it yet.
    token_unsaid: bool,
    user: Option<UserId>,
    inbox: Option<Cursor>,
    live: Live,
    last_request: u64,
    requests: BTreeMap<RequestId, Asked<W>>,
    lanes: BTreeMap<EntityId, Lane<W>>,
    chats: BTreeMap<ChatId, Subscription<W>>,
    refreshing: VecDeque<W>,
    ready: VecDeque<Ready<W>>,
    signals: VecDeque<Signal>,
    timers: BTreeSet<(u64, Timer)>,
    held: BTreeMap<RequestId, questions::Asking<W>>,
    control: VecDeque<Bytes>,
    outputs: VecDeque<Output<W>>,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between connections, until this moment.
    Waiting(u64),
    /// The driver connects; given up at this moment.
    Dialing(u64),
    /// The Hello is out; given up at this moment.
    Greeting(u64),
    /// Requests are served.
    Open(SessionId),
    /// The application must give a token first.
    NeedToken,
    /// It is over for good.
    Ended,
}

/// What belongs to one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    opened_ms: u64,
    heard_ms: u64,
    sent_ms: u64,
    heartbeat_ms: u64,
    requests_max: usize,
    /// A Ping of the server to answer.
    pong: Option<u64>,
    /// When to ask the application for a newer token.
    refresh_ms: Option<u64>,
    /// After a GoAway.
    moving: Option<Moving>,
    capabilities: u64,
}

/// On the way to another connection, while this one goes on.
#[derive(Clone, Copy, Debug)]
struct Moving {
    /// Why.
    code: u16,
    /// When to dial; while the driver does, when it took too long.
    at_ms: u64,
    dialing: bool,
}

/// What can be sent as soon as there is room.
enum Ready<W> {
    Lane(EntityId),
    Subscribe(ChatId),
    Unsubscribe(ChatId, W),
    Refresh,
    Ask(questions::Asking<W>),
}

/// What to go on with at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lane(EntityId),
    Chat(ChatId),
    Ask(RequestId),
    Refresh,
}

/// How long to wait before a request is repeated for the so manieth time, if the server does not say.
const fn repeat_wait_ms(repeats: u32) -> u64 {
    let doublings = if repeats > 6 { 6 } else { repeats };
    50 << doublings
}

impl<W> ClientSession<W> {
    /// A session that connects at once.
    pub fn new(parameters: Parameters) -> Self {
        let token_spent = !right::is_usable(&parameters.token);
        Self {
            phase: if token_spent { Phase::NeedToken } else { Phase::Waiting(0) },
            attempt: 0,
            earliest_ms: 0,
            address: Text::default(),
            ticket: Bytes::new(),
            by_ticket: false,
            token_spent,
            token_unsaid: false,
            user: None,
            inbox: parameters.inbox,
            live: Live::default(),
            last_request: 0,
            requests: BTreeMap::new(),
            lanes: BTreeMap::new(),
            chats: BTreeMap::new(),
            refreshing: VecDeque::new(),
            ready: VecDeque::new(),
            signals: VecDeque::new(),
            timers: BTreeSet::new(),
            held: BTreeMap::new(),
            control: VecDeque::new(),
            outputs: if token_spent { VecDeque::from([Output::Notice(Notice::TokenNeeded)]) } else { VecDeque::new() },
            parameters,
        }
    }

    /// Whose session it is; known from the first Welcome on.
    pub const fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Whether requests go out now.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether it is over for good.
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The bits that both sides announced.
    pub const fn capabilities(&self) -> u64 {
        self.live.capabilities & self.parameters.capabilities
    }

    /// What the driver is to do next.
    pub fn next_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    /// The next frame to send. To be called when the connection takes one: what waits here is encoded
    /// only then.
    pub fn next_frame(&mut self, now_ms: u64) -> Option<Bytes> {
        let frame = self.make_frame()?;
        self.live.sent_ms = now_ms;
        Some(frame)
    }

    fn make_frame(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        if !self.is_open() {
            return None;
        }
        if let Some(nonce) = self.live.pong.take() {
            return Some(Frame::from(crate::frame::Pong { nonce }).to_bytes());
        }
        while self.requests.len() < self.live.requests_max {
            let Some(ready) = self.ready.pop_front() else { break };
            let frame = match ready {
                Ready::Lane(entity) => self.send_command(entity),
                Ready::Subscribe(chat) => self.send_subscribe(chat),
                Ready::Unsubscribe(chat, waiter) => Some(self.send_unsubscribe(chat, waiter)),
                Ready::Refresh => self.send_refresh(),
                Ready::Ask(asking) => Some(self.send_question(asking)),
            };
            if frame.is_some() {
                return frame;
            }
        }
        self.signals.pop_front().map(|signal| Frame::from(signal).to_bytes())
    }

    /// Something that may be lost. Dropped if it is too large, if there is no session, or if too many wait.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_open() && self.signals.len() < SIGNALS_MAX && signal.payload.len() <= SIGNAL_BYTES_MAX {
            self.signals.push_back(signal);
        }
    }

    /// The next signal to send, for a connection that carries them beside the other frames.
    pub fn next_signal(&mut self) -> Option<Signal> {
        if self.is_open() { self.signals.pop_front() } else { None }
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn answer(&mut self, waiter: W, answer: Result<Reply, Refusal>) {
        self.outputs.push_back(Output::Answered(waiter, answer));
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// A number below `bound`, or 0. SplitMix64: waits need to differ, not to be secret.
    fn random(&mut self, bound: u64) -> u64 {
        self.parameters.seed = self.parameters.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.parameters.seed;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).checked_rem(bound).unwrap_or(0)
    }

    fn send_command(&mut self, entity: EntityId) -> Option<Bytes> {
        let request = RequestId(self.last_request + 1);
        let lane = self.lanes.get_mut(&entity)?;
        let (counter, after, body, trace) = lane.send()?;
        // The body's bytes are shared, so this copies no text before the frame does.
        let command = Command { request, entity, counter, after, body: body.clone(), trace };
        if lane.is_ready() {
            self.ready.push_back(Ready::Lane(entity));
        }
        self.last_request += 1;
        self.requests.insert(request, Asked::Command(entity, counter));
        Some(Frame::from(command).to_bytes())
    }
}

const _: () = assert!(REQUESTS_IN_FLIGHT_MAX >= crate::limits::UNANSWERED_COMMANDS_MAX);

#[cfg(test)]
mod tests;
