//! What clients ask for, and the replies.

use panda_protocol::frame::{
    Admission, ErrorReply, Frame, IGNORABLE_FROM, RequestId, Signal, Subscribed, SyncEntry, Synced, SyncedEntry,
    Unsubscribed,
};
use panda_protocol::framing::RawFrame;
use panda_protocol::link::{Membership, ReadQuery, Rejection};
use panda_protocol::session::server::{Heard, Phase, Request};
use panda_protocol::{ChatId, EntityId, ErrorCode};
use panda_storage::command_log::CommandLog;
use slab::Slab;

use super::reads::{Lane, PageRead};
use super::{Ending, SessionKey, Waiting};
use crate::subscriptions::{Subscription, SubscriptionKey};
use crate::transport::Outgoing;
use crate::worker::Core;

/// Signals of a session a second, over a longer time; more are dropped.
pub(super) const SIGNALS_PER_SECOND: u32 = 20;
/// When to come back, where nobody knows better.
pub(super) const RETRY_AFTER_MS: u64 = 1_000;

impl<L: CommandLog> Core<L> {
    /// A frame came on the session's stream.
    pub(crate) fn hear(&mut self, key: SessionKey, frame: RawFrame) {
        self.hear_on(key, Lane::Session, frame);
    }

    /// A frame came on the stream for pages, which takes no other requests.
    pub(crate) fn hear_page(&mut self, key: SessionKey, frame: RawFrame) {
        match frame.kind {
            0x20 | 0x22 | 0x24 | 0x26 => self.hear_on(key, Lane::Pages, frame),
            IGNORABLE_FROM.. => self.alive(key),
            _ => self.end(key, ErrorCode::UnexpectedFrame.into()),
        }
    }

    fn hear_on(&mut self, key: SessionKey, lane: Lane, frame: RawFrame) {
        let (now_ms, limits) = (self.now_ms(), self.server_limits);
        let Some(session) = self.session_mut(key) else { return };
        match session.machine.hear(&limits, frame, now_ms) {
            Err(close) => self.end(key, close),
            Ok(Heard::Nothing) => {}
            Ok(Heard::Hello(hello)) => {
                self.hello(key, hello);
                self.look_at(key);
            }
            Ok(Heard::Request(request, asked)) => self.request(key, lane, request, asked),
            Ok(Heard::Refused(request, Some(entity), code)) => self.refuse_command(key, request, entity, code),
            Ok(Heard::Refused(request, None, code)) => {
                let reply = Frame::from(ErrorReply::new(request, code));
                self.queue_on(key, lane, Outgoing::new(&reply.to_bytes()));
            }
            Ok(Heard::Signal(signal)) => self.signal_up(key, signal),
            Ok(Heard::Reply(frame)) => self.send(key, &frame),
            Ok(Heard::Left) => session.ending = Some(Box::new(Ending::Left)),
        }
    }

