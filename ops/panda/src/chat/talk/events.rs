//! How events look on the screen.

use panda_protocol::event::{Event, EventBody, Role};
use panda_protocol::frame::Admission;
use panda_protocol::{ChatId, Seq, UserId};

use super::Talk;
use crate::chat::screen;

impl Talk {
    pub(super) async fn chat_event(&mut self, chat: ChatId, event: &Event) -> anyhow::Result<()> {
        let is_message = matches!(event.body, EventBody::MessageSent { .. });
        self.rooms.note(chat, event.seq, is_message);
        if let EventBody::ChatRenamed { name } = &event.body {
            self.rooms.rename(chat, name);
        }
        let Some(room) = self.rooms.room(chat).map(|room| room.name.clone()) else { return Ok(()) };
        if let Some(line) = self.describe(&room, event).await {
            screen::line(&line)?;
        }
        Ok(())
    }

    /// An event as a line, if there is something to show.
    pub(super) async fn describe(&mut self, room: &str, event: &Event) -> Option<String> {
        let actor = self.people.name(event.actor).await;
        let target = match event.target {
            Some(target) => self.people.name(target).await,
            None => String::new(),
        };
        Some(match &event.body {
            EventBody::MessageSent { text, .. } => format!("[{room}] {actor}: {text}"),
            EventBody::MemberAdded { .. } => format!("[{room}] * {actor} added {target}"),
            EventBody::MemberRemoved if event.target == Some(event.actor) => format!("[{room}] * {actor} left"),
            EventBody::MemberRemoved => format!("[{room}] * {actor} removed {target}"),
            EventBody::RoleChanged { role } => format!("[{room}] * {actor} made {target} {}", role_name(*role)),
            EventBody::ChatRenamed { name } => format!("[{room}] * {actor} named this chat {name}"),
            EventBody::ChatCreated { .. } => format!("[{room}] * {actor} made this chat"),
            EventBody::Blanked { .. } => format!("[{room}] * something that {actor} said was erased"),
            _ => return None,
        })
    }

    /// The inbox says which chats the person is in, whoever made them.
    pub(super) fn inbox_event(&mut self, event: &Event) -> anyhow::Result<()> {
        match &event.body {
            // From the event on that made the person a member: nothing that was said since is missed.
            EventBody::ChatJoined { chat, source, .. } => self.ask_enter(*chat, Some(*source)),
            EventBody::ChatLeft { chat, .. } => {
                if let Some(name) = self.rooms.leave(*chat) {
                    screen::line(&format!("* you are no longer in {name}"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The person is in a chat and gets its events.
    pub(super) async fn entered(
        &mut self,
        chat: ChatId,
        name: String,
        peer: Option<UserId>,
        admission: &Admission,
    ) -> anyhow::Result<()> {
        let name = match peer {
            Some(peer) => format!("@{}", self.people.name(peer).await),
            None => name,
        };
        if self.rooms.enter(chat, &name, admission.head) {
            let name = self.rooms.room(chat).map_or(name, |room| room.name.clone());
            screen::line(&format!("* you are in {name}"))?;
        }
        Ok(())
    }

    pub(super) async fn page(&mut self, chat: ChatId, mut events: Vec<Event>) -> anyhow::Result<()> {
        let room = self.rooms.room(chat).map_or_else(String::new, |room| room.name.clone());
        events.sort_by_key(|event| event.seq);
        for event in &events {
            if let Some(line) = self.describe(&room, event).await {
                screen::line(&line)?;
            }
        }
        Ok(())
    }

    pub(super) async fn members(&mut self, members: Vec<(UserId, Role)>, more: bool) -> anyhow::Result<()> {
        for (user, role) in members {
            screen::line(&format!("  {} ({})", self.people.name(user).await, role_name(role)))?;
        }
        if more {
            screen::line("  and more")?;
        }
        Ok(())
    }

    /// Where history is read from: the newest event that is known.
    pub(super) fn newest(&self, chat: ChatId) -> Seq {
        self.head(chat).max(Seq(1))
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}
