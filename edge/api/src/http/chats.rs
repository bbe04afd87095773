//! Chats: making one, reading one with its messages, and the caller's list.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_protocol::event::{ChatKind, Role};
use panda_protocol::frame::{ChatEntry, ChatInfoReply, ChatsPage, CommandBody, Direction, PageChunk};
use panda_protocol::limits::{CHAT_NAME_BYTES_MAX, COMMAND_MEMBERS_MAX, PAGE_EVENTS_MAX, PAGE_ROWS_MAX, VARINT_MAX};
use panda_protocol::link::ReadQuery;
use panda_protocol::{ChatId, DecodeError, EntityId, ErrorCode, Seq, Text, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Asked, Body, InPath, Json};
use super::messages::{MessageJson, message_of};
use super::problem::{Answer, Problem};
use super::sending::{FIRST, IdempotencyKey, TraceParent, chat_id, command, read as read_parts, read_one, unreadable};
use super::users::existing;
use crate::Api;
use crate::backend::Backend;

/// Messages and chats of a page, unless a number is asked for.
const PAGE_DEFAULT: usize = 50;
/// Pages of events that are read for one page of messages: a chat may have long runs of other events.
const PAGES_MAX: usize = 4;
/// Chats of a list that are read at a time.
const CHATS_AT_ONCE: usize = 16;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewChat {
    /// A group's.
    name: Option<String>,
    /// A group's, beside its creator.
    members: Option<Vec<String>>,
    /// The other user of a direct chat; alone.
    peer: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Made {
    id: String,
    seq: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ChatJson {
    id: String,
    kind: &'static str,
    name: String,
    members: u64,
    role: &'static str,
    head: u64,
    begins_at: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    before: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ChatWithMessages {
    chat: ChatJson,
    /// In the order in which they were sent.
    messages: Vec<MessageJson>,
    /// The `before` of the page of older messages; absent where none are older.
    before: Option<u64>,
    /// The `after` of the page of newer messages, also of those to come.
    after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ChatList {
    chats: Vec<ListedChat>,
    /// The `after` of the next page; absent at the end.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ListedChat {
    #[serde(flatten)]
    chat: ChatJson,
    joined: u64,
    read: u64,
}

#[utoipa::path(
    post,
    path = "/chats",
    tag = "chats",
    summary = "Makes a group or a direct chat",
    params(("Idempotency-Key" = Option<String>, Header, description = "A request with the same key and body happens once"), ("traceparent" = Option<String>, Header, description = "W3C Trace Context")),
    request_body = NewChat,
    responses((status = 201, description = "Made", body = Made), (status = 200, description = "The direct chat was there", body = Made), (status = 409, description = "`limit_reached`, `out_of_order`"), (status = 422, description = "`counter_reused`")),
    security(("access_token" = [])),
)]
pub(crate) async fn create<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Caller(user): Caller,
    key: IdempotencyKey,
    trace: TraceParent,
    Body(asked): Body<NewChat>,
) -> Answer<(StatusCode, Json<Made>)> {
    let device = key.device(user);
    let (chat, body) = match asked.peer {
        Some(_) if asked.name.is_some() || asked.members.is_some() => {
            return Err(Problem::field("peer", "a direct chat has a peer and no name and members of its own"));
        }
        Some(peer) => {
            let peer = existing(&api, "peer", &[peer]).await?.pop().filter(|peer| *peer != user);
            let peer = peer.ok_or_else(|| Problem::field("peer", "a direct chat is with another user"))?;
            (ChatId::direct(user, peer), CommandBody::CreateDirect { peer })
        }
        None => {
            let name = chat_name(asked.name.unwrap_or_default())?;
            let members = new_members(&api, user, &asked.members.unwrap_or_default()).await?;
            if name.as_str().trim().is_empty() && members.is_empty() {
                let detail = "a group of one has a name; `members` names others, `peer` the other of a direct chat";
                return Err(Problem::field("name", detail));
            }
            (ChatId::group(user, device, FIRST), CommandBody::CreateGroup { name, members })
        }
    };
    let done = command(&api, user, device, EntityId::from(chat), &body, trace).await?;
    let status = if done.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Made { id: chat.to_string(), seq: done.seq.0 })))
}

pub(crate) fn chat_name(name: String) -> Answer<Text> {
    if name.len() > CHAT_NAME_BYTES_MAX {
        return Err(Problem::too_large("name", format!("a chat's name has at most {CHAT_NAME_BYTES_MAX} bytes")));
    }
    Ok(Text::from(name))
}

