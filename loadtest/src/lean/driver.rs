//! What a lean session says, and what it makes of what it hears. Its state is a seat of a few words; what only sessions have that
//! are checked, come back as the same ones or send lies in maps beside the table.

mod heard;

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{
    Auth, Command, CommandBody, Frame, Hello, PROTOCOL_VERSION, Ping, RequestId, Sync, SyncEntry, WEBSOCKET_SUBPROTOCOL,
};
use panda_protocol::{ChatId, Counter, DeviceId, Text};

use super::away::Away;
use super::held::Held;
use super::{Job, Place, SESSION_CHATS, Second, Seen};
use crate::engine::websocket::BINARY;
use crate::engine::{Driver, Events, Outgoing, Peer, Transport, clock, payload};

/// The type of an Event frame.
const EVENT: u8 = 0x12;
/// The request of a Sync; commands follow.
const SYNC: RequestId = RequestId(1);
/// Characters that are told of why a connection ended.
const WHY_MAX: usize = 300;
/// Bytes of the number of a send, behind the time in its text.
const NUMBER: std::ops::Range<usize> = 16..36;

/// A place in the table: who a session is.
#[derive(Debug)]
pub(super) struct Seat {
    /// The number of its user in the run.
    pub user: u32,
    /// The place of its server.
    pub server: u16,
    token: Box<str>,
    chats: [ChatId; SESSION_CHATS],
    numbers: [u32; SESSION_CHATS],
    /// Whether the chat has a checked member.
    watched: [bool; SESSION_CHATS],
    is_checked: bool,
    /// Whether it is subscribed to its chats.
    pub is_ready: bool,
    /// Which of its connections this is, from 1 on.
    pub round: u32,
    /// When it was heard of last, in seconds of the machine's clock.
    pub heard_s: u32,
    /// When it was subscribed last, likewise.
    pub ready_s: u32,
    /// How often it tried to come back since it lived for long.
    pub attempt: u32,
}

/// The counters of a connection in a chat.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    round: u32,
    used: u64,
    applied: u64,
}

/// A send that waits for its answer.
#[derive(Clone, Debug)]
struct Pending {
    request: RequestId,
    slot: usize,
    counter: u64,
    after: u64,
    due: u64,
    text: Text,
}

/// A session that reads again.
#[derive(Clone, Copy, Debug)]
struct Resumed {
    /// Since when, on the machine's clock.
    since: u64,
    /// In which chats it got what was due later.
    caught_up: [bool; SESSION_CHATS],
}

/// See the module.
#[derive(Debug)]
pub struct Lean {
    /// Makes devices of this agent's that no other has.
    random: [u8; 7],
    agent: u16,
    path: String,
    comes_back: bool,
    seats: Vec<Seat>,
    /// Of sessions that are checked or come back.
    held: HashMap<u32, Held>,
    windows: HashMap<(u32, usize), Window>,
    pending: HashMap<u32, Pending>,
    /// In milliseconds, as the last Welcome said.
    heartbeat_ms: u64,
    sends: u64,
    /// Answers that came: since when each send was due.
    pub(super) acks: Vec<u64>,
    /// Seats that have all that was there when they were admitted.
    pub(super) caught_up: Vec<u32>,
    /// Sessions that read nothing.
    stalled: HashSet<u32>,
    /// Those that read again and do not have all yet that waited.
    resumed: HashMap<u32, Resumed>,
    /// Since when those read again that have it now.
    pub(super) read_up: Vec<u64>,
    /// Seats that may send again.
    pub(super) freed: Vec<u32>,
    /// What is to be told.
    pub(super) seen: Vec<Seen>,
    /// What was counted.
    pub(super) second: Second,
}

impl Lean {
    /// Of an agent.
    pub fn new(job: &Job) -> Self {
        Self {
            random: rand::random(),
            agent: job.agent,
            path: job.path.clone(),
            comes_back: job.comes_back,
            seats: Vec::new(),
            held: HashMap::new(),
            windows: HashMap::new(),
            pending: HashMap::new(),
            heartbeat_ms: 0,
            sends: 0,
            acks: Vec::new(),
            caught_up: Vec::new(),
            stalled: HashSet::new(),
            resumed: HashMap::new(),
            read_up: Vec::new(),
            freed: Vec::new(),
            seen: Vec::new(),
            second: Second::default(),
        }
    }

