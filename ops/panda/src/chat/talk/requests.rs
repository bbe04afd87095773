//! What is asked of the server, beside the loop, so that updates are taken meanwhile.

use panda_client::{Client, RequestError};
use panda_protocol::event::{ChatKind, Event, MessageFormat, Role};
use panda_protocol::frame::{Admission, CommandBody, Direction};
use panda_protocol::limits::PAGE_ROWS_MAX;
use panda_protocol::{ChatId, Cursor, EntityId, Seq, Text, UserId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Talk;
use crate::chat::screen;

/// Something to say in a chat.
pub(super) struct Speech {
    pub(super) chat: ChatId,
    pub(super) text: Text,
}

/// What came of a request.
pub(super) enum Done {
    /// Nothing to show.
    Quietly,
    Entered {
        chat: ChatId,
        name: String,
        peer: Option<UserId>,
        admission: Admission,
    },
    /// The person's chats.
    Chats(Vec<ChatId>),
    /// A chat that the person made.
    Made(ChatId),
    Page {
        chat: ChatId,
        events: Vec<Event>,
    },
    Members {
        members: Vec<(UserId, Role)>,
        more: bool,
    },
    Token(String),
    Failed(String),
}

/// Says things one after the other, in the order in which they were typed.
pub(super) async fn speak(client: Client, mut said: mpsc::Receiver<Speech>) {
    let mut stored = JoinSet::new();
    while let Some(Speech { chat, text }) = said.recv().await {
        let body = CommandBody::Send { format: MessageFormat::Text, text };
        match client.submit(chat.into(), body).await {
            Ok(submitted) => drop(stored.spawn(submitted.outcome())),
            Err(error) => complain(&error),
        }
        while let Some(outcome) = stored.try_join_next() {
            report(outcome);
        }
    }
    while let Some(outcome) = stored.join_next().await {
        report(outcome);
    }
}

fn report(outcome: Result<Result<Seq, RequestError>, tokio::task::JoinError>) {
    if let Ok(Err(error)) = outcome {
        complain(&error);
    }
}

fn complain(error: &RequestError) {
    // Standard output that takes nothing ends the loop itself.
    screen::line(&format!("* not sent: {}", words(error))).ok();
}

/// A refusal for a person.
fn words(error: &RequestError) -> String {
    match error {
        RequestError::Refused { text, code, .. } => format!("{text} ({code})"),
        RequestError::Ended => error.to_string(),
    }
}

fn failed(error: RequestError) -> Done {
    Done::Failed(words(&error))
}

impl Talk {
    pub(super) async fn done(&mut self, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Quietly => {}
            Done::Entered { chat, name, peer, admission } => self.entered(chat, name, peer, &admission).await?,
            Done::Chats(chats) => {
                let known: Vec<ChatId> = self.rooms.all().map(|room| room.id).collect();
                for chat in chats.into_iter().filter(|chat| !known.contains(chat)) {
                    self.ask_enter(chat, None);
                }
            }
            Done::Made(chat) => {
                // It may be known already, from the inbox.
                if self.rooms.room(chat).is_some() {
                    self.show_open(chat)?;
                } else {
                    self.ask_enter(chat, Some(Seq(0)));
                    self.rooms.open_next(chat);
                }
            }
            Done::Page { chat, events } => self.page(chat, events).await?,
            Done::Members { members, more } => self.members(members, more).await?,
            Done::Token(token) => {
                self.people.token.clone_from(&token);
                let client = self.client.clone();
                self.work
                    .spawn(async move { client.refresh(token.into()).await.map_or_else(failed, |()| Done::Quietly) });
            }
            Done::Failed(why) => screen::line(&format!("* {why}"))?,
        }
        Ok(())
    }

    pub(super) fn ask_chats(&mut self) {
        let client = self.client.clone();
        self.work.spawn(async move {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                match client.chats(after, PAGE_ROWS_MAX as u64).await {
                    Ok((more, _, chats)) => {
                        after = chats.last().map(|entry| entry.chat);
                        found.extend(chats.into_iter().map(|entry| entry.chat));
                        if !more || after.is_none() {
                            return Done::Chats(found);
                        }
                    }
                    Err(error) => return failed(error),
                }
            }
        });
    }

    /// Finds out what a chat is called and listens to it, behind `after` if it is given.
    pub(super) fn ask_enter(&mut self, chat: ChatId, after: Option<Seq>) {
        let (client, me) = (self.client.clone(), self.account.user);
        let cursor = after.map(|seq| Cursor { incarnation: self.rooms.incarnation, seq });
        self.work.spawn(async move {
            let enter = async {
                let info = client.chat_info(chat).await?;
                let peer = match info.kind {
                    ChatKind::Group => None,
                    ChatKind::Direct => {
                        let (_, members) = client.members(chat, None, 2).await?;
                        Some(members.into_iter().map(|member| member.user).find(|user| *user != me).unwrap_or(me))
                    }
                };
                let admission = client.subscribe(chat, cursor).await?;
                Ok(Done::Entered { chat, name: info.name.to_string(), peer, admission })
            };
            enter.await.unwrap_or_else(failed)
        });
    }

    pub(super) fn create(&mut self, name: String, members: Vec<UserId>) {
        let client = self.client.clone();
        self.work.spawn(async move {
            client.create_group(name.into(), members).await.map_or_else(failed, |(chat, _)| Done::Made(chat))
        });
    }

    /// Makes the direct chat, or finds that it exists.
    pub(super) fn create_direct(&mut self, peer: UserId) {
        let client = self.client.clone();
        let chat = ChatId::direct(self.account.user, peer);
        self.work.spawn(async move {
            match client.create_direct(peer).await {
                Ok(_) => Done::Made(chat),
                Err(RequestError::Refused { code, .. }) if code == panda_protocol::ErrorCode::NothingToDo as u16 => {
                    Done::Made(chat)
                }
                Err(error) => failed(error),
            }
        });
    }

    pub(super) async fn change_members(&mut self, names: Vec<String>, add: bool) -> anyhow::Result<()> {
        let Some(chat) = self.rooms.open_id() else { return Ok(screen::line("* no chat is open")?) };
        let members = match self.people.find_all(names).await {
            Ok(members) => members,
            Err(error) => return Ok(screen::line(&format!("* {error:#}"))?),
        };
        let body = if add {
            CommandBody::AddMembers { role: Role::Member, with_history: false, members }
        } else {
            CommandBody::RemoveMembers { members }
        };
        self.change(chat, body);
        Ok(())
    }

    pub(super) fn leave_open(&mut self) -> anyhow::Result<()> {
        let me = self.account.user;
        self.with_open(|this, chat| this.change(chat, CommandBody::RemoveMembers { members: vec![me] }))
    }

    fn change(&mut self, chat: ChatId, body: CommandBody) {
        let client = self.client.clone();
        self.work.spawn(async move {
            let change = async { client.submit(EntityId::from(chat), body).await?.outcome().await };
            change.await.map_or_else(failed, |_| Done::Quietly)
        });
    }

    pub(super) fn ask_history(&mut self, chat: ChatId, count: u64) {
        let (client, newest) = (self.client.clone(), self.newest(chat));
        self.work.spawn(async move {
            match client.page(chat.into(), Direction::Backward, newest, count).await {
                Ok(page) => Done::Page {
                    chat,
                    events: page.events.iter().filter_map(|event| Event::from_bytes(event).ok()).collect(),
                },
                Err(error) => failed(error),
            }
        });
    }

    pub(super) fn ask_members(&mut self, chat: ChatId) {
        let client = self.client.clone();
        self.work.spawn(async move {
            match client.members(chat, None, PAGE_ROWS_MAX as u64).await {
                Ok((more, members)) => Done::Members {
                    members: members.into_iter().map(|member| (member.user, member.role)).collect(),
                    more,
                },
                Err(error) => failed(error),
            }
        });
    }

    /// A newer token, by logging in again.
    pub(super) fn ask_token(&mut self) {
        let (server, credentials) = (self.account.server.clone(), self.account.credentials.clone());
        self.work.spawn(async move {
            match tokio::task::spawn_blocking(move || server.log_in(&credentials)).await {
                Ok(Ok((_, token))) => Done::Token(token),
                Ok(Err(error)) => Done::Failed(format!("{error:#}")),
                Err(error) => Done::Failed(error.to_string()),
            }
        });
    }
}
