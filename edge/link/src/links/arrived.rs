//! What comes of commands, questions and interests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::Stream as _;
use panda_protocol::frame::{Admission, SignalKind};
use panda_protocol::link::{Down, Events, Outcome, Rejection, Up};
use panda_protocol::{ChatId, EntityId, ErrorCode, Seq, SessionId, ShardId, UserId};
use panda_storage::command_log::CommandLog;

use super::Links;
use super::withheld::Asker;
use crate::waiting::{Asked, Waiting};

/// What came of what went up, and what came by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived<'a, C> {
    /// A command's outcome.
    Command {
        /// Who waited.
        waiting: C,
        /// The first event that it made.
        outcome: Result<Seq, Rejection>,
    },
    /// A command was refused as `limit_reached`, and not appended.
    Full {
        /// Who waited.
        waiting: C,
        /// Those whom it would add to a chat, and who are in as many as a user may be.
        users: Vec<UserId>,
    },
    /// An admission's outcome; events behind its head follow from now on.
    Admission {
        /// Who waited.
        waiting: C,
        /// The proof in it is empty.
        outcome: Result<Admission, Rejection>,
    },
    /// A part of what was read; more follow.
    Part {
        /// Who waits.
        waiting: &'a mut C,
        /// The body behind the request number.
        body: Bytes,
    },
    /// The last part of what was read, or why there is none.
    Read {
        /// Who waited.
        waiting: C,
        /// The body behind the request number.
        outcome: Result<Bytes, Rejection>,
    },
    /// Events of an entity.
    Events(Events),
    /// Where an entity is, instead of its events.
    Head {
        /// The entity.
        entity: EntityId,
        /// Its last event.
        head: Seq,
        /// Nothing of it may be delivered before the sessions are admitted anew.
        readmit: bool,
    },
    /// A signal for the chat's listeners.
    Signal {
        /// The chat.
        chat: ChatId,
        /// Who sent it.
        user: UserId,
        /// What it is about.
        kind: SignalKind,
        /// As sent.
        payload: Bytes,
    },
    /// A newer session of the device is live.
    Replaced {
        /// The session to end.
        session: SessionId,
    },
    /// A shard has an owner who knows nothing of this end: devices of its inboxes are to be attached
    /// again. What waits for an answer was asked again.
    Owner {
        /// The shard.
        shard: ShardId,
    },
    /// Events of the shard's entities were missed, nobody knows of which: nothing of them may be
    /// delivered before their listeners are admitted anew.
    Readmit {
        /// The shard.
        shard: ShardId,
    },
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandRefused {
    /// With this code.
    Rejected(Rejection),
    /// As `limit_reached`, and not appended: it would add these users to a chat, and they are in as many as a user may
    /// be.
    Full(Vec<UserId>),
}

impl CommandRefused {
    /// The code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected(rejection) => rejection.code,
            Self::Full(_) => ErrorCode::LimitReached,
        }
    }
}

