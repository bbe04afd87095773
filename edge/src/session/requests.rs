//! What clients ask for, and the replies.

use bytes::Bytes;
use panda_protocol::frame::{
    Ack, Admission, ErrorReply, Frame, RequestId, Signal, Subscribed, SyncEntry, Synced, SyncedEntry, Unsubscribed,
};
use panda_protocol::framing::{RawFrame, frame_bytes};
use panda_protocol::link::{ReadQuery, Rejection};
use panda_protocol::session::server::{CommandRequest, Heard, Phase, Request};
use panda_protocol::{ChatId, EntityId, ErrorCode, Seq};
use panda_storage::command_log::CommandLog;

use super::{Ending, SessionKey, Waiting};
use crate::subscriptions::{Subscription, SubscriptionKey};
use crate::transport::Outgoing;
use crate::worker::Core;

impl<L: CommandLog> Core<L> {
    /// A frame came.
    pub(crate) fn hear(&mut self, key: SessionKey, frame: RawFrame) {
        let (now_ms, limits) = (self.now_ms(), self.server_limits);
        let Some(session) = self.session_mut(key) else { return };
        match session.machine.hear(&limits, frame, now_ms) {
            Err(close) => self.end(key, close),
            Ok(Heard::Nothing) => {}
            Ok(Heard::Hello(hello)) => {
                self.hello(key, hello);
                self.look_at(key);
            }
            Ok(Heard::Request(request, asked)) => self.request(key, request, asked),
            Ok(Heard::Refused(request, code)) => {
                self.send(key, &ErrorReply::new(request, code).into());
            }
            Ok(Heard::Signal(signal)) => self.signal_up(key, signal),
            Ok(Heard::Reply(frame)) => self.send(key, &frame),
            Ok(Heard::Left) => session.ending = Some(Ending::Left),
        }
    }

    fn request(&mut self, key: SessionKey, request: RequestId, asked: Request) {
        match asked {
            Request::Command(command) => self.command(key, request, command),
            Request::Sync(sync) => self.sync(key, request, sync.chats),
            Request::Subscribe(subscribe) => {
                let entity = subscribe.entry.chat.into();
                if let Err(rejection) = self.subscribe(key, subscribe.entry, |subscription| Waiting::Subscribe {
                    session: key,
                    request,
                    key: subscription,
                    entity,
                }) {
                    self.refuse(key, request, rejection);
                }
            }
            Request::Unsubscribe(unsubscribe) => {
                self.unsubscribe(key, unsubscribe.chat);
                self.reply(key, &Unsubscribed { request }.into());
            }
            Request::Refresh(refresh) => self.refresh(key, &refresh),
            Request::Page(page) => {
                let query = ReadQuery::Page { direction: page.direction, from: page.from, limit: page.limit };
                self.read(key, request, page.entity, query, 0x21);
            }
            Request::Members(members) => {
                let query = ReadQuery::Members { after: members.after, limit: members.limit };
                self.read(key, request, members.chat.into(), query, 0x23);
            }
            Request::Chats(chats) => {
                let Some(user) = self.member(key).map(|member| member.user) else { return };
                let query = ReadQuery::Chats { after: chats.after, limit: chats.limit };
                self.read(key, request, user.into(), query, 0x25);
            }
            Request::ChatInfo(info) => self.read(key, request, info.chat.into(), ReadQuery::Info, 0x27),
        }
    }

    fn command(&mut self, key: SessionKey, request: RequestId, command: CommandRequest) {
        let (now_ms, per_second) = (self.now_ms(), self.limits.commands_per_second);
        let Some(member) = self.member_mut(key) else { return };
        if let Err(retry_after_ms) = member.rate.take(per_second, now_ms) {
            self.metrics.rate_limited.inc();
            return self.refuse(key, request, Rejection { retry_after_ms, ..Rejection::new(ErrorCode::RateLimited) });
        }
        let (user, device) = (member.user, member.device);
        if command.entity.inbox().is_some_and(|owner| owner != user) {
            return self.refuse(key, request, Rejection::new(ErrorCode::NotFound));
        }
        let waiting = Waiting::Command { session: key, request };
        let CommandRequest { entity, counter, after, kind_and_body, .. } = command;
        let sent = self.links.command(now_ms, user, device, entity, counter, after, kind_and_body, waiting);
        self.metrics.commands.inc();
        self.stir();
        if let Err((rejection, _)) = sent {
            self.refuse(key, request, rejection);
        }
    }

