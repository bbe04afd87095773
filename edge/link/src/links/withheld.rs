//! Commands that wait until it is known whether the users whom they name may be in one chat more.
//!
//! ```text
//!  a command names users ─▶ the owners of their inboxes are asked: in how many chats are they?
//!      nobody is at the limit, or it cannot be learnt ──▶ appended
//!      somebody is ─▶ the chat's owner is asked: whom of these would the command add?
//!          nobody, or it cannot be learnt ──────────────▶ appended
//!          somebody ─────────────────────────────────────▶ refused; nothing is appended
//! ```
//!
//! The second question is there for commands that are sent again: one that was applied gets its first answer again,
//! though it is what brought the users to the limit.
//!
//! The limit is soft. It is checked before the append, so commands that are under way at once do not see each other;
//! and no command waits for longer than [`withheld_ms`](super::LinkLimits::withheld_ms) for an owner that is away.
//!
//! Commands of one sender to one entity leave in the order in which they came: those behind one that waits wait, too.

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::HashMap;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{JOINING_USERS_MAX, ReadQuery, Rejection};
use panda_protocol::{Counter, DeviceId, EntityId, ErrorCode, Reader, UserId};
use panda_storage::command_log::CommandLog;

use super::{Arrived, CommandRefused, Links};
use crate::traced::Traced;

/// Bytes of the commands that an end of a link withholds; a further one is refused. They wait for about a second.
const WITHHELD_BYTES_MAX: usize = 16 << 20;

/// Whose commands to which entity keep their order.
type Line = (UserId, DeviceId, EntityId);

/// A command on its way to the log.
pub(super) struct Outgoing<C> {
    pub(super) actor: UserId,
    pub(super) device: DeviceId,
    pub(super) entity: EntityId,
    pub(super) counter: Counter,
    pub(super) after: Counter,
    pub(super) command: Bytes,
    /// Of the few that somebody follows.
    pub(super) traced: Option<Box<Traced>>,
    pub(super) context: C,
}

/// Who wants an answer.
pub(super) enum Asker<C> {
    /// The owner of this end.
    Caller(C),
    /// The withheld command of this number.
    Withheld(u64),
}

/// What is known of a withheld command.
enum Verdict {
    /// So many inboxes were not heard of; of the others, these users are at the limit.
    Counting { left: usize, full: Vec<UserId> },
    /// The chat was not heard of.
    Asking,
    /// It is to be appended.
    Goes,
    /// It is to be refused, for these users.
    Full(Vec<UserId>),
}

struct WithheldCommand<C> {
    outgoing: Outgoing<C>,
    verdict: Verdict,
    /// Of its questions.
    tokens: Vec<u64>,
}

/// The commands that wait.
pub(super) struct Withheld<C> {
    commands: HashMap<u64, WithheldCommand<C>>,
    /// Those of each sender and entity, the first first. None is empty.
    lines: HashMap<Line, VecDeque<u64>>,
    /// (moment, number), both rising: when questions are waited for no longer.
    deadlines: VecDeque<(u64, u64)>,
    next: u64,
    bytes: usize,
}

impl<C> Outgoing<C> {
    const fn line(&self) -> Line {
        (self.actor, self.device, self.entity)
    }

    /// The users whom it would make members of a chat, each once; of any other command, nobody.
    pub(super) fn adds(&self) -> Vec<UserId> {
        // What a chat is told mostly is looked at no further.
        if !matches!(self.command.first(), Some(0x02..=0x04)) {
            return Vec::new();
        }
        let mut users = match CommandBody::decode(&mut Reader::new(self.command.clone())) {
            Ok(CommandBody::CreateGroup { mut members, .. }) => {
                members.push(self.actor);
                members
            }
            Ok(CommandBody::CreateDirect { peer }) => vec![self.actor, peer],
            Ok(CommandBody::AddMembers { members, .. }) => members,
            // Its owner refuses it.
            _ => Vec::new(),
        };
        users.sort_unstable();
        users.dedup();
        users
    }
}

impl<C> Asker<C> {
    pub(super) fn caller(self) -> Option<C> {
        match self {
            Self::Caller(context) => Some(context),
            Self::Withheld(_) => None,
        }
    }
}

impl<C> Withheld<C> {
    pub(super) fn new() -> Self {
        Self { commands: HashMap::default(), lines: HashMap::default(), deadlines: VecDeque::new(), next: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether a command would overtake one of its line.
    pub(super) fn is_before(&self, outgoing: &Outgoing<C>) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&outgoing.line())
    }

    pub(super) const fn has_room(&self, outgoing: &Outgoing<C>) -> bool {
        self.bytes + outgoing.command.len() <= WITHHELD_BYTES_MAX
    }

    fn push(&mut self, outgoing: Outgoing<C>, verdict: Verdict) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += outgoing.command.len();
        self.lines.entry(outgoing.line()).or_default().push_back(number);
        self.commands.insert(number, WithheldCommand { outgoing, verdict, tokens: Vec::new() });
        number
    }

    /// Takes the first of a line if it is to wait no longer.
    fn pop(&mut self, line: Line) -> Option<WithheldCommand<C>> {
        let numbers = self.lines.get_mut(&line)?;
        let number = *numbers.front()?;
        matches!(self.commands.get(&number)?.verdict, Verdict::Goes | Verdict::Full(_)).then_some(())?;
        numbers.pop_front();
        if numbers.is_empty() {
            self.lines.remove(&line);
        }
        let one = self.commands.remove(&number)?;
        self.bytes -= one.outgoing.command.len();
        Some(one)
    }

    /// When the first of them is waited for no longer, also of one that is gone meanwhile; none while nobody waits.
    fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.front().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Takes the number of a command whose questions are waited for no longer.
    fn take_overdue(&mut self, now_ms: u64) -> Option<u64> {
        while let Some(&(deadline_ms, number)) = self.deadlines.front() {
            let waits = self
                .commands
                .get(&number)
                .is_some_and(|one| matches!(one.verdict, Verdict::Counting { .. } | Verdict::Asking));
            if waits && deadline_ms > now_ms {
                return None;
            }
            self.deadlines.pop_front();
            if waits {
                return Some(number);
            }
        }
        None
    }
}

