//! The chat's log, and the memberships that follow from it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::event::{Event, EventBody};
use panda_protocol::{Counter, DeviceId, UserId};

use super::known::Known;
use super::{Asked, Change, MembershipCheck, Span};
use crate::checker::digest;
use crate::checker::violation::{Source, Violation};

/// From a MemberAdded to the MemberRemoved of the same user.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) added: u64,
    pub(super) visible_from: u64,
    /// When it was asked for and, where an answer came, answered.
    pub(super) asked: Duration,
    pub(super) acked: Option<Duration>,
    pub(super) removed: Option<Removal>,
}

#[derive(Clone, Debug)]
pub(super) struct Removal {
    pub(super) seq: u64,
    pub(super) asked: Duration,
    pub(super) acked: Option<Duration>,
}

impl Membership {
    /// Whether it lets its user see an event: from where it gives sight to its own end.
    pub(super) fn shows(&self, seq: u64) -> bool {
        seq >= self.visible_from && self.removed.as_ref().is_none_or(|removal| seq <= removal.seq)
    }

    /// Whether a request may have met it.
    pub(super) fn may_meet(&self, span: Span) -> bool {
        let over = self.removed.as_ref().and_then(|removal| removal.acked).is_some_and(|acked| acked <= span.asked);
        self.asked <= span.answered && !over
    }

    /// Whether a request certainly met it, whenever in its course it was decided.
    pub(super) fn meets(&self, span: Span) -> bool {
        let lasts = self.removed.as_ref().is_none_or(|removal| removal.asked > span.answered);
        self.acked.is_some_and(|acked| acked <= span.asked) && lasts
    }

    fn holds(&self, seq: u64) -> bool {
        seq > self.added && self.removed.as_ref().is_none_or(|removal| seq < removal.seq)
    }
}

/// What is kept of an event of the log.
#[derive(Debug)]
pub(super) struct Stored {
    /// The digest of its bytes.
    pub(super) event: u64,
    /// Or why it says nothing.
    pub(super) says: Result<Says, String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    Message(Message),
    Added { user: UserId, visible_from: u64 },
    Removed { user: UserId },
    Other,
}

impl Stored {
    pub(super) fn of(seq: u64, bytes: &Bytes) -> Self {
        let says = match Event::from_bytes(bytes) {
            Err(error) => Err(error.to_string()),
            Ok(event) if event.seq.0 != seq => Err(format!("its bytes say seq {}", event.seq)),
            Ok(Event { actor, device, counter, target, body, .. }) => Ok(match (body, target) {
                (EventBody::MessageSent { text, .. }, _) => {
                    Says::Message(Message { actor, device, counter, text: digest(text.as_bytes()) })
                }
                (EventBody::MemberAdded { visible_from, .. }, Some(user)) => {
                    Says::Added { user, visible_from: visible_from.0 }
                }
                (EventBody::MemberRemoved, Some(user)) => Says::Removed { user },
                _ => Says::Other,
            }),
        };
        Self { event: digest(bytes), says }
    }
}

/// A message of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) actor: UserId,
    pub(super) device: DeviceId,
    pub(super) counter: Counter,
    pub(super) text: u64,
}

/// The log as it is judged by.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) head: u64,
    /// Digests of the events' bytes.
    pub(super) events: BTreeMap<u64, u64>,
    pub(super) messages: BTreeMap<u64, Message>,
    memberships: HashMap<UserId, Vec<Membership>>,
    /// Filled in where it is judged.
    pub(super) known: Known,
    pub(super) found: Vec<Violation>,
}

impl Log {
    /// Reads it. What it says itself must fit: no hole, and no membership that nobody asked for.
    pub(super) fn of(check: &MembershipCheck) -> Self {
        let mut log = Self::default();
        for (&seq, stored) in &check.log {
            let (source, expected) = (Source::Store, log.head + 1);
            if seq > expected {
                log.found.push(Violation::Gap { source, expected, got: seq });
            } else if seq < expected {
                log.found.push(Violation::Reordered { source, expected, got: seq });
            }
            log.head = seq;
            log.events.insert(seq, stored.event);
            log.take(check, seq, stored);
        }
        log
    }

