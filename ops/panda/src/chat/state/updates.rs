//! What the client tells without having been asked.

use std::time::Duration;

use panda_client::Update;
use panda_protocol::event::{Event, EventBody};
use panda_protocol::frame::{Signal, SignalKind, Start};
use panda_protocol::{ChatId, EntityId, ErrorCode, Seq};

use super::connection::Phase;
use super::{Called, News, State};
use crate::chat::request::{Request, code_words};

impl State {
    /// Something happened.
    pub(in crate::chat) fn update(&mut self, update: Update, now: Duration) {
        match update {
            Update::Connecting { attempt, transport } => {
                if self.connection.takes(transport) {
                    let why = "because QUIC's certificate is refused; --quic insists on QUIC";
                    self.notice(format!("connecting by {} instead, {why}", self.connection.transport()));
                }
                self.connection.enter(Phase::Connecting { attempt });
            }
            Update::Connected { inbox, .. } => {
                self.incarnation = inbox.incarnation;
                self.connection.enter(Phase::Connected);
                self.people.ask_again();
                self.news.push_back(News::Shown(format!("connected as {}", self.me.name)));
                // Whatever changed meanwhile, this finds it.
                self.ask(Request::Chats);
            }
            Update::Disconnected { retry_in, code, reason } => {
                self.unlisted();
                self.connection.lost(reason, code);
                let phase = retry_in.map_or(Phase::LoggedOut, |wait| Phase::Waiting { until: now + wait });
                self.connection.enter(phase);
                let words = match retry_in {
                    Some(_) => self.connection.words(now),
                    None => "not connected".to_owned(),
                };
                self.news.push_back(News::Shown(words));
            }
            Update::Ended { code, text } => {
                let why = if text.is_empty() { code_words(code) } else { text.to_string() };
                self.notice(format!("the server ended this session: {why}"));
                self.connection.enter(Phase::Ended(why));
                self.end(false);
            }
            Update::TokenNeeded => self.ask_now(Request::LogIn),
            Update::Resumed { chat, admission } => {
                self.connection.forget(chat.into());
                if admission.start == Start::Reset
                    && let Some(room) = self.rooms.room_mut(chat)
                {
                    room.timeline.clear();
                    room.head = admission.head;
                    room.read = Seq(0);
                    self.ask_newest(chat, admission.head);
                }
            }
            Update::Event { entity, seq, event } => {
                self.connection.came(entity, seq);
                match (Event::from_bytes(&event), entity.chat()) {
                    (Ok(event), Some(chat)) => self.chat_event(chat, event, now),
                    (Ok(event), None) => self.inbox_event(&event.body),
                    (Err(_), _) => self.notice("an event came that this version cannot read"),
                }
            }
            Update::Lagging { entity, head } => self.connection.lags(entity, head),
            Update::Lost { entity, code, .. } => self.lost(entity, code),
            Update::Signal(signal) => self.signal(&signal, now),
            // What is still on its way is shown as such already; what came without being due was dropped.
            Update::Repeating { .. } | Update::Unexpected { .. } => {}
        }
        self.begin(now);
    }

    /// A live event.
    pub(super) fn chat_event(&mut self, chat: ChatId, event: Event, now: Duration) {
        let (device, is_looking) = (self.me.device, self.is_looking);
        let is_open = self.rooms.open_id() == Some(chat);
        let Some(room) = self.rooms.room_mut(chat) else { return };
        if !room.is_entered {
            return room.came_early(event);
        }
        room.head = room.head.max(event.seq);
        room.typing_stopped(event.actor);
        if is_open && !is_looking && room.missed.is_none() && event.actor != self.me.user {
            room.missed = Some((Seq(event.seq.0.saturating_sub(1)), event.seq));
        }
        room.timeline.append(event.clone(), device, is_open);
        if let EventBody::ChatRenamed { name } = &event.body
            && !chat.is_direct()
        {
            self.rooms.call(chat, Called::group(name));
        }
        self.want_names(&event);
        let room = self.rooms.room(chat).map_or_else(String::new, |room| room.name.clone());
        self.news.push_back(News::Event { room, event });
        self.mark_read(now);
    }

    /// The inbox says which chats the person is in, whoever made them.
    fn inbox_event(&mut self, body: &EventBody) {
        match body {
            // From the event on that made the person a member: nothing that was said since is missed.
            EventBody::ChatJoined { chat, source, .. } if self.rooms.expect(*chat) => {
                self.ask(Request::Enter { chat: *chat, after: Some(*source) });
            }
            EventBody::ChatLeft { chat, .. } => self.left(*chat),
            EventBody::ReadMoved { chat, read } => {
                if let Some(room) = self.rooms.room_mut(*chat) {
                    room.read = room.read.max(*read);
                }
            }
            _ => {}
        }
    }

    fn left(&mut self, chat: ChatId) {
        self.connection.forget(chat.into());
        self.not_opened(chat, "you are no longer in the chat");
        if let Some(name) = self.rooms.leave(chat) {
            self.notice(format!("you are no longer in {name}"));
        }
    }

    fn lost(&mut self, entity: EntityId, code: u16) {
        let Some(chat) = entity.chat() else { return };
        if code == ErrorCode::NotMember as u16 {
            self.left(chat);
        } else {
            self.not_opened(chat, &code_words(code));
            let name = self.rooms.leave(chat).unwrap_or_else(|| chat.to_string());
            self.rooms.shut(chat, code_words(code));
            self.notice(format!("the server no longer sends {name}: {}", code_words(code)));
        }
    }

    fn signal(&mut self, signal: &Signal, now: Duration) {
        let (Some(user), Some(room)) = (signal.user, self.rooms.room_mut(signal.chat)) else { return };
        match signal.kind {
            SignalKind::TYPING => {
                room.typing(user, now);
                let room = room.name.clone();
                self.want_name(user);
                self.news.push_back(News::Typing { room, user });
            }
            SignalKind::TYPING_STOPPED => room.typing_stopped(user),
            _ => {}
        }
    }
}
