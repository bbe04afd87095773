//! How sessions end with their login.

use panda_access::Heard;
use panda_protocol::session::server::Phase;
use panda_protocol::{EntityId, ErrorCode};
use panda_storage::command_log::CommandLog;

use super::Core;
use crate::session::SessionKey;

impl<L: CommandLog> Core<L> {
    /// A login was ended: its sessions are said goodbye. One that is not open yet is looked at when it is
    /// ([`Self::has_lost_login`]).
    pub(crate) fn login_ended(&mut self, heard: Heard) {
        match heard {
            Heard::Ended((user, _)) => {
                let inbox = EntityId::from(user);
                // Every open session listens to its user's inbox.
                for place in (0..self.subscriptions.listeners(inbox)).rev() {
                    let session = self.subscriptions.listener(inbox, place);
                    if let Some(session) = session.and_then(|key| self.subscriptions.one(key)).map(|one| one.session) {
                        self.end_if_login_ended(session);
                    }
                }
            }
            Heard::Many => {
                for session in self.keys_of_sessions() {
                    self.end_if_login_ended(session);
                }
            }
        }
    }

    /// Whether the login that a session came in by was ended.
    pub(crate) fn has_lost_login(&self, key: SessionKey) -> bool {
        self.member(key).is_some_and(|member| self.revocations.has_ended(member.user, member.login))
    }

    fn end_if_login_ended(&mut self, key: SessionKey) {
        // One that was asked to leave is served until it does.
        let is_served = |phase| matches!(phase, Phase::Open | Phase::Draining);
        let served = self.session(key).is_some_and(|session| is_served(session.machine.phase()));
        if served && self.has_lost_login(key) {
            self.end(key, ErrorCode::Revoked.into());
        }
    }
}
