//! A worker: one thread, its sockets, its sessions, its subscriptions and its end of a link.
//!
//! Workers share nothing that changes on the hot path. [`Core`] is the state of one; every session's
//! task and the worker's own loop borrow it, never across an await.

mod arrivals;
mod by_id;
mod draining;
mod revocations;
mod run;
pub(crate) mod wheel;

use std::rc::Rc;
use std::task::{Context, Waker};

use panda_access::{AccessKeys, FleetSecret, ProofSealer, Revocations, TicketSealer};
use panda_link::Links;
use panda_protocol::frame::{Bye, Frame, Ping};
use panda_protocol::session::server::{Close, Due, ServerLimits, ServerSession};
use panda_protocol::{ErrorCode, SessionId, Text, Time, UserId};
use panda_storage::command_log::CommandLog;
use prometheus_client::metrics::gauge::Gauge;
#[cfg(test)]
use run::serve_until_stop;
pub(crate) use run::{Command, WorkerParts, bind};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::field::{DisplayValue, display};

use self::by_id::ById;
use self::wheel::Wheel;
use crate::admission::Handshake;
use crate::chunked_slab::ChunkedSlab;
use crate::config::SessionLimits;
use crate::fan_out::FanOut;
use crate::metrics::EdgeMetrics;
use crate::outbox::Outbox;
use crate::readmissions::Readmissions;
use crate::session::{COMMANDS_HELD_MAX, Ending, Lane, Member, Session, SessionKey, UnderWay, Waiting};
use crate::subscriptions::Subscriptions;
use crate::transport::{Outgoing, Transport, TransportError};

/// Admissions that one session may have out before no more of its frames are read; the frame that
/// reaches it may bring 256 more.
const ADMISSIONS_OUT_MAX: usize = 512;

/// What a [`Core`] is made of.
pub(crate) struct CoreParts<L: CommandLog> {
    pub(crate) links: Links<L, Waiting>,
    pub(crate) limits: SessionLimits,
    pub(crate) keys: AccessKeys,
    pub(crate) revocations: Revocations,
    pub(crate) fleet: FleetSecret,
    pub(crate) metrics: EdgeMetrics,
    pub(crate) clock: fn() -> Time,
    pub(crate) stirred: Rc<Notify>,
}

/// Everything that one worker knows.
pub(crate) struct Core<L: CommandLog> {
    pub(crate) links: Links<L, Waiting>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) slices: FanOut,
    pub(crate) readmissions: Readmissions,
    pub(crate) wheel: Wheel,
    pub(crate) limits: SessionLimits,
    pub(crate) server_limits: ServerLimits,
    pub(crate) keys: AccessKeys,
    pub(crate) revocations: Revocations,
    pub(crate) tickets: TicketSealer,
    pub(crate) proofs: ProofSealer,
    pub(crate) metrics: EdgeMetrics,
    pub(crate) by_id: ById,
    pub(crate) sessions: ChunkedSlab<Session>,
    /// The figure of that name; outboxes of this worker share it.
    outbox_bytes: Rc<Gauge>,
    next_serial: u32,
    /// When the worker says goodbye, once it drains.
    drains_until_ms: Option<u64>,
    clock: fn() -> Time,
    started: Instant,
    /// Wakes the worker's loop: something is to go up, or a command was appended.
    stirred: Rc<Notify>,
}

impl<L: CommandLog> Core<L> {
    pub(crate) fn new(parts: CoreParts<L>) -> Self {
        let limits = parts.limits.clamped();
        Self {
            links: parts.links,
            subscriptions: Subscriptions::new(),
            slices: FanOut::default(),
            readmissions: Readmissions::default(),
            wheel: Wheel::new(0),
            limits,
            server_limits: limits.server(),
            keys: parts.keys,
            revocations: parts.revocations,
            tickets: TicketSealer::new(&parts.fleet),
            proofs: ProofSealer::new(&parts.fleet),
            by_id: ById::default(),
            sessions: ChunkedSlab::new(),
            outbox_bytes: Rc::new(parts.metrics.outbox_bytes.clone()),
            metrics: parts.metrics,
            next_serial: 0,
            drains_until_ms: None,
            clock: parts.clock,
            started: Instant::now(),
            stirred: parts.stirred,
        }
    }

