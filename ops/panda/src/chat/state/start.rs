//! Which chat is open first, once it is known which there are.

use std::time::Duration;

use panda_protocol::ChatId;

use super::{Found, Naming, News, State};

/// Identifiers that a sentence names.
const NAMED_MAX: usize = 10;

/// How far the start is.
#[derive(Debug)]
pub(super) enum Start {
    /// The chats are not all known.
    Waiting {
        /// The chat that the person asked for, as it was typed.
        wanted: Option<String>,
        /// The server has listed them.
        is_listed: bool,
    },
    Over,
    /// The chat that was asked for is not there.
    Failed,
}

impl State {
    /// The server has listed the person's chats.
    pub(super) const fn listed(&mut self) {
        if let Start::Waiting { is_listed, .. } = &mut self.start {
            *is_listed = true;
        }
    }

    /// Whether it is not known yet in which chat it is that something is typed: the first one is not open, or one
    /// that the person makes.
    pub(in crate::chat) const fn awaits_chat(&self) -> bool {
        matches!(self.start, Start::Waiting { .. }) || self.making.is_some()
    }

    /// Whether the chat that was asked for at the start is not there.
    pub(in crate::chat) const fn lacks_chat(&self) -> bool {
        matches!(self.start, Start::Failed)
    }

    /// Opens the first chat as soon as all that were listed are known: the one that was asked for, else the newest
    /// in which something is unread, else the newest. Where there is none, the next one that begins is opened.
    pub(super) fn begin(&mut self, now: Duration) {
        let Start::Waiting { wanted, is_listed } = &mut self.start else { return };
        if self.rooms.open_id().is_some() {
            self.start = Start::Over;
            return;
        }
        if !*is_listed || self.rooms.awaits_any() || self.making.is_some() {
            return;
        }
        let wanted = wanted.take();
        self.has_named |= wanted.is_some();
        self.start = Start::Over;
        let found = match &wanted {
            Some(name) => self.rooms.find(name, self.naming),
            None => {
                let listed = self.rooms.by_activity();
                let unread = listed.iter().find(|room| self.unread(room).0 > 0);
                unread.or_else(|| listed.first()).map_or(Found::None, |room| Found::One(room.id))
            }
        };
        match (found, wanted) {
            (Found::One(chat), _) => {
                // What is typed next may still be for one that was asked for meanwhile and is not there.
                let is_astray = self.is_astray;
                self.open(chat, now);
                self.is_astray = is_astray;
                self.tell_open();
            }
            (Found::Many(chats), Some(typed)) => {
                self.start = Start::Failed;
                let words = several(&typed, &chats, self.naming);
                self.news.push_back(News::Several { typed, chats });
                self.fail(words);
            }
            (Found::None, Some(typed)) => {
                self.start = Start::Failed;
                self.fail(none(&typed, self.naming));
            }
            (Found::Unsure, Some(typed)) => {
                self.start = Start::Failed;
                self.fail(self.rooms.why_unsure(&typed));
            }
            (Found::None | Found::Many(_) | Found::Unsure, None) => {}
        }
    }
}

/// That no chat is meant by what was typed.
pub(super) fn none(typed: &str, naming: Naming) -> String {
    match naming {
        Naming::Loose => format!("there is no chat like {typed}; /chats lists yours"),
        Naming::Exact => {
            format!("there is no chat called {typed}; a script names it by its whole name or ID, which /chats lists")
        }
    }
}

/// That several chats are meant, and which.
pub(super) fn several(typed: &str, chats: &[ChatId], naming: Naming) -> String {
    let (named, rest) = chats.split_at(chats.len().min(NAMED_MAX));
    let ids: Vec<String> = named.iter().map(ChatId::to_string).collect();
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    match naming {
        Naming::Loose => format!("several chats are like {typed}"),
        Naming::Exact => format!("several chats are called {typed}; name yours by its ID: {}{more}", ids.join(", ")),
    }
}