/// Members named in one command, without the one who names them.
async fn new_members<B: Backend>(api: &Api<B>, user: UserId, named: &[String]) -> Answer<Vec<UserId>> {
    // One more than the limit: the creator may be among them.
    if named.len() > COMMAND_MEMBERS_MAX + 1 {
        return Err(too_many_members());
    }
    let mut members = existing(api, "members", named).await?;
    members.retain(|member| *member != user);
    if members.len() > COMMAND_MEMBERS_MAX { Err(too_many_members()) } else { Ok(members) }
}

pub(crate) fn too_many_members() -> Problem {
    Problem::too_large("members", format!("at most {COMMAND_MEMBERS_MAX} members at a time"))
}

#[utoipa::path(
    get,
    path = "/chats/{id}",
    tag = "chats",
    summary = "A chat with a page of its messages",
    params(("id" = String, Path, description = "A chat's identifier"), ("before" = Option<u64>, Query, description = "Messages before this event"), ("after" = Option<u64>, Query, description = "Messages after this event"), ("limit" = Option<u16>, Query, description = "At most so many", minimum = 1, maximum = 256)),
    responses((status = 200, description = "The chat and its messages", body = ChatWithMessages)),
    security(("access_token" = [])),
)]
pub(crate) async fn read<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Caller(user): Caller,
    InPath(id): InPath<String>,
    Asked(asked): Asked<HistoryQuery>,
) -> Answer<Json<ChatWithMessages>> {
    let chat = chat_id(&id)?;
    let limit = page_limit(asked.limit.as_deref(), PAGE_EVENTS_MAX)?;
    let (asked_before, asked_after) = (event("before", asked.before)?, event("after", asked.after)?);
    if asked_before.is_some() && asked_after.is_some() {
        return Err(Problem::field("before", "a page is before or after an event, not both"));
    }
    let info: ChatInfoReply = read_one(&api, user, chat.into(), ReadQuery::Info).await?;
    let history = match asked_after {
        Some(after) => forward(&api, user, chat, Seq(after.min(VARINT_MAX - 1)), limit).await?,
        None => {
            backward(&api, user, chat, Seq(asked_before.unwrap_or(VARINT_MAX).clamp(1, VARINT_MAX) - 1), limit).await?
        }
    };
    let History { messages, first, last } = history;
    let begins_at = info.visible_from.0.max(1);
    let before = first.filter(|first| *first > begins_at);
    // Nothing behind `after` yet, or nothing at all: what comes next is behind the head.
    let after =
        last.or(asked_after).unwrap_or_else(|| info.head.0.min(asked_before.unwrap_or(u64::MAX).saturating_sub(1)));
    Ok(Json(ChatWithMessages { chat: chat_json(chat, &info), messages, before, after }))
}

/// Messages, and the first and last event that were read for them.
struct History {
    messages: Vec<MessageJson>,
    first: Option<u64>,
    last: Option<u64>,
}

async fn backward<B: Backend>(api: &Api<B>, user: UserId, chat: ChatId, from: Seq, limit: usize) -> Answer<History> {
    let mut history = History { messages: Vec::new(), first: None, last: None };
    let mut from = from;
    for _ in 0..PAGES_MAX {
        let wanted = limit - history.messages.len();
        if wanted == 0 || from.0 == 0 {
            break;
        }
        let events = page(api, user, chat, Direction::Backward, from, wanted).await?;
        let Some((newest, oldest)) = ends(&events).map_err(|error| unreadable(chat, error))? else { break };
        history.last = history.last.or(Some(newest));
        history.first = Some(oldest);
        from = Seq(oldest.saturating_sub(1));
        append(&mut history.messages, &events).map_err(|error| unreadable(chat, error))?;
    }
    history.messages.reverse();
    Ok(history)
}

async fn forward<B: Backend>(api: &Api<B>, user: UserId, chat: ChatId, after: Seq, limit: usize) -> Answer<History> {
    let mut history = History { messages: Vec::new(), first: None, last: None };
    let mut from = after.next();
    for _ in 0..PAGES_MAX {
        let wanted = limit - history.messages.len();
        if wanted == 0 {
            break;
        }
        let events = page(api, user, chat, Direction::Forward, from, wanted).await?;
        let Some((oldest, newest)) = ends(&events).map_err(|error| unreadable(chat, error))? else { break };
        history.first = history.first.or(Some(oldest));
        history.last = Some(newest);
        from = Seq(newest).next();
        append(&mut history.messages, &events).map_err(|error| unreadable(chat, error))?;
    }
    Ok(history)
}