    fn request(&mut self, key: SessionKey, lane: Lane, request: RequestId, asked: Request) {
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
                self.read(key, PageRead::new(request, 0x21, lane, page.entity, query));
            }
            Request::Members(members) => {
                let query = ReadQuery::Members { after: members.after, limit: members.limit };
                self.read(key, PageRead::new(request, 0x23, lane, members.chat.into(), query));
            }
            Request::Chats(chats) => {
                let Some(user) = self.member(key).map(|member| member.user) else { return };
                let query = ReadQuery::Chats { after: chats.after, limit: chats.limit };
                self.read(key, PageRead::new(request, 0x25, lane, user.into(), query));
            }
            Request::ChatInfo(info) => {
                self.read(key, PageRead::new(request, 0x27, lane, info.chat.into(), ReadQuery::Info));
            }
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
        if member.chats.len() >= subscriptions_max && member.chats.find(chat, &self.subscriptions).is_none() {
            return Err(Rejection::new(ErrorCode::TooManySubscriptions));
        }
        let user = member.user;
        self.unsubscribe(key, chat);
        // A proof is of the incarnation that the cursor is of.
        let member =
            entry.cursor.and_then(|cursor| self.proofs.verify((user, entity, cursor.incarnation), &entry.proof));
        let subscription = self.subscriptions.add(key, entity);
        self.subscriptions.asked(entity);
        let asked = self.links.admit(self.now_ms(), user, entity, entry.cursor, member, waiting(subscription));
        self.stir();
        if let Err((rejection, _)) = asked {
            self.subscriptions.remove(subscription);
            self.answered(entity, false);
            // Nothing comes that would: an interest of nobody would stay for good.
            self.forget_unheard(entity);
            return Err(rejection);
        }
        let place = self.member(key).map(|member| member.chats.place(chat, &self.subscriptions));
        if let (Some(Err(place)), Some(member)) = (place, self.member_mut(key)) {
            member.chats.insert(place, subscription);
            member.under_way_or_new().admissions += 1;
        }
        self.metrics.subscriptions.inc();
        Ok(())
    }

    /// Ends a subscription if there is one.
    pub(crate) fn unsubscribe(&mut self, key: SessionKey, chat: ChatId) {
        if let Some(subscription) = self.unlist_chat(key, chat) {
            self.drop_subscription(subscription, chat.into());
        }
    }

    /// Takes a chat off the session's, but not its subscription out, which is to follow.
    pub(super) fn unlist_chat(&mut self, key: SessionKey, chat: ChatId) -> Option<SubscriptionKey> {
        let place = self.member(key)?.chats.place(chat, &self.subscriptions).ok()?;
        Some(self.member_mut(key)?.chats.remove(place))
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
                let Admission { incarnation, head: at, role, visible_from, .. } = admission;
                admission.proof = self.proofs.seal((user, entity, incarnation), Membership { at, role, visible_from });
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
        let Some(sync) = self.member_mut(key).map(|member| member.under_way_or_new().syncs.insert(0)) else { return };
        let mut left = 0;
        let mut refused = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for entry in entries {
            let (chat, entity) = (entry.chat, EntityId::from(entry.chat));
            if !seen.insert(chat) {
                continue;
            }
            let waiting = |subscription| Waiting::Sync { session: key, request, sync, key: subscription, entity };
            match self.subscribe(key, entry, waiting) {
                Ok(()) => left += 1,
                Err(rejection) => refused.push(refusal(chat, rejection)),
            }
        }
        if let Some(under_way) = self.under_way_mut(key) {
            under_way.syncs[sync] = left;
            forget_answered(&mut under_way.syncs, sync);
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
        (request, sync): (RequestId, usize),
        key: SubscriptionKey,
        entity: EntityId,
        outcome: Result<Admission, Rejection>,
    ) {
        let Some(chat) = entity.chat() else { return };
        let settled = self.settle(session, key, entity, outcome);
        let Some(under_way) = self.under_way_mut(session) else { return };
        let Some(left) = under_way.syncs.get_mut(sync) else { return };
        *left -= 1;
        let left = *left;
        forget_answered(&mut under_way.syncs, sync);
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
        let now_ms = self.now_ms();
        let Some(member) = self.member_mut(key) else { return };
        if member.under_way_or_new().signals.take(SIGNALS_PER_SECOND, now_ms).is_err() {
            return;
        }
        let user = member.user;
        let subscription = self.member(key).and_then(|member| member.chats.find(signal.chat, &self.subscriptions));
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

    pub(super) fn replied(&mut self, key: SessionKey) {
        if let Some(session) = self.session_mut(key)
            && session.machine.phase() != Phase::Closed
        {
            session.machine.replied();
        }
    }

    /// Refuses a request that waits.
    pub(crate) fn refuse(&mut self, key: SessionKey, request: RequestId, rejection: Rejection) {
        self.refuse_on(key, Lane::Session, request, rejection);
    }

    /// Refuses a request that waits, where it came from.
    pub(super) fn refuse_on(&mut self, key: SessionKey, lane: Lane, request: RequestId, rejection: Rejection) {
        self.queue_on(key, lane, Outgoing::new(&error_reply(request, rejection).to_bytes()));
        self.replied(key);
    }
}

pub(super) fn error_reply(request: RequestId, rejection: Rejection) -> Frame {
    let Rejection { code, retry_after_ms, details } = rejection.told(RETRY_AFTER_MS);
    ErrorReply { details, ..ErrorReply::new(request, code).retry_after_ms(retry_after_ms) }.into()
}

/// Takes a Sync out whose every chat was answered.
fn forget_answered(syncs: &mut Slab<usize>, sync: usize) {
    if syncs[sync] == 0 {
        syncs.remove(sync);
    }
}

fn refusal(chat: ChatId, rejection: Rejection) -> SyncedEntry {
    let rejection = rejection.told(RETRY_AFTER_MS);
    SyncedEntry { chat, outcome: Err((rejection.code as u16, rejection.retry_after_ms)) }
}
