//! Sessions: one client's connection from its Hello to its Bye.
//!
//! [`task`] moves bytes between a transport and the outbox. What frames mean is in [`opening`],
//! [`requests`], [`commands`], [`reads`], [`delivery`] and [`readmission`], as methods of the worker's [`Core`](crate::worker::Core), which
//! owns every session of its thread.

mod commands;
mod delivery;
mod opening;
mod readmission;
mod reads;
mod requests;
mod task;

use std::collections::VecDeque;
use std::task::Waker;

pub(crate) use commands::COMMANDS_HELD_MAX;
use foldhash::HashMap;
use panda_protocol::frame::RequestId;
use panda_protocol::session::server::{Close, ServerSession};
use panda_protocol::{ChatId, DeviceId, EntityId, Seq, SessionId, UserId};
pub(crate) use reads::Lane;
use slab::Slab;
pub(crate) use task::{Connection, SessionTask};

use self::commands::Unanswered;
use self::reads::Reads;
use crate::admission::{Handshake, Place};
use crate::outbox::Outbox;
use crate::rate::Bucket;
use crate::subscriptions::SubscriptionKey;

/// Names a session of a worker; a later one in the same place has another serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a Bye that says why.
    Bye(Close),
    /// The client said goodbye.
    Left,
    /// The connection is gone.
    Gone,
}

/// One connection that carries frames.
pub(crate) struct Session {
    pub(crate) serial: u32,
    pub(crate) machine: ServerSession,
    pub(crate) outbox: Outbox,
    /// What leaves on the stream for pages, while there is one.
    pub(crate) pages: Option<Box<Outbox>>,
    pub(crate) waker: Option<Waker>,
    /// When the worker's wheel looks at it next.
    pub(crate) due_ms: u64,
    pub(crate) ending: Option<Ending>,
    /// Until the Hello was found good.
    pub(crate) handshake: Option<Handshake>,
    /// From then on.
    pub(crate) place: Option<Place>,
    /// Absent until the Hello was found good.
    pub(crate) member: Option<Box<Member>>,
}

/// Who is at the other end, and what it listens to.
pub(crate) struct Member {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) id: SessionId,
    /// The end of the access right, seconds since 1970.
    pub(crate) expires_unix_s: u64,
    pub(crate) rate: Bucket,
    pub(crate) signals: Bucket,
    pub(crate) inbox: SubscriptionKey,
    pub(crate) chats: HashMap<ChatId, SubscriptionKey>,
    /// Admissions of chats that are out.
    pub(crate) admissions: usize,
    /// Commands whose answers did not leave yet, in the order in which they came.
    pub(crate) commands: VecDeque<Unanswered>,
    pub(crate) reads: Reads,
    /// Syncs under way: how many of their chats are not answered yet. Each has a place of its own,
    /// because a client may give two the same request number.
    pub(crate) syncs: Slab<usize>,
    /// Subscriptions that wait for their turn to read what they missed.
    pub(crate) lagging: VecDeque<SubscriptionKey>,
    /// A read to catch up is out; it began at this event.
    pub(crate) catching_up: Option<Seq>,
    /// The usual size of the events that it catches up with.
    pub(crate) event_bytes: usize,
    /// No such read before this moment.
    pub(crate) catch_up_after_ms: u64,
}

/// What a session wants back with an answer of the routers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// The inbox's admission, which opens the session; its owner knows it as `id` of `device`.
    Open {
        session: SessionKey,
        inbox: SubscriptionKey,
        entity: EntityId,
        device: DeviceId,
        id: SessionId,
        right_ends_ms: u64,
    },
    /// A command's outcome.
    Command { session: SessionKey, request: RequestId },
    /// A chat's admission for a Subscribe.
    Subscribe { session: SessionKey, request: RequestId, key: SubscriptionKey, entity: EntityId },
    /// A chat's admission for a Sync.
    Sync { session: SessionKey, request: RequestId, sync: usize, key: SubscriptionKey, entity: EntityId },
    /// A new admission, because rights may have ended.
    Readmit { key: SubscriptionKey, entity: EntityId },
    /// The one read that the client asked for and that is out.
    Read { session: SessionKey },
    /// A read of what a subscription missed.
    CatchUp { session: SessionKey, key: SubscriptionKey },
}
