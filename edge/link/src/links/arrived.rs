//! What comes of commands, questions and interests.

use bytes::Bytes;
use panda_protocol::frame::{Admission, SignalKind};
use panda_protocol::link::{Events, Rejection};
use panda_protocol::{ChatId, EntityId, ErrorCode, Seq, SessionId, ShardId, UserId};

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