    /// A connection that will say Hello.
    pub(crate) fn insert(&mut self, handshake: Handshake) -> SessionKey {
        let now_ms = self.now_ms();
        self.next_serial = self.next_serial.wrapping_add(1);
        // What the handshake took is taken off the Hello's time.
        let left = handshake.deadline().saturating_duration_since(Instant::now()).as_millis();
        let left_ms = u64::try_from(left).unwrap_or(u64::MAX);
        let hello_timeout_ms = self.server_limits.hello_timeout_ms.min(left_ms);
        let limits = ServerLimits { hello_timeout_ms, ..self.server_limits };
        let session = Session {
            serial: self.next_serial,
            machine: ServerSession::new(&limits, now_ms),
            outbox: Outbox::default(),
            pages: None,
            waker: None,
            due_ms: u64::MAX,
            ending: None,
            handshake: Some(Box::new(handshake)),
            member: None,
        };
        let key = SessionKey { index: self.sessions.insert(session), serial: self.next_serial };
        self.metrics.connections.inc();
        self.look_at(key);
        key
    }

    /// The connection is gone: nothing of its session stays.
    pub(crate) fn remove(&mut self, key: SessionKey) {
        if self.session(key).is_none() {
            return;
        }
        let Some(session) = self.sessions.remove(key.index) else { return };
        self.metrics.connections.dec();
        self.metrics.end(match session.ending.as_deref() {
            Some(Ending::Bye(close)) => close.code.label(),
            Some(Ending::Left) => "left",
            Some(Ending::Gone) | None => "gone",
        });
        let timed_out =
            matches!(session.ending.as_deref(), Some(Ending::Bye(close)) if close.code == ErrorCode::HandshakeTimeout);
        if let (Some(handshake), true) = (session.handshake, timed_out) {
            handshake.timed_out();
        }
        let Some(member) = session.member else { return };
        // First: the place may be given to another session, whatever happens to the rest.
        let was_open = self.by_id.remove(member.id, key.index);
        for subscription in member.chats.iter() {
            if let Some(entity) = self.subscriptions.one(subscription).map(|one| one.entity) {
                self.drop_subscription(subscription, entity);
            }
        }
        self.drop_subscription(member.inbox, member.user.into());
        if was_open {
            self.metrics.sessions.dec();
            self.links.detach(member.user, member.device, member.id);
            self.stir();
            tracing::debug!(session = %member.id, user = %member.user, "session ended");
        }
    }

