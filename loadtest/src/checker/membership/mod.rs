//! Who may see and do what while members come and go. Pure: sessions' observations and the changes that were asked for
//! are recorded as they come, the chat's log is read in the end, and then everything is compared with it.
//!
//! What must hold, per chat:
//! - nobody gets an event that no membership of its user makes visible, and none of a membership before that was asked
//!   for: who was removed sees nothing that came after, until it is added again, and then what that gives;
//! - who listens gets every event from where it began, in order, each once; a hole is only where a new membership begins;
//!   who is a member in the end has everything, and who is none was told so, right behind the removal;
//! - an answer shows what was acked before it was asked for and its user may see;
//! - who is no member is refused as such, wherever it asks; who is one is not;
//! - a change that was acked is at its seq, and nothing changes a membership unasked;
//! - a message is one of those that were sent, once, where its sender was a member; a refused one is not there.
//!
//! It keeps, until then, of each event of the log its digest and what it says in some hundred bytes, of each answer what
//! it showed in 16 bytes an event, and of what a session saw a step for all that came between two changes of its user.
//! [`MEMBERSHIP_RECORDS_MAX`] requests and changes are a few hundred megabytes.
//!
//! A request overlaps what goes on while it is out. So it is judged only by what was answered before it was asked, and
//! by what was not asked for before it was answered: all times are those of one clock.

mod answers;
mod judge;
mod known;
mod log;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::frame::{Admission, Direction, Start};
use panda_protocol::{ChatId, Counter, DeviceId, UserId};

use self::log::{Says, Stored};
use super::digest;
use super::verdict::ChatVerdict;
use super::violation::{Source, Violation};

/// Requests and changes that a run may make at most: all are kept until the end.
pub const MEMBERSHIP_RECORDS_MAX: u64 = 1_000_000;

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

/// What a request to read asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From `from` on, or from there back.
    pub direction: Direction,
    /// A seq; backward, one beyond the head stands for the head.
    pub from: u64,
    /// At most so many events, or messages.
    pub limit: u64,
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A page: where the user's view begins, and (seq, digest of the event's bytes) in the page's order.
    Page(Wanted, u64, Vec<(u64, u64)>),
    /// Messages, in rising order in either direction.
    Messages {
        /// What was asked for.
        wanted: Wanted,
        /// The first event that the user may see.
        begins_at: u64,
        /// The first and the last event that were looked at for them; the last is before the first if there was none.
        covers: (u64, u64),
        /// Seq and digest of the text of each.
        texts: Vec<(u64, u64)>,
    },
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
    user: UserId,
    text: u64,
    asked: Duration,
    /// Its seq, or the code with which it was refused for good. Of what nobody told it is there at most once.
    answered: Option<(Duration, Result<u64, u16>)>,
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
        span: Span,
    },
    /// One that differs from what others saw under its seq.
    Event {
        seq: u64,
        event: u64,
        at: Duration,
    },
    /// Those from `first` to `last`, as others saw them too. From `at`, when the first came, to when the last came no
    /// change of the user was asked for: it may see one if it may see all.
    Events {
        first: u64,
        last: u64,
        at: Duration,
        changes: usize,
    },
    Ended {
        code: u16,
        resuming: bool,
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
    /// Places in `changes`.
    changes_of: HashMap<UserId, Vec<usize>>,
    requests: Vec<Request>,
    sends: HashMap<(DeviceId, Counter), Sent>,
    last_acked: u64,
    /// Digests of events as whoever saw them first did.
    shown: BTreeMap<u64, u64>,
    log: BTreeMap<u64, Stored>,
    /// Whose memberships the log tells, and whether they are members as far as it was read.
    members: HashMap<UserId, bool>,
    /// What was found before everything is judged.
    found: ChatVerdict,
}