    pub(crate) fn commanded(&mut self, key: SessionKey, request: RequestId, outcome: Result<Seq, Rejection>) {
        match outcome {
            Ok(seq) => self.reply(key, &Ack { request, seq }.into()),
            Err(rejection) => self.refuse(key, request, rejection),
        }
    }

    fn read(&mut self, key: SessionKey, request: RequestId, entity: EntityId, query: ReadQuery, kind: u8) {
        let Some(user) = self.member(key).map(|member| member.user) else { return };
        let waiting = Waiting::Read { session: key, request, kind };
        let asked = self.links.read(self.now_ms(), user, entity, query, waiting);
        self.stir();
        if let Err((rejection, _)) = asked {
            self.refuse(key, request, rejection);
        }
    }

    /// A part of what a client reads.
    pub(crate) fn read_part(&mut self, key: SessionKey, request: RequestId, kind: u8, body: &Bytes) {
        let frame = frame_bytes(kind, body.len() + 8, |out| {
            out.value(&request);
            out.raw(body);
        });
        self.queue(key, Outgoing::new(&frame));
    }

    /// The last part of it, or why there is none.
    pub(crate) fn read_last(
        &mut self,
        key: SessionKey,
        request: RequestId,
        kind: u8,
        outcome: Result<Bytes, Rejection>,
    ) {
        match outcome {
            Ok(body) => {
                self.read_part(key, request, kind, &body);
                self.replied(key);
            }
            Err(rejection) => self.refuse(key, request, rejection),
        }
    }

    /// Asks the chat's owner for an admission. A subscription that is there begins anew.
    fn subscribe(
        &mut self,
        key: SessionKey,
        entry: SyncEntry,
        waiting: impl FnOnce(SubscriptionKey) -> Waiting,
    ) -> Result<(), Rejection> {
        let (chat, entity) = (entry.chat, EntityId::from(entry.chat));
        let subscriptions_max = self.limits.subscriptions_max;
        let member = self.member(key).ok_or(Rejection::new(ErrorCode::Unavailable))?;
        if !member.chats.contains_key(&chat) && member.chats.len() >= subscriptions_max {
            return Err(Rejection::new(ErrorCode::TooManySubscriptions));
        }
        let user = member.user;
        self.unsubscribe(key, chat);
        let member_at = self.proofs.verify(user, entity, &entry.proof);
        let subscription = self.subscriptions.add(key, entity);
        self.subscriptions.asked(entity);
        let asked = self.links.admit(self.now_ms(), user, entity, entry.cursor, member_at, waiting(subscription));
        self.stir();
        if let Err((rejection, _)) = asked {
            self.subscriptions.remove(subscription);
            self.answered(entity, false);
            return Err(rejection);
        }
        if let Some(member) = self.member_mut(key) {
            member.chats.insert(chat, subscription);
        }
        self.metrics.subscriptions.inc();
        Ok(())
    }

    /// Ends a subscription if there is one.
    pub(crate) fn unsubscribe(&mut self, key: SessionKey, chat: ChatId) {
        if let Some(subscription) = self.member_mut(key).and_then(|member| member.chats.remove(&chat)) {
            self.drop_subscription(subscription, chat.into());
        }
    }

    /// A chat's owner has answered a Subscribe.
    pub(crate) fn subscribed(
        &mut self,
        session: SessionKey,
        request: RequestId,
        key: SubscriptionKey,
        entity: EntityId,
        outcome: Result<Admission, Rejection>,
    ) {
        match self.settle(session, key, entity, outcome) {
            Ok(admission) => {
                self.reply(session, &Subscribed { request, admission: admission.clone() }.into());
                self.begin(key, entity, &admission);
                self.catch_up(session);
            }
            Err(rejection) => self.refuse(session, request, rejection),
        }
    }

