//! Events on their way to sessions: live, or read again at a slow reader's pace.
//!
//! A subscription's `next` is the first event that was not queued. Nothing but `next` is ever queued,
//! so whatever comes twice, late or not at all, a session's stream has no gap and each event once.

use std::ops::Range;

use bytes::Bytes;
use panda_protocol::event::peek_seq;
use panda_protocol::frame::{Admission, Ended, Frame, Head, Signal};
use panda_protocol::limits::PAGE_EVENTS_MAX;
use panda_protocol::link::{Events, ReadQuery, Rejection};
use panda_protocol::session::server::Close;
use panda_protocol::{DecodeError, EntityId, ErrorCode, Seq, UserId};
use panda_storage::command_log::CommandLog;

use super::reads::chunk;
use super::requests::RETRY_AFTER_MS;
use super::{Member, SessionKey, Waiting};
use crate::fan_out::{Encoded, Run, SLICE_LISTENERS, event_frame};
use crate::subscriptions::{Ends, State, SubscriptionKey};
use crate::transport::Outgoing;
use crate::worker::Core;

/// Events that are read at once to catch up, at least.
const CATCH_UP_EVENTS_LEAST: usize = 8;
/// How long a read to catch up that failed is not repeated, at least.
const CATCH_UP_RETRY_MS: u64 = 200;

impl<L: CommandLog> Core<L> {
    /// An admitted subscription begins: live, or with what it missed.
    pub(super) fn begin(&mut self, key: SubscriptionKey, entity: EntityId, admission: &Admission) {
        let Some(one) = self.subscriptions.one_mut(key) else { return };
        one.next = admission.from;
        let missing = admission.from <= admission.head;
        one.state = if missing { State::Lagging { head: admission.head, ends: Ends::No } } else { State::Live };
        let session = one.session;
        self.subscriptions.list(key);
        debug_assert!(!self.subscriptions.is_unknown(entity));
        if missing && let Some(member) = self.member_mut(session) {
            member.under_way_or_new().lagging.push_back(key);
        }
    }

    /// Events of an entity that came together, for all of its listeners here. Each is encoded once.
    pub(crate) fn fan_out(&mut self, events: Events) {
        if self.subscriptions.is_unknown(events.entity) {
            // The owner noted an interest whose answer was no longer waited for.
            self.links.forget(events.entity);
            return self.stir();
        }
        self.metrics.events.inc_by(events.events.len() as u64);
        let Some(events) = self.slices.behind(events) else { return };
        let places = self.subscriptions.listeners(events.entity);
        if places > SLICE_LISTENERS {
            return self.slices.start(events, places);
        }
        self.serve(&mut Encoded::new(events), 0..places);
    }

    /// Serves the next slice of a large fan-out.
    pub(crate) fn fan_out_on(&mut self) {
        let Some(mut slices) = self.slices.next() else { return };
        let from = slices.places.saturating_sub(SLICE_LISTENERS);
        self.serve(&mut slices.encoded, from..slices.places);
        slices.places = from;
        let places = self.subscriptions.listeners(slices.entity());
        self.slices.give_back(slices, places);
    }

    /// Places are served from the last on: see [`Subscriptions::listener`](crate::subscriptions::Subscriptions::listener).
    fn serve(&mut self, encoded: &mut Encoded, places: Range<usize>) {
        let Encoded { events, runs } = encoded;
        for place in places.rev() {
            let Some(key) = self.subscriptions.listener(events.entity, place) else { continue };
            for run in &mut *runs {
                if run.places.len() > 1 && self.deliver_together(key, events, run) {
                    continue;
                }
                for place in run.places.clone() {
                    self.deliver(key, events, run, place);
                }
            }
        }
    }

    /// Several events in one message, for a listener who has had all before them and has room for them. Returns
    /// whether it is one.
    fn deliver_together(&mut self, key: SubscriptionKey, events: &Events, run: &mut Run) -> bool {
        let Some(one) = self.subscriptions.one(key) else { return false };
        let (session, first, count) = (one.session, events.events[run.places.start].seq, run.places.len() as u64);
        if one.state != State::Live || one.next != first {
            return false;
        }
        let (message, bytes_max) = (run.together(events), self.limits.outbox_bytes_max);
        if !self.session(session).is_some_and(|session| session.outbox.has_room(message.len(), bytes_max)) {
            return false;
        }
        self.deliver_next(key, session, message.clone(), count);
        true
    }

