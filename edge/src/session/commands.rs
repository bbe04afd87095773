//! Commands on their way to the log, and their answers.
//!
//! Answers to commands of one entity leave in the order in which the commands came: an answer that is
//! there early, a refusal for the sender's rate above all, waits for those before it.

use std::collections::VecDeque;

use panda_protocol::frame::{Ack, RequestId};
use panda_protocol::limits::{REQUESTS_IN_FLIGHT_MAX, UNANSWERED_COMMANDS_MAX};
use panda_protocol::link::Rejection;
use panda_protocol::session::server::CommandRequest;
use panda_protocol::{EntityId, ErrorCode, Seq};
use panda_storage::command_log::CommandLog;
use smallvec::SmallVec;

use super::requests::error_reply;
use super::{SessionKey, Waiting};
use crate::worker::Core;

/// Commands of a session whose answers did not leave yet, before no more of its frames are read. Those that
/// count as waiting are fewer; the others were refused, and wait for answers before theirs.
pub(crate) const COMMANDS_HELD_MAX: usize = 2 * REQUESTS_IN_FLIGHT_MAX;

/// A command whose answer did not leave yet.
#[derive(Debug)]
pub(crate) struct Unanswered {
    request: RequestId,
    entity: EntityId,
    answer: Option<Result<Seq, Rejection>>,
    /// Whether it counts as a request that waits.
    counts: bool,
}

impl<L: CommandLog> Core<L> {
    pub(super) fn command(&mut self, key: SessionKey, request: RequestId, command: CommandRequest) {
        let CommandRequest { entity, counter, after, kind_and_body, trace, .. } = command;
        let now_ms = self.now_ms();
        let rate = self.take_command(key);
        let Some(member) = self.member_mut(key) else { return };
        let (user, device) = (member.user, member.device);
        let commands = &mut member.under_way_or_new().commands;
        let waiting = commands.iter().filter(|of| of.entity == entity && of.answer.is_none()).count();
        commands.push_back(Unanswered { request, entity, answer: None, counts: true });
        if let Err(rejection) = rate {
            return self.commanded(key, request, Err(rejection));
        }
        if waiting >= UNANSWERED_COMMANDS_MAX {
            return self.commanded(key, request, Err(Rejection::new(ErrorCode::TooManyInFlight)));
        }
        if entity.inbox().is_some_and(|owner| owner != user) {
            return self.commanded(key, request, Err(Rejection::new(ErrorCode::NotFound)));
        }
        let waiting = Waiting::Command { session: key, request };
        let sent = self.links.command(now_ms, user, device, entity, counter, after, kind_and_body, trace, waiting);
        self.metrics.commands.inc();
        self.stir();
        if let Err((rejection, _)) = sent {
            self.commanded(key, request, Err(rejection));
        }
    }

    /// Takes one of the commands that the session may send now.
    pub(super) fn take_command(&mut self, key: SessionKey) -> Result<(), Rejection> {
        let (now_ms, per_second) = (self.now_ms(), self.limits.commands_per_second);
        let Some(member) = self.member_mut(key) else { return Err(Rejection::new(ErrorCode::Unavailable)) };
        member.under_way_or_new().rate.take(per_second, now_ms).map_err(|retry_after_ms| {
            self.metrics.rate_limited.inc();
            Rejection { retry_after_ms, ..Rejection::new(ErrorCode::RateLimited) }
        })
    }

    /// A command's answer is there; it leaves once those before it did.
    pub(crate) fn commanded(&mut self, key: SessionKey, request: RequestId, outcome: Result<Seq, Rejection>) {
        let Some(under_way) = self.under_way_mut(key) else { return };
        let Some(of) = under_way.commands.iter_mut().find(|of| of.request == request && of.answer.is_none()) else {
            return;
        };
        of.answer = Some(outcome);
        let entity = of.entity;
        self.release_answers(key, entity);
    }

    /// Refuses a command that was never taken; the refusal leaves once the answers before it did.
    pub(super) fn refuse_command(&mut self, key: SessionKey, request: RequestId, entity: EntityId, code: ErrorCode) {
        let Some(member) = self.member_mut(key) else { return };
        let answer = Some(Err(Rejection::new(code)));
        member.under_way_or_new().commands.push_back(Unanswered { request, entity, answer, counts: false });
        self.release_answers(key, entity);
    }

    fn release_answers(&mut self, key: SessionKey, entity: EntityId) {
        let Some(under_way) = self.under_way_mut(key) else { return };
        for (Unanswered { request, counts, .. }, outcome) in take_answered(&mut under_way.commands, entity) {
            let frame = match outcome {
                Ok(seq) => Ack { request, seq }.into(),
                Err(rejection) => error_reply(request, rejection),
            };
            self.send(key, &frame);
            if counts {
                self.replied(key);
            }
        }
    }
}

/// Takes the answers of an entity's commands that no unanswered one stands before.
fn take_answered(
    commands: &mut VecDeque<Unanswered>,
    entity: EntityId,
) -> SmallVec<[(Unanswered, Result<Seq, Rejection>); 4]> {
    let mut answers = SmallVec::new();
    let mut waits = false;
    commands.retain_mut(|of| {
        if of.entity != entity || waits {
            return true;
        }
        match of.answer.take() {
            Some(answer) => answers.push((Unanswered { answer: None, ..*of }, answer)),
            None => waits = true,
        }
        waits
    });
    if commands.is_empty() {
        *commands = VecDeque::new();
    }
    answers
}