    fn take(&mut self, check: &MembershipCheck, seq: u64, stored: &Stored) {
        match &stored.says {
            Ok(Says::Message(message)) => {
                self.messages.insert(seq, *message);
            }
            Ok(Says::Added { user, visible_from }) => self.added(check, seq, *user, *visible_from),
            Ok(Says::Removed { user }) => self.removed(check, seq, *user),
            Ok(Says::Other) => {}
            Err(problem) => {
                let (source, problem) = (Source::Store, problem.clone());
                self.found.push(Violation::Unreadable { source, seq, problem });
            }
        }
    }

    fn added(&mut self, check: &MembershipCheck, seq: u64, user: UserId, visible_from: u64) {
        let of_user = self.memberships.entry(user).or_default();
        let made_with =
            of_user.is_empty() && check.listeners.values().any(|listener| listener.user == user && listener.first);
        let (asked, acked, gives) = if made_with {
            (Duration::ZERO, Some(Duration::ZERO), 1)
        } else if let Some(of) = check.change_at(seq, user, |change| change != Change::Remove) {
            let gives = if of.change == (Change::Add { with_history: true }) { 1 } else { seq };
            (of.asked, of.answered.map(|(at, _)| at), gives)
        } else {
            self.found.push(Violation::NobodyAsked { user, seq });
            (Duration::ZERO, None, visible_from)
        };
        // It is taken as it should be, so that whoever is given more is found, too.
        of_user.push(Membership { added: seq, visible_from: gives, asked, acked, removed: None });
        if visible_from.max(1) != gives {
            let member = self.told(user);
            self.found.push(Violation::WrongGrant { source: Source::Store, said: visible_from, member });
        }
    }

    fn removed(&mut self, check: &MembershipCheck, seq: u64, user: UserId) {
        let removal = match check.change_at(seq, user, |change| change == Change::Remove) {
            Some(of) => Removal { seq, asked: of.asked, acked: of.answered.map(|(at, _)| at) },
            None => {
                self.found.push(Violation::NobodyAsked { user, seq });
                Removal { seq, asked: Duration::ZERO, acked: None }
            }
        };
        if let Some(last) = self.memberships.entry(user).or_default().last_mut() {
            last.removed.get_or_insert(removal);
        }
    }

    /// All memberships of a user, in their order.
    pub(super) fn of_user(&self, user: UserId) -> &[Membership] {
        self.memberships.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Whether a user was a member where an event stands.
    pub(super) fn holds(&self, user: UserId, seq: u64) -> bool {
        self.of_user(user).iter().any(|membership| membership.holds(seq))
    }

    /// Of a user who is a member in the end, what it is since; of others, the removal.
    pub(super) fn in_the_end(&self, user: UserId) -> Option<&Membership> {
        self.of_user(user).last()
    }

    /// When a user was a member, for evidence.
    pub(super) fn told(&self, user: UserId) -> String {
        let mut told = String::new();
        for Membership { added, visible_from, asked, removed, .. } in self.of_user(user) {
            told += if told.is_empty() { "was" } else { ", and" };
            told += &format!(" a member from seq {added} (asked for at {asked:.3?}), seeing from {visible_from} on");
            if let Some(Removal { seq, asked, acked }) = removed {
                told += &format!(", removed at seq {seq} (asked for at {asked:.3?}");
                told += &acked.map_or_else(|| ")".to_owned(), |at| format!(", acked at {at:.3?})"));
            }
        }
        if told.is_empty() { "never was a member".into() } else { told }
    }
}

impl MembershipCheck {
    /// The change that was acked at this seq, or else one of the same that was not answered.
    fn change_at(&self, seq: u64, user: UserId, is: impl Fn(Change) -> bool) -> Option<&Asked> {
        let places = self.changes_of.get(&user).map_or(&[][..], Vec::as_slice);
        let mut of_user = places.iter().map(|place| &self.changes[*place]).filter(|of| is(of.change));
        let acked = |of: &&Asked| of.answered.is_some_and(|(_, outcome)| outcome == Ok(seq));
        of_user.clone().find(acked).or_else(|| of_user.find(|of| of.answered.is_none()))
    }
}