    fn deliver(&mut self, key: SubscriptionKey, events: &Events, run: &mut Run, place: usize) {
        let (entity, event) = (events.entity, &events.events[place]);
        let bytes_max = self.limits.outbox_bytes_max;
        let Some(one) = self.subscriptions.one(key) else { return };
        let (session, state, next) = (one.session, one.state, one.next);
        let Some(user) = self.member(session).map(|member| member.user) else { return };
        let ends = event.ends == Some(user);
        if ends && event.seq < next && matches!(state, State::Live | State::Lagging { .. }) {
            // It was read before this word of it came. Who has later events, too, was admitted again.
            let again = event.seq.next() < next;
            let code = if again { ErrorCode::Unavailable } else { ErrorCode::NotMember };
            return self.end_subscription(key, entity, code);
        }
        match state {
            State::Live if event.seq < next => {}
            State::Live => {
                let message = run.alone(events, place);
                let room =
                    self.session(session).is_some_and(|session| session.outbox.has_room(message.len(), bytes_max));
                if event.seq == next && room {
                    self.deliver_next(key, session, message.clone(), 1);
                    if ends {
                        self.end_subscription(key, entity, ErrorCode::NotMember);
                    }
                } else {
                    let ends = if ends { Ends::At(event.seq) } else { Ends::No };
                    self.cut(key, session, entity, event.seq, ends);
                }
            }
            State::Lagging { head, ends: known } => {
                let ends = if ends && known == Ends::No { Ends::At(event.seq) } else { known };
                self.set_state(key, State::Lagging { head: head.max(event.seq), ends });
            }
            State::Readmitting { head, read } => {
                self.set_state(key, State::Readmitting { head: head.max(event.seq), read });
            }
            State::Admitting => {}
        }
    }

    /// Queues the next so many events of a subscription, which a message holds.
    fn deliver_next(&mut self, key: SubscriptionKey, session: SessionKey, message: Outgoing, count: u64) {
        if let Some(one) = self.subscriptions.one_mut(key) {
            one.next = Seq(one.next.0 + count);
        }
        self.metrics.deliveries.inc_by(count);
        self.queue(session, message);
    }

    pub(super) fn set_state(&mut self, key: SubscriptionKey, state: State) {
        if let Some(one) = self.subscriptions.one_mut(key) {
            one.state = state;
        }
    }

    /// The session does not keep up with this entity: it is told where the entity is, and reads on.
    fn cut(&mut self, key: SubscriptionKey, session: SessionKey, entity: EntityId, head: Seq, ends: Ends) {
        self.metrics.cuts.inc();
        self.set_state(key, State::Lagging { head, ends });
        self.send(session, &Head { entity, head }.into());
        if let Some(member) = self.member_mut(session) {
            member.under_way_or_new().lagging.push_back(key);
        }
        self.catch_up(session);
    }

    /// The link dropped bodies: listeners read them, after a new admission if rights may have ended.
    pub(crate) fn head(&mut self, entity: EntityId, head: Seq, readmit: bool) {
        for place in (0..self.subscriptions.listeners(entity)).rev() {
            let Some(key) = self.subscriptions.listener(entity, place) else { continue };
            let Some((session, state, next)) =
                self.subscriptions.one(key).map(|one| (one.session, one.state, one.next))
            else {
                continue;
            };
            match state {
                State::Readmitting { head: known, read } => {
                    self.set_state(key, State::Readmitting { head: head.max(known), read });
                }
                State::Live | State::Lagging { .. } if readmit => self.readmit(key, head),
                State::Lagging { head: known, ends } => {
                    self.set_state(key, State::Lagging { head: head.max(known), ends });
                }
                State::Live if next <= head => self.cut(key, session, entity, head, Ends::No),
                State::Live | State::Admitting => {}
            }
        }
    }

    /// Asks for the next events of a subscription that lags, if the session has room for them and no
    /// such question is out. Returns whether something changed that could be written at once.
    pub(crate) fn catch_up(&mut self, session: SessionKey) -> bool {
        let (now_ms, half) = (self.now_ms(), self.limits.outbox_bytes_max / 2);
        if self.session(session).is_none_or(|session| session.outbox.bytes() > half) {
            return false;
        }
        loop {
            let Some(member) = self.member_mut(session) else { return false };
            let user = member.user;
            let Some(under_way) = &mut member.under_way else { return false };
            if under_way.catching_up.is_some() || under_way.lagging.is_empty() {
                return false;
            }
            if under_way.catch_up_after_ms > now_ms {
                // Whatever woke the session before, it is looked at again when it may read.
                let after_ms = under_way.catch_up_after_ms;
                self.schedule(session, after_ms);
                return false;
            }
            let Some(key) = under_way.lagging.pop_front() else { return false };
            let Some(one) = self.subscriptions.one_mut(key) else { continue };
            let (entity, next) = (one.entity, one.next);
            match one.state {
                State::Lagging { head, ends: Ends::No } if next > head => {
                    one.state = State::Live;
                    continue;
                }
                State::Lagging { .. } => {}
                _ => continue,
            }
            self.ask_missed(session, key, user, entity, next);
            return false;
        }
    }

