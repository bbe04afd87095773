//! Connecting, staying alive, moving, leaving and coming back.

use bytes::Bytes;

use super::output::{Notice, Output, Reply};
use super::questions::Asked;
use super::{ClientSession, Live, Moving, Phase, Ready, Timer};
use crate::error_code::{ErrorCode, Recovery};
use crate::frame::{Auth, Bye, Frame, GoAway, Hello, PROTOCOL_VERSION, Ping};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::text::Text;

/// For a connection to come about.
const DIAL_TIMEOUT_MS: u64 = 15_000;
/// From the Hello to the Welcome.
const GREETING_TIMEOUT_MS: u64 = 30_000;
/// The first bound of the random wait; it doubles with each attempt.
pub(super) const BACKOFF_FIRST_MS: u64 = 1_000;
/// A session that lived so long has shown that the server is well: the attempts count from 0 again.
const LIVED_MS: u64 = 30_000;
/// No server makes us wait longer than this before we try again.
const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// What a Bye may say. Another code is the transport's or somebody's in between.
const CONNECTION_CODES: core::ops::Range<u16> = 1_000..1_400;

pub(super) fn bye(code: ErrorCode) -> Option<Bytes> {
    Some(Frame::from(Bye::new(code)).to_bytes())
}

impl<W> ClientSession<W> {
    /// When [`Self::tick`] is to be called next; `None` if only input changes anything.
    pub fn due_ms(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let own = match self.phase {
            Phase::Waiting(at) | Phase::Dialing(at) | Phase::Greeting(at) => return Some(at),
            Phase::NeedToken | Phase::Ended => return None,
            Phase::Open(_) => [
                Some(self.live.sent_ms.saturating_add(self.live.heartbeat_ms)),
                Some(self.silent_ms()),
                self.live.refresh_ms,
                self.live.moving.map(|moving| moving.at_ms),
            ],
        };
        own.into_iter().chain([timer]).flatten().min()
    }

    const fn silent_ms(&self) -> u64 {
        self.live.heard_ms.saturating_add(self.live.heartbeat_ms.saturating_mul(2)).saturating_add(1)
    }

    /// Time went by.
    pub fn tick(&mut self, now_ms: u64) {
        match self.phase {
            Phase::Waiting(at) if now_ms >= at => {
                self.phase = Phase::Dialing(now_ms.saturating_add(DIAL_TIMEOUT_MS));
                let address = core::mem::take(&mut self.address);
                self.outputs.push_back(Output::Connect { attempt: self.attempt, address });
            }
            Phase::Dialing(at) | Phase::Greeting(at) if now_ms >= at => {
                self.outputs.push_back(Output::Close(bye(ErrorCode::HandshakeTimeout)));
                self.come_back(None, 0, now_ms);
            }
            Phase::Open(_) => self.tick_open(now_ms),
            _ => {}
        }
    }

    fn tick_open(&mut self, now_ms: u64) {
        if now_ms >= self.silent_ms() {
            self.outputs.push_back(Output::Close(bye(ErrorCode::HeartbeatTimeout)));
            return self.come_back(None, 0, now_ms);
        }
        if let Some(moving) = self.live.moving
            && now_ms >= moving.at_ms
        {
            self.move_on(moving, now_ms);
        }
        if self.live.refresh_ms.is_some_and(|at| now_ms >= at) {
            self.live.refresh_ms = None;
            self.notice(Notice::TokenNeeded);
        }
        if now_ms >= self.live.sent_ms.saturating_add(self.live.heartbeat_ms) {
            self.control.push_back(Frame::from(Ping { nonce: now_ms & 0xffff_ffff }).to_bytes());
            self.live.sent_ms = now_ms;
        }
        while let Some(&(at, timer)) = self.timers.first()
            && now_ms >= at
        {
            self.timers.pop_first();
            match timer {
                Timer::Lane(entity) => self.release_lane(entity),
                Timer::Chat(chat) => self.ready.push_back(Ready::Subscribe(chat)),
                Timer::Ask(held) => self.release_question(held),
                Timer::Refresh => self.ready.push_back(Ready::Refresh),
            }
        }
    }

    /// There is a connection: the Hello and what is to be resumed go out first. One that was there before
    /// is closed by the next output.
    pub fn connected(&mut self, now_ms: u64) {
        match (self.phase, self.live.moving) {
            (Phase::Dialing(_), _) => {}
            (Phase::Open(_), Some(moving)) => {
                self.outputs.push_back(Output::Close(bye(ErrorCode::Going)));
                self.move_over(moving, now_ms);
            }
            _ => return,
        }
        self.greet(now_ms);
    }

