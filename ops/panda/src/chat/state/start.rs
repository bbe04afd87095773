//! Which chat is open first, once it is known which there are.

use std::time::Duration;

use super::{Found, News, State};

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
        matches!(self.start, Start::Waiting { .. }) || self.is_making
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
        if !*is_listed || self.rooms.awaits_any() {
            return;
        }
        let wanted = wanted.take();
        self.start = Start::Over;
        let found = match &wanted {
            Some(name) => self.rooms.find(name),
            None => {
                let listed = self.rooms.by_activity();
                let unread = listed.iter().find(|room| self.unread(room).0 > 0);
                unread.or_else(|| listed.first()).map_or(Found::None, |room| Found::One(room.id))
            }
        };
        match (found, wanted) {
            (Found::One(chat), _) => {
                self.open(chat, now);
                self.tell_open();
            }
            (Found::Many(chats), Some(typed)) => {
                self.start = Start::Failed;
                self.news.push_back(News::Several { typed: typed.clone(), chats });
                self.fail(format!("several chats are like {typed}"));
            }
            (Found::None, Some(typed)) => {
                self.start = Start::Failed;
                self.fail(format!("there is no chat like {typed}"));
            }
            (Found::None | Found::Many(_), None) => {}
        }
    }
}
