//! Requests, performed.

use std::sync::Arc;

use panda_client::{Client, RequestError};
use panda_protocol::event::{ChatKind, Event, peek_seq};
use panda_protocol::frame::{CommandBody, Direction, SignalKind};
use panda_protocol::limits::PAGE_ROWS_MAX;
use panda_protocol::{ChatId, Cursor, ErrorCode, Incarnation, Seq, UserId};

use super::{Done, Entered, PageDone, Request, words};
use crate::chat::account::{Login, Server};

/// What requests are performed with.
#[derive(Clone)]
pub(in crate::chat) struct Desk {
    pub(in crate::chat) client: Client,
    pub(in crate::chat) server: Server,
    pub(in crate::chat) login: Login,
    pub(in crate::chat) me: UserId,
    /// For the HTTP API.
    pub(in crate::chat) token: Arc<str>,
    /// The event store that the client is connected to.
    pub(in crate::chat) incarnation: Incarnation,
}

impl Desk {
    /// Asks or does it.
    pub(in crate::chat) async fn perform(self, request: Request) -> Done {
        match request {
            Request::Chats => self.chats().await,
            Request::Enter { chat, after } => self.enter(chat, after).await,
            Request::Page { chat, from, limit, purpose } => {
                let outcome = self.page(chat, from, limit).await.map_err(|error| words(&error));
                Done::Page { chat, purpose, outcome }
            }
            Request::Members { chat, line } => self.members(chat, line).await,
            Request::Create { line, name, members } => match self.group(name, members).await {
                Ok(chat) => Done::Made { chat, line },
                Err(why) => Done::Undone { line, why: format!("/new failed: {why}") },
            },
            Request::Direct { line, peer } => match self.direct(peer).await {
                Ok(chat) => Done::Made { chat, line },
                Err(why) => Done::Undone { line, why: format!("/dm failed: {why}") },
            },
            Request::MarkRead { chat, read } => self.mark_read(chat, read).await,
            Request::Typing { chat, is_typing } => {
                let kind = if is_typing { SignalKind::TYPING } else { SignalKind::TYPING_STOPPED };
                self.client.signal(chat, kind, Default::default());
                Done::Quietly
            }
            Request::Name(user) => {
                let name = self.username(user).await;
                Done::Named { user, name }
            }
            Request::LogIn => self.log_in().await,
            Request::Refresh => {
                let token: &str = &self.token;
                self.client.refresh(token.into()).await.map_or_else(|error| failed(&error), |()| Done::Quietly)
            }
        }
    }

    async fn chats(self) -> Done {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            match self.client.chats(after, PAGE_ROWS_MAX as u64).await {
                Ok((more, _, chats)) => {
                    after = chats.last().map(|entry| entry.chat);
                    found.extend(chats);
                    if !more || after.is_none() {
                        return Done::Chats(found);
                    }
                }
                Err(error) => return failed(&error),
            }
        }
    }

    async fn enter(self, chat: ChatId, after: Option<Seq>) -> Done {
        let cursor = after.map(|seq| Cursor { incarnation: self.incarnation, seq });
        let enter = async {
            let info = self.client.chat_info(chat).await?;
            let peer = match info.kind {
                ChatKind::Group => None,
                ChatKind::Direct => {
                    let (_, members) = self.client.members(chat, None, 2).await?;
                    let other = members.into_iter().map(|member| member.user).find(|user| *user != self.me);
                    Some(other.unwrap_or(self.me))
                }
            };
            let peer = match peer {
                Some(peer) => Some((peer, self.username(peer).await)),
                None => None,
            };
            let admission = self.client.subscribe(chat, cursor).await?;
            let name = info.name.to_string();
            Ok(Done::Entered(Box::new(Entered { chat, name, peer, admission, after })))
        };
        enter.await.unwrap_or_else(|error: RequestError| {
            let gone = [ErrorCode::NotMember as u16, ErrorCode::NotFound as u16];
            let is_gone = matches!(error, RequestError::Refused { code, .. } if gone.contains(&code));
            Done::NotEntered { chat, is_gone, why: words(&error) }
        })
    }

    async fn page(&self, chat: ChatId, from: Seq, limit: u64) -> Result<PageDone, RequestError> {
        let page = self.client.page(chat.into(), Direction::Backward, from, limit).await?;
        let seqs: Vec<Seq> = page.events.iter().filter_map(|event| peek_seq(event).ok()).collect();
        Ok(PageDone {
            ends: seqs.iter().min().copied().zip(seqs.iter().max().copied()),
            begins_at: page.begins_at,
            events: page.events.iter().filter_map(|event| Event::from_bytes(event).ok()).collect(),
        })
    }

    async fn members(&self, chat: ChatId, line: u64) -> Done {
        match self.client.members(chat, None, PAGE_ROWS_MAX as u64).await {
            Ok((more, members)) => {
                let members = members.into_iter().map(|member| (member.user, member.role)).collect();
                Done::Members { line, members, more }
            }
            Err(error) => Done::Undone { line, why: format!("/who failed: {}", words(&error)) },
        }
    }

    async fn group(&self, name: String, members: Vec<String>) -> Result<ChatId, String> {
        let members = self.find_all(members).await?;
        self.client.create_group(name.into(), members).await.map(|(chat, _)| chat).map_err(|error| words(&error))
    }

    /// Makes the direct chat, or finds that it exists.
    async fn direct(&self, peer: String) -> Result<ChatId, String> {
        match self.find_all(vec![peer]).await?[..] {
            [peer] if peer != self.me => {
                self.client.create_direct(peer).await.map(|(chat, _)| chat).map_err(|error| words(&error))
            }
            _ => Err("a direct chat is with somebody else; /new NAME makes a chat for yourself".to_owned()),
        }
    }

    async fn mark_read(&self, chat: ChatId, read: Seq) -> Done {
        let mark =
            async { self.client.submit(self.me.into(), CommandBody::MarkRead { chat, read }).await?.outcome().await };
        let is_marked = match mark.await {
            Ok(_) => true,
            // Another device was faster.
            Err(RequestError::Refused { code, .. }) => code == ErrorCode::NothingToDo as u16,
            Err(RequestError::Ended) => false,
        };
        Done::Marked { chat, read: is_marked.then_some(read) }
    }

    async fn log_in(self) -> Done {
        match tokio::task::spawn_blocking(move || self.login.renew()).await {
            Ok(Ok(token)) => Done::Token(token),
            Ok(Err(error)) => Done::Failed(format!("logging in again failed: {error:#}")),
            Err(error) => Done::Failed(error.to_string()),
        }
    }

    /// A user's name, if the server tells.
    async fn username(&self, user: UserId) -> Option<String> {
        let desk = self.clone();
        let asked = tokio::task::spawn_blocking(move || desk.server.user(&desk.token, &user.to_string())).await;
        asked.ok()?.ok().map(|found| found.username)
    }

    /// The users of some `@names`, or why one is not to be found.
    pub(super) async fn find_all(&self, names: Vec<String>) -> Result<Vec<UserId>, String> {
        let desk = self.clone();
        let find = move || {
            let find = |name: &String| anyhow::Ok(desk.server.user(&desk.token, name)?.id.parse()?);
            names.iter().map(find).collect::<anyhow::Result<Vec<UserId>>>()
        };
        match tokio::task::spawn_blocking(find).await {
            Ok(found) => found.map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn failed(error: &RequestError) -> Done {
    Done::Failed(words(error))
}
