//! The core of an edge's end of its links: tokens, what waits, generations, and what goes up.
//!
//! It takes and gives values; a driver moves them. Nothing here waits: what has no room is refused.

mod arrived;
mod limits;
mod withheld;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use panda_protocol::frame::SignalKind;
use panda_protocol::link::{
    Admit, CommandOrigin, CommandRecord, LinkId, Membership, Opens, Read, ReadQuery, Record, Rejection, Up,
};
use panda_protocol::{
    ChatId, Counter, Cursor, DeviceId, EntityId, ErrorCode, Generation, Position, Seq, SessionId, ShardId,
    TraceContext, UserId,
};
use panda_storage::command_log::{AppendError, CommandLog};
use panda_storage::{Appender, RecordHeaders};

pub use self::arrived::{Arrived, CommandRefused};
pub use self::limits::LinkLimits;
use self::withheld::{Asker, Outgoing, Withheld};
use crate::traced::Traced;
use crate::waiting::{Asked, Waiting, WaitingTable};

#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    /// The highest seen; what carries a lower one is of an owner that is no more.
    generation: Option<Generation>,
    /// The highest that an owner told.
    watermark: Option<Position>,
    backlog_age_ms: u64,
}

/// An append and the command that it is of.
struct Appending<A> {
    token: u64,
    /// The newest epoch of the log that was known when it was appended.
    epoch: u32,
    append: A,
}

impl<A: Future<Output = Result<Position, AppendError>> + Unpin> Future for Appending<A> {
    type Output = (u64, A::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.append).poll(cx));
        // An edge's log does not know its epoch, and the owners of the shard do. One that was opened since
        // the append is not named: the record may stand in the log before.
        let place = |position: Position| Position { epoch: position.epoch.max(self.epoch), ..position };
        Poll::Ready((self.token, output.map(place)))
    }
}

/// One end of the links. `C` is what the owner wants back with an answer.
pub struct Links<L: CommandLog, C> {
    log: L,
    link: LinkId,
    limits: LinkLimits,
    waiting: WaitingTable<Asker<C>>,
    appending: FuturesUnordered<Appending<L::Appending>>,
    shards: Vec<Shard>,
    up: VecDeque<Up>,
    withheld: Withheld<C>,
    /// Withheld commands that were refused.
    refused: VecDeque<(C, CommandRefused)>,
    /// The latest moment that the owner of this end named.
    now_ms: u64,
    /// Reads of which a part came before their owner was gone: they are refused.
    broken: Vec<C>,
}

impl<L: CommandLog, C> Links<L, C> {
    /// An end of links named `link`, new at each start. Ends that share a link have different lanes:
    /// an answer's token says whose it is.
    pub fn new(log: L, link: LinkId, lane: u8, limits: LinkLimits) -> Self {
        let shards = vec![Shard::default(); usize::from(log.shards())];
        Self {
            log,
            link,
            limits,
            waiting: WaitingTable::new(lane),
            appending: FuturesUnordered::new(),
            shards,
            up: VecDeque::new(),
            withheld: Withheld::new(),
            refused: VecDeque::new(),
            now_ms: 0,
            broken: Vec::new(),
        }
    }

    /// This end's name.
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// Everything that commands of the shard before this position made has arrived here, as far as
    /// this end listens: what it states to the shard's next owner. None: no owner told one.
    pub fn watermark(&self, shard: ShardId) -> Option<Position> {
        self.shards.get(usize::from(shard.0))?.watermark
    }

    /// How many answers are waited for.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Appends a command: at once, or once the owners of inboxes were asked whether the users whom it adds to a chat, or
    /// one before it does, have room for that. Its outcome comes as [`Arrived::Command`] or [`Arrived::Full`] from
    /// [`Self::arrive`], [`Self::poll_failed`] or [`Self::expire`]. `command` is its kind and body as in the
    /// frame; `trace`, in whose context it is to be followed, goes beside it.
    ///
    /// # Errors
    /// `backlogged` or `unavailable`, with a wait: nothing was appended, and `context` comes back.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one record")]
    pub fn command(
        &mut self,
        now_ms: u64,
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        command: Bytes,
        trace: Option<TraceContext>,
        context: C,
    ) -> Result<(), (Rejection, C)> {
        self.now_ms = self.now_ms.max(now_ms);
        let traced = trace.map(|trace| Box::new(Traced::new(trace)));
        let outgoing = Outgoing { actor, device, entity, counter, after, command, traced, context };
        let mut adds = outgoing.adds();
        if !adds.is_empty() && !self.has_room_to_withhold(adds.len()) {
            adds.clear();
        }
        if adds.is_empty() && !self.withheld.is_before(&outgoing) {
            return self.send_out(now_ms, outgoing);
        }
        let has_room = || {
            let has_room = self.withheld.has_room(&outgoing);
            has_room.then_some(()).ok_or_else(|| self.later(ErrorCode::Unavailable))
        };
        if let Err(rejection) = self.may_append(entity).and_then(|()| has_room()) {
            self.tell_traced(entity, outgoing.traced.as_deref(), &Err(rejection));
            return Err((rejection, outgoing.context));
        }
        self.withhold(now_ms, outgoing, &adds);
        Ok(())
    }