    pub(crate) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key.index).filter(|session| session.serial == key.serial)
    }

    pub(crate) fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key.index).filter(|session| session.serial == key.serial)
    }

    pub(crate) fn member(&self, key: SessionKey) -> Option<&Member> {
        self.session(key)?.member.as_ref()
    }

    pub(crate) fn member_mut(&mut self, key: SessionKey) -> Option<&mut Member> {
        self.session_mut(key)?.member.as_mut()
    }

    pub(crate) fn under_way(&self, key: SessionKey) -> Option<&UnderWay> {
        self.member(key)?.under_way.as_deref()
    }

    pub(crate) fn under_way_mut(&mut self, key: SessionKey) -> Option<&mut UnderWay> {
        self.member_mut(key)?.under_way.as_deref_mut()
    }

    /// The open session of this ID.
    pub(crate) fn key_of(&self, id: SessionId) -> Option<SessionKey> {
        let index = self.by_id.find(id, &self.sessions)?;
        Some(SessionKey { index, serial: self.sessions.get(index)?.serial })
    }

    /// A session and its user, as a log names them; neither has a name before its Hello was found good.
    pub(crate) fn who(&self, key: SessionKey) -> (Option<DisplayValue<SessionId>>, Option<DisplayValue<UserId>>) {
        self.member(key).map(|member| (display(member.id), display(member.user))).unzip()
    }

    /// Milliseconds since the worker's start.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        (self.clock)().0 / 1_000
    }

    /// Something is to go up.
    pub(crate) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Queues a frame of one session.
    pub(crate) fn send(&mut self, key: SessionKey, frame: &Frame) {
        self.queue(key, Outgoing::new(&frame.to_bytes()));
    }

    /// Queues a frame that may be shared with others.
    pub(crate) fn queue(&mut self, key: SessionKey, frame: Outgoing) {
        self.queue_on(key, Lane::Session, frame);
    }

    /// Queues a frame on one of the session's streams. Who closed the stream gets nothing.
    pub(crate) fn queue_on(&mut self, key: SessionKey, lane: Lane, frame: Outgoing) {
        let waiting = Rc::clone(&self.outbox_bytes);
        let Some(session) = self.session_mut(key) else { return };
        if session.ending.is_some() {
            return;
        }
        match lane {
            Lane::Session => session.outbox.push(frame, &waiting),
            Lane::Pages => {
                if let Some(outbox) = &mut session.pages {
                    outbox.push(frame, &waiting);
                }
            }
        }
        self.wake(key);
    }

    pub(crate) fn wake(&mut self, key: SessionKey) {
        if let Some(waker) = self.session_mut(key).and_then(|session| session.waker.take()) {
            waker.wake();
        }
    }

    /// Ends a session: a Bye is its last frame.
    pub(crate) fn end(&mut self, key: SessionKey, close: Close) {
        let bye = Bye {
            code: close.code as u16,
            retry_after_ms: close.retry_after_ms,
            text: Text::from_static(close.code.text()),
        };
        self.send(key, &bye.into());
        if let Some(session) = self.session_mut(key)
            && session.ending.is_none()
        {
            session.machine.close();
            session.ending = Some(Box::new(Ending::Bye(close)));
        }
        self.wake(key);
    }

    /// The transport failed.
    pub(crate) fn broken(&mut self, key: SessionKey, error: &TransportError) {
        match error.code() {
            Some(code) => self.end(key, code.into()),
            None => {
                if let Some(session) = self.session_mut(key) {
                    session.machine.close();
                    session.ending.get_or_insert_with(|| Box::new(Ending::Gone));
                }
            }
        }
    }

    pub(crate) fn ending(&self, key: SessionKey) -> Option<Ending> {
        self.session(key).map_or(Some(Ending::Gone), |session| session.ending.as_deref().copied())
    }

    /// The session's task waits.
    pub(crate) fn watch(&mut self, key: SessionKey, waker: &Waker) {
        if let Some(session) = self.session_mut(key) {
            session.waker = Some(waker.clone());
        }
    }

    /// The largest frame that may come now; none while what waits to be written is large, or as much
    /// was asked for as may be.
    pub(crate) fn wants_frames(&self, key: SessionKey) -> Option<usize> {
        let session = self.session(key)?;
        let under_way = session.member.as_ref().and_then(|member| member.under_way.as_ref());
        let asks = under_way.is_some_and(|under_way| {
            under_way.admissions >= ADMISSIONS_OUT_MAX || under_way.commands.len() >= COMMANDS_HELD_MAX
        });
        if session.ending.is_some() || asks || session.outbox.bytes() > self.limits.outbox_bytes_max / 2 {
            return None;
        }
        session.machine.frame_bytes_max()
    }

    /// The same for the stream for pages.
    pub(crate) fn wants_page_frames(&self, key: SessionKey) -> Option<usize> {
        let session = self.session(key)?;
        if session.ending.is_some() || session.pages.as_ref()?.bytes() > self.limits.outbox_bytes_max / 2 {
            return None;
        }
        session.machine.frame_bytes_max()
    }

    /// An admission of a session's request was answered.
    pub(crate) fn admission_answered(&mut self, key: SessionKey) {
        if let Some(under_way) = self.under_way_mut(key) {
            under_way.admissions = under_way.admissions.saturating_sub(1);
            if under_way.admissions + 1 == ADMISSIONS_OUT_MAX {
                self.wake(key);
            }
        }
    }

    /// Opens or closes the stream for pages. Requests of a closed one are served for nobody.
    pub(crate) fn set_pages(&mut self, key: SessionKey, open: bool) {
        if let Some(session) = self.session_mut(key) {
            session.pages = open.then(Box::default);
        }
    }

    /// Room was made: what waits for it goes on. Where nothing is under way any more nothing is held for it.
    pub(crate) fn refill(&mut self, key: SessionKey) {
        self.catch_up(key);
        self.read_on(key);
        if self.under_way(key).is_some() {
            let (now_ms, commands_per_second) = (self.now_ms(), self.limits.commands_per_second);
            if let Some(member) = self.member_mut(key) {
                member.rest(commands_per_second, now_ms);
            }
        }
    }

    pub(crate) fn alive(&mut self, key: SessionKey) {
        let now_ms = self.now_ms();
        if let Some(session) = self.session_mut(key) {
            session.machine.alive(now_ms);
        }
    }

    /// The same for the stream for pages.
    pub(crate) fn flush_pages(
        &mut self,
        key: SessionKey,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
    ) -> Result<(), TransportError> {
        let now_ms = self.now_ms();
        let Some(session) = self.session_mut(key) else { return Ok(()) };
        let Some(outbox) = &mut session.pages else { return Ok(()) };
        if outbox.flush(cx, transport)?.peer_took {
            session.machine.alive(now_ms);
        }
        Ok(())
    }

    /// Hands the transport what waits. Bytes that the peer is seen to take are a sign of life.
    pub(crate) fn flush(
        &mut self,
        key: SessionKey,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
    ) -> Result<(), TransportError> {
        let now_ms = self.now_ms();
        let Some(session) = self.session_mut(key) else { return Ok(()) };
        let flushed = session.outbox.flush(cx, transport)?;
        if flushed.sent {
            session.machine.sent(now_ms);
        }
        if flushed.peer_took {
            session.machine.alive(now_ms);
        }
        Ok(())
    }

    pub(crate) fn is_drained(&self, key: SessionKey) -> bool {
        self.session(key).is_none_or(|session| session.outbox.is_empty())
    }

    /// Puts the session into the wheel at the moment when something is due.
    pub(crate) fn look_at(&mut self, key: SessionKey) {
        let (now_ms, limits) = (self.now_ms(), self.server_limits);
        let Some(session) = self.session_mut(key) else { return };
        if session.ending.is_some() {
            return;
        }
        match session.machine.due(&limits, now_ms) {
            Due::At(at_ms) => self.schedule(key, at_ms),
            Due::Ping(nonce) => {
                session.machine.sent(now_ms);
                self.send(key, &Ping { nonce }.into());
                self.look_at(key);
            }
            Due::Close(close) => self.end(key, close),
        }
    }

    /// The session is to be looked at no later than this. Only the earliest such moment counts: a
    /// later one is found out when the session is looked at, so a session is in the wheel about once.
    pub(crate) fn schedule(&mut self, key: SessionKey, at_ms: u64) {
        if let Some(session) = self.session_mut(key)
            && at_ms < session.due_ms
        {
            session.due_ms = at_ms;
            let before = self.wheel.next_ms();
            self.wheel.insert(key, at_ms);
            if self.wheel.next_ms() != before {
                // The loop sleeps until what was next.
                self.stir();
            }
        }
    }

    /// When [`Self::turn`] has something to do next, in milliseconds since the worker's start; none while nothing waits for
    /// time to go by.
    pub(crate) fn next_turn_ms(&self) -> Option<u64> {
        let Self { wheel, links, readmissions, .. } = self;
        [wheel.next_ms(), links.next_expiry_ms(), readmissions.next_ms()].into_iter().flatten().min()
    }

    /// Time went by.
    pub(crate) fn turn(&mut self, due: &mut Vec<(SessionKey, u64)>) {
        let now_ms = self.now_ms();
        self.wheel.due(now_ms, due);
        for (key, at_ms) in due.drain(..) {
            // One that was put in again for an earlier moment was looked at then.
            match self.session_mut(key) {
                Some(session) if session.due_ms == at_ms => session.due_ms = u64::MAX,
                _ => continue,
            }
            self.look_at(key);
            self.catch_up(key);
        }
        while let Some(expired) = self.links.expire(now_ms) {
            self.take(expired);
        }
        self.readmissions.turn(now_ms);
        self.readmit_on();
    }

    /// Whether no connection is left, and no command that is to be appended yet.
    pub(crate) fn is_done(&self) -> bool {
        self.sessions.len() == 0 && self.links.withheld() == 0
    }

    fn keys_of_sessions(&self) -> Vec<SessionKey> {
        self.sessions.iter().map(|(index, session)| SessionKey { index, serial: session.serial }).collect()
    }
}

#[cfg(test)]
mod tests;
