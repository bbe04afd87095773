//! What requests were answered with, compared with the log.

use std::cmp::Ordering;

use panda_protocol::frame::Direction;

use super::log::{Log, Membership, Message};
use super::streams::{judge_event, judge_refusal, judge_sight};
use super::{Answer, MembershipCheck, MembershipVerdict, Request, Wanted};
use crate::checker::violation::{Source, Violation};

impl MembershipCheck {
    /// A request was served to a member, with all that a member may see; or refused to who is none.
    pub(super) fn judge_request(&self, log: &Log, request: &Request, verdict: &mut MembershipVerdict) {
        let Request { session, source, span, answer } = request;
        let Some(listener) = self.listeners.get(session) else { return };
        let (user, source, at) = (listener.user, *source, span.answered);
        let (said, shown) = match answer {
            Answer::Refused(code) => return judge_refusal(log, user, (source, *code), *span, verdict),
            Answer::Page(_, said, events) => (*said, &events[..]),
            Answer::Messages { begins_at, texts, .. } => (*begins_at, &texts[..]),
            Answer::Stored(seq) => (0, &[(*seq, 0)][..]),
        };
        verdict.seen.served += 1;
        let met = || log.of_user(user).iter().filter(|membership| membership.may_meet(*span));
        if met().next().is_none() {
            verdict.chat.violated(Violation::NotRefused { source, at, member: log.told(user) });
        }
        if matches!(answer, Answer::Stored(_)) {
            return;
        }
        if met().next().is_some() && !met().any(|membership| membership.visible_from == said.max(1)) {
            verdict.chat.violated(Violation::WrongGrant { source, said, member: log.told(user) });
        }
        // One that meets it alone is all that it may be served by; where several may, any of them.
        let only = met().next().filter(|_| met().count() == 1);
        for &(seq, digest) in shown {
            match only {
                Some(membership) if !membership.shows(seq) => {
                    verdict.chat.violated(Violation::NotVisible { source, seq, at, member: log.told(user) });
                }
                _ => judge_sight(log, user, source, (seq, at), verdict),
            }
            match answer {
                Answer::Page(..) => judge_event(log, source, seq, digest, verdict),
                _ => judge_text(log, source, (seq, digest), verdict),
            }
        }
        judge_order(answer, source, verdict);
        // Whose membership neither began nor ended meanwhile is served by it, whenever in its course.
        let Some(membership) = only.filter(|membership| membership.meets(*span)) else { return };
        let known = log.known.by(span.asked);
        if let Some(seq) = first_missing(log, answer, membership, known) {
            verdict.chat.violated(Violation::NotShown { source, seq, at });
        }
    }
}

/// A page begins where it was asked for and has each event next to the one before; messages come in rising order.
fn judge_order(answer: &Answer, source: Source, verdict: &mut MembershipVerdict) {
    let (shown, direction, next_to) = match answer {
        Answer::Page(wanted, _, events) => {
            let is_behind = |seq: &u64| match wanted.direction {
                Direction::Forward => *seq < wanted.from,
                Direction::Backward => *seq > wanted.from,
            };
            if let Some(&(got, _)) = events.first().filter(|(seq, _)| is_behind(seq)) {
                verdict.chat.violated(Violation::Reordered { source, expected: wanted.from, got });
            }
            (events, wanted.direction, true)
        }
        Answer::Messages { texts, .. } => (texts, Direction::Forward, false),
        Answer::Stored(_) | Answer::Refused(_) => return,
    };
    for pair in shown.windows(2) {
        let (before, seq) = (pair[0].0, pair[1].0);
        let (expected, behind) = match direction {
            Direction::Forward => (before.saturating_add(1), seq.cmp(&before)),
            Direction::Backward => (before.saturating_sub(1), before.cmp(&seq)),
        };
        let between = (before.min(seq) + 1, before.max(seq));
        match behind {
            Ordering::Equal => verdict.chat.violated(Violation::Repeated { source, seq }),
            Ordering::Less => verdict.chat.violated(Violation::Reordered { source, expected, got: seq }),
            Ordering::Greater if next_to && seq != expected => {
                let (expected, got) = between;
                verdict.chat.violated(Violation::Gap { source, expected, got });
            }
            Ordering::Greater => {}
        }
    }
}

/// The first event that a member of this membership was to be shown, in the direction that was asked for, and was not.
/// Everything up to `known` was there when it was asked for.
fn first_missing(log: &Log, answer: &Answer, membership: &Membership, known: u64) -> Option<u64> {
    let begins = membership.visible_from.max(1);
    match answer {
        Answer::Page(wanted, _, events) => missing_events(*wanted, events, begins, known),
        Answer::Messages { wanted, covers, texts, .. } => {
            let is_shown = |seq: &u64| texts.iter().any(|(shown, _)| shown == seq);
            let looked_at = log.messages.range(covers.0..).map(|(seq, _)| *seq).take_while(|seq| *seq <= covers.1);
            let full = texts.len() as u64 >= wanted.limit;
            let hole = || looked_at.clone().find(|seq| !is_shown(seq));
            missing_reach(*wanted, *covers, full, begins, known).or_else(hole)
        }
        Answer::Stored(_) | Answer::Refused(_) => None,
    }
}

fn missing_events(wanted: Wanted, events: &[(u64, u64)], begins: u64, known: u64) -> Option<u64> {
    let Wanted { direction, from, limit } = wanted;
    let count = events.len() as u64;
    match direction {
        Direction::Forward => {
            let first = from.max(begins);
            // Whatever comes first: what stands before it is missing, and what it repeats is told as such.
            let next = events.last().map_or(first, |(last, _)| last + 1);
            let due = known.min(first.saturating_add(limit - 1));
            match events.first() {
                Some((shown, _)) if *shown > first => Some(first),
                _ => (next <= due).then_some(next),
            }
        }
        Direction::Backward => {
            let newest = from.min(known);
            match (events.first(), events.last()) {
                (Some((shown, _)), _) if *shown < newest => Some(newest),
                (_, Some((last, _))) => (*last > begins && count < limit).then(|| last - 1),
                _ => (newest >= begins).then_some(newest),
            }
        }
    }
}

/// Messages are looked for up to the limit, in at least as many events.
fn missing_reach(wanted: Wanted, (first, last): (u64, u64), full: bool, begins: u64, known: u64) -> Option<u64> {
    let Wanted { direction, from, limit } = wanted;
    let enough = full || last >= first && last - first + 1 >= limit;
    let due = from.max(begins);
    match direction {
        Direction::Forward if first > due => Some(due),
        Direction::Forward => (!enough && last < known && due <= known).then(|| due.max(last + 1)),
        Direction::Backward if last < known.min(from) && known >= begins => Some(known.min(from)),
        Direction::Backward => (!enough && first > begins).then(|| first - 1),
    }
}

/// A message's text is the log's.
fn judge_text(log: &Log, source: Source, (seq, text): (u64, u64), verdict: &mut MembershipVerdict) {
    match log.messages.get(&seq) {
        Some(message) if message.text == text => {}
        Some(Message { device, counter, text: sent, .. }) => {
            let (device, counter, sent_digest, got_digest) = (*device, *counter, *sent, text);
            verdict.chat.violated(Violation::Altered { device, counter, seq, sent_digest, got_digest });
        }
        // The log has no message there: as if it had other bytes.
        None => judge_event(log, source, seq, text, verdict),
    }
}
