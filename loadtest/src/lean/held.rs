//! What a session keeps while it has no connection, to go on where it was.

use bytes::Bytes;
use panda_protocol::frame::{Admission, Auth, InboxState, SyncEntry};
use panda_protocol::{ChatId, Cursor, Incarnation, Seq, Text};

use super::SESSION_CHATS;

/// How far a session is in a chat or its inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    incarnation: Incarnation,
    /// The event that must come next.
    next: u64,
    /// What must be next before it has all that was there when it was admitted.
    goal: u64,
    /// What the last admission brought; of an inbox, nothing.
    proof: Bytes,
}

impl Place {
    const fn cursor(&self) -> Cursor {
        Cursor { incarnation: self.incarnation, seq: Seq(self.next - 1) }
    }
}

/// An event that was not the one that had to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub expected: u64,
    pub got: u64,
}

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Whether the checker knows that it listens.
    pub has_listened: bool,
    /// What opens its next session; empty: its token does.
    ticket: Bytes,
    /// Whether the connection that is there, or being made, was opened with a ticket.
    pub by_ticket: bool,
    chats: [Option<Place>; SESSION_CHATS],
    inbox: Option<Place>,
    /// Whether its chats are as far as they were when this connection was admitted.
    pub is_caught_up: bool,
}

impl Held {
    /// How its next connection says who it is.
    pub(super) fn auth(&mut self, token: &str) -> Auth {
        self.by_ticket = !self.ticket.is_empty();
        match self.by_ticket {
            true => Auth::Ticket(self.ticket.clone()),
            false => Auth::Token(Text::from(token)),
        }
    }

    /// A ticket for the next connection.
    pub(super) fn keep(&mut self, ticket: &Bytes) {
        // Of its own: what it came with was a whole message.
        self.ticket = Bytes::copy_from_slice(ticket);
    }

    /// The server did not take the ticket.
    pub(super) fn forget_ticket(&mut self) {
        self.ticket = Bytes::new();
    }

    /// What it holds of its inbox.
    pub(super) fn inbox_cursor(&self) -> Option<Cursor> {
        self.inbox.as_ref().map(Place::cursor)
    }

    /// What it says of a chat in its Sync.
    pub(super) fn entry(&self, slot: usize, chat: ChatId) -> SyncEntry {
        let place = self.chats[slot].as_ref();
        let proof = place.map_or_else(Bytes::new, |place| place.proof.clone());
        SyncEntry { chat, cursor: place.map(Place::cursor), proof }
    }

    /// A Welcome says where the inbox goes on.
    ///
    /// # Errors
    /// Not where it was.
    pub(super) fn welcomed(&mut self, inbox: &InboxState) -> Result<(), Broken> {
        let next = inbox.from.0;
        let before = self.inbox.replace(Place { incarnation: inbox.incarnation, next, goal: 0, proof: Bytes::new() });
        match before {
            Some(before) if before.incarnation != inbox.incarnation || inbox.reset || before.next != next => {
                Err(Broken { expected: before.next, got: next })
            }
            _ => Ok(()),
        }
    }

    /// A chat was admitted, which is not reset. Returns whether it goes on behind what the session has.
    ///
    /// # Errors
    /// It goes on elsewhere.
    pub(super) fn admitted(&mut self, slot: usize, admission: &Admission) -> Result<bool, Broken> {
        let (incarnation, next) = (admission.incarnation, admission.from.0);
        let proof = Bytes::copy_from_slice(&admission.proof);
        match self.chats[slot].replace(Place { incarnation, next, goal: admission.head.0 + 1, proof }) {
            Some(before) if before.next != next => Err(Broken { expected: before.next, got: next }),
            before => Ok(before.is_some()),
        }
    }

    /// An event of a chat came.
    ///
    /// # Errors
    /// It was not the next one.
    pub(super) fn heard(&mut self, slot: usize, seq: u64) -> Result<(), Broken> {
        self.chats[slot].as_mut().map_or(Ok(()), |place| step(place, seq))
    }

