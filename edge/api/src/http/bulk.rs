//! Provisioning by programs: many users and chats a request, idempotent, behind an API key.
//!
//! No password is hashed here and every chat takes the way of every other command.

use std::sync::Arc;

use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_protocol::event::Role;
use panda_protocol::frame::CommandBody;
use panda_protocol::limits::COMMAND_MEMBERS_MAX;
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Text, UserId};
use panda_storage::UserStore as _;
use panda_storage::user_store::{NewUser, Username};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Provisioner;
use super::body::{BulkBody, Json};
use super::chats::chat_name;
use super::identity::parse_email;
use super::logins::{signer, token_of};
use super::problem::{Answer, Problem};
use super::sending::{FIRST, TraceParent};
use super::users::{existing, shortened};
use crate::Api;
use crate::backend::{Backend, Chats as _};
use crate::config::{BULK_CHATS_MAX, BULK_MEMBERS_MAX, BULK_USERS_MAX, IDEMPOTENCY_KEY_BYTES_MAX};

/// Chats of one request that are made at a time.
const CHATS_AT_ONCE: usize = 32;
/// Tokens that are signed before other requests of the thread have their turn.
const TOKENS_A_TURN: usize = 32;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkUsers {
    users: Vec<BulkUser>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkUser {
    username: String,
    email: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MadeUsers {
    users: Vec<MadeUser>,
}

#[derive(Serialize, ToSchema)]
struct MadeUser {
    id: String,
    username: String,
    access_token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkChats {
    chats: Vec<BulkChat>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkChat {
    key: String,
    name: String,
    creator: String,
    members: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MadeChats {
    chats: Vec<MadeChat>,
}

#[derive(Serialize, ToSchema)]
struct MadeChat {
    id: String,
    key: String,
}

#[utoipa::path(
    post,
    path = "/bulk/users",
    tag = "provisioning",
    summary = "Makes those users that are not there, with tokens of all",
    request_body = BulkUsers,
    responses((status = 200, description = "All of them, in order", body = MadeUsers)),
    security(("api_key" = [])),
)]
pub(crate) async fn users<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    _provisioner: Provisioner,
    BulkBody(asked): BulkBody<BulkUsers>,
) -> Answer<Json<MadeUsers>> {
    if asked.users.len() > BULK_USERS_MAX {
        return Err(Problem::too_large("users", format!("at most {BULK_USERS_MAX} users a request")));
    }
    let created = api.now();
    let new = |user: &BulkUser| {
        let username = Username::parse(&user.username).map_err(|error| Problem::of_field("username", error))?;
        let email = parse_email(user.email.as_deref())?;
        Ok(NewUser { id: UserId::from_random(rand::random()), username, email, password: None, created })
    };
    let new = asked.users.iter().map(new).collect::<Answer<Vec<_>>>()?;
    let signer = signer(&api).await?;
    let ensured = api.parts.users.ensure_users(new).await?;
    let mut users = Vec::with_capacity(ensured.len());
    for turn in ensured.chunks(TOKENS_A_TURN) {
        let made = |user: &panda_storage::user_store::User| MadeUser {
            id: user.id.to_string(),
            username: user.username.to_string(),
            access_token: token_of(&api, &signer, user.id),
        };
        users.extend(turn.iter().map(made));
        tokio::task::yield_now().await;
    }
    Ok(Json(MadeUsers { users }))
}

#[utoipa::path(
    post,
    path = "/bulk/chats",
    tag = "provisioning",
    summary = "Makes those chats that are not there",
    params(("traceparent" = Option<String>, Header, description = "W3C Trace Context")),
    request_body = BulkChats,
    responses((status = 200, description = "All of them, in order", body = MadeChats), (status = 409, description = "`limit_reached`"), (status = 422, description = "`counter_reused`")),
    security(("api_key" = [])),
)]
pub(crate) async fn chats<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    _provisioner: Provisioner,
    trace: TraceParent,
    BulkBody(asked): BulkBody<BulkChats>,
) -> Answer<Json<MadeChats>> {
    if asked.chats.len() > BULK_CHATS_MAX {
        return Err(Problem::too_large("chats", format!("at most {BULK_CHATS_MAX} chats a request")));
    }
    let mut planned = Vec::with_capacity(asked.chats.len());
    for (place, chat) in asked.chats.into_iter().enumerate() {
        let which = format!("chats[{place}], key {:?}", shortened(&chat.key));
        match plan(&api, chat).await {
            Ok(chat) => planned.push((which, chat)),
            Err(problem) => return Err(problem.of_one(&which)),
        }
    }
    let api = &api;
    let make_one = |(which, chat): (String, Planned)| async move {
        make(api, chat, trace).await.map_err(|problem| problem.of_one(&which))
    };
    let made = stream::iter(planned).map(make_one).buffered(CHATS_AT_ONCE);
    Ok(Json(MadeChats { chats: made.try_collect().await? }))
}

/// A chat whose values were checked: nothing is made before all of a request are.
struct Planned {
    key: String,
    name: Text,
    creator: UserId,
    members: Vec<UserId>,
}

async fn plan<B: Backend>(api: &Api<B>, chat: BulkChat) -> Answer<Planned> {
    if chat.key.is_empty() || chat.key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Problem::field("key", format!("a key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")));
    }
    if chat.members.len() > BULK_MEMBERS_MAX {
        return Err(Problem::too_large("members", format!("at most {BULK_MEMBERS_MAX} members a chat")));
    }
    let name = chat_name(chat.name)?;
    let creator = existing(api, "creator", &[chat.creator])
        .await?
        .pop()
        .ok_or_else(|| Problem::field("creator", "nobody is named"))?;
    let mut members = existing(api, "members", &chat.members).await?;
    members.retain(|member| *member != creator);
    Ok(Planned { key: chat.key, name, creator, members })
}

/// Makes the chat by as many commands as its members need. Repeated, every command answers as it did
/// the first time, so a request that was cut short is completed by the same request.
async fn make<B: Backend>(api: &Api<B>, chat: Planned, TraceParent(trace): TraceParent) -> Answer<MadeChat> {
    let device = DeviceId::from_idempotency_key(chat.creator, chat.key.as_bytes());
    let id = ChatId::group(chat.creator, device, FIRST);
    let mut groups = chat.members.chunks(COMMAND_MEMBERS_MAX);
    let first = groups.next().unwrap_or_default().to_vec();
    let create = CommandBody::CreateGroup { name: chat.name, members: first };
    let adds = groups.map(|members| CommandBody::AddMembers {
        role: Role::Member,
        with_history: true,
        members: members.to_vec(),
    });
    let mut applied = Counter(0);
    for body in std::iter::once(create).chain(adds) {
        let counter = Counter(applied.0 + 1);
        match api.parts.chats.command(chat.creator, device, EntityId::from(id), counter, applied, &body, trace).await {
            Ok(_) => applied = counter,
            // All of these are members already; a refused command uses no counter up.
            Err(refused) if refused.code() == ErrorCode::NothingToDo => {}
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(MadeChat { id: id.to_string(), key: chat.key })
}
