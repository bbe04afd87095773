//! The judgement: changes, sends and requests, compared with the log.

use std::collections::HashMap;

use panda_protocol::{Counter, DeviceId};

use super::log::{Log, Message};
use super::streams::{judge_event, judge_refusal, judge_sight};
use super::{Answer, Change, MembershipCheck, MembershipVerdict, Request};
use crate::checker::violation::Violation;

impl MembershipCheck {
    /// Judges everything, once the log was read and nothing follows any more.
    pub fn finish(self) -> MembershipVerdict {
        let mut verdict = MembershipVerdict::default();
        let mut log = Log::of(&self);
        std::mem::take(&mut log.found).into_iter().for_each(|found| verdict.chat.violated(found));
        verdict.chat.events = log.events.len() as u64;
        self.judge_changes(&log, &mut verdict);
        self.judge_messages(&log, &mut verdict);
        self.judge_sends(&log, &mut verdict);
        self.judge_streams(&log, &mut verdict);
        for request in &self.requests {
            self.judge_request(&log, request, &mut verdict);
        }
        verdict
    }

    /// Every change that was acked is in the log; none is refused, because its user was as it must be for it.
    fn judge_changes(&self, log: &Log, verdict: &mut MembershipVerdict) {
        for asked in &self.changes {
            let user = asked.user;
            let seq = match asked.answered {
                None => continue,
                Some((_, Err(code))) => {
                    verdict.chat.violated(Violation::ChangeRefused { user, code });
                    continue;
                }
                Some((_, Ok(seq))) => seq,
            };
            let mut of_user = log.of_user(user).iter();
            let (count, there) = match asked.change {
                Change::Add { with_history: false } => (&mut verdict.seen.added, of_user.any(|of| of.added == seq)),
                Change::Add { with_history: true } => {
                    (&mut verdict.seen.added_with_history, of_user.any(|of| of.added == seq))
                }
                Change::Remove => {
                    let removed = of_user.any(|of| of.removed.as_ref().is_some_and(|removal| removal.seq == seq));
                    (&mut verdict.seen.removed, removed)
                }
            };
            *count += 1;
            if !there {
                let there = if seq <= log.head { "another event" } else { "nothing" }.to_owned();
                verdict.chat.violated(Violation::LostChange { user, acked: seq, there });
            }
        }
    }

    /// Every message is one that was sent, once, as it was sent, in its device's order, and by a member.
    fn judge_messages(&self, log: &Log, verdict: &mut MembershipVerdict) {
        let mut first: HashMap<(DeviceId, Counter), u64> = HashMap::new();
        let mut last: HashMap<DeviceId, Counter> = HashMap::new();
        for (&seq, message) in &log.messages {
            let Message { actor, device, counter, text } = *message;
            if !log.holds(actor, seq) {
                verdict.chat.violated(Violation::SentWhileOut { seq, actor, member: log.told(actor) });
            }
            let Some(sent) = self.sends.get(&(device, counter)) else {
                verdict.chat.violated(Violation::NeverSent { device, counter, seq });
                continue;
            };
            if let Some(first) = first.insert((device, counter), seq) {
                verdict.chat.violated(Violation::Duplicate { device, counter, first, second: seq });
                continue;
            }
            if sent.text != text {
                let (sent_digest, got_digest) = (sent.text, text);
                verdict.chat.violated(Violation::Altered { device, counter, seq, sent_digest, got_digest });
            }
            if let Some(later_counter) = last.insert(device, counter).filter(|&later| later > counter) {
                let later_device = device;
                verdict.chat.violated(Violation::SenderOrder { device, counter, seq, later_device, later_counter });
            }
        }
    }

    fn judge_sends(&self, log: &Log, verdict: &mut MembershipVerdict) {
        for (&(device, counter), sent) in &self.sends {
            verdict.chat.sends += 1;
            let Some(acked) = sent.acked else { continue };
            verdict.chat.acked += 1;
            let there = match log.messages.get(&acked) {
                Some(message) if (message.device, message.counter) == (device, counter) => continue,
                Some(other) => format!("send {} of device {}", other.counter, other.device),
                None if acked <= log.head => "an event that is no message".into(),
                None => "nothing".into(),
            };
            verdict.chat.violated(Violation::LostAck { device, counter, acked, there });
        }
    }

    /// A request was served to a member, with what a member may see; or refused to who is none.
    fn judge_request(&self, log: &Log, request: &Request, verdict: &mut MembershipVerdict) {
        let Request { session, source, span, answer } = request;
        let Some(listener) = self.listeners.get(session) else { return };
        let (user, source, at) = (listener.user, *source, span.answered);
        if let Answer::Refused(code) = answer {
            return judge_refusal(log, user, (source, *code), *span, verdict);
        }
        verdict.seen.served += 1;
        let met = || log.of_user(user).iter().filter(|membership| membership.may_meet(*span));
        if met().next().is_none() {
            verdict.chat.violated(Violation::NotRefused { source, at, member: log.told(user) });
        }
        let (Answer::Page(said, events) | Answer::Messages(said, events)) = answer else { return };
        if met().next().is_some() && !met().any(|membership| membership.visible_from == *said.max(&1)) {
            verdict.chat.violated(Violation::WrongGrant { source, said: *said, member: log.told(user) });
        }
        // One that meets it alone is all that it may be served by; where several may, any of them.
        let only = met().next().filter(|_| met().count() == 1);
        for &(seq, shown) in events {
            match only {
                Some(membership) if !membership.shows(seq) => {
                    verdict.chat.violated(Violation::NotVisible { source, seq, at, member: log.told(user) });
                }
                _ => judge_sight(log, user, source, (seq, at), verdict),
            }
            match answer {
                Answer::Page(..) => judge_event(log, source, seq, shown, verdict),
                _ => judge_text(log, request, (seq, shown), verdict),
            }
        }
        if matches!(answer, Answer::Page(..)) {
            for pair in events.windows(2).filter(|pair| pair[0].0.abs_diff(pair[1].0) != 1) {
                let (expected, got) = (pair[0].0.min(pair[1].0) + 1, pair[0].0.max(pair[1].0));
                verdict.chat.violated(Violation::Gap { source, expected, got });
            }
        }
    }
}

/// A message's text is the log's.
fn judge_text(log: &Log, request: &Request, (seq, text): (u64, u64), verdict: &mut MembershipVerdict) {
    match log.messages.get(&seq) {
        Some(message) if message.text == text => {}
        Some(Message { device, counter, text: sent, .. }) => {
            let (device, counter, sent_digest, got_digest) = (*device, *counter, *sent, text);
            verdict.chat.violated(Violation::Altered { device, counter, seq, sent_digest, got_digest });
        }
        // The log has no message there: as if it had other bytes.
        None => {
            judge_event(log, request.source, seq, text, verdict);
        }
    }
}
