//! Who may see and do what while members come and go. Pure: sessions' observations and the changes that were asked for
//! are recorded as they come, the chat's log is read in the end, and then everything is compared with it.
//!
//! What must hold, per chat:
//! - nobody gets an event that no membership of its user makes visible, and none of a membership before that was asked
//!   for: who was removed sees nothing that came after, until it is added again, and then what that gives;
//! - who listens gets every event from where it began, in order, each once; a hole is only where a new membership begins;
//!   who is a member in the end has everything, and who is none was told so;
//! - who is no member is refused as such, wherever it asks; who is one is not;
//! - a change that was acked is at its seq, and nothing changes a membership unasked;
//! - a message is one of those that were sent, once, where its sender was a member.
//!
//! A request overlaps what goes on while it is out. So it is judged only by what was answered before it was asked, and
//! by what was not asked for before it was answered: all times are those of one clock.

mod judge;
mod log;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::frame::{Admission, Start};
use panda_protocol::{ChatId, Counter, DeviceId, UserId};

use super::digest;
use super::verdict::ChatVerdict;
use super::violation::Source;

/// From when something was asked until it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before it left.
    pub asked: Duration,
    /// After its answer came.
    pub answered: Duration,
}

/// What is asked for of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user becomes a member.
    Add {
        /// And sees what was before, too.
        with_history: bool,
    },
    /// The user is one no longer.
    Remove,
}

/// Names a change of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeId(usize);

/// Names a subscription of a chat that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepId(u32, usize);

/// What an admission grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How the stream begins.
    pub start: Start,
    /// Its first event.
    pub from: u64,
    /// The first event that the user may see.
    pub visible_from: u64,
}

impl From<&Admission> for Grant {
    fn from(admission: &Admission) -> Self {
        Self { start: admission.start, from: admission.from.0, visible_from: admission.visible_from.0 }
    }
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A page: where the user's view begins, and (seq, digest of the event's bytes) in the page's order.
    Page(u64, Vec<(u64, u64)>),
    /// Messages: where the user's view begins, and (seq, digest of the text) of each.
    Messages(u64, Vec<(u64, u64)>),
    /// A send was stored at this seq.
    Stored(u64),
    /// A refusal for good.
    Refused(u16),
}

/// What was looked at; a run that saw none of something proves nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembersSeen {
    /// Members added without the chat's history.
    pub added: u64,
    /// Members added with it.
    pub added_with_history: u64,
    /// Members removed.
    pub removed: u64,
    /// Of these, how many a session saw as the last event of its stream.
    pub removals_seen: u64,
    /// Subscriptions that began or went on.
    pub admissions: u64,
    /// Requests of members that were served.
    pub served: u64,
    /// Requests that were refused because their users were no members.
    pub refused: u64,
}

/// What [`MembershipCheck::finish`] says.
#[derive(Debug, Default)]
pub struct MembershipVerdict {
    /// As of any other chat.
    pub chat: ChatVerdict,
    /// What was looked at.
    pub seen: MembersSeen,
}

#[derive(Debug)]
struct Asked {
    user: UserId,
    change: Change,
    asked: Duration,
    /// Its seq, or the code with which it was refused for good.
    answered: Option<(Duration, Result<u64, u16>)>,
}

#[derive(Debug)]
struct Request {
    session: u32,
    source: Source,
    span: Span,
    answer: Answer,
}

#[derive(Debug)]
struct Sent {
    text: u64,
    /// The seq at which it was acked.
    acked: Option<u64>,
}

#[derive(Debug)]
enum Step {
    /// A subscription behind this event, and its answer.
    Subscribe {
        behind: Option<u64>,
        asked: Duration,
        answer: Option<(Duration, Result<Grant, u16>)>,
    },
    Resumed {
        grant: Grant,
        at: Duration,
    },
    Event {
        seq: u64,
        event: u64,
        at: Duration,
    },
    Ended {
        code: u16,
        at: Duration,
    },
}

/// A session, and what it saw of the chat.
#[derive(Debug)]
struct Listener {
    user: UserId,
    /// Whether the chat was made with it.
    first: bool,
    steps: Vec<Step>,
    /// Whether events may come, and the last that did.
    listens: bool,
    last: u64,
}

/// The checker of one chat whose members come and go.
#[derive(Debug)]
pub struct MembershipCheck {
    chat: ChatId,
    listeners: BTreeMap<u32, Listener>,
    changes: Vec<Asked>,
    requests: Vec<Request>,
    sends: HashMap<(DeviceId, Counter), Sent>,
    last_acked: u64,
    log: BTreeMap<u64, Bytes>,
}

