//! What a lean session says, and what it makes of what it hears. Its state is a seat of a few words; what only checked or
//! sending sessions have lies in maps beside the table.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{
    Auth, Bye, Command, CommandBody, ErrorReply, Frame, Hello, PROTOCOL_VERSION, Ping, Pong, RequestId, Start, Sync,
    SyncEntry, SyncedEntry, WEBSOCKET_SUBPROTOCOL, Welcome,
};
use panda_protocol::framing::{RawFrame, peek_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{ChatId, Counter, Cursor, DeviceId, Incarnation, Seq, Text};

use super::away::{Away, ended, named};
use super::{Place, SESSION_CHATS, Second, Seen};
use crate::engine::websocket::BINARY;
use crate::engine::{Delivery, Driver, Events, Outgoing, Peer, Transport, clock, payload};
use crate::session::is_final;

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
}

/// Where a checked session goes on.
#[derive(Debug, Default)]
struct Checked {
    has_listened: bool,
    chats: [Option<(Incarnation, u64)>; SESSION_CHATS],
    inbox: Option<(Incarnation, u64)>,
}

/// The counters of a connection in a chat.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    round: u32,
    used: u64,
    applied: u64,
}

/// A send that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    request: RequestId,
    slot: usize,
    counter: u64,
    due: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Lean {
    /// Makes devices of this agent's that no other has.
    random: [u8; 7],
    agent: u16,
    path: String,
    seats: Vec<Seat>,
    checked: HashMap<u32, Checked>,
    windows: HashMap<(u32, usize), Window>,
    pending: HashMap<u32, Pending>,
    /// In milliseconds, as the last Welcome said.
    heartbeat_ms: u64,
    sends: u64,
    /// Answers that came: since when each send was due.
    pub(super) acks: Vec<u64>,
    /// Seats that may send again.
    pub(super) freed: Vec<u32>,
    /// What is to be told.
    pub(super) seen: Vec<Seen>,
    /// What was counted.
    pub(super) second: Second,
}