async fn page<B: Backend>(
    api: &Api<B>,
    user: UserId,
    chat: ChatId,
    direction: Direction,
    from: Seq,
    limit: usize,
) -> Answer<Vec<bytes::Bytes>> {
    let query = ReadQuery::Page { direction, from, limit: limit as u64 };
    let chunks: Vec<PageChunk> = read_parts(api, user, chat.into(), query).await?;
    Ok(chunks.into_iter().flat_map(|chunk| chunk.events).collect())
}

/// The seqs of the first and last event, in the page's order.
fn ends(events: &[bytes::Bytes]) -> Result<Option<(u64, u64)>, DecodeError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    Ok(Some((panda_protocol::event::peek_seq(first)?.0, panda_protocol::event::peek_seq(last)?.0)))
}

fn append(messages: &mut Vec<MessageJson>, events: &[bytes::Bytes]) -> Result<(), DecodeError> {
    for event in events {
        messages.extend(message_of(event)?);
    }
    Ok(())
}

#[utoipa::path(
    get,
    path = "/chats",
    tag = "chats",
    summary = "The caller's chats, in the order of their IDs",
    params(("after" = Option<String>, Query, description = "`after` of the page before"), ("limit" = Option<u16>, Query, description = "At most so many", minimum = 1, maximum = 256)),
    responses((status = 200, description = "A page of chats", body = ChatList)),
    security(("access_token" = [])),
)]
pub(crate) async fn list<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Caller(user): Caller,
    Asked(asked): Asked<ListQuery>,
) -> Answer<Json<ChatList>> {
    let after = asked.after.as_deref().map(chat_id).transpose()?;
    let limit = page_limit(asked.limit.as_deref(), PAGE_ROWS_MAX)? as u64;
    let (chats, after) = list_page(&api, user, after, limit).await?;
    Ok(Json(ChatList { chats, after: after.map(|chat| chat.to_string()) }))
}

/// All chats of a user: at most as many as one may be in.
pub(crate) async fn all<B: Backend>(api: &Api<B>, user: UserId) -> Answer<Vec<ListedChat>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (chats, next) = list_page(api, user, after, PAGE_ROWS_MAX as u64).await?;
        all.extend(chats);
        if next.is_none() {
            return Ok(all);
        }
        after = next;
    }
}

/// A page of a user's chats, and behind which one another follows.
async fn list_page<B: Backend>(
    api: &Api<B>,
    user: UserId,
    after: Option<ChatId>,
    limit: u64,
) -> Answer<(Vec<ListedChat>, Option<ChatId>)> {
    let page: ChatsPage = read_one(api, user, user.into(), ReadQuery::Chats { after, limit }).await?;
    let after = page.chats.last().filter(|_| page.more).map(|entry| entry.chat);
    let listed = stream::iter(page.chats).map(|entry| listed(api, user, entry)).buffered(CHATS_AT_ONCE);
    let chats: Vec<Option<ListedChat>> = listed.try_collect().await?;
    Ok((chats.into_iter().flatten().collect(), after))
}

async fn listed<B: Backend>(api: &Api<B>, user: UserId, entry: ChatEntry) -> Answer<Option<ListedChat>> {
    match read_one::<B, ChatInfoReply>(api, user, entry.chat.into(), ReadQuery::Info).await {
        Ok(info) => {
            Ok(Some(ListedChat { chat: chat_json(entry.chat, &info), joined: entry.joined.0, read: entry.read.0 }))
        }
        // The inbox learns of a removal a moment after the chat does.
        Err(refused) if matches!(refused.code(), ErrorCode::NotMember | ErrorCode::NotFound) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// How many rows are asked for, at most `max`.
pub(crate) fn page_limit(asked: Option<&str>, max: usize) -> Answer<usize> {
    let limit = asked.map_or(Ok(PAGE_DEFAULT), str::parse).ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| Problem::field("limit", format!("a limit is a whole number from 1 to {max}")))
}

/// The number of an event, as a query says it.
fn event(field: &'static str, asked: Option<String>) -> Answer<Option<u64>> {
    let number = asked.map(|text| text.parse()).transpose();
    number.map_err(|_| Problem::field(field, "an event's number is a whole number, such as 50"))
}

fn chat_json(id: ChatId, info: &ChatInfoReply) -> ChatJson {
    let kind = match info.kind {
        ChatKind::Group => "group",
        ChatKind::Direct => "direct",
    };
    ChatJson {
        id: id.to_string(),
        kind,
        name: info.name.as_str().to_owned(),
        members: info.members,
        role: role_name(info.role),
        head: info.head.0,
        begins_at: info.visible_from.0.max(1),
    }
}

pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}
