//! Awaiting answers: a handle that can be cloned and sent, and the one task behind it.

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{Down, ReadQuery, Rejection, Up};
use panda_protocol::{Counter, DeviceId, EntityId, ErrorCode, Seq, TraceContext, UserId, Writer};
use panda_storage::command_log::CommandLog;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::links::{Arrived, CommandRefused, Links};

/// Calls that wait for the task; more of them wait for room.
const CALLS_MAX: usize = 1_024;
/// How often the task looks for answers that did not come in time.
const TICK: Duration = Duration::from_millis(250);

type CommandOutcome = Result<Seq, CommandRefused>;
type ReadOutcome = Result<Vec<Bytes>, Rejection>;

enum Call {
    Command {
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        command: Bytes,
        trace: Option<TraceContext>,
        answer: oneshot::Sender<CommandOutcome>,
    },
    Read {
        user: UserId,
        entity: EntityId,
        query: ReadQuery,
        answer: oneshot::Sender<ReadOutcome>,
    },
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Caller {
    Command(oneshot::Sender<CommandOutcome>),
    Read { parts: Vec<Bytes>, answer: oneshot::Sender<ReadOutcome> },
}

/// Sends commands and reads over a link and awaits what comes of them.
#[derive(Clone, Debug)]
pub struct LinkClient {
    calls: mpsc::Sender<Call>,
}

impl LinkClient {
    /// A client and its driver, which the caller spawns. `up` and `down` are one link's channels.
    pub fn new<L: CommandLog>(
        links: Links<L, LinkCaller>,
        up: mpsc::Sender<Up>,
        down: mpsc::Receiver<Vec<Down>>,
    ) -> (Self, LinkDriver<L>) {
        let (calls, receiver) = mpsc::channel(CALLS_MAX);
        (Self { calls }, LinkDriver { links, calls: receiver, up, down })
    }

    /// Appends a command and waits for its outcome: the seq of the first event that it made.
    ///
    /// Not cancel safe: the command may happen when the future is dropped.
    ///
    /// # Errors
    /// The owner's rejection; `unavailable`, `backlogged` or [`CommandRefused::Full`] if nothing was appended;
    /// `outcome_unknown` if it may still happen.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one record")]
    pub async fn command(
        &self,
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        body: &CommandBody,
        trace: Option<TraceContext>,
    ) -> Result<Seq, CommandRefused> {
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        let command = command.freeze();
        let (answer, outcome) = oneshot::channel();
        let call = Call::Command { actor, device, entity, counter, after, command, trace, answer };
        if self.calls.send(call).await.is_err() {
            return Err(Rejection::new(ErrorCode::Unavailable).into());
        }
        // The driver may have gone after the append.
        outcome.await.unwrap_or_else(|_| Err(Rejection::new(ErrorCode::OutcomeUnknown).into()))
    }

    /// Reads and waits for all parts: each is the body of the reply's frame behind its request number.
    /// Cancel safe: a read changes nothing.
    ///
    /// # Errors
    /// The owner's rejection, or `unavailable`.
    pub async fn read(&self, user: UserId, entity: EntityId, query: ReadQuery) -> Result<Vec<Bytes>, Rejection> {
        let (answer, outcome) = oneshot::channel();
        if self.calls.send(Call::Read { user, entity, query, answer }).await.is_err() {
            return Err(Rejection::new(ErrorCode::Unavailable));
        }
        outcome.await.unwrap_or(Err(Rejection::new(ErrorCode::Unavailable)))
    }
}

/// What a [`LinkClient`]'s links give back with an answer; opaque.
#[derive(Debug)]
pub struct LinkCaller(Caller);

/// The task behind a [`LinkClient`].
pub struct LinkDriver<L: CommandLog> {
    links: Links<L, LinkCaller>,
    calls: mpsc::Receiver<Call>,
    up: mpsc::Sender<Up>,
    down: mpsc::Receiver<Vec<Down>>,
}

impl<L: CommandLog> LinkDriver<L> {
    /// Moves what goes up and down until every client is gone or the router is. Who still waits then
    /// learns `outcome_unknown` or `unavailable`.
    pub async fn run(mut self) {
        let started = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        let up = self.up.clone();
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Asked for behind each wait, which may have been long.
        let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::select! {
                call = self.calls.recv() => match call {
                    Some(call) => self.take(call, now_ms()),
                    None => return,
                },
                batch = self.down.recv() => match batch {
                    Some(batch) => for down in batch {
                        if let Some(arrived) = self.links.arrive(down) { tell(arrived) }
                    },
                    None => return,
                },
                failed = std::future::poll_fn(|cx| self.links.poll_failed(cx)) => tell(failed),
                permit = up.reserve(), if self.links.has_up() => match permit {
                    Ok(permit) => if let Some(up) = self.links.next_up() { permit.send(up) },
                    Err(_) => return,
                },
                // Without anything to wait for, nobody has to be woken up.
                _ = tick.tick(), if self.links.next_expiry_ms().is_some() => {
                    while let Some(expired) = self.links.expire(now_ms()) { tell(expired) }
                }
            }
        }
    }

    fn take(&mut self, call: Call, now_ms: u64) {
        match call {
            Call::Command { actor, device, entity, counter, after, command, trace, answer } => {
                let caller = LinkCaller(Caller::Command(answer));
                let sent = self.links.command(now_ms, actor, device, entity, counter, after, command, trace, caller);
                if let Err((rejection, waiting)) = sent {
                    tell(Arrived::Command { waiting, outcome: Err(rejection) });
                }
            }
            Call::Read { user, entity, query, answer } => {
                let caller = LinkCaller(Caller::Read { parts: Vec::new(), answer });
                if let Err((rejection, waiting)) = self.links.read(now_ms, user, entity, query, caller) {
                    tell(Arrived::Read { waiting, outcome: Err(rejection) });
                }
            }
        }
    }
}

/// Hands an answer to who waits for it. One who waits no longer is nobody's loss.
fn tell(arrived: Arrived<'_, LinkCaller>) {
    match arrived {
        Arrived::Command { waiting: LinkCaller(Caller::Command(answer)), outcome } => {
            drop(answer.send(outcome.map_err(CommandRefused::from)));
        }
        Arrived::Full { waiting: LinkCaller(Caller::Command(answer)), users } => {
            drop(answer.send(Err(CommandRefused::Full(users))));
        }
        Arrived::Part { waiting: LinkCaller(Caller::Read { parts, .. }), body } => parts.push(body),
        Arrived::Read { waiting: LinkCaller(Caller::Read { mut parts, answer }), outcome } => {
            drop(answer.send(outcome.map(|last| {
                parts.push(last);
                parts
            })));
        }
        // This link is interested in nothing.
        _ => {}
    }
}

#[cfg(test)]
mod tests;