    /// About as many events as there is room for, by the size of those before; what is read in vain is
    /// read again.
    fn catch_up_events(&self, session: SessionKey) -> u64 {
        let waits = self.session(session).map_or(0, |session| session.outbox.bytes());
        let room = self.limits.outbox_bytes_max.saturating_sub(waits);
        let bytes = self.under_way(session).map_or(1, |under_way| under_way.event_bytes.max(1));
        (room / bytes).clamp(CATCH_UP_EVENTS_LEAST, PAGE_EVENTS_MAX) as u64
    }

    fn ask_missed(&mut self, session: SessionKey, key: SubscriptionKey, user: UserId, entity: EntityId, next: Seq) {
        let query = ReadQuery::CatchUp { from: next, limit: self.catch_up_events(session) };
        let asked = self.links.read(self.now_ms(), user, entity, query, Waiting::CatchUp { session, key });
        self.metrics.catch_ups.inc();
        self.stir();
        match asked {
            Ok(()) => {
                if let Some(member) = self.member_mut(session) {
                    member.under_way_or_new().catching_up = Some(next);
                }
            }
            Err((rejection, _)) => self.catch_up_later(session, key, rejection.retry_after_ms),
        }
    }

    fn catch_up_later(&mut self, session: SessionKey, key: SubscriptionKey, wait_ms: u64) {
        let at_ms = self.now_ms() + wait_ms.max(CATCH_UP_RETRY_MS);
        if let Some(under_way) = self.member_mut(session).map(Member::under_way_or_new) {
            under_way.lagging.push_back(key);
            under_way.catch_up_after_ms = at_ms;
        }
        self.schedule(session, at_ms);
    }

    /// A part of what a subscription missed. What finds no room is read again later.
    pub(crate) fn missed(&mut self, session: SessionKey, key: SubscriptionKey, body: &Bytes) {
        if let Err(error) = self.take_missed(session, key, body) {
            let entity = self.subscriptions.one(key).map(|one| one.entity);
            self.unreadable(session, entity, error);
        }
    }

    fn take_missed(&mut self, session: SessionKey, key: SubscriptionKey, body: &Bytes) -> Result<(), DecodeError> {
        let bytes_max = self.limits.outbox_bytes_max;
        let chunk = chunk(body)?;
        for event in &chunk.events {
            let seq = peek_seq(event)?;
            let Some(one) = self.subscriptions.one_mut(key) else { return Ok(()) };
            let State::Lagging { ends, .. } = one.state else { return Ok(()) };
            let entity = one.entity;
            if seq < one.next {
                continue;
            }
            if seq > one.next {
                if chunk.begins_at > one.next {
                    // The right ended and began anew, or what is missing is kept no longer: the client
                    // asks anew and learns from where on.
                    self.end_subscription(key, entity, ErrorCode::Unavailable);
                }
                // Otherwise an earlier part of this read found no room, so this one is of no use.
                return Ok(());
            }
            let frame = Outgoing::new(&event_frame(entity, event));
            if !self.session(session).is_some_and(|session| session.outbox.has_room(frame.len(), bytes_max)) {
                return Ok(());
            }
            if let Some(under_way) = self.under_way_mut(session) {
                under_way.event_bytes = (under_way.event_bytes * 7 + frame.len()) / 8;
            }
            self.deliver_next(key, session, frame, 1);
            if ends == Ends::At(seq) {
                self.end_subscription(key, entity, ErrorCode::NotMember);
                return Ok(());
            }
        }
        if let Some(one) = self.subscriptions.one_mut(key)
            && let State::Lagging { head, ends } = one.state
        {
            let head = head.max(chunk.head);
            let read = chunk.last && (chunk.events.is_empty() || one.next > chunk.head);
            if ends == Ends::Dry && read {
                // The user may have come back since it was removed, and then has read on behind the removal.
                one.state = State::Readmitting { head, read };
                self.readmissions.push(key);
            } else {
                one.state = State::Lagging { head, ends };
            }
        }
        Ok(())
    }