impl MembershipCheck {
    /// A chat of which nothing is known.
    pub fn new(chat: ChatId) -> Self {
        Self {
            chat,
            listeners: BTreeMap::new(),
            changes: Vec::new(),
            changes_of: HashMap::new(),
            requests: Vec::new(),
            sends: HashMap::new(),
            last_acked: 0,
            shown: BTreeMap::new(),
            log: BTreeMap::new(),
            members: HashMap::new(),
            found: ChatVerdict::default(),
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
        self.changes_of.entry(user).or_default().push(self.changes.len());
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

    /// A subscription goes on after a new connection or a gap. `span` begins when it cannot have been asked for yet.
    pub fn resumed(&mut self, session: u32, grant: Grant, span: Span) {
        self.step(session, Step::Resumed { grant, span });
        if let Some(listener) = self.listeners.get_mut(&session) {
            listener.last = grant.from.saturating_sub(1);
        }
    }

    /// A session got an event.
    pub fn delivered(&mut self, session: u32, seq: u64, event: &[u8], at: Duration) {
        let event = digest(event);
        let Some(listener) = self.listeners.get_mut(&session) else {
            return self.found.violated(Violation::NotListening { session, seq });
        };
        listener.last = seq;
        if *self.shown.entry(seq).or_insert(event) != event {
            return listener.steps.push(Step::Event { seq, event, at });
        }
        let of_user = self.changes_of.get(&listener.user).map_or(&[][..], Vec::as_slice);
        let (changes, changed) = (of_user.len(), of_user.last().map(|last| self.changes[*last].asked));
        match listener.steps.last_mut() {
            Some(Step::Events { last, changes: before, at, .. })
                if *last + 1 == seq && *before == changes && changed.is_none_or(|changed| changed <= *at) =>
            {
                *last = seq;
            }
            _ => listener.steps.push(Step::Events { first: seq, last: seq, at, changes }),
        }
    }

    /// A session was told that its subscription is over; `resuming`: when it asked for it again, so that it may lack what
    /// came last.
    pub fn ended(&mut self, session: u32, code: u16, resuming: bool, at: Duration) {
        self.step(session, Step::Ended { code, resuming, at });
        self.listens(session, false);
    }

    /// A user's send left, not before `asked`.
    pub fn sending(&mut self, user: UserId, (device, counter): (DeviceId, Counter), text: &[u8], asked: Duration) {
        self.sends.insert((device, counter), Sent { user, text: digest(text), asked, answered: None });
    }

    /// A send is at this seq, or was refused with a code that says that it did not and will not happen.
    pub fn sent(&mut self, (device, counter): (DeviceId, Counter), outcome: Result<u64, u16>, at: Duration) {
        self.last_acked = self.last_acked.max(outcome.unwrap_or(0));
        if let Some(sent) = self.sends.get_mut(&(device, counter)) {
            sent.answered = Some((at, outcome));
        }
    }

    /// A request of a session's user was answered.
    pub fn answered(&mut self, session: u32, source: Source, span: Span, answer: Answer) {
        self.requests.push(Request { session, source, span, answer });
    }

    /// An event of the log, as the owner reads it.
    pub fn stored(&mut self, seq: u64, event: &Bytes) {
        let stored = Stored::of(seq, event);
        let (other, other_digest) = (Source::Store, stored.event);
        match stored.says {
            Ok(Says::Added { user, .. }) => self.members.insert(user, true),
            Ok(Says::Removed { user }) => self.members.insert(user, false),
            _ => None,
        };
        if let Some(before) = self.log.insert(seq, stored).filter(|before| before.event != other_digest) {
            let (one, one_digest) = (Source::Store, before.event);
            self.found.violated(Violation::Divergence { seq, one, one_digest, other, other_digest });
        }
    }

    /// The highest seq at which a send was acked; 0 if there is none.
    pub const fn last_acked(&self) -> u64 {
        self.last_acked
    }

    /// How far the log was read; 0 if it was not.
    pub fn stored_to(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Subscriptions of a session that were refused so far.
    #[cfg(test)]
    pub(crate) fn refused_subscriptions(&self, session: u32) -> usize {
        let is_refused = |step: &&Step| matches!(step, Step::Subscribe { answer: Some((_, Err(_))), .. });
        self.listeners.get(&session).map_or(0, |listener| listener.steps.iter().filter(is_refused).count())
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
