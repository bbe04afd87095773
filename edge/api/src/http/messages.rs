//! Messages: sending one, and how stored events look as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use panda_protocol::event::{Event, EventBody, MessageFormat};
use panda_protocol::frame::CommandBody;
use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{DecodeError, EntityId, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Body, InPath, Json};
use super::problem::{Answer, Problem};
use super::sending::{IdempotencyKey, TraceParent, chat_id, command};
use crate::Api;
use crate::backend::Backend;

#[derive(Deserialize, ToSchema)]
pub(crate) struct Message {
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Sent {
    chat: String,
    seq: u64,
}

/// A message of a chat's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageJson {
    pub(crate) seq: u64,
    /// Microseconds since 1970.
    time_us: u64,
    sender: String,
    text: String,
}

#[utoipa::path(
    post,
    path = "/chats/{id}/messages",
    tag = "chats",
    summary = "Sends a message; answered once it is stored",
    params(("id" = String, Path, description = "A chat's identifier"), ("Idempotency-Key" = Option<String>, Header, description = "A request with the same key and body happens once"), ("traceparent" = Option<String>, Header, description = "W3C Trace Context")),
    request_body = Message,
    responses((status = 201, description = "Stored", body = Sent), (status = 409, description = "`out_of_order`"), (status = 422, description = "`counter_reused`")),
    security(("access_token" = [])),
)]
pub(crate) async fn send<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
    key: IdempotencyKey,
    trace: TraceParent,
    Body(asked): Body<Message>,
) -> Answer<(StatusCode, Json<Sent>)> {
    let chat = chat_id(&id)?;
    if asked.text.is_empty() {
        return Err(Problem::field("text", "a message has at least one character"));
    }
    if asked.text.len() > TEXT_BYTES_MAX {
        return Err(Problem::too_large("text", format!("a message has at most {TEXT_BYTES_MAX} bytes")));
    }
    let body = CommandBody::Send { format: MessageFormat::Text, text: Text::from(asked.text) };
    let done = command(&api, caller.0, key.device(caller.0), EntityId::from(chat), &body, trace).await?;
    Ok((StatusCode::CREATED, Json(Sent { chat: chat.to_string(), seq: done.seq.0 })))
}

/// The message that an event's bytes hold; none for an event of another kind.
pub(crate) fn message_of(bytes: &Bytes) -> Result<Option<MessageJson>, DecodeError> {
    let event = Event::from_bytes(bytes)?;
    let EventBody::MessageSent { text, .. } = event.body else { return Ok(None) };
    Ok(Some(MessageJson {
        seq: event.seq.0,
        time_us: event.time.0,
        sender: event.actor.to_string(),
        text: text.as_str().to_owned(),
    }))
}
