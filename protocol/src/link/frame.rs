//! What travels on a link. In one process these values pass through bounded channels as they are;
//! between processes `LINK.md` gives their bytes.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::error_code::{ErrorCode, Recovery};
use crate::event::Role;
use crate::frame::{Admission, Direction, ErrorDetails, SignalKind};
use crate::ids::{ChatId, Counter, Cursor, DeviceId, EntityId, Generation, Position, Seq, SessionId, ShardId, UserId};
use crate::limits::COMMAND_MEMBERS_MAX;

/// From an edge to a router. Frames of one link are handled in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// May this user listen to this entity, and from where? Being admitted is a statement of
    /// interest: every event behind [`Admission::head`] goes down this link.
    Admit(Admit),
    /// The edge has no listener of this entity left.
    Forget {
        /// The chat or inbox.
        entity: EntityId,
    },
    /// A read for a user.
    Read(Read),
    /// A signal of an admitted session.
    Signal {
        /// The chat.
        chat: ChatId,
        /// Who sends it.
        user: UserId,
        /// What it is about.
        kind: SignalKind,
        /// As sent.
        payload: Bytes,
    },
    /// A session that an owner admitted before, with [`Admit::opens`], is live here. Whether it is the
    /// newest of its device is not known here, so it takes no other's place.
    Attach {
        /// Whose.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The session.
        session: SessionId,
    },
    /// That session is no more.
    Detach {
        /// Whose.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The session.
        session: SessionId,
    },
    /// What became of a command whose answer did not come?
    Ask {
        /// The edge's number of the command.
        token: u64,
        /// Its entity.
        entity: EntityId,
        /// Where it stands in the log.
        position: Position,
    },
    /// Interest that was stated before, to an owner that does not know of it: after a break, or to a
    /// new owner. In parts.
    Resume(Resume),
}

impl Up {
    /// The shard that the frame is for, among `shards`.
    pub fn shard(&self, shards: u16) -> ShardId {
        match self {
            Self::Admit(Admit { entity, .. })
            | Self::Read(Read { entity, .. })
            | Self::Forget { entity }
            | Self::Ask { entity, .. } => entity.shard(shards),
            Self::Signal { chat, .. } => EntityId::from(*chat).shard(shards),
            Self::Attach { user, .. } | Self::Detach { user, .. } => EntityId::from(*user).shard(shards),
            Self::Resume(resume) => resume.shard,
        }
    }
}

/// A part of the interests that a link had in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The shard.
    pub shard: ShardId,
    /// The term that it answers to. An owner of another takes it for none: the edge may have noted interests
    /// since, and states all of them to the next Owner.
    pub generation: Generation,
    /// The highest that the edge was told of; none: no owner ever told it one.
    pub watermark: Option<Position>,
    /// Whether it is the last part.
    pub last: bool,
    /// Entities of the shard; at most [`RESUME_ENTITIES_MAX`].
    pub entities: Vec<EntityId>,
}

/// Entities in one [`Resume`].
pub const RESUME_ENTITIES_MAX: usize = 4_096;

/// A question whether a user may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admit {
    /// The edge's number of the question.
    pub token: u64,
    /// Who.
    pub user: UserId,
    /// To what: a chat, or the user's own inbox.
    pub entity: EntityId,
    /// What the client holds.
    pub cursor: Option<Cursor>,
    /// What a proof says that an edge of this deployment sealed in the incarnation of the cursor.
    pub member: Option<Membership>,
    /// Of the user's own inbox: the session that begins with it.
    pub opens: Option<Opens>,
}

/// That a user was a member, as an owner once said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Behind this event.
    pub at: Seq,
    /// With this role.
    pub role: Role,
    /// The first event that the user may see.
    pub visible_from: Seq,
}

/// The session that begins when its user's inbox admits it. The owner that admits it attaches it, so that
/// of two sessions of a device the one whose Hello came later stays, however their edges are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opens {
    /// Which device.
    pub device: DeviceId,
    /// The session.
    pub session: SessionId,
    /// The question may have been put before, to this owner or to another: where it stands now says
    /// nothing of when its Hello came, so it takes no other session's place.
    pub again: bool,
}

/// A read for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The edge's number of the question.
    pub token: u64,
    /// Who reads.
    pub user: UserId,
    /// Of what.
    pub entity: EntityId,
    /// What.
    pub query: ReadQuery,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadQuery {
    /// A page of events that the user asked for: replies with the body of a PageChunk.
    Page {
        /// Which way.
        direction: Direction,
        /// From which event.
        from: Seq,
        /// At most so many.
        limit: u64,
    },
    /// The events that a session lags behind, rising from `from`: replies with the body of a
    /// PageChunk. One who was removed meanwhile still gets what came up to the removal.
    CatchUp {
        /// The first event missed.
        from: Seq,
        /// At most so many.
        limit: u64,
    },
    /// Members: replies with the body of a MembersPage.
    Members {
        /// Behind this one.
        after: Option<UserId>,
        /// At most so many.
        limit: u64,
    },
    /// The inbox's chats: replies with the body of a ChatsPage.
    Chats {
        /// Behind this one.
        after: Option<ChatId>,
        /// At most so many.
        limit: u64,
    },
    /// The chat itself: replies with the body of a ChatInfoReply.
    Info,
    /// How many chats the inbox's user is in: replies with a varint. An edge asks it for whoever wants to add that
    /// user to a chat, and tells nobody.
    ChatCount,
    /// Whom of these users a command of the asking user would add to the chat: replies with a list of them. Nobody is
    /// added by a command that was applied, nor by one who may not add anybody to the chat that is there.
    Joining {
        /// The device that the command comes from.
        device: DeviceId,
        /// Its counter.
        counter: Counter,
        /// At most [`JOINING_USERS_MAX`].
        users: Vec<UserId>,
    },
}

