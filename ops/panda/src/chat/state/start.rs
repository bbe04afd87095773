//! Which chat is open first, once it is known which there are.

use std::time::Duration;

use panda_protocol::ChatId;

use super::{Found, Naming, News, State};
use crate::chat::input::Input;

/// Identifiers that a sentence names.
const NAMED_MAX: usize = 10;
/// How long a person waits for all chats once they are listed: what one of them is called may not be readable for days.
const FIRST_CHAT_MAX: Duration = Duration::from_secs(5);

/// How far the start is.
#[derive(Debug)]
pub(super) enum Start {
    /// The chats are not all known.
    Waiting {
        /// The chat that the person asked for, as it was typed.
        wanted: Option<String>,
        /// The server has listed them; a person waits until then to know what they are called.
        until: Option<Duration>,
    },
    Over,
    /// The chat that was asked for is not there.
    Failed,
}

impl State {
    /// The server has listed the person's chats.
    pub(super) fn listed(&mut self, now: Duration) {
        if let Start::Waiting { until, .. } = &mut self.start {
            *until = Some(now + FIRST_CHAT_MAX);
        }
    }

    /// There is no connection any more: the next one lists the chats again.
    pub(super) const fn unlisted(&mut self) {
        if let Start::Waiting { until, .. } = &mut self.start {
            *until = None;
        }
    }

    /// When a person no longer waits to know all chats.
    pub(super) fn start_due(&self, now: Duration) -> Option<Duration> {
        match self.start {
            Start::Waiting { until, .. } => until.filter(|until| *until > now),
            Start::Over | Start::Failed => None,
        }
    }

    /// Whether it is not known yet in which chat it is that something is typed: the first one is not open, or one
    /// that the person makes.
    pub(in crate::chat) const fn awaits_chat(&self) -> bool {
        matches!(self.start, Start::Waiting { .. }) || self.making.is_some()
    }

    /// The same of what is typed now. A script that was told no chat to open first may name or make one as soon as it is
    /// certain which one it means; one that asks which chats there are is told all.
    pub(in crate::chat) fn awaits_chat_for(&self, input: &Input) -> bool {
        if self.naming == Naming::Exact && *input == Input::Chats && self.rooms.awaits_any() {
            return true;
        }
        if self.naming == Naming::Loose || !input.names_chat() {
            return self.awaits_chat();
        }
        let is_listed = matches!(self.start, Start::Waiting { wanted: None, until: Some(_) } | Start::Over);
        let is_unsure = matches!(input, Input::Open(name) if self.rooms.find(name, self.naming) == Found::Unsure);
        !is_listed || self.making.is_some() || (is_unsure && self.rooms.awaits_name())
    }

    /// What a line waits for that cannot go yet.
    pub(in crate::chat) fn awaited(&self, input: &Input, now: Duration) -> String {
        let is_unsure = |name: &str| self.rooms.find(name, self.naming) == Found::Unsure;
        match (&self.start, input) {
            _ if !self.connection.is_up() => self.connection.words(now),
            (Start::Waiting { until: None, .. }, _) => "the server has not listed your chats".to_owned(),
            (Start::Waiting { wanted: Some(name), .. }, _) | (_, Input::Open(name)) if is_unsure(name) => {
                self.rooms.why_unsure(name)
            }
            (_, Input::Chats) if self.rooms.awaits_any() => {
                format!("not all of your chats are known{}", self.rooms.unopened())
            }
            (Start::Waiting { .. }, _) => format!("which chat it is for is not certain{}", self.rooms.unopened()),
            _ if self.making.is_some() => "the chat that it is for is not made yet".to_owned(),
            _ => format!("the server has not answered {} of the lines before it", self.unanswered()),
        }
    }

    /// Whether the chat that was asked for at the start is not there.
    pub(in crate::chat) const fn lacks_chat(&self) -> bool {
        matches!(self.start, Start::Failed)
    }

    /// Opens the first chat as soon as all that were listed are known, or a person has waited long enough for that: the
    /// one that was asked for, else the newest in which something is unread, else the newest. Where there is none, the
    /// next one that begins is opened. One that is certain whatever the others are called is not waited for.
    pub(super) fn begin(&mut self, now: Duration) {
        let Start::Waiting { wanted, until } = &self.start else { return };
        if self.rooms.open_id().is_some() {
            self.start = Start::Over;
            return;
        }
        let Some(until) = until.filter(|_| self.making.is_none()) else { return };
        let certain = wanted.as_ref().and_then(|name| self.rooms.find_certain(name));
        let may_begin = match (self.naming, wanted) {
            (Naming::Exact, Some(_)) => !self.rooms.awaits_name(),
            (Naming::Exact, None) => !self.rooms.awaits_any(),
            (Naming::Loose, _) => !self.rooms.awaits_any() || until <= now,
        };
        if certain.is_none() && !may_begin {
            return;
        }
        let wanted = wanted.clone();
        self.has_named |= wanted.is_some();
        self.start = Start::Over;
        let found = match (certain, &wanted) {
            (Some(chat), _) => Found::One(chat),
            (None, Some(name)) => self.rooms.find(name, self.naming),
            (None, None) => {
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
                self.fail(self.none(&typed));
            }
            (Found::Unsure, Some(typed)) => {
                self.start = Start::Failed;
                self.fail(self.rooms.why_unsure(&typed));
            }
            (Found::None | Found::Many(_) | Found::Unsure, None) => {}
        }
    }

    /// That no chat is meant by what was typed.
    pub(super) fn none(&self, typed: &str) -> String {
        match self.naming {
            Naming::Loose => format!("there is no chat like {typed}; /chats lists yours{}", self.rooms.unopened()),
            Naming::Exact => {
                let how = "a script names it by its whole name or ID, which /chats lists";
                format!("there is no chat called {typed}; {how}")
            }
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