impl MembershipCheck {
    /// A chat of which nothing is known.
    pub fn new(chat: ChatId) -> Self {
        Self {
            chat,
            listeners: BTreeMap::new(),
            changes: Vec::new(),
            requests: Vec::new(),
            sends: HashMap::new(),
            last_acked: 0,
            log: BTreeMap::new(),
        }
    }

    /// Which chat.
    pub const fn chat(&self) -> ChatId {
        self.chat
    }

    /// A session whose user is, or may become, a member; `first`: the chat was made with it.
    pub fn concerns(&mut self, session: u32, user: UserId, first: bool) {
        let listener = Listener { user, first, steps: Vec::new(), listens: false, last: 0 };
        self.listeners.insert(session, listener);
    }

    /// A change is about to be asked for. At most one of a user at a time.
    pub fn changing(&mut self, user: UserId, change: Change, asked: Duration) -> ChangeId {
        self.changes.push(Asked { user, change, asked, answered: None });
        ChangeId(self.changes.len() - 1)
    }

    /// The change is at this seq, or was refused for good.
    pub fn changed(&mut self, change: ChangeId, outcome: Result<u64, u16>, at: Duration) {
        self.changes[change.0].answered = Some((at, outcome));
    }

    /// A session is about to subscribe behind this event, or to what happens from now on. Events that it gets from here
    /// on are of this subscription, also those that come before [`Self::subscribed`].
    pub fn subscribing(&mut self, session: u32, behind: Option<u64>, asked: Duration) -> StepId {
        let place = self.step(session, Step::Subscribe { behind, asked, answer: None });
        self.listens(session, true);
        if let Some(listener) = self.listeners.get_mut(&session) {
            listener.last = 0;
        }
        StepId(session, place)
    }

    /// The answer to a subscription.
    pub fn subscribed(&mut self, step: StepId, outcome: Result<Grant, u16>, at: Duration) {
        let Some(listener) = self.listeners.get_mut(&step.0) else { return };
        if let Step::Subscribe { answer, .. } = &mut listener.steps[step.1] {
            *answer = Some((at, outcome));
        }
        match outcome {
            Ok(grant) => listener.last = listener.last.max(grant.from.saturating_sub(1)),
            Err(_) => listener.listens = false,
        }
    }

    /// A subscription goes on after a new connection or a gap.
    pub fn resumed(&mut self, session: u32, grant: Grant, at: Duration) {
        self.step(session, Step::Resumed { grant, at });
        if let Some(listener) = self.listeners.get_mut(&session) {
            listener.last = grant.from.saturating_sub(1);
        }
    }

    /// A session got an event.
    pub fn delivered(&mut self, session: u32, seq: u64, event: &[u8], at: Duration) {
        self.step(session, Step::Event { seq, event: digest(event), at });
        if let Some(listener) = self.listeners.get_mut(&session) {
            listener.last = seq;
        }
    }

    /// A session was told that its subscription is over.
    pub fn ended(&mut self, session: u32, code: u16, at: Duration) {
        self.step(session, Step::Ended { code, at });
        self.listens(session, false);
    }

    /// A send left.
    pub fn sending(&mut self, device: DeviceId, counter: Counter, text: &[u8]) {
        self.sends.insert((device, counter), Sent { text: digest(text), acked: None });
    }

    /// A send was acked.
    pub fn acked(&mut self, device: DeviceId, counter: Counter, seq: u64) {
        self.last_acked = self.last_acked.max(seq);
        if let Some(sent) = self.sends.get_mut(&(device, counter)) {
            sent.acked = Some(seq);
        }
    }

    /// A request of a session's user was answered.
    pub fn answered(&mut self, session: u32, source: Source, span: Span, answer: Answer) {
        self.requests.push(Request { session, source, span, answer });
    }

    /// An event of the log, as the owner reads it.
    pub fn stored(&mut self, seq: u64, event: &Bytes) {
        self.log.insert(seq, event.clone());
    }

    /// The highest seq at which a send was acked; 0 if there is none.
    pub const fn last_acked(&self) -> u64 {
        self.last_acked
    }

    /// How far the log was read; 0 if it was not.
    pub fn stored_to(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    fn step(&mut self, session: u32, step: Step) -> usize {
        let Some(listener) = self.listeners.get_mut(&session) else { return 0 };
        listener.steps.push(step);
        listener.steps.len() - 1
    }

    fn listens(&mut self, session: u32, listens: bool) {
        if let Some(listener) = self.listeners.get_mut(&session) {
            listener.listens = listens;
        }
    }
}