    fn greet(&mut self, now_ms: u64) {
        self.phase = Phase::Greeting(now_ms.saturating_add(GREETING_TIMEOUT_MS));
        self.live = Live { heard_ms: now_ms, sent_ms: now_ms, ..Live::default() };
        self.by_ticket = !self.ticket.is_empty();
        self.token_unsaid = false;
        let auth =
            if self.by_ticket { Auth::Ticket(self.ticket.clone()) } else { Auth::Token(self.parameters.token.clone()) };
        let name = &self.parameters.name;
        let client = if name.len() <= CLIENT_NAME_BYTES_MAX { name.clone() } else { Text::default() };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            capabilities: self.parameters.capabilities,
            auth,
            device: self.parameters.device,
            inbox: self.inbox,
            client,
        };
        self.control.push_back(Frame::from(hello).to_bytes());
        // The Syncs stand for every chat that is followed by now.
        self.ready.retain(|ready| !matches!(ready, Ready::Subscribe(_)));
        self.send_syncs();
    }

    /// No connection could be made. To be said once an [`Output::Connect`].
    pub fn not_connected(&mut self, now_ms: u64) {
        match (self.phase, self.live.moving) {
            (Phase::Dialing(_), _) => self.come_back(None, 0, now_ms),
            (Phase::Open(_), Some(moving)) => self.move_later(moving, now_ms),
            _ => {}
        }
    }

    /// The connection is gone without a Bye. To be said once a connection, and not after
    /// [`Output::Close`].
    pub fn disconnected(&mut self, now_ms: u64) {
        match (self.phase, self.live.moving) {
            // The next one is on its way already.
            (Phase::Open(_), Some(moving)) if moving.dialing => {
                self.move_over(moving, now_ms);
                self.phase = Phase::Dialing(moving.at_ms);
            }
            (Phase::Greeting(_) | Phase::Open(_), _) => self.come_back(None, 0, now_ms),
            _ => {}
        }
    }

    /// The connection was closed with this code and without a Bye, or with one that did not arrive. To be
    /// said instead of [`Self::disconnected`].
    pub fn closed(&mut self, code: u16, now_ms: u64) {
        if matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            if !CONNECTION_CODES.contains(&code) {
                return self.disconnected(now_ms);
            }
            let text = ErrorCode::from_u16(code).map_or_else(Text::default, |known| Text::from_static(known.text()));
            self.hear_bye(Bye { code, retry_after_ms: 0, text }, now_ms);
        }
    }

    /// The server asks us to go elsewhere, each client at a moment of its own.
    pub(super) fn hear_goaway(&mut self, goaway: &GoAway, now_ms: u64) {
        if !goaway.ticket.is_empty() {
            self.ticket = Bytes::copy_from_slice(&goaway.ticket);
        }
        self.address = Text::from(goaway.address.as_str());
        if self.live.moving.is_none_or(|moving| !moving.dialing) {
            let at_ms = now_ms.saturating_add(goaway.delay_ms.min(goaway.closes_in_ms));
            self.live.moving = Some(Moving { code: goaway.code, at_ms, dialing: false });
        }
    }

    /// The next connection is made while this one goes on: nobody waits for a handshake, and one that
    /// does not come about costs nothing.
    fn move_on(&mut self, moving: Moving, now_ms: u64) {
        if moving.dialing {
            return self.move_later(moving, now_ms);
        }
        let at_ms = now_ms.saturating_add(DIAL_TIMEOUT_MS);
        self.live.moving = Some(Moving { at_ms, dialing: true, ..moving });
        let address = core::mem::take(&mut self.address);
        self.outputs.push_back(Output::Connect { attempt: self.attempt, address });
    }

    /// Once more after 1 to 2 s. The server closes this connection in the end, whatever becomes of that.
    fn move_later(&mut self, moving: Moving, now_ms: u64) {
        let wait_ms = BACKOFF_FIRST_MS.saturating_add(self.random(BACKOFF_FIRST_MS));
        self.live.moving = Some(Moving { at_ms: now_ms.saturating_add(wait_ms), dialing: false, ..moving });
    }

    /// Leaves this connection for the one that was made, or is being made, beside it.
    fn move_over(&mut self, moving: Moving, now_ms: u64) {
        self.count_life(now_ms);
        self.leave();
        self.attempt = self.attempt.saturating_add(1);
        self.notice(Notice::Disconnected { code: Some(moving.code), retry_in_ms: Some(0) });
    }

    /// The transport heard something that is no frame, or could not be read for a reason of our own.
    pub const fn alive(&mut self, now_ms: u64) {
        self.live.heard_ms = now_ms;
    }

    /// Says goodbye for good. Whoever waits for an answer gets none.
    pub fn close(&mut self) {
        if matches!(self.phase, Phase::Dialing(_) | Phase::Greeting(_) | Phase::Open(_)) {
            self.outputs.push_back(Output::Close(bye(ErrorCode::Going)));
        }
        self.end(ErrorCode::Going as u16, Text::from_static("The client was closed."));
    }

    /// The connection is over: forget what belonged to it, keep what the application asked for, and
    /// decide when the next one is made.
    pub(super) fn come_back(&mut self, code: Option<u16>, retry_after_ms: u64, now_ms: u64) {
        self.count_life(now_ms);
        self.leave();
        if self.token_spent && self.ticket.is_empty() {
            self.phase = Phase::NeedToken;
            self.notice(Notice::Disconnected { code, retry_in_ms: None });
            return self.notice(Notice::TokenNeeded);
        }
        let bound = BACKOFF_FIRST_MS << self.attempt.min(20);
        let bound = bound.min(self.parameters.backoff_max_ms);
        let wait = match code.map(Recovery::of) {
            // Not a loop: either there is no ticket any more, or no token.
            Some(Recovery::Authenticate) => 0,
            // Even where the server says "at once", a second time in a row is spread.
            Some(Recovery::Reconnect) if self.attempt == 0 => 0,
            _ => self.random(bound.saturating_add(1)),
        };
        let retry_after_ms = retry_after_ms.min(RETRY_AFTER_MAX_MS);
        let wait = wait.max(retry_after_ms);
        self.earliest_ms = now_ms.saturating_add(retry_after_ms.max(BACKOFF_FIRST_MS));
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Waiting(now_ms.saturating_add(wait));
        self.notice(Notice::Disconnected { code, retry_in_ms: Some(wait) });
    }

    /// A person asks for a connection: where the next attempt is waited for, it is made now, but not before the server's
    /// wait is over, nor within a second of the last one.
    pub fn hurry(&mut self, now_ms: u64) {
        if let Phase::Waiting(at_ms) = self.phase {
            self.phase = Phase::Waiting(at_ms.min(now_ms.max(self.earliest_ms)));
        }
    }

    fn count_life(&mut self, now_ms: u64) {
        if self.is_open() && now_ms.saturating_sub(self.live.opened_ms) >= LIVED_MS {
            self.attempt = 0;
        }
    }

    fn leave(&mut self) {
        self.control.clear();
        self.signals.clear();
        self.timers.clear();
        self.live = Live::default();
        for subscription in self.chats.values_mut() {
            subscription.suspend();
            subscription.over();
        }
        let waiting = core::mem::take(&mut self.ready);
        for ready in waiting {
            match ready {
                // Questions that did not go out yet stay in their place.
                Ready::Ask(asking) => self.ready.push_back(Ready::Ask(asking)),
                Ready::Unsubscribe(_, waiter) => self.answer(waiter, Ok(Reply::Done)),
                // The next Hello and its Syncs, and the lanes below, stand for these.
                Ready::Lane(_) | Ready::Subscribe(_) | Ready::Refresh => {}
            }
        }
        for (_, asked) in core::mem::take(&mut self.requests) {
            match asked {
                Asked::Unsubscribe(_, waiter) => self.answer(waiter, Ok(Reply::Done)),
                Asked::Question(asking) => self.ready.push_back(Ready::Ask(asking.afresh())),
                Asked::Command(..) | Asked::Sync | Asked::Subscribe(_) | Asked::Refresh => {}
            }
        }
        for (_, asking) in core::mem::take(&mut self.held) {
            self.ready.push_back(Ready::Ask(asking));
        }
        for (entity, lane) in &mut self.lanes {
            lane.disconnected();
            if lane.is_ready() {
                self.ready.push_back(Ready::Lane(*entity));
            }
        }
    }

    pub(super) fn end(&mut self, code: u16, text: Text) {
        self.phase = Phase::Ended;
        self.notice(Notice::Ended { code, text });
        // Whoever waits learns it from its waiter being dropped.
        self.requests.clear();
        self.lanes.clear();
        self.chats.clear();
        self.refreshing.clear();
        self.ready.clear();
        self.timers.clear();
        self.held.clear();
        self.signals.clear();
        self.control.clear();
    }
}
