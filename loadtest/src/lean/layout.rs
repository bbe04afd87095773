//! Who is in which chat, and on which server. Pure.

use serde::{Deserialize, Serialize};

/// Chats of a session.
pub const SESSION_CHATS: usize = 2;
/// Members of a chat.
pub const CHAT_MEMBERS: u32 = 10;
/// 2^32 by the golden ratio (Knuth).
const HASH_FACTOR: u32 = 2_654_435_769;

/// So many sessions, each in two chats of ten members; of few sessions, chats have fewer.
///
/// Sessions lie in rows as long as there are chats. One is in the chat of its column, and in one whose distance depends on
/// its row: so two members of a chat share no other chat as a rule, and a chat takes half of its members from each side.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    sessions: u32,
    chats: u32,
    /// Every so many-th session is checked; 0: none.
    checked_every: u32,
}

impl Layout {
    /// `checked_percent` of the sessions are checked, at least one unless it is 0.
    pub fn new(sessions: u32, checked_percent: f64) -> Self {
        let chats = (sessions * u32::try_from(SESSION_CHATS).unwrap_or(2) / CHAT_MEMBERS).max(2);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share above 0 of at most 100")]
        let checked_every = if checked_percent > 0.0 { (100.0 / checked_percent).round() as u32 } else { 0 };
        Self { sessions, chats, checked_every }
    }

    /// How many chats there are.
    pub const fn chats(&self) -> u32 {
        self.chats
    }

    /// The chats of a session.
    pub const fn chats_of(&self, session: u32) -> [u32; SESSION_CHATS] {
        let (row, column) = (session / self.chats, session % self.chats);
        [column, (column + 1 + row % (self.chats - 1)) % self.chats]
    }

    /// The members of every chat, in the order of the chats.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.chats as usize];
        for session in 0..self.sessions {
            self.chats_of(session).into_iter().for_each(|chat| members[chat as usize].push(session as usize));
        }
        members
    }

    /// The server of a session, of so many: members of a chat are on different ones.
    pub const fn server(&self, session: u32, servers: u32) -> u32 {
        (session % self.chats + session / self.chats) % servers
    }

    /// Whether a session is checked. Drawn by a hash: rows, columns and servers repeat in steps of their own.
    pub const fn is_checked(&self, session: u32) -> bool {
        self.checked_every > 0 && (session.wrapping_mul(HASH_FACTOR) >> 8).is_multiple_of(self.checked_every)
    }

    /// Of every chat, whether a checked session is in it.
    pub fn watched(&self) -> Vec<bool> {
        let mut watched = vec![false; self.chats as usize];
        for session in (0..self.sessions).filter(|&session| self.is_checked(session)) {
            self.chats_of(session).into_iter().for_each(|chat| watched[chat as usize] = true);
        }
        watched
    }
}

/// What a seat is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of a seat of the table")]
pub struct Place {
    pub user: u32,
    pub server: u16,
    pub token: String,
    pub chats: [String; SESSION_CHATS],
    pub numbers: [u32; SESSION_CHATS],
    pub watched: [bool; SESSION_CHATS],
    pub is_checked: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_chat_has_ten_members_each_once_and_every_session_two_chats() {
        for sessions in [100, 1_000, 20_000] {
            let layout = Layout::new(sessions, 1.0);
            assert_eq!(layout.chats(), sessions / 5);
            let members = layout.members();
            for of_chat in &members {
                let different: HashSet<_> = of_chat.iter().collect();
                assert_eq!((of_chat.len(), different.len()), (10, 10), "of {sessions} sessions");
            }
            assert!((0..sessions).all(|session| layout.chats_of(session)[0] != layout.chats_of(session)[1]));
        }
    }

    #[test]
    fn few_sessions_have_chats_all_the_same() {
        for sessions in 1..12 {
            let layout = Layout::new(sessions, 100.0);
            assert!((0..sessions).all(|session| layout.chats_of(session)[0] != layout.chats_of(session)[1]));
            assert!((0..sessions).all(|session| layout.is_checked(session)));
        }
    }

    #[test]
    fn members_of_a_chat_are_on_different_servers() {
        let layout = Layout::new(1_000_000, 1.0);
        let of_first: HashSet<u32> = (0..5).map(|row| layout.server(row * layout.chats(), 8)).collect();
        assert_eq!(of_first.len(), 5);
    }

    #[test]
    fn a_hundredth_is_checked_on_every_server_and_the_rest_is_not() {
        let layout = Layout::new(100_000, 1.0);
        let checked: Vec<u32> = (0..100_000).filter(|&session| layout.is_checked(session)).collect();
        assert!((900..=1_100).contains(&checked.len()), "{}", checked.len());
        let servers: HashSet<u32> = checked.iter().map(|&session| layout.server(session, 7)).collect();
        assert_eq!(servers.len(), 7);
        let watched = layout.watched();
        assert!(checked.iter().all(|&session| layout.chats_of(session).iter().all(|&chat| watched[chat as usize])));
        assert!(!Layout::new(100, 0.0).watched().contains(&true));
    }
}
