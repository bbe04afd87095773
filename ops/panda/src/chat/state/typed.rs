//! What the person typed.

use std::time::Duration;

use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{ChatId, Seq};

use super::{Found, News, State};
use crate::chat::input::Input;
use crate::chat::request::{Act, Deed, Purpose, Request};

impl State {
    /// The person typed something whole.
    pub(in crate::chat) fn typed(&mut self, input: Input, now: Duration) {
        match input {
            Input::Nothing => {}
            Input::Say(text) => self.say(text),
            Input::Help => self.news.push_back(News::Help),
            Input::Chats => self.news.push_back(News::Chats),
            Input::Open(name) => match self.rooms.find(&name) {
                Found::One(chat) => {
                    self.open(chat, now);
                    self.tell_open();
                }
                Found::Many(chats) => {
                    self.is_astray = true;
                    self.news.push_back(News::Several { typed: name, chats });
                }
                Found::None => {
                    self.is_astray = true;
                    self.notice(format!("there is no chat like {name}; /chats lists yours"));
                }
            },
            Input::New { name, members } => {
                (self.is_astray, self.is_making) = (true, true);
                self.ask_now(Request::Create { name, members });
            }
            Input::Direct(peer) => {
                (self.is_astray, self.is_making) = (true, true);
                self.ask_now(Request::Direct(peer));
            }
            Input::Add(members) => self.act_in_open(Act::Add(members)),
            Input::Remove(members) => self.act_in_open(Act::Remove(members)),
            Input::Leave => self.act_in_open(Act::Leave),
            Input::Who => self.ask_in_open(Request::Members),
            Input::History(limit) => {
                let from = self.rooms.open_room().map_or(Seq(1), |room| room.head.max(Seq(1)));
                self.ask_in_open(|chat| Request::Page { chat, from, limit, purpose: Purpose::History });
            }
            Input::Quit => self.end(true),
            Input::Wrong(why) => self.notice(why),
        }
    }

    /// Asks for something of the open chat, if there is one.
    fn ask_in_open(&mut self, request: impl FnOnce(ChatId) -> Request) {
        match self.rooms.open_id() {
            Some(chat) => self.ask_now(request(chat)),
            None => self.notice("no chat is open"),
        }
    }

    /// Does something in the open chat, if there is one, behind what was typed before.
    fn act_in_open(&mut self, act: Act) {
        match self.rooms.open_id() {
            Some(chat) => self.deeds.push_back(Deed { chat, act }),
            None => self.notice("no chat is open"),
        }
    }

    fn say(&mut self, text: String) {
        let Some(chat) = self.rooms.open_id() else {
            return self.fail("not sent: no chat is open: /new makes one, /open opens one");
        };
        if std::mem::take(&mut self.is_astray) {
            let open = self.rooms.open_room().map_or("", |room| &room.name);
            return self
                .fail(format!("not sent: the chat that you asked for is not open; what you say now goes to {open}"));
        }
        if text.len() > TEXT_BYTES_MAX {
            let kib = TEXT_BYTES_MAX / 1024;
            return self.fail(format!("not sent: a message has at most {kib} KiB; say it in parts"));
        }
        self.drafts += 1;
        let (number, text) = (self.drafts, panda_protocol::Text::from(text));
        if let Some(room) = self.rooms.room_mut(chat) {
            room.timeline.say(number, text.clone());
        }
        // The others see that it was said.
        self.typing_told = None;
        self.deeds.push_back(Deed { chat, act: Act::Say { number, text } });
    }

    /// Drops what was refused in the open chat. Returns whether there was something.
    pub(in crate::chat) fn dismiss(&mut self) -> bool {
        let open = self.rooms.open_id();
        open.and_then(|open| self.rooms.room_mut(open)).is_some_and(|room| room.timeline.dismiss())
    }
}
