//! What each session saw of the chat, compared with the log.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_protocol::frame::Start;
use panda_protocol::{ErrorCode, UserId};

use super::log::{Log, Removal};
use super::{Grant, Listener, MembershipCheck, MembershipVerdict, Span, Step};
use crate::checker::violation::{Source, Violation};

/// A session's stream while its steps are gone through.
struct Stream<'a> {
    session: u32,
    user: UserId,
    log: &'a Log,
    shown: &'a BTreeMap<u64, u64>,
    verdict: &'a mut MembershipVerdict,
    /// The event that is due, where that is known.
    next: Option<u64>,
    /// Since when it listens, if it does.
    since: Option<Duration>,
}

impl MembershipCheck {
    pub(super) fn judge_streams(&self, log: &Log, verdict: &mut MembershipVerdict) {
        for (&session, listener) in &self.listeners {
            let (user, shown) = (listener.user, &self.shown);
            let mut stream = Stream { session, user, log, shown, verdict, next: None, since: None };
            listener.steps.iter().for_each(|step| stream.go_through(step));
            stream.end(listener);
        }
    }

    /// Sessions that do not have what they are to have in the end, once the log was read.
    pub fn unsettled(&self) -> usize {
        let head = self.stored_to();
        let settled = |listener: &&Listener| match self.members.get(&listener.user) {
            Some(true) => listener.listens && listener.last >= head,
            Some(false) | None => !listener.listens,
        };
        self.listeners.values().filter(|listener| !settled(listener)).count()
    }
}

impl Stream<'_> {
    fn source(&self) -> Source {
        Source::Session(self.session)
    }

    fn violated(&mut self, violation: Violation) {
        self.verdict.chat.violated(violation);
    }

    fn member(&self) -> String {
        self.log.told(self.user)
    }

    fn go_through(&mut self, step: &Step) {
        match *step {
            Step::Subscribe { behind, asked, answer } => {
                self.verdict.chat.streams += 1;
                self.since = Some(asked);
                self.next = None;
                match answer {
                    Some((answered, Ok(grant))) => self.granted(grant, behind, Span { asked, answered }),
                    Some((answered, Err(code))) => {
                        self.since = None;
                        self.refused(code, Span { asked, answered });
                    }
                    None => {}
                }
            }
            Step::Resumed { grant, span } => {
                let behind = self.next.map(|next| next.saturating_sub(1));
                self.granted(grant, behind, span);
            }
            Step::Event { seq, event, at } => self.event(seq, event, at),
            Step::Events { first, last, at, .. } => {
                let shown = self.shown;
                shown.range(first..=last).for_each(|(&seq, &event)| self.event(seq, event, at));
            }
            Step::Ended { code, resuming, at } => self.ended(code, resuming, at),
        }
    }

    /// The stream begins where a membership lets it: behind the cursor, or where sight begins.
    fn granted(&mut self, grant: Grant, behind: Option<u64>, span: Span) {
        let Grant { start, from, visible_from } = grant;
        self.verdict.seen.admissions += 1;
        let of_user = self.log.of_user(self.user);
        // Sight of an event before the first one is sight of it all.
        let fits = |sight: u64| sight == visible_from.max(1);
        if !of_user.iter().any(|membership| membership.may_meet(span) && fits(membership.visible_from)) {
            let (source, member) = (self.source(), self.member());
            self.violated(Violation::WrongGrant { source, said: visible_from, member });
        }
        let head = self.log.head;
        let due = match (start, behind) {
            // Where the log ends, no stream begins behind it.
            (Start::From | Start::BeginsAt | Start::Live, _) if from > head + 1 => Some(head + 1),
            (Start::From, Some(behind)) => Some(behind + 1),
            (Start::BeginsAt, Some(behind)) => Some(visible_from).filter(|&begins| begins > behind + 1),
            (Start::Live, None) => Some(self.first_live(from, span)),
            // A resume behind a subscription of which no answer and no event came.
            (Start::From | Start::BeginsAt, None) => Some(from),
            (Start::Live, Some(_)) | (Start::Reset, _) => None,
        };
        if due != Some(from) {
            let (source, expected) = (self.source(), due.unwrap_or_else(|| behind.unwrap_or(0) + 1));
            self.violated(if from > expected {
                Violation::Gap { source, expected, got: from }
            } else {
                Violation::Reordered { source, expected, got: from }
            });
        }
        self.next = Some(from);
    }

    /// Where a stream begins that is to have what happens from now on: behind all that was there when it was asked for,
    /// and not behind what was begun once it was answered.
    fn first_live(&self, from: u64, span: Span) -> u64 {
        let known = &self.log.known;
        let latest = known.begun_from(span.answered).unwrap_or(u64::MAX);
        from.max(known.by(span.asked) + 1).min(latest)
    }

    fn refused(&mut self, code: u16, span: Span) {
        let source = self.source();
        judge_refusal(self.log, self.user, (source, code), span, self.verdict);
    }

    fn event(&mut self, seq: u64, event: u64, at: Duration) {
        let source = self.source();
        self.verdict.chat.deliveries += 1;
        if self.since.is_none() {
            self.violated(Violation::NotListening { session: self.session, seq });
        }
        match self.next {
            Some(next) if seq > next => self.violated(Violation::Gap { source, expected: next, got: seq }),
            Some(next) if seq + 1 == next => self.violated(Violation::Repeated { source, seq }),
            Some(next) if seq < next => self.violated(Violation::Reordered { source, expected: next, got: seq }),
            _ => {}
        }
        self.next = Some(self.next.map_or(seq + 1, |next| next.max(seq + 1)));
        judge_event(self.log, source, seq, event, self.verdict);
        judge_sight(self.log, self.user, source, (seq, at), self.verdict);
    }

    /// Only a removal ends a subscription for good: one that was not over before this one began. Who listened until then
    /// has everything up to it; who was about to listen again learns of it only.
    fn ended(&mut self, code: u16, resuming: bool, at: Duration) {
        let since = self.since.take().unwrap_or(Duration::ZERO);
        let (log, user) = (self.log, self.user);
        let removals = || log.of_user(user).iter().filter_map(|membership| membership.removed.as_ref());
        let may_end = |removal: &&Removal| removal.asked <= at && removal.acked.is_none_or(|acked| acked >= since);
        if code != ErrorCode::NotMember as u16 || !removals().any(|removal| may_end(&removal)) {
            let (source, member) = (self.source(), self.member());
            return self.violated(Violation::WrongRefusal { source, code, at, member });
        }
        let Some(next) = self.next else { return };
        if removals().any(|removal| next == removal.seq + 1) {
            self.verdict.seen.removals_seen += 1;
        } else if !resuming && let Some(removal) = removals().filter(may_end).find(|removal| next <= removal.seq) {
            self.violated(Violation::Behind { session: self.session, next, head: removal.seq });
        }
    }

    fn end(mut self, listener: &Listener) {
        let (session, head) = (self.session, self.log.head);
        match self.log.in_the_end(listener.user) {
            Some(membership) if membership.removed.is_none() => {
                let next = if self.since.is_some() { self.next.unwrap_or(membership.added) } else { membership.added };
                if self.since.is_none() || next <= head {
                    self.violated(Violation::Behind { session, next, head });
                }
            }
            last if self.since.is_some() => {
                let removed = last.and_then(|membership| membership.removed.as_ref()).map_or(0, |removal| removal.seq);
                self.violated(Violation::NotEnded { session, removed });
            }
            _ => {}
        }
    }
}

