//! The judgement: changes and sends, compared with the log.

use std::collections::HashMap;

use panda_protocol::{Counter, DeviceId};

use super::known::Known;
use super::log::{Log, Message};
use super::{Change, MembershipCheck, MembershipVerdict};
use crate::checker::violation::Violation;

impl MembershipCheck {
    /// Judges everything, once the log was read and nothing follows any more.
    pub fn finish(mut self) -> MembershipVerdict {
        let chat = std::mem::take(&mut self.found);
        let mut verdict = MembershipVerdict { chat, ..MembershipVerdict::default() };
        let mut log = Log::of(&self);
        log.known = Known::of(&self);
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
            if sent.user != actor {
                let user = sent.user;
                verdict.chat.violated(Violation::OtherActor { device, counter, seq, user, actor });
            }
            if let Some((_, Err(code))) = sent.answered {
                verdict.chat.violated(Violation::RefusedButThere { device, counter, code, seq });
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
            let acked = match sent.answered {
                Some((_, Ok(seq))) => seq,
                Some((_, Err(_))) => {
                    verdict.chat.refused += 1;
                    continue;
                }
                None => {
                    verdict.chat.unknown += 1;
                    continue;
                }
            };
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
}
