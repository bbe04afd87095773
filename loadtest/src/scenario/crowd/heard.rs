//! What agents say, and who of the run it is for.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use panda_client::Unexpected;
use panda_protocol::{ChatId, Counter, DeviceId, Seq};

use super::Crowd;
use crate::agent::{Heard, Word};
use crate::checker::Outcome;
use crate::lean::{Second, Seen};
use crate::report::line;
use crate::run::RunError;

impl Crowd {
    pub(super) fn hear(&mut self, agent: usize, heard: Heard) -> Result<(), RunError> {
        let name = self.crew.agents[agent].name().to_owned();
        match heard {
            Heard::Gone(why) => return Err(RunError::Harness(format!("agent {} is gone: {why}", name))),
            Heard::Said(Word::Failed(why)) => {
                return Err(RunError::Harness(format!("agent {} cannot go on: {why}", name)));
            }
            Heard::Said(Word::Ready) => self.ready += 1,
            Heard::Said(Word::Rested) => self.rested += 1,
            Heard::Said(Word::Lost(why)) => line(format_args!("agent {} lost a session: {why}", name)),
            Heard::Said(Word::Second(second)) => self.second(agent, *second),
            Heard::Said(Word::Seen(seen)) => {
                for each in seen {
                    self.saw(each).map_err(|why| RunError::Harness(format!("agent {} says {why}", name)))?;
                }
            }
            Heard::Said(other) => return Err(RunError::Harness(format!("agent {} says {other:?}", name))),
        }
        Ok(())
    }

    fn second(&mut self, agent: usize, mut second: Second) {
        let (recorder, now) = (&self.run.recorder, self.run.now());
        recorder.sent.fetch_add(second.sent, Relaxed);
        recorder.unknown.fetch_add(second.unknown, Relaxed);
        recorder.unsent.fetch_add(second.unsent, Relaxed);
        recorder.delivered.fetch_add(second.delivered, Relaxed);
        recorder.reconnects.fetch_add(second.reconnects, Relaxed);
        self.churned += second.churned;
        self.comings.add(&second);
        let times = |list: &[(u64, u64)], each: &dyn Fn(Duration)| {
            for &(us, count) in list {
                (0..count).for_each(|_| each(Duration::from_micros(us)));
            }
        };
        times(&second.ack_us, &|after| recorder.ack(agent, after, now));
        times(&second.delivery_us, &|after| recorder.delivery(agent, after, now));
        for (&code, &count) in &second.refused {
            (0..count).for_each(|_| recorder.refusal(code));
        }
        for (&server, &count) in &second.lost {
            (0..count).for_each(|_| recorder.lose(Some(usize::from(server))));
        }
        // Handshakes at full speed are no limit of the load that follows.
        if self.run.load_began.get().is_some() {
            if !self.is_punctual {
                second.late_us.clear();
            }
            self.watch.agent(self.crew.agents[agent].name(), &second);
        }
        self.last[agent] = second;
        self.tellings[agent] += 1;
        let sum = |of: fn(&Second) -> u64| self.last.iter().map(of).sum::<u64>();
        recorder.connected.store(i64::try_from(sum(|last| last.connected)).unwrap_or(i64::MAX), Relaxed);
        recorder.waiting.store(i64::try_from(sum(|last| last.waiting)).unwrap_or(i64::MAX), Relaxed);
    }

    /// Hands what was seen to the checker of its chat.
    fn saw(&mut self, seen: Seen) -> Result<(), String> {
        let chats = self.run.chats.len();
        let number = |chat: u32| match chat as usize {
            number if number < chats => Ok(number),
            other => Err(format!("something of chat {other} of {chats}")),
        };
        let device_of = |text: &str| text.parse::<DeviceId>().map_err(|error| format!("device {text}: {error}"));
        let now = self.run.now();
        match seen {
            Seen::Listening { session, chat, device } => {
                self.run.check(number(chat)?).listening(session, device_of(&device)?);
            }
            Seen::Admitted { session, chat, from } => self.run.check(number(chat)?).admitted(session, from),
            Seen::Resumed { session, chat, from } => self.run.check(number(chat)?).resumed(session, from),
            Seen::Delivered { session, chat, seq, event } => {
                let event =
                    BASE64_STANDARD.decode(&event).map_err(|error| format!("an event that is none: {error}"))?;
                // When it came is in what the agent counted.
                self.run.check(number(chat)?).delivered(session, seq, &Bytes::from(event), now);
            }
            Seen::Broken { session, chat, expected, got } => {
                let how = match got.cmp(&expected) {
                    std::cmp::Ordering::Less => Unexpected::Repeated,
                    _ => Unexpected::Gap { expected: Seq(expected) },
                };
                let chat = match chat {
                    Some(chat) => self.run.chats[number(chat)?],
                    // An inbox is named by its user's chat with itself: evidence names chats.
                    None => self.own_chat(session)?,
                };
                self.run.unexpected(session, chat, Seq(got), how);
            }
            Seen::Breach { session, why } => {
                self.run.breach(session, self.own_chat(session)?, why);
            }
            Seen::Submitted { user, chat, device, counter, text } => {
                let device = device_of(&device)?;
                let mut check = self.run.check(number(chat)?);
                let (send, _) = check.submitted(user, device, Counter(counter), text.as_bytes(), now);
                drop(check);
                self.sends.insert((chat, device, counter), send);
            }
            Seen::Answered { chat, device, counter, seq, refused } => {
                let device = device_of(&device)?;
                let send = self.sends.remove(&(chat, device, counter));
                let send = send.ok_or_else(|| format!("an answer to send {counter} of {device}, which never left"))?;
                let outcome = match (seq, refused) {
                    (Some(seq), _) => Outcome::Acked(seq),
                    (None, Some(code)) => Outcome::Refused(code),
                    (None, None) => Outcome::Unknown,
                };
                self.run.check(number(chat)?).answered(send, outcome, now);
            }
        }
        Ok(())
    }

    fn own_chat(&self, session: u32) -> Result<ChatId, String> {
        let user = self.run.users.get(session as usize).ok_or_else(|| format!("session {session}"))?.id;
        Ok(ChatId::direct(user, user))
    }
}
