//! How a request becomes a command: which device and counter it has, and how replies are read.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bytes::{BufMut as _, Bytes, BytesMut};
use panda_link::CommandRefused;
use panda_protocol::codec::{Reader, Wire};
use panda_protocol::frame::CommandBody;
use panda_protocol::link::ReadQuery;
use panda_protocol::{ChatId, Counter, DecodeError, DeviceId, EntityId, ErrorCode, Seq, TraceContext, UserId};

use super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::{Backend, Chats as _};
use crate::config::IDEMPOTENCY_KEY_BYTES_MAX;

/// What a request's `Idempotency-Key` says, if it has one.
pub(crate) struct IdempotencyKey(Option<Bytes>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        match value.len() {
            0 => Err(Problem::field("Idempotency-Key", "the key is empty")),
            1..=IDEMPOTENCY_KEY_BYTES_MAX => Ok(Self(Some(Bytes::copy_from_slice(value.as_bytes())))),
            _ => Err(Problem::too_large(
                "Idempotency-Key",
                format!("a key has at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes"),
            )),
        }
    }
}

impl IdempotencyKey {
    /// The device that the request's command comes from: a request with the same key is the same
    /// command, one without a key is like no other.
    pub(crate) fn device(&self, user: UserId) -> DeviceId {
        match &self.0 {
            Some(key) => DeviceId::from_idempotency_key(user, key),
            None => DeviceId::from_random(rand::random()),
        }
    }
}

/// In whose context a request's commands are to be followed: its `traceparent`, if it has one that W3C Trace Context
/// allows. Any other is as if it were not there.
#[derive(Clone, Copy)]
pub(crate) struct TraceParent(pub(crate) Option<TraceContext>);

impl<S: Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let mut values = parts.headers.get_all("traceparent").iter();
        // Of several nobody knows which one is meant.
        let only = values.next().filter(|_| values.next().is_none());
        Ok(Self(only.and_then(|value| value.to_str().ok()?.parse().ok())))
    }
}

/// The counter of a request's only command.
pub(crate) const FIRST: Counter = Counter(1);

/// What a command did.
pub(crate) struct Done {
    /// The first event that it made, or the one that did it before.
    pub(crate) seq: Seq,
    /// Whether this command did it.
    pub(crate) changed: bool,
}

/// Sends the only command of a request's device.
pub(crate) async fn command<B: Backend>(
    api: &Api<B>,
    actor: UserId,
    device: DeviceId,
    entity: EntityId,
    body: &CommandBody,
    TraceParent(trace): TraceParent,
) -> Answer<Done> {
    match api.parts.chats.command(actor, device, entity, FIRST, Counter(0), body, trace).await {
        Ok(seq) => Ok(Done { seq, changed: true }),
        Err(CommandRefused::Rejected(refused)) if refused.code == ErrorCode::NothingToDo => {
            Ok(Done { seq: refused.details.map_or(Seq(0), |details| details.seq), changed: false })
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Reads all parts of a reply.
pub(crate) async fn read<B: Backend, T: Wire>(
    api: &Api<B>,
    user: UserId,
    entity: EntityId,
    query: ReadQuery,
) -> Answer<Vec<T>> {
    let bodies = api.parts.chats.read(user, entity, query).await?;
    bodies.iter().map(|body| decode(entity, body)).collect()
}

/// Reads a reply of one part.
pub(crate) async fn read_one<B: Backend, T: Wire>(
    api: &Api<B>,
    user: UserId,
    entity: EntityId,
    query: ReadQuery,
) -> Answer<T> {
    let mut parts = read(api, user, entity, query).await?;
    parts.pop().filter(|_| parts.is_empty()).ok_or_else(|| {
        tracing::error!(%entity, "a router's reply has another number of parts than one");
        Problem::new(ErrorCode::Internal)
    })
}

/// A reply's body stands behind a request's number on the wire; here there is none, so it is 0.
fn decode<T: Wire>(entity: EntityId, body: &Bytes) -> Answer<T> {
    let mut frame = BytesMut::with_capacity(body.len() + 1);
    frame.put_u8(0);
    frame.put_slice(body);
    T::decode(&mut Reader::new(frame.freeze())).map_err(|error| unreadable(entity, error))
}

/// What a router said of an entity is not what this version knows.
pub(crate) fn unreadable(entity: impl Into<EntityId>, error: DecodeError) -> Problem {
    let entity = entity.into();
    tracing::error!(%entity, %error, "a router's reply could not be read");
    Problem::new(ErrorCode::Internal)
}

/// A chat as a path names it.
pub(crate) fn chat_id(text: &str) -> Answer<ChatId> {
    text.parse().map_err(|_| Problem::new(ErrorCode::NotFound))
}
