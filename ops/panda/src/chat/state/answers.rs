//! What came of requests.

use std::time::Duration;

use panda_protocol::frame::ChatEntry;
use panda_protocol::{ChatId, Seq};

use super::{Called, Naming, News, PAGE_EVENTS, Start, State};
use crate::chat::request::{Done, Entered, PageDone, Purpose, Request};

impl State {
    /// A request was performed.
    pub(in crate::chat) fn done(&mut self, done: Done, now: Duration) {
        match done {
            Done::Quietly => {}
            Done::Entered(entered) => self.entered(*entered, now),
            Done::NotEntered { chat, is_gone, why } => {
                self.rooms.forget_expected(chat);
                if !is_gone {
                    self.rooms.shut(chat, why.clone());
                }
                self.not_opened(chat, &why);
                self.notice(format!("a chat cannot be opened: {why}"));
            }
            Done::Chats(chats) => self.chats(&chats, now),
            Done::Made { chat, line } => self.made(chat, line, now),
            Done::Page { chat, purpose, outcome } => self.page(chat, purpose, outcome, now),
            Done::Members { line, members, more } => {
                self.answered(line);
                for (user, _) in &members {
                    self.want_name(*user);
                }
                self.news.push_back(News::Members { members, more });
            }
            Done::Said { chat, line, outcome } => self.said(chat, line, outcome),
            Done::Changed { chat, line, seq } => {
                self.stored(chat, seq);
                self.answered(line);
            }
            Done::Undone { line, why } => {
                // What is typed then is refused as long as the chat is not open.
                self.ends_making(line);
                self.undone(line, why);
            }
            Done::Marked { chat, read } => self.marked(chat, read, now),
            Done::Named { user, name } => self.people.told(user, name),
            Done::Token(token) => {
                self.token = Some(token);
                self.ask_now(Request::Refresh);
            }
            Done::Failed(why) => self.notice(why),
        }
        self.begin(now);
    }

    fn chats(&mut self, chats: &[ChatEntry], now: Duration) {
        // Each of these that the person is still in is asked for again.
        self.rooms.shut.clear();
        for entry in chats {
            if self.rooms.expect(entry.chat) {
                self.ask(Request::Enter { chat: entry.chat, after: None });
            }
            if let Some(room) = self.rooms.room_mut(entry.chat) {
                room.read = room.read.max(entry.read);
            }
        }
        self.listed(now);
    }

    /// A chat that the person made. It may be known already, from the inbox.
    fn made(&mut self, chat: ChatId, line: u64, now: Duration) {
        if self.rooms.room(chat).is_some_and(|room| room.is_entered) {
            self.answered(line);
            if self.ends_making(line) {
                self.open(chat, now);
                self.tell_open();
            }
        } else {
            if self.rooms.expect(chat) {
                self.ask_now(Request::Enter { chat, after: Some(Seq(0)) });
            }
            self.rooms.made_by(line, chat);
        }
    }

    /// The chat of a line is made, or will not be. Returns whether it is the one that what is typed waits for.
    fn ends_making(&mut self, line: u64) -> bool {
        self.making.take_if(|making| *making == line).is_some()
    }

    /// The lines that made this chat are not done: it cannot be opened.
    pub(super) fn not_opened(&mut self, chat: ChatId, why: &str) {
        for line in self.rooms.take_makers(chat) {
            self.ends_making(line);
            self.undone(line, format!("the chat is made, and cannot be opened: {why}"));
        }
    }

