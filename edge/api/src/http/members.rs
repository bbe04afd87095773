//! Members of a chat: who they are, adding and removing them.

use std::sync::Arc;

use axum::extract::State;
use panda_protocol::EntityId;
use panda_protocol::event::Role;
use panda_protocol::frame::{CommandBody, MembersPage};
use panda_protocol::limits::{COMMAND_MEMBERS_MAX, PAGE_ROWS_MAX};
use panda_protocol::link::ReadQuery;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Asked, Body, InPath, Json};
use super::chats::{page_limit, role_name, too_many_members};
use super::problem::{Answer, Problem};
use super::sending::{Done, IdempotencyKey, TraceParent, chat_id, command, read_one};
use super::users::{existing, one};
use crate::Api;
use crate::backend::Backend;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMembers {
    members: Vec<String>,
    role: Option<String>,
    /// Whether they may see what was said before; not unless it says so: who was removed and comes back would
    /// see what was said meanwhile.
    with_history: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Changed {
    seq: u64,
    /// Whether this request did it; it was so already otherwise.
    changed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MembersQuery {
    after: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MemberList {
    members: Vec<MemberJson>,
    /// The `after` of the next page; absent at the end.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct MemberJson {
    id: String,
    role: &'static str,
    joined: u64,
}

impl From<Done> for Json<Changed> {
    fn from(done: Done) -> Self {
        Self(Changed { seq: done.seq.0, changed: done.changed })
    }
}

#[utoipa::path(
    get,
    path = "/chats/{id}/members",
    tag = "chats",
    summary = "A page of a chat's members",
    params(("id" = String, Path, description = "A chat's identifier"), ("after" = Option<String>, Query, description = "`after` of the page before"), ("limit" = Option<u16>, Query, description = "At most so many", minimum = 1, maximum = 256)),
    responses((status = 200, description = "A page of members", body = MemberList)),
    security(("access_token" = [])),
)]
pub(crate) async fn list<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Caller(user): Caller,
    InPath(id): InPath<String>,
    Asked(asked): Asked<MembersQuery>,
) -> Answer<Json<MemberList>> {
    let chat = chat_id(&id)?;
    let after = asked
        .after
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Problem::field("after", "it is no user's identifier"))?;
    let limit = page_limit(asked.limit.as_deref(), PAGE_ROWS_MAX)? as u64;
    let page: MembersPage = read_one(&api, user, chat.into(), ReadQuery::Members { after, limit }).await?;
    let after = page.members.last().filter(|_| page.more).map(|entry| entry.user.to_string());
    let one = |entry: &panda_protocol::frame::MemberEntry| MemberJson {
        id: entry.user.to_string(),
        role: role_name(entry.role),
        joined: entry.joined.0,
    };
    Ok(Json(MemberList { members: page.members.iter().map(one).collect(), after }))
}

#[utoipa::path(
    post,
    path = "/chats/{id}/members",
    tag = "chats",
    summary = "Adds members",
    params(("id" = String, Path, description = "A chat's identifier"), ("Idempotency-Key" = Option<String>, Header, description = "A request with the same key and body happens once"), ("traceparent" = Option<String>, Header, description = "W3C Trace Context")),
    request_body = NewMembers,
    responses((status = 200, description = "They are members", body = Changed), (status = 409, description = "`limit_reached`, `out_of_order`"), (status = 422, description = "`counter_reused`")),
    security(("access_token" = [])),
)]
pub(crate) async fn add<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Caller(user): Caller,
    InPath(id): InPath<String>,
    key: IdempotencyKey,
    trace: TraceParent,
    Body(asked): Body<NewMembers>,
) -> Answer<Json<Changed>> {
    let chat = chat_id(&id)?;
    if asked.members.len() > COMMAND_MEMBERS_MAX {
        return Err(too_many_members());
    }
    let members = existing(&api, "members", &asked.members).await?;
    if members.is_empty() {
        return Err(Problem::field("members", "nobody is named"));
    }
    let role = role_of(asked.role.as_deref())?;
    let body = CommandBody::AddMembers { role, with_history: asked.with_history.unwrap_or(false), members };
    Ok(command(&api, user, key.device(user), EntityId::from(chat), &body, trace).await?.into())
}

#[utoipa::path(
    delete,
    path = "/chats/{id}/members/{user}",
    tag = "chats",
    summary = "Removes a member; `me` leaves",
    params(("id" = String, Path, description = "A chat's identifier"), ("user" = String, Path, description = "An identifier, `@username` or `me`"), ("Idempotency-Key" = Option<String>, Header, description = "A request with the same key and body happens once"), ("traceparent" = Option<String>, Header, description = "W3C Trace Context")),
    responses((status = 200, description = "It is no member", body = Changed), (status = 409, description = "`out_of_order`"), (status = 422, description = "`counter_reused`")),
    security(("access_token" = [])),
)]
pub(crate) async fn remove<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath((id, member)): InPath<(String, String)>,
    key: IdempotencyKey,
    trace: TraceParent,
) -> Answer<Json<Changed>> {
    let chat = chat_id(&id)?;
    let (user, member) = (caller.0, one(&api, caller, &member).await?);
    let body = CommandBody::RemoveMembers { members: vec![member] };
    Ok(command(&api, user, key.device(user), EntityId::from(chat), &body, trace).await?.into())
}

fn role_of(name: Option<&str>) -> Answer<Role> {
    let roles = [Role::Reader, Role::Member, Role::Admin, Role::Owner];
    match name {
        None => Ok(Role::Member),
        Some(name) => roles
            .into_iter()
            .find(|role| role_name(*role) == name)
            .ok_or_else(|| Problem::field("role", "a role is reader, member, admin or owner")),
    }
}