impl<L: CommandLog, C> Links<L, C> {
    /// Commands that wait until they may be appended, or are refused.
    pub fn withheld(&self) -> usize {
        self.withheld.len()
    }

    /// When [`Self::expire`] may have something to say, in milliseconds as the owner of this end counts them; none while
    /// nothing is waited for. It takes the same time however much is.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        if !self.broken.is_empty() {
            return Some(self.now_ms);
        }
        self.waiting.next_deadline_ms().into_iter().chain(self.withheld.next_deadline_ms()).min()
    }

    /// Withholds a command that would add these users to a chat, or stands behind such a one.
    pub(super) fn withhold(&mut self, now_ms: u64, outgoing: Outgoing<C>, adds: &[UserId]) {
        let (actor, left) = (outgoing.actor, adds.len());
        let verdict = if adds.is_empty() { Verdict::Goes } else { Verdict::Counting { left, full: Vec::new() } };
        let number = self.withheld.push(outgoing, verdict);
        if adds.is_empty() {
            return;
        }
        self.withheld.deadlines.push_back((now_ms.saturating_add(self.limits.withheld_ms), number));
        let ask =
            |user: &UserId| self.ask(now_ms, actor, (*user).into(), ReadQuery::ChatCount, Asker::Withheld(number));
        let tokens = adds.iter().map(ask).collect();
        if let Some(one) = self.withheld.commands.get_mut(&number) {
            one.tokens = tokens;
        }
    }

    /// Whether so many questions of withheld commands find room. Others find the other half of it, however many of these
    /// there are.
    pub(super) fn has_room_to_withhold(&self, questions: usize) -> bool {
        self.waiting.len() + questions <= self.limits.waiting_max / 2
            && self.up.len() + questions <= self.limits.up_max / 2
    }

    /// An owner has answered the question of a withheld command, or will not.
    pub(super) fn heard(&mut self, number: u64, of: EntityId, outcome: Result<Bytes, Rejection>) {
        let (now_ms, chats_max) = (self.now_ms, self.limits.user_chats_max);
        let Some(one) = self.withheld.commands.get_mut(&number) else { return };
        let Outgoing { actor, device, entity, counter, .. } = one.outgoing;
        match &mut one.verdict {
            Verdict::Counting { left, full } => {
                let chats = outcome.ok().and_then(|body| Reader::new(body).varint().ok());
                if chats.is_some_and(|chats| chats >= chats_max) {
                    full.extend(of.inbox());
                }
                *left -= 1;
                if *left > 0 {
                    return;
                }
                let users = std::mem::take(full);
                if users.is_empty() {
                    one.verdict = Verdict::Goes;
                } else {
                    one.verdict = Verdict::Asking;
                    let query = ReadQuery::Joining { device, counter, users };
                    let token = self.ask(now_ms, actor, entity, query, Asker::Withheld(number));
                    if let Some(one) = self.withheld.commands.get_mut(&number) {
                        one.tokens.push(token);
                    }
                    return;
                }
            }
            Verdict::Asking => {
                let users = outcome.ok().and_then(|body| {
                    Reader::new(body).list(JOINING_USERS_MAX, size_of::<UserId>(), Reader::value).ok()
                });
                one.verdict = users.filter(|users| !users.is_empty()).map_or(Verdict::Goes, Verdict::Full);
            }
            Verdict::Goes | Verdict::Full(_) => return,
        }
        self.let_go(now_ms, (actor, device, entity));
    }

    /// What was not learnt in time holds no command up.
    pub(super) fn let_overdue_go(&mut self, now_ms: u64) {
        while let Some(number) = self.withheld.take_overdue(now_ms) {
            let Some(one) = self.withheld.commands.get_mut(&number) else { continue };
            one.verdict = Verdict::Goes;
            let line = one.outgoing.line();
            for token in std::mem::take(&mut one.tokens) {
                self.waiting.remove(token);
            }
            self.let_go(now_ms, line);
        }
    }

    /// Appends or refuses the commands of a line up to the first that waits.
    fn let_go(&mut self, now_ms: u64, line: Line) {
        while let Some(WithheldCommand { outgoing, verdict, .. }) = self.withheld.pop(line) {
            if let Verdict::Full(users) = verdict {
                let refused = Rejection::new(ErrorCode::LimitReached);
                self.tell_traced(outgoing.entity, outgoing.traced.as_deref(), &Err(refused));
                self.refused.push_back((outgoing.context, CommandRefused::Full(users)));
            } else if let Err((rejection, context)) = self.send_out(now_ms, outgoing) {
                self.refused.push_back((context, CommandRefused::Rejected(rejection)));
            }
        }
    }

    /// The next withheld command that was refused.
    pub(super) fn next_refused(&mut self) -> Option<Arrived<'static, C>> {
        let (waiting, refused) = self.refused.pop_front()?;
        Some(match refused {
            CommandRefused::Full(users) => Arrived::Full { waiting, users },
            CommandRefused::Rejected(rejection) => Arrived::Command { waiting, outcome: Err(rejection) },
        })
    }
}