    /// Whether it has become true just now, of a connection of which all chats are admitted, that its chats have all that was there
    /// when they were.
    pub(super) fn catches_up(&mut self) -> bool {
        let has_all = self.chats.iter().flatten().all(|place| place.next >= place.goal);
        !self.is_caught_up && has_all && !std::mem::replace(&mut self.is_caught_up, true)
    }

    /// An event of the inbox came; `None` before the Welcome.
    pub(super) fn heard_inbox(&mut self, seq: u64) -> Option<Result<(), Broken>> {
        self.inbox.as_mut().map(|place| step(place, seq))
    }
}

fn step(place: &mut Place, seq: u64) -> Result<(), Broken> {
    let expected = place.next;
    place.next = expected.max(seq + 1);
    if seq == expected { Ok(()) } else { Err(Broken { expected, got: seq }) }
}

#[cfg(test)]
mod tests {
    use panda_protocol::UserId;
    use panda_protocol::event::Role;
    use panda_protocol::frame::Start;

    use super::*;

    const HERE: Incarnation = Incarnation([1; 8]);

    fn admission(from: u64, proof: &'static [u8]) -> Admission {
        Admission {
            start: Start::From,
            incarnation: HERE,
            from: Seq(from),
            head: Seq(from),
            role: Role::Member,
            visible_from: Seq(1),
            proof: Bytes::from_static(proof),
        }
    }

    #[test]
    fn who_comes_back_says_what_it_has_and_with_which_proof() {
        let chat = ChatId::direct(UserId::from_random([1; 16]), UserId::from_random([2; 16]));
        let mut held = Held::default();
        assert_eq!(held.entry(0, chat), SyncEntry { chat, cursor: None, proof: Bytes::new() });
        assert_eq!(held.admitted(0, &admission(4, b"one")), Ok(false));
        assert_eq!((held.heard(0, 4), held.heard(0, 5)), (Ok(()), Ok(())));
        let entry = held.entry(0, chat);
        assert_eq!((entry.cursor, &entry.proof[..]), (Some(Cursor { incarnation: HERE, seq: Seq(5) }), &b"one"[..]));
        assert_eq!(held.admitted(0, &admission(6, b"two")), Ok(true));
        assert_eq!(held.entry(0, chat).proof, "two");
        assert_eq!(held.entry(1, chat).cursor, None, "of the other chat nothing is known");
    }

    #[test]
    fn what_is_missing_and_what_comes_twice_is_told_once() {
        let mut held = Held::default();
        held.admitted(1, &admission(4, b"")).unwrap();
        assert_eq!(held.heard(1, 6), Err(Broken { expected: 4, got: 6 }));
        assert_eq!(held.heard(1, 7), Ok(()));
        assert_eq!(held.heard(1, 7), Err(Broken { expected: 8, got: 7 }));
        assert_eq!(held.admitted(1, &admission(9, b"")), Err(Broken { expected: 8, got: 9 }));
        assert_eq!(held.heard_inbox(1), None, "there was no Welcome");
    }

    #[test]
    fn who_comes_back_has_caught_up_once_both_chats_are_where_they_were() {
        let mut held = Held::default();
        for slot in [0, 1] {
            held.admitted(slot, &Admission { head: Seq(5), ..admission(5, b"") }).unwrap();
        }
        assert!(!held.catches_up());
        held.heard(0, 5).unwrap();
        assert!(!held.catches_up(), "the other chat is behind");
        held.heard(1, 5).unwrap();
        assert!(held.catches_up() && !held.catches_up(), "it is told once");
    }

    #[test]
    fn a_ticket_is_used_until_it_is_refused() {
        let mut held = Held::default();
        assert!(matches!(held.auth("token"), Auth::Token(_)) && !held.by_ticket);
        held.keep(&Bytes::from_static(b"ticket"));
        assert!(matches!(held.auth("token"), Auth::Ticket(_)) && held.by_ticket);
        held.forget_ticket();
        assert!(matches!(held.auth("token"), Auth::Token(_)) && !held.by_ticket);
    }
}
