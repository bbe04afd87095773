//! How sessions leave when a worker stops.

use panda_protocol::frame::GoAway;
use panda_protocol::session::server::Phase;
use panda_protocol::{ErrorCode, Text};
use panda_storage::command_log::CommandLog;

use super::Core;
use crate::session::SessionKey;

impl<L: CommandLog> Core<L> {
    /// Asks every session to leave, each at a moment of its own.
    pub(crate) fn go_away(&mut self, drain_ms: u64) {
        self.drains_until_ms = Some(self.now_ms().saturating_add(drain_ms));
        let keys = self.keys_of_sessions();
        let count = keys.len().max(1) as u64;
        for (place, key) in (0..).zip(keys) {
            // One whose Welcome is not out yet is asked right behind it.
            if self.session(key).is_some_and(|session| session.machine.phase() == Phase::Open) {
                let delay_ms = last_leaves_ms(drain_ms).saturating_mul(place) / count;
                self.ask_to_leave(key, delay_ms, drain_ms);
            }
        }
    }

    /// Asks a session that came while the worker drains to leave again.
    pub(crate) fn go_away_too(&mut self, key: SessionKey) {
        let Some(until_ms) = self.drains_until_ms else { return };
        let left_ms = until_ms.saturating_sub(self.now_ms());
        self.ask_to_leave(key, rand::random_range(0..=last_leaves_ms(left_ms)), left_ms);
    }

    fn ask_to_leave(&mut self, key: SessionKey, delay_ms: u64, closes_in_ms: u64) {
        let Some(ticket) = self.member(key).map(|member| self.ticket(member)) else { return };
        let code = ErrorCode::Going as u16;
        self.send(key, &GoAway { code, delay_ms, closes_in_ms, address: Text::default(), ticket }.into());
        if let Some(session) = self.session_mut(key) {
            session.machine.drain();
        }
    }

    /// Says goodbye to whoever is still there.
    pub(crate) fn end_all(&mut self) {
        for key in self.keys_of_sessions() {
            self.end(key, ErrorCode::Going.into());
        }
    }
}

/// When the last session is asked to leave, if all are to be gone after so long: it needs time to move, too.
const fn last_leaves_ms(drain_ms: u64) -> u64 {
    drain_ms - drain_ms / 4
}
