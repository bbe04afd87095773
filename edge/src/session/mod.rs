//! Sessions: one client's connection from its Hello to its Bye.
//!
//! [`task`] moves bytes between a transport and the outbox. What frames mean is in [`opening`],
//! [`requests`], [`commands`], [`reads`], [`delivery`] and [`readmission`], as methods of the worker's [`Core`](crate::worker::Core), which
//! owns every session of its thread.

mod chats;
mod commands;
mod delivery;
mod opening;
mod readmission;
mod reads;
mod requests;
mod task;
mod under_way;

use std::task::Waker;

pub(crate) use commands::COMMANDS_HELD_MAX;
use panda_protocol::frame::RequestId;
use panda_protocol::session::server::{Close, ServerSession};
use panda_protocol::{DeviceId, EntityId, LoginId, SessionId, UserId};
pub(crate) use reads::Lane;
pub(crate) use task::{Connection, SessionTask};
pub(crate) use under_way::UnderWay;

use self::chats::Chats;
use crate::admission::{Handshake, Place};
use crate::chunked_slab;
use crate::outbox::Outbox;
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

/// One connection that carries frames. What most sessions do not have most of the time is behind a pointer.
pub(crate) struct Session {
    pub(crate) serial: u32,
    pub(crate) machine: ServerSession,
    pub(crate) outbox: Outbox,
    /// What leaves on the stream for pages, while there is one.
    pub(crate) pages: Option<Box<Outbox>>,
    pub(crate) waker: Option<Waker>,
    /// When the worker's wheel looks at it next.
    pub(crate) due_ms: u64,
    pub(crate) ending: Option<Box<Ending>>,
    /// Until the Hello was found good.
    pub(crate) handshake: Option<Box<Handshake>>,
    /// From then on.
    pub(crate) member: Option<Member>,
}

/// What an idle session takes in the worker's table. A million of them take a megabyte for each byte here: what
/// has to grow it is worth that, or belongs behind a pointer.
const _: () = assert!(chunked_slab::bytes_of::<Session>() <= 224);

/// Who is at the other end, and what it listens to.
pub(crate) struct Member {
    /// Held for the gate's counts.
    pub(crate) _place: Place,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) id: SessionId,
    /// The login that it came in by; it ends with it.
    pub(crate) login: Option<LoginId>,
    /// The end of the access right, seconds since 1970.
    pub(crate) expires_unix_s: u64,
    pub(crate) inbox: SubscriptionKey,
    pub(crate) chats: Chats,
    /// Absent while nothing is.
    pub(crate) under_way: Option<Box<UnderWay>>,
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
