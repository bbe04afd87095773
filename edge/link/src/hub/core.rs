//! What a hub decides: where each frame goes, and who is told what when owners and links come and go.
//!
//! No channel, no clock. Why a shared link shows every lane what a link of its own would: the frames of one
//! link are in one order. An Admitted with head h stands in it behind the events up to h and before those
//! above; a lane is listed at that very place. Lanes that listen already have got what stands before it.
//! So from there on, every lane that is listed gets the same events, each once.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt as _};
use panda_protocol::link::{Admitted, Answer, Down, Outcome, RESUME_ENTITIES_MAX, ReadReply, Rejection, Resume, Up};
use panda_protocol::{EntityId, ErrorCode, Generation, Position, ShardId};

use super::interest::Interests;
use super::lanes::Lanes;
use crate::lane_of;

/// One opening of a link; a later one has another number.
pub(super) type LinkNumber = u64;

/// How long a shard may have no owner before questions of it are refused at once, and its commands too, in
/// milliseconds. A takeover lasts 6 s: who waits through it, as [`Links`](crate::Links) does, gets the answer and
/// no error. Beyond, an end of the trouble is not in sight, and to let everybody wait for 10 s helps nobody.
pub(super) const OWNERLESS_MS: u64 = 8_000;
/// The wait that a refusal for want of an owner names, in milliseconds.
const RETRY_AFTER_MS: u64 = 2_000;

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send a frame up a link.
    Up(LinkNumber, Up),
    /// Hand a frame to a lane.
    Down(u8, Down),
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Frames dropped because their sender owns the shard no more, or not yet.
    pub(super) stale: u64,
    /// Questions refused for want of an owner or of room.
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Shard {
    /// The highest seen, on any link or on the board.
    generation: Option<Generation>,
    /// The link on which the owner of that generation said so.
    owner: Option<LinkNumber>,
    /// The highest that was told, and in which term.
    watermark: Option<(Generation, Position)>,
    interests: Interests,
    /// Reads that are out.
    reads: usize,
    /// Since when there is no owner, in milliseconds.
    ownerless_since_ms: u64,
    /// The lanes were told that there is none.
    given_up: bool,
}

/// The state of a hub.
#[derive(Debug)]
pub(super) struct Core {
    shards: Vec<Shard>,
    lanes: Lanes,
    /// Reads that the present owners were asked for. A part of any other is of an owner that was asked
    /// before, and would mix with what the present one sends.
    reads: HashMap<u64, ShardId>,
    outputs: VecDeque<Output>,
    figures: Figures,
    now_ms: u64,
}

impl Core {
    pub(super) fn new(shards: u16, lanes: u8) -> Self {
        let shard = || Shard {
            generation: None,
            owner: None,
            watermark: None,
            interests: Interests::new(),
            reads: 0,
            ownerless_since_ms: 0,
            given_up: false,
        };
        Self {
            shards: std::iter::repeat_with(shard).take(usize::from(shards)).collect(),
            lanes: Lanes::below(lanes),
            reads: HashMap::new(),
            outputs: VecDeque::new(),
            figures: Figures::default(),
            now_ms: 0,
        }
    }

