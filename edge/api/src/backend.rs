//! The seams behind the API, named once so that handlers carry one type parameter.

use std::future::Future;

use bytes::Bytes;
use panda_link::{CommandRefused, LinkClient};
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{ReadQuery, Rejection};
use panda_protocol::{Counter, DeviceId, EntityId, Seq, TraceContext, UserId};
use panda_storage::{Cache, UserStore};

/// Which implementations an API runs on. A tuple of the three is one.
pub trait Backend: 'static {
    /// Users and keys.
    type Users: UserStore;
    /// What may be lost.
    type Cache: Cache;
    /// The way to the chats' owners.
    type Chats: Chats;
}

impl<U: UserStore, C: Cache, L: Chats> Backend for (U, C, L) {
    type Users = U;
    type Cache = C;
    type Chats = L;
}

/// The way to the owners of chats and inboxes, the same that sessions take.
pub trait Chats: Clone + Send + Sync + 'static {
    /// Asks for a change, to be followed in a context if in any, and waits until it is stored or refused.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one record")]
    fn command(
        &self,
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        body: &CommandBody,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<Seq, CommandRefused>> + Send;

    /// Reads for a user: the bodies of all parts of the reply.
    fn read(
        &self,
        user: UserId,
        entity: EntityId,
        query: ReadQuery,
    ) -> impl Future<Output = Result<Vec<Bytes>, Rejection>> + Send;
}

impl Chats for LinkClient {
    async fn command(
        &self,
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        body: &CommandBody,
        trace: Option<TraceContext>,
    ) -> Result<Seq, CommandRefused> {
        Self::command(self, actor, device, entity, counter, after, body, trace).await
    }

    async fn read(&self, user: UserId, entity: EntityId, query: ReadQuery) -> Result<Vec<Bytes>, Rejection> {
        Self::read(self, user, entity, query).await
    }
}
