//! Connecting, greeting, staying alive, leaving and coming back.

use bytes::Bytes;

use super::output::{Notice, Output, Refusal, Reply};
use super::questions::Asked;
use super::{ClientSession, Live, Phase, Ready, Timer};
use crate::codec::DecodeError;
use crate::error_code::{ErrorCode, Recovery};
use crate::frame::{
    Auth, Bye, ErrorReply, Frame, GoAway, Hello, LimitKind, PROTOCOL_VERSION, Ping, Refresh, Refreshed, Welcome,
};
use crate::framing::RawFrame;
use crate::ids::{Cursor, Seq};
use crate::limits::{CLIENT_NAME_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, TOKEN_BYTES_MAX};
use crate::text::Text;

/// For a connection to come about.
const DIAL_TIMEOUT_MS: u64 = 15_000;
/// From the Hello to the Welcome.
const GREETING_TIMEOUT_MS: u64 = 30_000;
/// The first bound of the random wait; it doubles with each attempt.
const BACKOFF_FIRST_MS: u64 = 1_000;
/// A session that lived so long has shown that the server is well: the attempts count from 0 again.
const LIVED_MS: u64 = 30_000;
/// No server makes us wait longer than this before we try again.
const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// Why a frame ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server sent what it may not.
    Defect(ErrorCode),
    /// Only a new session can go on.
    StartAnew,
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Defect(match error {
            DecodeError::UnknownFrame => ErrorCode::UnknownFrame,
            _ => ErrorCode::Malformed,
        })
    }
}

pub(super) fn is_usable(token: &Text) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&token.len())
}