/// An event is the log's.
pub(super) fn judge_event(log: &Log, source: Source, seq: u64, event: u64, verdict: &mut MembershipVerdict) {
    let violation = match log.events.get(&seq) {
        Some(&stored) if stored == event => return,
        Some(&stored) => {
            Violation::Divergence { seq, one: Source::Store, one_digest: stored, other: source, other_digest: event }
        }
        None => Violation::NotStored { seq, begins_at: 1, head: log.head },
    };
    verdict.chat.violated(violation);
}

/// An event that came at this time is one that a membership shows which was asked for by then.
pub(super) fn judge_sight(
    log: &Log,
    user: UserId,
    source: Source,
    (seq, at): (u64, Duration),
    verdict: &mut MembershipVerdict,
) {
    if !log.of_user(user).iter().any(|membership| membership.shows(seq) && membership.asked <= at) {
        verdict.chat.violated(Violation::NotVisible { source, seq, at, member: log.told(user) });
    }
}

/// A refusal is one of who is no member, and has the code that says so.
pub(super) fn judge_refusal(
    log: &Log,
    user: UserId,
    (source, code): (Source, u16),
    span: Span,
    verdict: &mut MembershipVerdict,
) {
    let of_user = log.of_user(user);
    let is_member = of_user.iter().any(|membership| membership.meets(span));
    let may_be_new = !of_user.iter().any(|membership| membership.acked.is_some_and(|acked| acked <= span.asked));
    let may_have_been = of_user.iter().any(|membership| membership.asked <= span.answered);
    let fits = match ErrorCode::from_u16(code) {
        Some(ErrorCode::NotMember) => may_have_been,
        Some(ErrorCode::NotFound) => may_be_new,
        _ => false,
    };
    if is_member || !fits {
        let (at, member) = (span.answered, log.told(user));
        return verdict.chat.violated(Violation::WrongRefusal { source, code, at, member });
    }
    verdict.seen.refused += 1;
}