    /// The person is in a chat and gets its events.
    fn entered(&mut self, entered: Entered, now: Duration) {
        let Entered { chat, name, peer, admission, after } = entered;
        let called = match peer {
            Some((peer, username)) => {
                let name = username.clone().unwrap_or_else(|| peer.to_string());
                self.people.told(peer, username);
                Called::direct(&name)
            }
            None => Called::group(&name),
        };
        self.rooms.expect(chat);
        if let (Some(room), Some(after)) = (self.rooms.room_mut(chat), after) {
            // Who has just joined has missed nothing.
            room.read = room.read.max(after);
        }
        let is_new = self.rooms.enter(chat, called, admission.head);
        let mut is_awaited = false;
        for line in self.rooms.take_makers(chat) {
            self.answered(line);
            is_awaited |= self.ends_making(line);
        }
        // Whoever let a script into a chat must not get what it has for the one that it named.
        let may_open = self.naming == Naming::Loose || !self.has_named;
        let is_first = self.rooms.open_id().is_none() && matches!(self.start, Start::Over) && self.making.is_none();
        if is_awaited || (is_first && may_open) {
            self.rooms.open(chat);
            self.is_astray = false;
        }
        let Some(room) = self.rooms.room_mut(chat) else { return };
        room.visible_from = admission.visible_from;
        let from = after.unwrap_or(admission.head);
        let Some(room) = self.rooms.room_mut(chat) else { return };
        room.is_settled |= from == Seq(0);
        let early = room.take_early();
        if is_new {
            let name = self.rooms.room(chat).map_or_else(String::new, |room| room.name.clone());
            self.news.push_back(News::Shown(format!("you are in {name}")));
        }
        self.ask_newest(chat, from);
        for event in early {
            self.chat_event(chat, event, now);
        }
    }

    /// Asks for the last events up to `from`.
    pub(super) fn ask_newest(&mut self, chat: ChatId, from: Seq) {
        if from > Seq(0) {
            self.ask(Request::Page { chat, from, limit: PAGE_EVENTS, purpose: Purpose::Newest });
        }
    }

    fn page(&mut self, chat: ChatId, purpose: Purpose, outcome: Result<PageDone, String>, now: Duration) {
        let Some(room) = self.rooms.room_mut(chat) else {
            if let Purpose::History(line) = purpose {
                self.undone(line, "/history failed: you are no longer in the chat");
            }
            return;
        };
        room.timeline.is_loading = false;
        room.is_settled = true;
        let page = match (outcome, purpose) {
            (Ok(page), _) => page,
            (Err(why), Purpose::History(line)) => return self.undone(line, format!("/history failed: {why}")),
            (Err(why), _) => return self.notice(format!("what was said before cannot be read: {why}")),
        };
        room.visible_from = room.visible_from.max(page.begins_at);
        match page.ends {
            Some((oldest, newest)) => room.timeline.prepend(oldest, newest, page.events.clone()),
            // There is nothing before what is kept.
            None => room.visible_from = room.timeline.ends().map_or(room.visible_from, |(oldest, _)| oldest),
        }
        let name = room.name.clone();
        let mut events = page.events;
        for event in &events {
            self.want_names(event);
        }
        if let Purpose::History(line) = purpose {
            self.answered(line);
            events.sort_by_key(|event| event.seq);
            self.news.push_back(News::History { room: name, events });
        }
        self.mark_read(now);
    }

    /// This event is there, whether or not it has come already.
    fn stored(&mut self, chat: ChatId, seq: Seq) {
        if let Some(room) = self.rooms.room_mut(chat) {
            room.head = room.head.max(seq);
        }
    }

    fn said(&mut self, chat: ChatId, line: u64, outcome: Result<Seq, String>) {
        let room = self.rooms.room_mut(chat);
        match outcome {
            Ok(seq) => {
                if let Some(room) = room {
                    room.timeline.stored(line, seq);
                }
                self.stored(chat, seq);
                self.answered(line);
            }
            Err(why) => {
                if let Some(room) = room {
                    room.timeline.refused(line, why.clone());
                }
                self.undone(line, format!("not sent: {why}"));
            }
        }
    }

    fn marked(&mut self, chat: ChatId, read: Option<Seq>, now: Duration) {
        if let Some(room) = self.rooms.room_mut(chat) {
            room.is_marking = false;
            room.read = room.read.max(read.unwrap_or_default());
        }
        self.mark_read(now);
    }

    /// Says which chat is open.
    pub(super) fn tell_open(&mut self) {
        if let Some(name) = self.rooms.open_room().map(|room| room.name.clone()) {
            self.news.push_back(News::Shown(format!("open: {name}")));
        }
    }
}