    /// Whether a command to this entity may be appended now.
    fn may_append(&self, entity: EntityId) -> Result<(), Rejection> {
        if self.shards[usize::from(self.shard(entity).0)].backlog_age_ms > self.limits.backlog_max_ms {
            return Err(self.later(ErrorCode::Backlogged));
        }
        if self.waiting.len() + self.withheld.len() >= self.limits.waiting_max {
            return Err(self.later(ErrorCode::Unavailable));
        }
        Ok(())
    }

    /// Appends a command at once.
    fn send_out(&mut self, now_ms: u64, outgoing: Outgoing<C>) -> Result<(), (Rejection, C)> {
        let Outgoing { actor, device, entity, counter, after, command, mut traced, context } = outgoing;
        if let Err(rejection) = self.may_append(entity) {
            self.tell_traced(entity, traced.as_deref(), &Err(rejection));
            return Err((rejection, context));
        }
        let shard = self.shard(entity);
        let origin = CommandOrigin { link: self.link, token: self.waiting.next_token() };
        let record = Record::Command(CommandRecord { origin, entity, actor, device, counter, after, command });
        let trace = traced.as_ref().map(|traced| traced.context);
        traced.take_if(|traced| !traced.is_told());
        if let Some(traced) = &mut traced {
            traced.append();
        }
        let headers = RecordHeaders::from(Appender::Edge(self.link)).traced(trace);
        match self.log.append(shard, record.to_bytes(), headers) {
            Ok(append) => {
                let asked = Asked::Command { position: None, ask: false };
                let waiting = Waiting { entity, asked, traced, context: Asker::Caller(context) };
                let token = self.waiting.insert(waiting, now_ms + self.limits.answer_timeout_ms);
                let epoch = self.shards[usize::from(shard.0)].generation.map_or(0, Generation::epoch);
                self.appending.push(Appending { token, epoch, append });
                Ok(())
            }
            Err(error) => {
                let rejection = self.append_failed(error);
                self.tell_traced(entity, traced.as_deref(), &Err(rejection));
                Err((rejection, context))
            }
        }
    }

    /// Asks whether a user may listen. The outcome comes as [`Arrived::Admission`].
    ///
    /// # Errors
    /// `unavailable`, with a wait, if there is no room; `context` comes back.
    pub fn admit(
        &mut self,
        now_ms: u64,
        user: UserId,
        entity: EntityId,
        cursor: Option<Cursor>,
        member: Option<Membership>,
        context: C,
    ) -> Result<(), (Rejection, C)> {
        let admit = Admit { token: self.waiting.next_token(), user, entity, cursor, member, opens: None };
        self.ask_admission(now_ms, admit, context)
    }

    /// Asks for the admission to a user's own inbox that opens a session of a device. The outcome comes
    /// as [`Arrived::Admission`]; a session that is not opened then is to be detached.
    ///
    /// # Errors
    /// `unavailable`, with a wait, if there is no room; `context` comes back.
    pub fn open(
        &mut self,
        now_ms: u64,
        user: UserId,
        cursor: Option<Cursor>,
        (device, session): (DeviceId, SessionId),
        context: C,
    ) -> Result<(), (Rejection, C)> {
        let (token, entity) = (self.waiting.next_token(), user.into());
        let opens = Some(Opens { device, session, again: false });
        self.ask_admission(now_ms, Admit { token, user, entity, cursor, member: None, opens }, context)
    }

    fn ask_admission(&mut self, now_ms: u64, admit: Admit, context: C) -> Result<(), (Rejection, C)> {
        self.now_ms = self.now_ms.max(now_ms);
        if !self.has_room() {
            return Err((self.later(ErrorCode::Unavailable), context));
        }
        let (entity, asked) = (admit.entity, Asked::Admission(admit.clone()));
        let waiting = Waiting { entity, asked, traced: None, context: Asker::Caller(context) };
        self.waiting.insert(waiting, now_ms + self.limits.answer_timeout_ms);
        self.up.push_back(Up::Admit(admit));
        Ok(())
    }

    /// Asks for a read. Parts come as [`Arrived::Part`], the last as [`Arrived::Read`].
    ///
    /// # Errors
    /// `unavailable`, with a wait, if there is no room; `context` comes back.
    pub fn read(
        &mut self,
        now_ms: u64,
        user: UserId,
        entity: EntityId,
        query: ReadQuery,
        context: C,
    ) -> Result<(), (Rejection, C)> {
        if !self.has_room() {
            return Err((self.later(ErrorCode::Unavailable), context));
        }
        self.ask(now_ms, user, entity, query, Asker::Caller(context));
        Ok(())
    }

