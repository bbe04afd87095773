//! Rights to listen that are asked for anew, because they may have ended.

use panda_protocol::error_code::Recovery;
use panda_protocol::frame::Admission;
use panda_protocol::link::Rejection;
use panda_protocol::{EntityId, ErrorCode, Seq};
use panda_storage::command_log::CommandLog;

use super::{Member, Waiting};
use crate::subscriptions::{Ends, State, SubscriptionKey};
use crate::worker::Core;

impl<L: CommandLog> Core<L> {
    /// Nothing more is delivered before the owner has said whether the right still holds.
    pub(super) fn readmit(&mut self, key: SubscriptionKey, head: Seq) {
        let known = match self.subscriptions.one(key).map(|one| one.state) {
            Some(State::Lagging { head, .. }) => head,
            _ => Seq(0),
        };
        self.set_state(key, State::Readmitting { head: head.max(known), read: false });
        self.readmissions.push(key);
    }

    /// Asks whether rights still hold, for as many as may be asked for now.
    pub(crate) fn readmit_on(&mut self) {
        while self.links.has_room() {
            let Some(key) = self.readmissions.next() else { return };
            let Some(one) = self.subscriptions.one(key) else { continue };
            let (session, entity) = (one.session, one.entity);
            let Some(user) = self.member(session).map(|member| member.user) else { continue };
            self.subscriptions.asked(entity);
            let now_ms = self.now_ms();
            match self.links.admit(now_ms, user, entity, None, None, Waiting::Readmit { key, entity }) {
                Ok(()) => self.readmissions.asked(),
                Err((rejection, _)) => {
                    self.subscriptions.answered(entity, false);
                    self.readmissions.push_later(key, now_ms, rejection.retry_after_ms);
                }
            }
            self.stir();
        }
    }

    /// The owner has said whether the right still holds.
    pub(crate) fn readmitted(&mut self, key: SubscriptionKey, entity: EntityId, outcome: Result<Admission, Rejection>) {
        let now_ms = self.now_ms();
        let Some(one) = self.subscriptions.one_mut(key) else { return };
        let State::Readmitting { head, read } = one.state else { return };
        let session = one.session;
        let ends = match outcome {
            // Of a chat the client is told, and asks again itself. The session would end with its inbox: it
            // waits instead, and only the inbox's events wait with it.
            Err(Rejection { code, retry_after_ms, .. }) if entity.chat().is_none() && passes(code) => {
                return self.readmissions.push_later(key, now_ms, retry_after_ms);
            }
            // Left and came back: the client asks anew and learns from where on.
            Ok(admission) if admission.visible_from > one.next => Some(Rejection::new(ErrorCode::Unavailable)),
            Ok(admission) => {
                one.state = State::Lagging { head: head.max(admission.head), ends: Ends::No };
                None
            }
            Err(rejection) if rejection.code == ErrorCode::NotMember && !read => {
                one.state = State::Lagging { head, ends: Ends::Dry };
                None
            }
            Err(rejection) => Some(rejection),
        };
        match ends {
            Some(rejection) => self.end_subscription(key, entity, rejection),
            None => {
                if let Some(under_way) = self.member_mut(session).map(Member::under_way_or_new)
                    && !under_way.lagging.contains(&key)
                {
                    under_way.lagging.push_back(key);
                }
                self.catch_up(session);
            }
        }
    }
}

/// Whether what was refused may go well after a while, without a hand.
fn passes(code: ErrorCode) -> bool {
    code != ErrorCode::Damaged && matches!(Recovery::of(code as u16), Recovery::Repeat | Recovery::Ask)
}