fn bye(code: ErrorCode) -> Option<Bytes> {
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
                self.live.leave_ms.map(|(at, _)| at),
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
        if let Some((at, code)) = self.live.leave_ms
            && now_ms >= at
        {
            self.outputs.push_back(Output::Close(bye(ErrorCode::Going)));
            return self.come_back(Some(code), 0, now_ms);
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

    /// There is a connection: the Hello and what is to be resumed go out first.
    pub fn connected(&mut self, now_ms: u64) {
        let Phase::Dialing(_) = self.phase else { return };
        self.phase = Phase::Greeting(now_ms.saturating_add(GREETING_TIMEOUT_MS));
        self.live = Live { heard_ms: now_ms, sent_ms: now_ms, ..Live::default() };
        self.by_ticket = !self.ticket.is_empty();
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

    /// The connection is gone without a Bye, or could not be made. To be said once a connection, and not
    /// after [`Output::Close`].
    pub fn disconnected(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Dialing(_) | Phase::Greeting(_) | Phase::Open(_)) {
            self.come_back(None, 0, now_ms);
        }
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

    /// A newer token of the same user. Answered when the server took it.
    pub fn refresh(&mut self, token: Text, waiter: W, now_ms: u64) {
        if !is_usable(&token) {
            return self.answer(waiter, Err(ErrorCode::TokenInvalid.into()));
        }
        self.parameters.token = token;
        self.token_spent = false;
        // The ticket stands for the older right.
        self.ticket = Bytes::new();
        self.refreshing.push_back(waiter);
        match self.phase {
            Phase::NeedToken => self.phase = Phase::Waiting(now_ms),
            Phase::Open(_) => self.ready.push_back(Ready::Refresh),
            _ => {}
        }
    }

    pub(super) fn send_refresh(&mut self) -> Option<Bytes> {
        if self.refreshing.is_empty() {
            return None;
        }
        let request = self.next_request();
        self.requests.insert(request, Asked::Refresh);
        let token = self.parameters.token.clone();
        Some(Frame::from(Refresh { request, token }).to_bytes())
    }

    fn refreshed(&mut self, refreshed: &Refreshed, now_ms: u64) {
        if self.requests.remove(&refreshed.request).is_none() {
            return;
        }
        self.take_right(refreshed.expires_in_ms, &refreshed.ticket, now_ms);
        self.answer_refreshing(&Ok(Reply::Done));
    }

    fn answer_refreshing(&mut self, answer: &Result<Reply, Refusal>) {
        while let Some(waiter) = self.refreshing.pop_front() {
            self.answer(waiter, answer.clone());
        }
    }

    fn take_right(&mut self, expires_in_ms: u64, ticket: &Bytes, now_ms: u64) {
        // Copied: the frame that it came in would live as long.
        self.ticket = Bytes::copy_from_slice(ticket);
        // Somewhere between 60 and 90 % of the time, so that clients of one moment spread.
        let share = expires_in_ms / 10;
        let wait = share.saturating_mul(6).saturating_add(self.random(share.saturating_mul(3)));
        self.live.refresh_ms = Some(now_ms.saturating_add(wait));
    }

    /// Takes a frame of the server. Frames are to be taken only between [`Self::connected`] and the
    /// connection's end.
    pub fn hear(&mut self, raw: RawFrame, now_ms: u64) {
        if !matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            return;
        }
        self.live.heard_ms = now_ms;
        let heard = Frame::decode(raw).map_err(Trouble::from).and_then(|frame| match frame {
            Some(Frame::Bye(bye)) => {
                self.hear_bye(bye, now_ms);
                Ok(())
            }
            Some(frame) if self.is_open() => self.hear_open(frame, now_ms),
            Some(Frame::Welcome(welcome)) => self.hear_welcome(&welcome, now_ms),
            Some(_) => Err(Trouble::Defect(ErrorCode::UnexpectedFrame)),
            None => Ok(()),
        });
        match heard {
            Ok(()) => {}
            Err(Trouble::Defect(code)) => {
                self.outputs.push_back(Output::Close(bye(code)));
                self.come_back(None, 0, now_ms);
            }
            Err(Trouble::StartAnew) => {
                self.outputs.push_back(Output::Close(bye(ErrorCode::Going)));
                self.come_back(None, 0, now_ms);
            }
        }
    }

    /// The transport could not make a frame of what came.
    pub fn defect(&mut self, code: ErrorCode, now_ms: u64) {
        if matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            self.outputs.push_back(Output::Close(bye(code)));
            self.come_back(None, 0, now_ms);
        }
    }

    fn hear_open(&mut self, frame: Frame, now_ms: u64) -> Result<(), Trouble> {
        match frame {
            Frame::Synced(synced) => self.synced(synced, now_ms),
            Frame::Refreshed(refreshed) => self.refreshed(&refreshed, now_ms),
            Frame::Ping(ping) => self.live.pong = Some(ping.nonce),
            Frame::Pong(_) => {}
            Frame::GoAway(goaway) => self.hear_goaway(&goaway, now_ms),
            Frame::Error(error) => self.hear_error(error, now_ms),
            Frame::Ack(ack) => {
                if let Some(Asked::Command(entity, counter)) = self.requests.remove(&ack.request) {
                    self.command_applied(entity, counter, ack.seq, now_ms);
                }
            }
            Frame::Event(event) => self.event(event)?,
            Frame::Subscribed(subscribed) => {
                if let Some(Asked::Subscribe(chat)) = self.requests.remove(&subscribed.request) {
                    self.admitted(chat, subscribed.request, subscribed.admission);
                }
            }
            Frame::Unsubscribed(unsubscribed) => {
                if let Some(Asked::Unsubscribe(waiter)) = self.requests.remove(&unsubscribed.request) {
                    self.answer(waiter, Ok(Reply::Done));
                }
            }
            Frame::Ended(ended) => self.subscription_ended(ended, now_ms)?,
            Frame::PageChunk(chunk) => self.page_chunk(chunk),
            Frame::MembersPage(page) => {
                self.question_answered(page.request, Reply::Members { more: page.more, members: page.members });
            }
            Frame::ChatsPage(page) => {
                let reply = Reply::Chats { more: page.more, inbox: page.inbox, chats: page.chats };
                self.question_answered(page.request, reply);
            }
            Frame::ChatInfoReply(info) => self.question_answered(info.request, Reply::ChatInfo(info)),
            Frame::Signal(signal) => self.notice(Notice::Signal(signal)),
            Frame::Head(head) => self.notice(Notice::Lagging { entity: head.entity, head: head.head }),
            _ => return Err(Trouble::Defect(ErrorCode::UnexpectedFrame)),
        }
        Ok(())
    }

    fn hear_welcome(&mut self, welcome: &Welcome, now_ms: u64) -> Result<(), Trouble> {
        if welcome.version != PROTOCOL_VERSION || welcome.heartbeat_ms == 0 {
            return Err(Trouble::Defect(ErrorCode::Malformed));
        }
        self.phase = Phase::Open(welcome.session);
        self.user = Some(welcome.user);
        self.live.opened_ms = now_ms;
        self.live.heartbeat_ms = welcome.heartbeat_ms;
        self.live.capabilities = welcome.capabilities;
        let announced = welcome.limits.iter().find(|(kind, _)| *kind == LimitKind::RequestsInFlight as u8);
        let announced = announced.and_then(|(_, value)| usize::try_from(*value).ok());
        self.live.requests_max = announced.unwrap_or(REQUESTS_IN_FLIGHT_MAX).clamp(1, REQUESTS_IN_FLIGHT_MAX);
        self.take_right(welcome.expires_in_ms, &welcome.ticket, now_ms);
        let seq = Seq(welcome.inbox.from.0.saturating_sub(1));
        self.inbox = Some(Cursor { incarnation: welcome.inbox.incarnation, seq });
        let (session, user, inbox) = (welcome.session, welcome.user, welcome.inbox);
        self.notice(Notice::Connected { session, user, inbox });
        if !self.refreshing.is_empty() {
            if self.by_ticket {
                // The ticket opened the session, so the newer token is still to be taken.
                self.ready.push_back(Ready::Refresh);
            } else {
                self.answer_refreshing(&Ok(Reply::Done));
            }
        }
        Ok(())
    }

    fn hear_goaway(&mut self, goaway: &GoAway, now_ms: u64) {
        if !goaway.ticket.is_empty() {
            self.ticket = Bytes::copy_from_slice(&goaway.ticket);
        }
        self.address = Text::from(goaway.address.as_str());
        let wait = goaway.delay_ms.min(goaway.closes_in_ms);
        self.live.leave_ms = Some((now_ms.saturating_add(wait), goaway.code));
    }

    fn hear_error(&mut self, error: ErrorReply, now_ms: u64) {
        let request = error.request;
        let Some(asked) = self.requests.remove(&request) else { return };
        let refusal = Refusal::from(error);
        match asked {
            Asked::Command(entity, counter) => self.command_refused(entity, counter, refusal, now_ms),
            Asked::Sync => self.sync_refused(request, &refusal, now_ms),
            Asked::Subscribe(chat) => self.not_admitted(chat, request, refusal, now_ms),
            // Nothing comes of a chat that is not subscribed to here, whatever the server thinks.
            Asked::Unsubscribe(waiter) => self.answer(waiter, Ok(Reply::Done)),
            Asked::Question(asking) => self.question_refused(asking, refusal, now_ms),
            Asked::Refresh if matches!(Recovery::of(refusal.code), Recovery::Repeat | Recovery::Ask) => {
                let wait_ms = refusal.retry_after_ms.max(BACKOFF_FIRST_MS);
                self.timers.insert((now_ms.saturating_add(wait_ms), Timer::Refresh));
            }
            Asked::Refresh => self.answer_refreshing(&Err(refusal)),
        }
    }

    fn hear_bye(&mut self, bye: Bye, now_ms: u64) {
        self.outputs.push_back(Output::Close(None));
        match Recovery::of(bye.code) {
            Recovery::Stop => self.end(bye.code, Text::from(bye.text.as_str())),
            Recovery::Authenticate => {
                self.lose_right(&bye);
                self.come_back(Some(bye.code), bye.retry_after_ms, now_ms);
            }
            _ => self.come_back(Some(bye.code), bye.retry_after_ms, now_ms),
        }
    }

    /// A ticket that is not good leaves the token; a token that is not good leaves nothing.
    fn lose_right(&mut self, bye: &Bye) {
        self.ticket = Bytes::new();
        if self.is_open() {
            // What opened the session is over. A newer token that the server did not take yet is good.
            self.token_spent = self.refreshing.is_empty();
        } else if !self.by_ticket {
            self.token_spent = true;
            let text = Text::from(bye.text.as_str());
            let refusal = Refusal { code: bye.code, retry_after_ms: bye.retry_after_ms, details: None, text };
            self.answer_refreshing(&Err(refusal));
        }
    }

    /// The connection is over: forget what belonged to it, keep what the application asked for, and
    /// decide when the next one is made.
    fn come_back(&mut self, code: Option<u16>, retry_after_ms: u64, now_ms: u64) {
        if self.is_open() && now_ms.saturating_sub(self.live.opened_ms) >= LIVED_MS {
            self.attempt = 0;
        }
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
        let wait = wait.max(retry_after_ms.min(RETRY_AFTER_MAX_MS));
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Waiting(now_ms.saturating_add(wait));
        self.notice(Notice::Disconnected { code, retry_in_ms: Some(wait) });
    }

    fn leave(&mut self) {
        self.control.clear();
        self.signals.clear();
        self.timers.clear();
        self.live = Live::default();
        for subscription in self.chats.values_mut() {
            subscription.suspend();
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
                Asked::Unsubscribe(waiter) => self.answer(waiter, Ok(Reply::Done)),
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

    fn end(&mut self, code: u16, text: Text) {
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