    /// Adds a seat.
    ///
    /// # Errors
    /// What should be the ID of a chat is none.
    pub fn add(&mut self, place: Place) -> Result<()> {
        let Place { user, server, token, chats, numbers, watched, is_checked } = place;
        let [one, other] = chats;
        let chat = |text: String| text.parse::<ChatId>().with_context(|| format!("chat {text} of user {user}"));
        let chats = [chat(one)?, chat(other)?];
        if is_checked || self.comes_back {
            self.held.insert(u32::try_from(self.seats.len())?, Held::default());
        }
        let token = token.into_boxed_str();
        self.seats.push(Seat {
            user,
            server,
            token,
            chats,
            numbers,
            watched,
            is_checked,
            is_ready: false,
            round: 0,
            heard_s: 0,
            ready_s: 0,
            attempt: 0,
        });
        Ok(())
    }

    /// The seats.
    pub(super) const fn seats(&mut self) -> &mut Vec<Seat> {
        &mut self.seats
    }

    /// How long a side may be silent; 0 before the first Welcome.
    pub const fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms
    }

    /// A session reads nothing from now on.
    pub(super) fn stall(&mut self, seat: u32) {
        self.stalled.insert(seat);
        self.second.stalled = self.stalled.len() as u64;
    }

    /// Whether it does not.
    pub(super) fn is_stalled(&self, seat: u32) -> bool {
        self.stalled.contains(&seat)
    }

    /// Those that read nothing read again from `now` on.
    pub(super) fn read_on(&mut self, now: u64) -> Vec<u32> {
        let seats: Vec<u32> = self.stalled.drain().collect();
        self.second.stalled = 0;
        for &seat in &seats {
            self.resumed.insert(seat, Resumed { since: now, caught_up: Default::default() });
            // What it did not read says nothing of its server.
            self.seats[seat as usize].heard_s = u32::try_from(now / clock::SECOND).unwrap_or(u32::MAX);
        }
        seats
    }

    /// Whether a seat may send now: one send of it waits at a time.
    pub fn may_send(&self, seat: u32) -> bool {
        self.seats[seat as usize].is_ready && !self.pending.contains_key(&seat)
    }

    /// How many sends wait for their answer.
    pub fn waiting(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Whether any send waits for its answer.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The connection of a seat is gone; what it waited for is unknown, unless it comes back and asks again.
    pub fn gone(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        if std::mem::take(&mut place.is_ready) {
            self.second.connected -= 1;
        }
        self.resumed.remove(&seat);
        if self.stalled.remove(&seat) {
            self.second.stalled = self.stalled.len() as u64;
        }
        if self.comes_back {
            return;
        }
        if let Some(pending) = self.pending.remove(&seat) {
            self.second.unknown += 1;
            self.answered(seat, &pending, None, None);
        }
    }

    /// Asks the server for a sign of life.
    pub fn ping(&self, out: &mut Outgoing<'_>) {
        out.send(&Frame::from(Ping { nonce: u64::from(self.agent) }).to_bytes());
    }

    fn device(&self, seat: &Seat) -> DeviceId {
        let round = if self.comes_back { 0 } else { seat.round };
        let mut bytes = [0; 16];
        bytes[1..8].copy_from_slice(&self.random);
        bytes[8..12].copy_from_slice(&seat.user.to_be_bytes());
        bytes[12..].copy_from_slice(&round.to_be_bytes());
        DeviceId::from_random(bytes)
    }

    fn answered(&mut self, seat: u32, pending: &Pending, seq: Option<u64>, refused: Option<u16>) {
        let seat = &self.seats[seat as usize];
        if seat.watched[pending.slot] {
            let (chat, device) = (seat.numbers[pending.slot], self.device(seat).to_string());
            self.seen.push(Seen::Answered { chat, device, counter: pending.counter, seq, refused });
        }
    }

    fn flight(&mut self, seat: u32) -> Vec<u8> {
        let place = &self.seats[seat as usize];
        let (device, mut held) = (self.device(place), self.held.get_mut(&seat));
        let auth = match &mut held {
            Some(held) if self.comes_back => held.auth(&place.token),
            _ => Auth::Token(Text::from(&*place.token)),
        };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            capabilities: 0,
            auth,
            device,
            inbox: held.as_ref().and_then(|held| held.inbox_cursor()),
            client: Text::from_static("panda-loadtest lean"),
        };
        let entry = |slot: usize| match &held {
            Some(held) => held.entry(slot, place.chats[slot]),
            None => SyncEntry { chat: place.chats[slot], cursor: None, proof: Bytes::new() },
        };
        let sync = Sync { request: SYNC, chats: (0..SESSION_CHATS).map(entry).collect() };
        let mut flight = Frame::from(hello).to_bytes().to_vec();
        flight.extend_from_slice(&Frame::from(sync).to_bytes());
        flight
    }
}

