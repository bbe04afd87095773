//! What a lean session hears: the frames of a message, and what each makes of its seat.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use panda_protocol::error_code::Recovery;
use panda_protocol::frame::{Bye, ErrorReply, Frame, Pong, RequestId, Start, SyncedEntry, Welcome};
use panda_protocol::framing::{RawFrame, next_frame_of};
use panda_protocol::limits::FRAME_BYTES_MAX;

use super::{EVENT, Lean, NUMBER, Pending, SYNC, agent_mark, command};
use crate::engine::{Delivery, Events, Outgoing, Peer, payload};
use crate::lean::away::{Away, ended, named};
use crate::lean::held::Broken;
use crate::lean::{SESSION_CHATS, Seen};
use crate::session::is_final;

impl Lean {
    fn welcome(&mut self, seat: u32, welcome: &Welcome) {
        self.heartbeat_ms = welcome.heartbeat_ms;
        let by_ticket = self.held.get(&seat).is_some_and(|held| held.by_ticket);
        *(if by_ticket { &mut self.second.by_ticket } else { &mut self.second.by_token }) += 1;
        let Some(held) = self.held.get_mut(&seat) else { return };
        if self.comes_back {
            held.keep(&welcome.ticket);
        }
        if let Err(broken) = held.welcomed(&welcome.inbox) {
            self.broken(seat, None, broken);
        }
    }

    /// A stream did not go on where it was.
    fn broken(&mut self, seat: u32, chat: Option<u32>, Broken { expected, got }: Broken) {
        let session = self.seats[seat as usize].user;
        self.seen.push(Seen::Broken { session, chat, expected, got });
    }

    /// An answer of the Sync; returns how many chats it admitted.
    fn synced(&mut self, seat: u32, entry: SyncedEntry) -> Result<u32> {
        let admission = match entry.outcome {
            Ok(admission) => admission,
            Err((code, retry_after_ms)) => {
                let why = format!("chat {} was refused with {}", entry.chat, named(code));
                return Err(ended(code, retry_after_ms, why));
            }
        };
        let place = &self.seats[seat as usize];
        let slot = place.chats.iter().position(|chat| *chat == entry.chat);
        let slot = slot.with_context(|| format!("chat {}, which was not asked for, was answered", entry.chat))?;
        // Before the cursor is moved: the next connection must not take the new store for the old one.
        ensure!(admission.start != Start::Reset, "chat {} is of another store than before", entry.chat);
        let Some(held) = self.held.get_mut(&seat) else { return Ok(1) };
        let (session, chat, from) = (place.user, place.numbers[slot], admission.from.0);
        match (held.admitted(slot, &admission), place.is_checked) {
            (Ok(false), true) => self.seen.push(Seen::Admitted { session, chat, from }),
            // Whether it goes on where it may is the checker's to say.
            (_, true) => self.seen.push(Seen::Resumed { session, chat, from }),
            (Err(broken), false) => self.broken(seat, Some(chat), broken),
            (Ok(_), false) => {}
        }
        Ok(1)
    }

