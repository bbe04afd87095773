//! What the person typed.

use std::time::Duration;

use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{ChatId, Seq};

use super::connection::Phase;
use super::start::several;
use super::{Found, Naming, News, State};
use crate::chat::input::Input;
use crate::chat::request::{Act, Deed, Purpose, Request};

impl State {
    /// The person typed something whole.
    pub(in crate::chat) fn typed(&mut self, input: Input, now: Duration) {
        self.line += 1;
        self.has_named |= input.names_chat();
        // A script does not know what it types while there is no connection.
        self.is_hurried |= self.naming == Naming::Loose && matches!(self.connection.phase, Phase::Waiting { .. });
        match input {
            Input::Nothing => {}
            Input::Say(text) => self.say(text),
            Input::Help => self.news.push_back(News::Help),
            Input::Chats => self.news.push_back(News::Chats),
            Input::Open(name) => match self.rooms.find(&name, self.naming) {
                Found::One(chat) => {
                    self.open(chat, now);
                    self.tell_open();
                }
                Found::Many(chats) => {
                    self.is_astray = true;
                    if self.naming == Naming::Exact {
                        self.refuse(several(&name, &chats, self.naming));
                    }
                    self.news.push_back(News::Several { typed: name, chats });
                }
                Found::None => {
                    self.is_astray = true;
                    self.refuse(self.none(&name));
                }
                Found::Unsure => {
                    self.is_astray = true;
                    self.refuse(self.rooms.why_unsure(&name));
                }
            },
            Input::New { name, members } => {
                self.make(&format!("/new {name}"), |line| Request::Create { line, name: name.clone(), members });
            }
            Input::Direct(peer) => {
                self.make(&format!("/dm {peer}"), |line| Request::Direct { line, peer: peer.clone() });
            }
            Input::Add { members, with_history } => self.act_in_open(Act::Add { members, with_history }),
            Input::Remove(members) => self.act_in_open(Act::Remove(members)),
            Input::Leave => self.act_in_open(Act::Leave),
            Input::Who => self.ask_in_open("/who", |chat, line| Request::Members { chat, line }),
            Input::History(limit) => {
                let from = self.rooms.open_room().map_or(Seq(1), |room| room.head.max(Seq(1)));
                self.ask_in_open("/history", |chat, line| Request::Page {
                    chat,
                    from,
                    limit,
                    purpose: Purpose::History(line),
                });
            }
            Input::Quit => self.end(true),
            Input::Wrong(why) | Input::Broken(why) => self.refuse(why),
        }
    }

    /// Makes a chat that is opened then; until it is, nothing that is said goes anywhere.
    fn make(&mut self, typed: &str, request: impl FnOnce(u64) -> Request) {
        self.is_astray = true;
        self.making = Some(self.line);
        self.owe_change(typed);
        self.ask_now(request(self.line));
    }

    /// Asks for something of the open chat, if there is one.
    fn ask_in_open(&mut self, typed: &str, request: impl FnOnce(ChatId, u64) -> Request) {
        if let Some(chat) = self.place() {
            self.owe_answer(typed);
            self.ask_now(request(chat, self.line));
        }
    }

    /// The chat that a command is about. If there is none, that is said.
    fn place(&mut self) -> Option<ChatId> {
        let open = self.rooms.open_id();
        if self.is_astray && self.naming == Naming::Exact {
            self.refuse("not done: the chat that it is for is not open");
            return None;
        }
        if open.is_none() {
            self.refuse("no chat is open");
        }
        open
    }

    /// Changes who is in the open chat, if there is one, behind what was typed before.
    fn act_in_open(&mut self, act: Act) {
        let Some(chat) = self.place() else { return };
        if chat.is_direct() {
            return self.refuse("a direct chat keeps its two members; /new makes a group");
        }
        self.owe_change(&act.typed());
        self.deeds.push_back(Deed { chat, line: self.line, act });
    }

    fn say(&mut self, text: String) {
        let Some(chat) = self.rooms.open_id() else {
            return self.refuse("not sent: no chat is open: /new makes one, /open opens one");
        };
        if self.is_astray {
            if self.naming == Naming::Exact {
                return self.refuse("not sent: the chat that it is for is not open");
            }
            self.is_astray = false;
            let open = self.rooms.open_room().map_or("", |room| &room.name);
            return self.refuse(format!("not sent: that chat is not open; the next goes to {open}"));
        }
        if text.len() > TEXT_BYTES_MAX {
            let kib = TEXT_BYTES_MAX / 1024;
            return self.refuse(format!("not sent: a message has at most {kib} KiB; say it in parts"));
        }
        let (line, text) = (self.line, panda_protocol::Text::from(text));
        self.owe_change(&text);
        if let Some(room) = self.rooms.room_mut(chat) {
            room.timeline.say(line, text.clone());
        }
        // The others see that it was said.
        self.typing_told = None;
        self.deeds.push_back(Deed { chat, line, act: Act::Say(text) });
    }

    /// Drops what was refused in the open chat. Returns whether there was something.
    pub(in crate::chat) fn dismiss(&mut self) -> bool {
        let open = self.rooms.open_id();
        open.and_then(|open| self.rooms.room_mut(open)).is_some_and(|room| room.timeline.dismiss())
    }
}
