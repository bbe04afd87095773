//! The chats that the application listens to, and its inbox: cursors, gaps, resuming.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::frame::{Admission, RequestId, SyncEntry};
use crate::ids::{ChatId, Cursor, Seq};

/// One chat that the application listens to.
pub(super) struct Subscription<W> {
    /// What was passed on: every event up to it. `None` until the first admission.
    pub(super) cursor: Option<Cursor>,
    proof: Bytes,
    /// The Sync or Subscribe that waits. Events that come meanwhile are of the subscription before.
    pub(super) asked: Option<RequestId>,
    /// Whether the server sends its events.
    live: bool,
    /// Whether events may come of an admission on this connection, this subscription's or the one's before it.
    flows: bool,
    pub(super) waiters: Vec<W>,
    pub(super) repeats: u32,
}

/// Where an event stands.
pub(super) enum Place {
    /// It is the next one; the cursor moved on.
    Next,
    /// It was there before.
    Old,
    /// Something is missing before it; this one was due.
    Gap(Seq),
    /// It is of the subscription before, and still on its way.
    Late,
    /// It is of no subscription that the server has.
    Unasked,
}

impl<W> Subscription<W> {
    pub(super) fn new(cursor: Option<Cursor>) -> Self {
        Self { cursor, proof: Bytes::new(), asked: None, live: false, flows: false, waiters: Vec::new(), repeats: 0 }
    }

    /// The application asked anew, from another place.
    pub(super) fn restart(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.suspend();
    }

    /// Nothing comes until it is asked for again.
    pub(super) fn suspend(&mut self) {
        self.asked = None;
        self.live = false;
    }

    /// The server says that no event of it follows, or the connection is gone.
    pub(super) fn over(&mut self) {
        self.flows = false;
    }

    /// The server admitted what was asked for before: it sends events until it hears what is asked for now.
    pub(super) fn admitted_before(&mut self) {
        self.flows = true;
    }

    /// Whether it is neither live nor asked for.
    pub(super) const fn is_idle(&self) -> bool {
        !self.live && self.asked.is_none()
    }

    pub(super) fn entry(&self, chat: ChatId) -> SyncEntry {
        SyncEntry { chat, cursor: self.cursor, proof: self.proof.clone() }
    }

    pub(super) fn admitted(&mut self, admission: &Admission) {
        self.asked = None;
        self.live = true;
        self.flows = true;
        self.repeats = 0;
        // Copied: the frame that it came in is larger than the proof and would live as long.
        self.proof = Bytes::copy_from_slice(&admission.proof);
        let seq = Seq(admission.from.0.saturating_sub(1));
        self.cursor = Some(Cursor { incarnation: admission.incarnation, seq });
    }

    pub(super) fn place(&mut self, seq: Seq) -> Place {
        match self.cursor.as_mut() {
            Some(cursor) if self.live => place(cursor, seq),
            _ if self.flows => Place::Late,
            _ => Place::Unasked,
        }
    }
}

/// Moves the cursor over the next event.
pub(super) fn place(cursor: &mut Cursor, seq: Seq) -> Place {
    if seq <= cursor.seq {
        Place::Old
    } else if seq.0 - cursor.seq.0 == 1 {
        cursor.seq = seq;
        Place::Next
    } else {
        Place::Gap(cursor.seq.next())
    }
}