    /// All chats of a seat are admitted. A send whose answer the last connection did not bring is sent again.
    fn ready(&mut self, seat: u32, out: &mut Outgoing<'_>) {
        if let Some(held) = self.held.get_mut(&seat) {
            held.is_caught_up = false;
            if held.catches_up() {
                self.caught_up.push(seat);
            }
        }
        let place = &mut self.seats[seat as usize];
        place.is_ready = true;
        place.ready_s = place.heard_s;
        self.second.connected += 1;
        match self.pending.get(&seat) {
            Some(pending) => out.send(&command(&self.seats[seat as usize], pending)),
            None => self.freed.push(seat),
        }
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
                    self.ready(seat, out);
                    events.ready = true;
                }
            }
            Frame::Ack(ack) => {
                let pending = self.answer_of(seat, ack.request).context("an ack that nobody waits for")?;
                let slot = (seat, pending.slot);
                self.windows.entry(slot).or_default().applied = pending.counter;
                self.acks.push(pending.due);
                self.answered(seat, &pending, Some(ack.seq.0), None);
            }
            Frame::Error(refusal) => self.refused(seat, &refusal)?,
            Frame::Ping(ping) => out.send(&Frame::from(Pong { nonce: ping.nonce }).to_bytes()),
            // It lags; what it misses follows.
            Frame::Pong(_) | Frame::Head(_) | Frame::Signal(_) => {}
            Frame::GoAway(away) => {
                let why = "the server sends its sessions away".into();
                return Err(Away { code: away.code, retry_after_ms: away.delay_ms, why }.into());
            }
            Frame::Ended(over) => return Err(ended(over.code, 0, format!("a subscription is over: {over:?}"))),
            Frame::Bye(Bye { code, retry_after_ms, text }) => {
                if Recovery::of(code) == Recovery::Authenticate
                    && let Some(held) = self.held.get_mut(&seat)
                {
                    held.forget_ticket();
                }
                let why = format!("the server said goodbye with {}: {text}", named(code));
                return Err(ended(code, retry_after_ms, why));
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
        let ErrorReply { request, code, details, text, retry_after_ms } = refusal;
        if *request == SYNC {
            let why = format!("the Sync was refused with {}: {text}", named(*code));
            return Err(ended(*code, *retry_after_ms, why));
        }
        let pending = self.answer_of(seat, *request).context("a refusal that nobody waits for")?;
        if let Some(details) = details {
            self.windows.entry((seat, pending.slot)).or_default().applied = details.counter.0;
        }
        *self.second.refused.entry(*code).or_default() += 1;
        self.answered(seat, &pending, None, is_final(*code).then_some(*code));
        Ok(())
    }

    /// Takes the frames of a message.
    pub(super) fn take(
        &mut self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Outgoing<'_>,
        events: &mut Events,
    ) -> Result<()> {
        let mut rest = message;
        while let Some((kind, body)) = next_frame_of(&mut rest, FRAME_BYTES_MAX)? {
            if kind == EVENT {
                self.event(peer.channel, body, events)?;
                continue;
            }
            let raw = RawFrame { kind, body: Bytes::copy_from_slice(body) };
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
        self.hold(seat, &delivery)?;
        if delivery.is_inbox {
            return Ok(());
        }
        self.second.delivered += 1;
        if self.waited(seat, &delivery) {
            // How long it took says how long nobody read.
            return Ok(());
        }
        // Two machines have two clocks: only the agent that sent it knows since when it is due.
        if let Some(text) = delivery.text
            && text.get(NUMBER).is_some_and(|number| number.starts_with(&agent_mark(self.agent)))
            && let Some(due) = payload::time(text)
        {
            events.deliveries.push(due);
        }
        Ok(())
    }

    /// Whether an event of a chat is from before its session read again. Agents of a run with such sessions are of one machine,
    /// and have one clock.
    fn waited(&mut self, seat: u32, delivery: &Delivery<'_>) -> bool {
        let Some(resumed) = self.resumed.get_mut(&seat) else { return false };
        let Some(due) = delivery.text.and_then(payload::time) else { return true };
        if due < resumed.since {
            return true;
        }
        let chats = &self.seats[seat as usize].chats;
        if let Some(slot) = chats.iter().position(|chat| chat.as_bytes()[..] == *delivery.entity) {
            resumed.caught_up[slot] = true;
        }
        if resumed.caught_up == [true; SESSION_CHATS] {
            self.read_up.push(resumed.since);
            self.resumed.remove(&seat);
        }
        false
    }

    /// Of a session that holds something: where it goes on is behind this event.
    fn hold(&mut self, seat: u32, delivery: &Delivery<'_>) -> Result<()> {
        let Some(held) = self.held.get_mut(&seat) else { return Ok(()) };
        let place = &self.seats[seat as usize];
        let (session, seq) = (place.user, delivery.seq);
        if delivery.is_inbox {
            let heard = held.heard_inbox(seq).context("an event of the inbox before the Welcome")?;
            if let Err(broken) = heard {
                self.broken(seat, None, broken);
            }
            return Ok(());
        }
        let slot = place.chats.iter().position(|chat| chat.as_bytes()[..] == *delivery.entity);
        let slot = slot.context("an event of a chat that was not asked for")?;
        let (heard, chat) = (held.heard(slot, seq), place.numbers[slot]);
        if place.is_ready && held.catches_up() {
            self.caught_up.push(seat);
        }
        if place.is_checked {
            // The checker sees it, and says whether it was the next one.
            let event = BASE64_STANDARD.encode(delivery.event);
            self.seen.push(Seen::Delivered { session, chat, seq, event });
        } else if let Err(broken) = heard {
            self.broken(seat, Some(chat), broken);
        }
        Ok(())
    }
}