/// A send as it leaves, the first time and again.
fn command(place: &Seat, pending: &Pending) -> Vec<u8> {
    let command = Command {
        request: pending.request,
        entity: place.chats[pending.slot].into(),
        counter: Counter(pending.counter),
        after: Counter(pending.after),
        body: CommandBody::Send { format: MessageFormat::Text, text: pending.text.clone() },
        trace: None,
    };
    Frame::from(command).to_bytes().to_vec()
}

/// What the text of an agent's send has behind the time.
fn agent_mark(agent: u16) -> [u8; 4] {
    let mut mark = [0; 4];
    for (place, byte) in mark.iter_mut().enumerate() {
        *byte = b'a' + u8::try_from(agent >> (12 - 4 * place) & 15).unwrap_or(0);
    }
    mark
}

impl Driver for Lean {
    fn transport(&self) -> Transport {
        Transport::WebSocket { path: self.path.clone(), protocol: Some(WEBSOCKET_SUBPROTOCOL), opcode: BINARY }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        let seat = peer.channel;
        self.seats[seat as usize].round += 1;
        // Before anything of it can come.
        let place = &self.seats[seat as usize];
        if place.is_checked
            && let Some(held) = self.held.get_mut(&seat)
            && !std::mem::replace(&mut held.has_listened, true)
        {
            let (session, numbers) = (place.user, place.numbers);
            let device = self.device(&self.seats[seat as usize]).to_string();
            let listening = numbers.map(|chat| Seen::Listening { session, chat, device: device.clone() });
            self.seen.extend(listening);
        }
        let flight = self.flight(seat);
        out.send(&flight);
        Ok(())
    }

    fn secured(&mut self, resumed: bool) {
        *(if resumed { &mut self.second.tls_resumed } else { &mut self.second.tls_full }) += 1;
    }

    fn receive(
        &mut self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Outgoing<'_>,
        events: &mut Events,
    ) -> Result<usize> {
        self.seats[peer.channel as usize].heard_s = u32::try_from(clock::now() / clock::SECOND).unwrap_or(u32::MAX);
        let taken = self.take(peer, message, out, events);
        if let Err(why) = &taken
            && !why.is::<Away>()
        {
            let (session, why) = (self.seats[peer.channel as usize].user, format!("{why:#}"));
            let why = why.chars().take(WHY_MAX).collect();
            self.seen.push(Seen::Breach { session, why });
        }
        taken.map(|()| message.len())
    }

    /// `channel` is which of the session's chats; the payload begins with the time at which it was due.
    fn publish(
        &mut self,
        peer: &mut Peer,
        channel: u32,
        payload: &[u8],
        _ack: bool,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        let (seat, slot) = (peer.channel, channel as usize);
        let due = payload::time(payload).context("a payload without its time")?;
        self.sends += 1;
        let mut text = payload.to_vec();
        let number = format!("{:016x}", self.sends);
        text[NUMBER]
            .iter_mut()
            .zip(agent_mark(self.agent).iter().chain(number.as_bytes()))
            .for_each(|(to, &from)| *to = from);
        let text = Text::from(String::from_utf8(text).context("a payload that is no text")?);
        let place = &self.seats[seat as usize];
        let window = self.windows.entry((seat, slot)).or_default();
        if window.round != place.round && !self.comes_back {
            // Another connection is another device.
            *window = Window { round: place.round, ..Window::default() };
        }
        window.used = window.used.max(window.applied) + 1;
        let (counter, after) = (window.used, window.applied);
        if place.watched[slot] {
            let (user, chat, device) = (place.user, place.numbers[slot], self.device(place).to_string());
            self.seen.push(Seen::Submitted { user, chat, device, counter, text: text.to_string() });
        }
        let request = RequestId(SYNC.0 + self.sends);
        let pending = Pending { request, slot, counter, after, due, text };
        out.send(&command(place, &pending));
        self.pending.insert(seat, pending);
        self.second.sent += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