impl Lean {
    /// Of the agent with this number, to servers whose WebSocket is at `path`.
    pub fn new(agent: u16, path: String) -> Self {
        Self {
            random: rand::random(),
            agent,
            path,
            seats: Vec::new(),
            checked: HashMap::new(),
            windows: HashMap::new(),
            pending: HashMap::new(),
            heartbeat_ms: 0,
            sends: 0,
            acks: Vec::new(),
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
        if is_checked {
            self.checked.insert(u32::try_from(self.seats.len())?, Checked::default());
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

    /// The connection of a seat is gone; what it waited for is unknown.
    pub fn gone(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        if std::mem::take(&mut place.is_ready) {
            self.second.connected -= 1;
        }
        if let Some(pending) = self.pending.remove(&seat) {
            self.second.unknown += 1;
            self.answered(seat, pending, None, None);
        }
    }

    /// Asks the server for a sign of life.
    pub fn ping(&self, out: &mut Outgoing<'_>) {
        out.send(&Frame::from(Ping { nonce: u64::from(self.agent) }).to_bytes());
    }

    fn device(&self, seat: &Seat) -> DeviceId {
        let mut bytes = [0; 16];
        bytes[1..8].copy_from_slice(&self.random);
        bytes[8..12].copy_from_slice(&seat.user.to_be_bytes());
        bytes[12..].copy_from_slice(&seat.round.to_be_bytes());
        DeviceId::from_random(bytes)
    }

    fn answered(&mut self, seat: u32, pending: Pending, seq: Option<u64>, refused: Option<u16>) {
        let seat = &self.seats[seat as usize];
        if seat.watched[pending.slot] {
            let (chat, device) = (seat.numbers[pending.slot], self.device(seat).to_string());
            self.seen.push(Seen::Answered { chat, device, counter: pending.counter, seq, refused });
        }
    }

    fn flight(&self, seat: u32) -> Vec<u8> {
        let place = &self.seats[seat as usize];
        let checked = self.checked.get(&seat);
        let cursor =
            |at: Option<(Incarnation, u64)>| at.map(|(incarnation, next)| Cursor { incarnation, seq: Seq(next - 1) });
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            capabilities: 0,
            auth: Auth::Token(Text::from(&*place.token)),
            device: self.device(place),
            inbox: checked.and_then(|checked| cursor(checked.inbox)),
            client: Text::from_static("panda-loadtest lean"),
        };
        let entry = |slot: usize| SyncEntry {
            chat: place.chats[slot],
            cursor: checked.and_then(|checked| cursor(checked.chats[slot])),
            proof: Bytes::new(),
        };
        let sync = Sync { request: SYNC, chats: (0..SESSION_CHATS).map(entry).collect() };
        let mut flight = Frame::from(hello).to_bytes().to_vec();
        flight.extend_from_slice(&Frame::from(sync).to_bytes());
        flight
    }

    fn welcome(&mut self, seat: u32, welcome: &Welcome) {
        self.heartbeat_ms = welcome.heartbeat_ms;
        let Some(checked) = self.checked.get_mut(&seat) else { return };
        let (inbox, user) = (welcome.inbox, self.seats[seat as usize].user);
        if let Some((incarnation, expected)) = checked.inbox
            && (incarnation != inbox.incarnation || inbox.reset || inbox.from.0 != expected)
        {
            self.seen.push(Seen::InboxBroken { session: user, expected, got: inbox.from.0 });
        }
        checked.inbox = Some((inbox.incarnation, inbox.from.0));
    }

    /// An answer of the Sync; returns how many chats it admitted.
    fn synced(&mut self, seat: u32, entry: SyncedEntry) -> Result<u32> {
        let admission = match entry.outcome {
            Ok(admission) => admission,
            Err((code, _)) => return Err(ended(code, format!("chat {} was refused with {}", entry.chat, named(code)))),
        };
        let place = &self.seats[seat as usize];
        let slot = place.chats.iter().position(|chat| *chat == entry.chat);
        let slot = slot.with_context(|| format!("chat {}, which was not asked for, was answered", entry.chat))?;
        // Before the cursor is moved: the next connection must not take the new store for the old one.
        ensure!(admission.start != Start::Reset, "chat {} is of another store than before", entry.chat);
        if let Some(checked) = self.checked.get_mut(&seat) {
            let (session, chat, from) = (place.user, place.numbers[slot], admission.from.0);
            let resumed = checked.chats[slot].replace((admission.incarnation, from)).is_some();
            self.seen.push(match resumed {
                true => Seen::Resumed { session, chat, from },
                false => Seen::Admitted { session, chat, from },
            });
        }
        Ok(1)
    }

    fn frame(&mut self, peer: &mut Peer, frame: Frame, out: &mut Outgoing<'_>, events: &mut Events) -> Result<()> {
        let seat = peer.channel;
        match frame {
            Frame::Welcome(welcome) => self.welcome(seat, &welcome),
            Frame::Synced(synced) => {
                for entry in synced.chats {
                    peer.step += self.synced(seat, entry)?;
                }
                if synced.last {
                    ensure!(peer.step as usize == SESSION_CHATS, "{} chats of a Sync were answered", peer.step);
                    self.seats[seat as usize].is_ready = true;
                    self.freed.push(seat);
                    self.second.connected += 1;
                    events.ready = true;
                }
            }
            Frame::Ack(ack) => {
                let pending = self.answer_of(seat, ack.request).context("an ack that nobody waits for")?;
                let slot = (seat, pending.slot);
                self.windows.entry(slot).or_default().applied = pending.counter;
                self.acks.push(pending.due);
                self.answered(seat, pending, Some(ack.seq.0), None);
            }
            Frame::Error(refusal) => self.refused(seat, &refusal)?,
            Frame::Ping(ping) => out.send(&Frame::from(Pong { nonce: ping.nonce }).to_bytes()),
            // It lags; what it misses follows.
            Frame::Pong(_) | Frame::Head(_) | Frame::Signal(_) => {}
            Frame::GoAway(_) => return Err(Away("the server sends its sessions away".into()).into()),
            Frame::Ended(over) => return Err(ended(over.code, format!("a subscription is over: {over:?}"))),
            Frame::Bye(Bye { code, text, .. }) => {
                return Err(ended(code, format!("the server said goodbye with {}: {text}", named(code))));
            }
            other => bail!("the server says {other:?}"),
        }
        Ok(())
    }

    /// The send that an answer is to, which waits no more.
    fn answer_of(&mut self, seat: u32, request: RequestId) -> Option<Pending> {
        self.pending.get(&seat).filter(|pending| pending.request == request)?;
        self.freed.push(seat);
        self.pending.remove(&seat)
    }

    fn refused(&mut self, seat: u32, refusal: &ErrorReply) -> Result<()> {
        let ErrorReply { request, code, details, text, .. } = refusal;
        if *request == SYNC {
            return Err(ended(*code, format!("the Sync was refused with {}: {text}", named(*code))));
        }
        let pending = self.answer_of(seat, *request).context("a refusal that nobody waits for")?;
        if let Some(details) = details {
            self.windows.entry((seat, pending.slot)).or_default().applied = details.counter.0;
        }
        *self.second.refused.entry(*code).or_default() += 1;
        self.answered(seat, pending, None, is_final(*code).then_some(*code));
        Ok(())
    }

    /// Takes the frames of a message.
    fn take(&mut self, peer: &mut Peer, message: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<()> {
        let mut rest = message;
        while !rest.is_empty() {
            let whole = peek_frame(rest, FRAME_BYTES_MAX)?.and_then(|(prefix, length)| {
                let frame = rest.get(prefix..prefix + length)?;
                rest = &rest[prefix + length..];
                frame.split_first()
            });
            let (kind, body) = whole.context("a message ends inside a frame")?;
            if *kind == EVENT {
                self.event(peer.channel, body, events)?;
                continue;
            }
            let raw = RawFrame { kind: *kind, body: Bytes::copy_from_slice(body) };
            if let Some(frame) = Frame::decode(raw)? {
                self.frame(peer, frame, out, events)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, seat: u32, body: &[u8], events: &mut Events) -> Result<()> {
        let delivery = Delivery::parse(body)?;
        let place = &self.seats[seat as usize];
        let is_known = delivery.is_inbox || place.chats.iter().any(|chat| chat.as_bytes()[..] == *delivery.entity);
        ensure!(is_known, "an event, seq {}, of a chat that was not asked for", delivery.seq);
        if place.is_checked {
            self.checked_event(seat, &delivery)?;
        }
        if delivery.is_inbox {
            return Ok(());
        }
        self.second.delivered += 1;
        // Two machines have two clocks: only the agent that sent it knows since when it is due.
        if let Some(text) = delivery.text
            && text.get(NUMBER).is_some_and(|number| number.starts_with(&agent_mark(self.agent)))
            && let Some(due) = payload::time(text)
        {
            events.deliveries.push(due);
        }
        Ok(())
    }

    fn checked_event(&mut self, seat: u32, delivery: &Delivery<'_>) -> Result<()> {
        let place = &self.seats[seat as usize];
        let checked = self.checked.get_mut(&seat).context("a checked session has a state")?;
        let (session, seq) = (place.user, delivery.seq);
        if delivery.is_inbox {
            let (_, next) = checked.inbox.as_mut().context("an event of the inbox before the Welcome")?;
            if seq != *next {
                self.seen.push(Seen::InboxBroken { session, expected: *next, got: seq });
            }
            *next = (*next).max(seq + 1);
            return Ok(());
        }
        let slot = place.chats.iter().position(|chat| chat.as_bytes()[..] == *delivery.entity);
        let slot = slot.context("an event of a chat that was not asked for")?;
        if let Some((_, next)) = &mut checked.chats[slot] {
            *next = (*next).max(seq + 1);
        }
        let event = BASE64_STANDARD.encode(delivery.event);
        self.seen.push(Seen::Delivered { session, chat: place.numbers[slot], seq, event });
        Ok(())
    }
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
        if let Some(checked) = self.checked.get_mut(&seat)
            && !std::mem::replace(&mut checked.has_listened, true)
        {
            let (session, numbers) = (place.user, place.numbers);
            let device = self.device(&self.seats[seat as usize]).to_string();
            let listening = numbers.map(|chat| Seen::Listening { session, chat, device: device.clone() });
            self.seen.extend(listening);
        }
        out.send(&self.flight(seat));
        Ok(())
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
        if window.round != place.round {
            // Another connection is another device.
            *window = Window { round: place.round, ..Window::default() };
        }
        window.used = window.used.max(window.applied) + 1;
        let (counter, after) = (window.used, window.applied);
        if place.watched[slot] {
            let (user, chat, device) = (place.user, place.numbers[slot], self.device(place).to_string());
            self.seen.push(Seen::Submitted { user, chat, device, counter, text: text.to_string() });
        }
        let command = Command {
            request: RequestId(SYNC.0 + self.sends),
            entity: place.chats[slot].into(),
            counter: Counter(counter),
            after: Counter(after),
            body: CommandBody::Send { format: MessageFormat::Text, text },
            trace: None,
        };
        self.pending.insert(seat, Pending { request: command.request, slot, counter, due });
        self.second.sent += 1;
        out.send(&Frame::from(command).to_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