    /// Seals the proof of an admission, or takes the subscription back.
    fn settle(
        &mut self,
        session: SessionKey,
        key: SubscriptionKey,
        entity: EntityId,
        outcome: Result<Admission, Rejection>,
    ) -> Result<Admission, Rejection> {
        let current = self.subscriptions.one(key).is_some();
        match (outcome, self.member(session).map(|member| member.user)) {
            (Ok(mut admission), Some(user)) if current => {
                admission.proof = self.proofs.seal(user, entity, admission.head);
                Ok(admission)
            }
            // A later Subscribe or Unsubscribe of the same chat came between.
            (Ok(_), _) => Err(Rejection::new(ErrorCode::Unavailable)),
            (Err(rejection), _) => {
                if let (true, Some(chat)) = (current, entity.chat()) {
                    self.unsubscribe(session, chat);
                }
                Err(rejection)
            }
        }
    }

    fn sync(&mut self, key: SessionKey, request: RequestId, entries: Vec<SyncEntry>) {
        let mut left = 0;
        let mut refused = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for entry in entries {
            let (chat, entity) = (entry.chat, EntityId::from(entry.chat));
            if !seen.insert(chat) {
                continue;
            }
            let waiting = |subscription| Waiting::Sync { session: key, request, key: subscription, entity };
            match self.subscribe(key, entry, waiting) {
                Ok(()) => left += 1,
                Err(rejection) => refused.push(refusal(chat, rejection)),
            }
        }
        if left > 0
            && let Some(member) = self.member_mut(key)
        {
            member.syncs.insert(request, left);
        }
        if left == 0 || !refused.is_empty() {
            self.send(key, &Synced { request, last: left == 0, chats: refused }.into());
        }
        if left == 0 {
            self.replied(key);
        }
    }

    /// The owner of one chat of a Sync has answered. The client is told at once, so that it knows where
    /// the chat's events begin before the first of them.
    pub(crate) fn synced(
        &mut self,
        session: SessionKey,
        request: RequestId,
        key: SubscriptionKey,
        entity: EntityId,
        outcome: Result<Admission, Rejection>,
    ) {
        let Some(chat) = entity.chat() else { return };
        let settled = self.settle(session, key, entity, outcome);
        let Some(member) = self.member_mut(session) else { return };
        let left = member.syncs.get(&request).map_or(0, |left| left.saturating_sub(1));
        if left == 0 {
            member.syncs.remove(&request);
        } else {
            member.syncs.insert(request, left);
        }
        let entry = match &settled {
            Ok(admission) => SyncedEntry { chat, outcome: Ok(admission.clone()) },
            Err(rejection) => refusal(chat, *rejection),
        };
        self.send(session, &Synced { request, last: left == 0, chats: vec![entry] }.into());
        if left == 0 {
            self.replied(session);
        }
        if let Ok(admission) = settled {
            self.begin(key, entity, &admission);
            self.catch_up(session);
        }
    }

    /// Passes a signal on if the session listens to the chat now.
    fn signal_up(&mut self, key: SessionKey, signal: Signal) {
        let Some(member) = self.member(key) else { return };
        let (user, subscription) = (member.user, member.chats.get(&signal.chat).copied());
        let may_send = subscription
            .and_then(|subscription| self.subscriptions.one(subscription))
            .is_some_and(Subscription::is_listening);
        if may_send {
            self.links.signal(signal.chat, user, signal.kind, signal.payload);
            self.stir();
        }
    }

    /// A reply's only or last frame.
    pub(crate) fn reply(&mut self, key: SessionKey, frame: &Frame) {
        self.send(key, frame);
        self.replied(key);
    }

    fn replied(&mut self, key: SessionKey) {
        if let Some(session) = self.session_mut(key)
            && session.machine.phase() != Phase::Closed
        {
            session.machine.replied();
        }
    }

    /// Refuses a request that waits.
    pub(crate) fn refuse(&mut self, key: SessionKey, request: RequestId, rejection: Rejection) {
        let Rejection { code, retry_after_ms, details } = rejection;
        let reply = ErrorReply { details, ..ErrorReply::new(request, code).retry_after_ms(retry_after_ms) };
        self.reply(key, &reply.into());
    }
}

fn refusal(chat: ChatId, rejection: Rejection) -> SyncedEntry {
    SyncedEntry { chat, outcome: Err((rejection.code as u16, rejection.retry_after_ms)) }
}