    /// Puts a question; returns its token.
    fn ask(&mut self, now_ms: u64, user: UserId, entity: EntityId, query: ReadQuery, asker: Asker<C>) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        let read = Read { token: self.waiting.next_token(), user, entity, query };
        let asked = Asked::Read { read: read.clone(), begun: false };
        let waiting = Waiting { entity, asked, traced: None, context: asker };
        self.up.push_back(Up::Read(read));
        self.waiting.insert(waiting, now_ms + self.limits.answer_timeout_ms)
    }

    /// Whether an admission or a read would find room now.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.waiting_max && self.up.len() < self.limits.up_max
    }

    /// Sends a session's signal, or drops it: nobody waits for it. Signals find room only in the half of
    /// what may wait, so however many there are, questions find some.
    pub fn signal(&mut self, chat: ChatId, user: UserId, kind: SignalKind, payload: Bytes) {
        if self.up.len() < self.limits.up_max / 2 {
            self.up.push_back(Up::Signal { chat, user, kind, payload });
        }
    }

    /// Says that no listener of an entity is left. Each follows an admission, which found room.
    pub fn forget(&mut self, entity: EntityId) {
        self.up.push_back(Up::Forget { entity });
    }

    /// Says to an owner that does not know of it that a session is live. Each follows an admission of the
    /// user's inbox.
    pub fn attach(&mut self, user: UserId, device: DeviceId, session: SessionId) {
        self.up.push_back(Up::Attach { user, device, session });
    }

    /// Says that a session is no more.
    pub fn detach(&mut self, user: UserId, device: DeviceId, session: SessionId) {
        self.up.push_back(Up::Detach { user, device, session });
    }

    /// Whether something is to go up.
    pub fn has_up(&self) -> bool {
        !self.up.is_empty()
    }

    /// Takes what goes up next.
    pub fn next_up(&mut self) -> Option<Up> {
        self.up.pop_front()
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.log.shards()
    }

    fn shard(&self, entity: EntityId) -> ShardId {
        entity.shard(self.log.shards())
    }

    /// Notes the generation, and whether what carries it is to be taken.
    fn is_current(&mut self, shard: ShardId, generation: Generation) -> bool {
        let Some(known) = self.shards.get_mut(usize::from(shard.0)) else { return false };
        if known.generation.is_some_and(|before| generation < before) {
            return false;
        }
        known.generation = Some(generation);
        true
    }

    /// The shard's owner does not know who waits here.
    fn ask_again(&mut self, shard: ShardId) {
        let shards = self.log.shards();
        // What has not gone up yet would go up twice; devices are attached again by who has the sessions.
        self.up.retain(|up| match up {
            Up::Admit(Admit { entity, .. }) | Up::Read(Read { entity, .. }) | Up::Ask { entity, .. } => {
                entity.shard(shards) != shard
            }
            Up::Attach { user, .. } => EntityId::from(*user).shard(shards) != shard,
            _ => true,
        });
        let (up, mut begun_tokens) = (&mut self.up, Vec::new());
        self.waiting.each_mut(|token, waiting| {
            if waiting.entity.shard(shards) != shard {
                return;
            }
            let entity = waiting.entity;
            match &mut waiting.asked {
                Asked::Command { position: Some(position), .. } => {
                    up.push_back(Up::Ask { token, entity, position: *position });
                }
                Asked::Command { position: None, ask } => *ask = true,
                Asked::Admission(admit) => {
                    if let Some(opens) = &mut admit.opens {
                        opens.again = true;
                    }
                    up.push_back(Up::Admit(admit.clone()));
                }
                Asked::Read { begun: true, .. } => begun_tokens.push(token),
                Asked::Read { read, begun: false } => up.push_back(Up::Read(read.clone())),
            }
        });
        let begun = begun_tokens.into_iter().filter_map(|token| self.waiting.remove(token));
        self.broken.extend(begun.filter_map(|waiting| waiting.context.caller()));
    }

    /// Says what a command that somebody follows is answered with.
    fn tell_traced(&self, entity: EntityId, traced: Option<&Traced>, outcome: &Result<Seq, Rejection>) {
        if let Some(traced) = traced.filter(|traced| traced.is_told()) {
            traced.answered(self.link, entity, outcome);
        }
    }

    fn append_failed(&self, error: AppendError) -> Rejection {
        self.later(match error {
            AppendError::Full | AppendError::Unavailable => ErrorCode::Unavailable,
            AppendError::Unknown => ErrorCode::OutcomeUnknown,
        })
    }

    const fn later(&self, code: ErrorCode) -> Rejection {
        Rejection { code, retry_after_ms: self.limits.retry_after_ms, details: None }
    }
}

#[cfg(test)]
mod tests;