/// Users in a [`ReadQuery::Joining`]: those whom a command names, and the one who makes a chat.
pub const JOINING_USERS_MAX: usize = COMMAND_MEMBERS_MAX + 1;

/// From a router to an edge. Frames of one entity keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// What became of an [`Up::Admit`].
    Admitted(Admitted),
    /// Stored events of an entity in which the edge has interest.
    Events(Events),
    /// The link was too slow for the bodies: the entity has come to this event. Listeners that are
    /// not there yet catch up by reading; `readmit` says that rights were ended meanwhile, so
    /// nothing of the entity may be delivered to a session before it is admitted anew.
    Head {
        /// The owner's term.
        generation: Generation,
        /// The chat or inbox.
        entity: EntityId,
        /// Its last event; 0 with `readmit`: not known here, the admission will tell.
        head: Seq,
        /// Whether rights were ended by events whose headers were dropped.
        readmit: bool,
    },
    /// What became of a command.
    Answer(Answer),
    /// A part of what was read.
    Read(ReadReply),
    /// A signal for the entity's listeners.
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
    /// A newer session of the device took over from this one.
    Replaced {
        /// The session to end.
        session: SessionId,
    },
    /// For this link's interests, everything that commands before this position made was sent.
    Watermark {
        /// The shard.
        shard: ShardId,
        /// The owner's term.
        generation: Generation,
        /// Behind the last of them.
        position: Position,
    },
    /// How old the oldest command is that a shard has not answered, in milliseconds.
    Backlog {
        /// The shard.
        shard: ShardId,
        /// Its age.
        age_ms: u64,
    },
    /// The router owns the shard, and knows no interest, attachment or question of this link in it:
    /// state them again. Comes before anything else of this owner's term on the link.
    Owner {
        /// The shard.
        shard: ShardId,
        /// The owner's term.
        generation: Generation,
    },
    /// What was missed cannot be told any more: nothing of the shard's entities may be delivered to a
    /// session before it is admitted anew.
    Readmit {
        /// The shard.
        shard: ShardId,
        /// The owner's term.
        generation: Generation,
    },
}

/// What became of a question whether a user may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The edge's number of the question.
    pub token: u64,
    /// The owner's term.
    pub generation: Generation,
    /// To what.
    pub entity: EntityId,
    /// Admitted (the proof is empty: the edge seals it), or refused.
    pub outcome: Result<Admission, Rejection>,
}

/// Stored events of one entity, without a gap between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The owner's term.
    pub generation: Generation,
    /// The chat or inbox.
    pub entity: EntityId,
    /// Rising, dense.
    pub events: Vec<LinkEvent>,
}

/// One stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Its number.
    pub seq: Seq,
    /// The user whose right to listen it ends: it is the last event that this user gets.
    pub ends: Option<UserId>,
    /// The canonical bytes.
    pub event: Bytes,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The edge's number of the command.
    pub token: u64,
    /// The owner's term.
    pub generation: Generation,
    /// The outcome.
    pub outcome: Outcome,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied now or before, and stored: the first event that it made.
    Applied(Seq),
    /// Refused; nothing changed.
    Rejected(Rejection),
}

/// Why a command, admission or read was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code.
    pub code: ErrorCode,
    /// Do not repeat before this many milliseconds.
    pub retry_after_ms: u64,
    /// With `out_of_order` and `nothing_to_do`.
    pub details: Option<ErrorDetails>,
}

impl Rejection {
    /// A refusal without details.
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, retry_after_ms: 0, details: None }
    }

    /// As it is told to whoever asked: a refusal for now says when to come back, if nothing else is known after
    /// `retry_after_ms`. Of too many requests that wait, replies say it.
    #[must_use]
    pub fn told(self, retry_after_ms: u64) -> Self {
        match Recovery::of(self.code as u16) {
            Recovery::Repeat | Recovery::Ask if self.retry_after_ms == 0 && self.code != ErrorCode::TooManyInFlight => {
                Self { retry_after_ms, ..self }
            }
            _ => self,
        }
    }
}

/// A part of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// The edge's number of the question.
    pub token: u64,
    /// Whether it is the last part.
    pub last: bool,
    /// The body of the client's reply frame behind its request number, or why not.
    pub body: Result<Bytes, Rejection>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_now_says_when_to_come_back() {
        for (code, says_when) in [
            (ErrorCode::OutcomeUnknown, true),
            (ErrorCode::Damaged, true),
            (ErrorCode::TooManyInFlight, false),
            (ErrorCode::NotMember, false),
        ] {
            let told = Rejection::new(code).told(700);
            assert_eq!(told, Rejection { retry_after_ms: if says_when { 700 } else { 0 }, ..Rejection::new(code) });
        }
        let known = Rejection { retry_after_ms: 9, ..Rejection::new(ErrorCode::RateLimited) };
        assert_eq!(known.told(700), known);
    }
}