impl From<Rejection> for CommandRefused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<L: CommandLog, C> Links<L, C> {
    /// Takes what came down. `None` where nobody waits any more, or its sender owns the shard no more.
    pub fn arrive(&mut self, down: Down) -> Option<Arrived<'_, C>> {
        match down {
            Down::Admitted(admitted) => {
                let entity = self.waiting.entity(admitted.token)?;
                self.is_current(self.shard(entity), admitted.generation).then_some(())?;
                let waiting = self.waiting.remove(admitted.token)?.context.caller()?;
                Some(Arrived::Admission { waiting, outcome: admitted.outcome })
            }
            Down::Events(events) => {
                self.is_current(self.shard(events.entity), events.generation).then_some(Arrived::Events(events))
            }
            Down::Head { generation, entity, head, readmit } => {
                self.is_current(self.shard(entity), generation).then_some(Arrived::Head { entity, head, readmit })
            }
            Down::Answer(answer) => {
                let entity = self.waiting.entity(answer.token)?;
                self.is_current(self.shard(entity), answer.generation).then_some(())?;
                let Waiting { traced, context, .. } = self.waiting.remove(answer.token)?;
                let outcome = match answer.outcome {
                    Outcome::Applied(seq) => Ok(seq),
                    Outcome::Rejected(rejection) => Err(rejection),
                };
                self.tell_traced(entity, traced.as_deref(), &outcome);
                let waiting = context.caller()?;
                Some(Arrived::Command { waiting, outcome })
            }
            Down::Read(reply) => match reply.body {
                Ok(body) if !reply.last => {
                    let one = self.waiting.one_mut(reply.token)?;
                    // What a withheld command asks for has one part.
                    let Asker::Caller(waiting) = &mut one.context else { return None };
                    if let Asked::Read { begun, .. } = &mut one.asked {
                        *begun = true;
                    }
                    Some(Arrived::Part { waiting, body })
                }
                outcome => {
                    let Waiting { entity, context, .. } = self.waiting.remove(reply.token)?;
                    match context {
                        Asker::Caller(waiting) => Some(Arrived::Read { waiting, outcome }),
                        Asker::Withheld(number) => {
                            self.heard(number, entity, outcome);
                            None
                        }
                    }
                }
            },
            Down::Signal { chat, user, kind, payload } => Some(Arrived::Signal { chat, user, kind, payload }),
            Down::Replaced { session } => Some(Arrived::Replaced { session }),
            Down::Watermark { shard, generation, position } => {
                self.is_current(shard, generation).then_some(())?;
                let known = &mut self.shards.get_mut(usize::from(shard.0))?.watermark;
                *known = (*known).max(Some(position));
                None
            }
            Down::Owner { shard, generation } => {
                self.is_current(shard, generation).then_some(())?;
                // What another owner said of its age is over; a new one says its own.
                if let Some(known) = self.shards.get_mut(usize::from(shard.0)) {
                    known.backlog_age_ms = 0;
                }
                self.ask_again(shard);
                Some(Arrived::Owner { shard })
            }
            Down::Readmit { shard, generation } => {
                self.is_current(shard, generation).then_some(Arrived::Readmit { shard })
            }
            Down::Backlog { shard, age_ms } => {
                self.shards.get_mut(usize::from(shard.0))?.backlog_age_ms = age_ms;
                None
            }
        }
    }

    /// The next command whose append failed, or that was withheld and refused. Those that were appended are noted here,
    /// too: poll it after every [`Self::command`], [`Self::arrive`] and [`Self::expire`].
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<Arrived<'static, C>> {
        if let Some(refused) = self.next_refused() {
            return Poll::Ready(refused);
        }
        loop {
            let Some((token, appended)) = ready!(Pin::new(&mut self.appending).poll_next(cx)) else {
                return Poll::Pending;
            };
            match appended {
                Ok(position) => {
                    // The answer may have been faster than the log's confirmation.
                    if let Some(waiting) = self.waiting.one_mut(token) {
                        if let Asked::Command { ask: true, .. } = waiting.asked {
                            self.up.push_back(Up::Ask { token, entity: waiting.entity, position });
                        }
                        waiting.asked = Asked::Command { position: Some(position), ask: false };
                        if let Some(traced) = &mut waiting.traced {
                            traced.appended(position);
                        }
                    }
                }
                Err(error) => {
                    let Some(Waiting { entity, traced, context, .. }) = self.waiting.remove(token) else { continue };
                    let outcome = Err(self.append_failed(error));
                    self.tell_traced(entity, traced.as_deref(), &outcome);
                    if let Some(waiting) = context.caller() {
                        return Poll::Ready(Arrived::Command { waiting, outcome });
                    }
                }
            }
        }
    }

    /// One whose answer did not come in time, or cannot come: a command may still happen, a question
    /// did not.
    pub fn expire(&mut self, now_ms: u64) -> Option<Arrived<'static, C>> {
        self.now_ms = self.now_ms.max(now_ms);
        self.let_overdue_go(now_ms);
        let unavailable = self.later(ErrorCode::Unavailable);
        if let Some(waiting) = self.broken.pop() {
            return Some(Arrived::Read { waiting, outcome: Err(unavailable) });
        }
        loop {
            let Waiting { entity, asked, traced, context } = self.waiting.take_expired(now_ms)?;
            let waiting = match context {
                Asker::Caller(waiting) => waiting,
                Asker::Withheld(number) => {
                    self.heard(number, entity, Err(unavailable));
                    continue;
                }
            };
            return Some(match asked {
                Asked::Command { .. } => {
                    let outcome = Err(self.later(ErrorCode::OutcomeUnknown));
                    self.tell_traced(entity, traced.as_deref(), &outcome);
                    Arrived::Command { waiting, outcome }
                }
                Asked::Admission(_) => Arrived::Admission { waiting, outcome: Err(unavailable) },
                Asked::Read { .. } => Arrived::Read { waiting, outcome: Err(unavailable) },
            });
        }
    }
}