    /// What is to be done next.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) const fn figures(&self) -> Figures {
        self.figures
    }

    /// How many shards have an owner that is linked.
    pub(super) fn owned(&self) -> usize {
        self.shards.iter().filter(|shard| shard.owner.is_some()).count()
    }

    /// How many shards are owned over a link.
    pub(super) fn owned_by(&self, link: LinkNumber) -> usize {
        self.shards.iter().filter(|shard| shard.owner == Some(link)).count()
    }

    /// A frame of a lane.
    pub(super) fn up(&mut self, lane: u8, up: Up) {
        let id = up.shard(self.count());
        let Some(shard) = self.shards.get_mut(usize::from(id.0)) else { return };
        let Some(link) = shard.owner else {
            // What waits for an answer is asked again when an owner comes, and devices are attached again.
            if let Up::Forget { entity } = up {
                shard.interests.forget(entity, lane);
            } else if shard.given_up {
                self.refuse(up);
            }
            return;
        };
        match &up {
            Up::Admit(admit) => shard.interests.asked(admit.entity, admit.token),
            Up::Read(read) => {
                if self.reads.insert(read.token, id).is_none() {
                    shard.reads += 1;
                }
            }
            Up::Forget { entity } => {
                if !shard.interests.forget(*entity, lane) {
                    return;
                }
            }
            // Interests are stated here.
            Up::Resume(_) => return,
            Up::Signal { .. } | Up::Attach { .. } | Up::Detach { .. } | Up::Ask { .. } => {}
        }
        self.outputs.push_back(Output::Up(link, up));
    }

    /// A frame for which its link has no room: a question is refused, so that its lane need not wait.
    pub(super) fn no_room(&mut self, up: Up) {
        let id = up.shard(self.count());
        let Some(shard) = self.shards.get_mut(usize::from(id.0)) else { return };
        match &up {
            Up::Admit(admit) => {
                let (_, forget) = shard.interests.answered(admit.entity, admit.token, false);
                self.forget_if(id, admit.entity, forget);
            }
            Up::Read(read) if self.reads.remove(&read.token).is_some() => shard.reads -= 1,
            _ => {}
        }
        self.refuse(up);
    }

    /// A frame of a link.
    pub(super) fn down(&mut self, link: LinkNumber, down: Down) {
        match down {
            Down::Owner { shard, generation } => self.owner(link, shard, generation),
            Down::Admitted(admitted) => self.admitted(link, admitted),
            Down::Events(events) => {
                let id = events.entity.shard(self.count());
                if self.is_current(link, id, events.generation) {
                    self.tell_listeners(id, events.entity, &Down::Events(events));
                }
            }
            Down::Head { generation, entity, .. } => {
                let id = entity.shard(self.count());
                if self.is_current(link, id, generation) {
                    self.tell_listeners(id, entity, &down);
                }
            }
            Down::Signal { chat, .. } => {
                let entity = EntityId::from(chat);
                let id = entity.shard(self.count());
                if self.owns(link, id) {
                    self.tell_listeners(id, entity, &down);
                }
            }
            // Whatever owner gave it, a command's outcome stays what it is.
            Down::Answer(answer) => self.tell_one(lane_of(answer.token), down),
            Down::Read(reply) => self.read(link, reply),
            Down::Replaced { .. } => self.tell_all(&down),
            Down::Watermark { shard, generation, position } => {
                if self.is_current(link, shard, generation) {
                    self.shards[usize::from(shard.0)].watermark = Some((generation, position));
                }
            }
            Down::Backlog { shard, .. } => {
                if self.owns(link, shard) {
                    self.tell_all(&down);
                }
            }
            Down::Readmit { shard, generation } => {
                if self.is_current(link, shard, generation) {
                    self.tell_all(&down);
                }
            }
        }
    }

    /// The board names a term. Whatever owner of an earlier one is still linked is owner no more.
    pub(super) fn announced(&mut self, id: ShardId, generation: Generation) {
        let Some(shard) = self.shards.get_mut(usize::from(id.0)) else { return };
        if shard.generation.is_none_or(|before| before < generation) {
            shard.generation = Some(generation);
            self.end_terms(|shard| shard == id);
        }
    }

    /// A link is no more.
    pub(super) fn link_ended(&mut self, link: LinkNumber) {
        let owned: Vec<bool> = self.shards.iter().map(|shard| shard.owner == Some(link)).collect();
        self.end_terms(|shard| owned.get(usize::from(shard.0)) == Some(&true));
    }

    /// A lane is no more: what only it wanted is wanted no more.
    pub(super) fn lane_gone(&mut self, lane: u8) {
        self.lanes.remove(lane);
        for shard in &mut self.shards {
            let forgotten = shard.interests.lane_gone(lane);
            if let Some(link) = shard.owner {
                self.outputs.extend(forgotten.into_iter().map(|entity| Output::Up(link, Up::Forget { entity })));
            }
        }
    }

    /// Time went on: lanes learn of shards that have no owner for too long, and take no new commands for
    /// them.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let mut told = Vec::new();
        for (id, shard) in (0..).map(ShardId).zip(&mut self.shards) {
            let age_ms = now_ms.saturating_sub(shard.ownerless_since_ms);
            if shard.owner.is_none() && !shard.given_up && age_ms > OWNERLESS_MS {
                shard.given_up = true;
                told.push(Down::Backlog { shard: id, age_ms });
            }
        }
        for down in told {
            self.tell_all(&down);
        }
    }

    /// A router says that it owns a shard and knows nothing of this link in it.
    fn owner(&mut self, link: LinkNumber, id: ShardId, generation: Generation) {
        let Some(shard) = self.shards.get_mut(usize::from(id.0)) else { return };
        if shard.generation.is_some_and(|before| generation < before) {
            self.figures.stale += 1;
            return;
        }
        shard.generation = Some(generation);
        self.end_terms(|shard| shard == id);
        let shard = &mut self.shards[usize::from(id.0)];
        shard.owner = Some(link);
        shard.given_up = false;
        // Before the lanes hear of the owner: what they say to it then stands behind what is stated here.
        let entities = shard.interests.state();
        let watermark = shard.watermark.map(|(_, position)| position);
        // The last part goes up even if it is empty: only behind it the owner's watermarks mean something here.
        let mut parts = entities.chunks(RESUME_ENTITIES_MAX).map(<[EntityId]>::to_vec).collect::<Vec<_>>();
        let last_part = parts.pop().unwrap_or_default();
        let resume =
            |last, entities| Output::Up(link, Up::Resume(Resume { shard: id, generation, watermark, last, entities }));
        self.outputs.extend(parts.into_iter().map(|entities| resume(false, entities)));
        self.outputs.push_back(resume(true, last_part));
        self.tell_all(&Down::Owner { shard: id, generation });
    }

    fn admitted(&mut self, link: LinkNumber, admitted: Admitted) {
        let (entity, token) = (admitted.entity, admitted.token);
        let id = entity.shard(self.count());
        if !self.is_current(link, id, admitted.generation) {
            return;
        }
        let interests = &mut self.shards[usize::from(id.0)].interests;
        let (was_out, forget) = interests.answered(entity, token, admitted.outcome.is_ok());
        self.forget_if(id, entity, forget);
        if was_out {
            self.tell_one(lane_of(token), Down::Admitted(admitted));
        }
    }

    fn read(&mut self, link: LinkNumber, reply: ReadReply) {
        let Some(id) = self.reads.get(&reply.token).copied().filter(|id| self.owns(link, *id)) else { return };
        if reply.last || reply.body.is_err() {
            self.reads.remove(&reply.token);
            self.shards[usize::from(id.0)].reads -= 1;
        }
        self.tell_one(lane_of(reply.token), Down::Read(reply));
    }

    /// A frame about an entity. Of one that nobody asked for the owner is told so.
    fn tell_listeners(&mut self, id: ShardId, entity: EntityId, down: &Down) {
        match self.shards[usize::from(id.0)].interests.listeners(entity) {
            Some(lanes) => self.tell(lanes, down),
            None => self.forget_if(id, entity, true),
        }
    }

    fn tell_all(&mut self, down: &Down) {
        self.tell(self.lanes, down);
    }

    fn tell(&mut self, lanes: Lanes, down: &Down) {
        self.outputs.extend(lanes.iter().map(|lane| Output::Down(lane, down.clone())));
    }

    fn tell_one(&mut self, lane: u8, down: Down) {
        if self.lanes.contains(lane) {
            self.outputs.push_back(Output::Down(lane, down));
        }
    }

    fn forget_if(&mut self, id: ShardId, entity: EntityId, forget: bool) {
        if let (true, Some(link)) = (forget, self.shards[usize::from(id.0)].owner) {
            self.outputs.push_back(Output::Up(link, Up::Forget { entity }));
        }
    }

    /// Whether a frame is of the owner's present term. It said Owner first.
    fn is_current(&mut self, link: LinkNumber, id: ShardId, generation: Generation) -> bool {
        let is_current = self
            .shards
            .get(usize::from(id.0))
            .is_some_and(|shard| shard.owner == Some(link) && shard.generation == Some(generation));
        self.figures.stale += u64::from(!is_current);
        is_current
    }

    /// The same for frames that name no term.
    fn owns(&mut self, link: LinkNumber, id: ShardId) -> bool {
        let owns = self.shards.get(usize::from(id.0)).is_some_and(|shard| shard.owner == Some(link));
        self.figures.stale += u64::from(!owns);
        owns
    }

    /// The owners of these shards are gone, and with them interests, attachments and questions.
    fn end_terms(&mut self, of: impl Fn(ShardId) -> bool) {
        let mut reads = 0;
        for (id, shard) in (0..).map(ShardId).zip(&mut self.shards) {
            if of(id) && shard.owner.take().is_some() {
                shard.ownerless_since_ms = self.now_ms;
                shard.interests.end_term();
                reads += std::mem::take(&mut shard.reads);
            }
        }
        if reads > 0 {
            self.reads.retain(|_, shard| !of(*shard));
        }
    }

    /// Tells a lane that its question is not answered now; other frames are dropped.
    fn refuse(&mut self, up: Up) {
        let generation = self.shards[usize::from(up.shard(self.count()).0)].generation.unwrap_or_default();
        let later = |code| Rejection { retry_after_ms: RETRY_AFTER_MS, ..Rejection::new(code) };
        let unavailable = later(ErrorCode::Unavailable);
        let (token, down) = match up {
            Up::Admit(admit) => {
                let (token, entity) = (admit.token, admit.entity);
                (token, Down::Admitted(Admitted { token, generation, entity, outcome: Err(unavailable) }))
            }
            Up::Read(read) => {
                (read.token, Down::Read(ReadReply { token: read.token, last: true, body: Err(unavailable) }))
            }
            Up::Ask { token, .. } => {
                let outcome = Outcome::Rejected(later(ErrorCode::OutcomeUnknown));
                (token, Down::Answer(Answer { token, generation, outcome }))
            }
            _ => return,
        };
        self.figures.refused += 1;
        self.tell_one(lane_of(token), down);
    }

    fn count(&self) -> u16 {
        // It was made from a u16.
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests;