    /// The last part of what a subscription missed, or why there is none.
    pub(crate) fn missed_last(&mut self, session: SessionKey, key: SubscriptionKey, outcome: Result<Bytes, Rejection>) {
        let from = self.under_way_mut(session).and_then(|under_way| under_way.catching_up.take());
        match outcome {
            Ok(body) => {
                self.missed(session, key, &body);
                match self.subscriptions.one(key).map(|one| (one.state, one.next)) {
                    // It brought nothing: another one at once would not, either.
                    Some((State::Lagging { head, .. }, next)) if Some(next) == from && next <= head => {
                        self.catch_up_later(session, key, CATCH_UP_RETRY_MS);
                    }
                    Some((State::Lagging { .. }, _)) => {
                        if let Some(member) = self.member_mut(session) {
                            member.under_way_or_new().lagging.push_back(key);
                        }
                    }
                    _ => {}
                }
            }
            Err(rejection) if rejection.code == ErrorCode::Unavailable => {
                self.catch_up_later(session, key, rejection.retry_after_ms);
            }
            Err(rejection) => {
                if let Some(entity) = self.subscriptions.one(key).map(|one| one.entity) {
                    self.end_subscription(key, entity, rejection);
                }
            }
        }
        self.catch_up(session);
        self.wake(session);
    }

    /// A subscription is over by the server's word.
    pub(super) fn end_subscription(&mut self, key: SubscriptionKey, entity: EntityId, rejection: impl Into<EndedWhy>) {
        let EndedWhy { code, retry_after_ms } = rejection.into();
        let Some(session) = self.subscriptions.one(key).map(|one| one.session) else { return };
        let Some(chat) = entity.chat() else {
            // A session is nothing without its inbox.
            let close = match code {
                ErrorCode::Damaged => Close { code: ErrorCode::InboxDamaged, retry_after_ms },
                _ => ErrorCode::Internal.into(),
            };
            return self.end(session, close);
        };
        if self.member(session).and_then(|member| member.chats.find(chat, &self.subscriptions)) == Some(key) {
            self.unlist_chat(session, chat);
        }
        self.drop_subscription(key, entity);
        self.send(session, &Ended { entity, code: code as u16, retry_after_ms }.into());
    }

    /// Takes a subscription out and tells the router if it was the last here.
    pub(crate) fn drop_subscription(&mut self, key: SubscriptionKey, entity: EntityId) {
        if self.subscriptions.remove(key).is_some() && entity.chat().is_some() {
            self.metrics.subscriptions.dec();
        }
        self.forget_unheard(entity);
    }

    /// An admission's answer came.
    pub(crate) fn answered(&mut self, entity: EntityId, stated: bool) {
        self.subscriptions.answered(entity, stated);
    }

    /// Tells the router if nobody here listens to the entity any more.
    pub(crate) fn forget_unheard(&mut self, entity: EntityId) {
        if self.subscriptions.forgotten(entity) {
            self.links.forget(entity);
            self.stir();
        }
    }

    /// A signal for a chat's listeners, but not for the sessions of who sent it. It is dropped where
    /// there is no room, and where it would be for so many that others had to wait for it.
    pub(crate) fn signal_down(&mut self, signal: &Signal) {
        let (entity, bytes_max) = (EntityId::from(signal.chat), self.limits.outbox_bytes_max);
        let listeners = self.subscriptions.listeners(entity);
        if listeners > SLICE_LISTENERS {
            return;
        }
        let mut frame: Option<Outgoing> = None;
        for place in (0..listeners).rev() {
            let Some(one) = self.subscriptions.listener(entity, place).and_then(|key| self.subscriptions.one(key))
            else {
                continue;
            };
            let (session, live) = (one.session, one.state == State::Live);
            let own = self.member(session).is_none_or(|member| Some(member.user) == signal.user);
            let frame = frame.get_or_insert_with(|| Outgoing::new(&Frame::from(signal.clone()).to_bytes()));
            let room = self.session(session).is_some_and(|session| session.outbox.has_room(frame.len(), bytes_max));
            if live && room && !own {
                let frame = frame.clone();
                self.queue(session, frame);
                self.metrics.signals.inc();
            }
        }
    }
}

/// Why a subscription ended.
pub(super) struct EndedWhy {
    code: ErrorCode,
    retry_after_ms: u64,
}

impl From<ErrorCode> for EndedWhy {
    fn from(code: ErrorCode) -> Self {
        Rejection::new(code).into()
    }
}

impl From<Rejection> for EndedWhy {
    fn from(rejection: Rejection) -> Self {
        let rejection = rejection.told(RETRY_AFTER_MS);
        Self { code: rejection.code, retry_after_ms: rejection.retry_after_ms }
    }
}
