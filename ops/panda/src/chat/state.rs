//! What a person's client knows, and what it wants: a function of updates, answers, input and the time.
//!
//! Nothing here waits, draws or sends. What is to be asked for is taken from [`State::next_request`] and
//! [`State::next_deed`], what is to be told from [`State::next_news`]; the line mode and the full screen
//! differ in nothing else.

mod answers;
mod connection;
mod names;
mod owed;
mod people;
mod rooms;
mod sentences;
mod start;
#[cfg(test)]
pub(super) mod tests;
mod timeline;
mod typed;
mod updates;

pub(super) use connection::Connection;
pub(super) use names::Naming;
use names::{Called, Found};
use owed::Owed;
pub(super) use people::People;
pub(super) use rooms::{Room, Rooms};
pub(super) use sentences::{Sentence, is_shown, role_name, sentence};
use start::Start;
pub(super) use timeline::Draft;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use panda_client::TransportKind;
use panda_protocol::event::{Event, Role};
use panda_protocol::{ChatId, DeviceId, Incarnation, Seq, UserId};

use super::request::{Deed, Purpose, Request};

/// Events of the first page of a chat, and of each page by scrolling up.
const PAGE_EVENTS: u64 = 50;
/// The others hear at most once in this time that the person types; they show it for twice as long.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// At most one MarkRead of a chat in this time.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Something to tell the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A sentence.
    Notice(String),
    /// Why what was typed in this line is not done, or why there is nowhere to say anything: a script must not miss it.
    Failed {
        line: Option<u64>,
        words: String,
    },
    /// A sentence about what a full screen shows anyway.
    Shown(String),
    /// A live event of the chat of this name.
    Event {
        room: String,
        event: Event,
    },
    /// Somebody types in the chat of this name.
    Typing {
        room: String,
        user: UserId,
    },
    /// The members of the open chat.
    Members {
        members: Vec<(UserId, Role)>,
        more: bool,
    },
    /// The person asked for what was said, and here it is.
    History {
        room: String,
        events: Vec<Event>,
    },
    Chats,
    /// Several chats are meant by what was typed.
    Several {
        typed: String,
        chats: Vec<ChatId>,
    },
    Help,
}

/// Whose client it is.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) name: String,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) me: Me,
    pub(super) rooms: Rooms,
    pub(super) people: People,
    pub(super) connection: Connection,
    /// The event store of the server.
    pub(super) incarnation: Incarnation,
    /// The person did something while the next attempt to connect was waited for.
    is_hurried: bool,
    /// A newer token than the client was started with.
    pub(super) token: Option<String>,
    /// Whether the end of the open chat is before the person's eyes.
    is_looking: bool,
    /// Where the others were told that the person types, and when.
    typing_told: Option<(ChatId, Duration)>,
    start: Start,
    /// Another chat than the open one was asked for and is not open, or not yet: what is said next may be for that one.
    is_astray: bool,
    /// The line that makes a chat which is to be opened: the last such one, unless another chat was opened since.
    making: Option<u64>,
    /// How chats have to be named.
    naming: Naming,
    /// Which chat is meant was said at least once.
    has_named: bool,
    /// The number of the line that was typed last, from 1 on.
    line: u64,
    owed: Owed,
    deeds: VecDeque<Deed>,
    requests: VecDeque<Request>,
    news: VecDeque<News>,
    ended: Option<bool>,
}

impl State {
    /// Before anything happened. The chat of the name `wanted` is opened first.
    pub(super) fn new(me: Me, transport: TransportKind, wanted: Option<String>, naming: Naming) -> Self {
        let mut people = People::default();
        people.know(me.user, me.name.clone());
        Self {
            me,
            rooms: Rooms::default(),
            people,
            connection: Connection::new(transport),
            incarnation: Incarnation::default(),
            is_hurried: false,
            token: None,
            is_looking: true,
            typing_told: None,
            start: Start::Waiting { wanted, until: None },
            is_astray: false,
            making: None,
            naming,
            has_named: false,
            line: 0,
            owed: Owed::default(),
            deeds: VecDeque::new(),
            requests: VecDeque::new(),
            news: VecDeque::new(),
            ended: None,
        }
    }

    /// The next thing to ask the server for.
    pub(super) fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Whether to connect at once: said once.
    pub(super) fn hurries(&mut self) -> bool {
        std::mem::take(&mut self.is_hurried)
    }

    /// The next thing to do in a chat, in the order in which it was typed.
    pub(super) fn next_deed(&mut self) -> Option<Deed> {
        self.deeds.pop_front()
    }

    /// The next thing to tell the person.
    pub(super) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// How it ended, once it has.
    pub(super) fn ended(&self) -> Option<ExitCode> {
        self.ended.map(|is_well| if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// It is over.
    pub(super) const fn end(&mut self, is_well: bool) {
        self.ended = Some(is_well);
    }

    pub(super) fn notice(&mut self, sentence: impl Into<String>) {
        self.news.push_back(News::Notice(sentence.into()));
    }

    /// Something failed that no line is about.
    pub(super) fn fail(&mut self, sentence: impl Into<String>) {
        self.news.push_back(News::Failed { line: None, words: sentence.into() });
    }

    /// The line that was just typed is not done.
    fn refuse(&mut self, why: impl Into<String>) {
        self.undone(self.line, why);
    }

    fn ask(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// What a person waits for goes before what only may be good to know.
    fn ask_now(&mut self, request: Request) {
        self.requests.push_front(request);
    }

    /// Names that an event's sentence needs.
    fn want_names(&mut self, event: &Event) {
        for user in std::iter::once(event.actor).chain(event.target) {
            self.want_name(user);
        }
    }

    fn want_name(&mut self, user: UserId) {
        if self.people.want(user) {
            self.ask(Request::Name(user));
        }
    }

    /// Opens a chat.
    pub(super) fn open(&mut self, chat: ChatId, now: Duration) {
        self.is_astray = false;
        self.making = None;
        self.rooms.open(chat);
        let events: Vec<Event> =
            self.rooms.open_room().into_iter().flat_map(|room| room.timeline.events().cloned()).collect();
        for event in &events {
            self.want_names(event);
        }
        self.mark_read(now);
    }

    /// Opens the chat that is `steps` below the open one in the list, around its ends.
    pub(super) fn open_neighbour(&mut self, steps: isize, now: Duration) {
        let listed: Vec<ChatId> = self.rooms.by_activity().iter().map(|room| room.id).collect();
        let Ok(count) = isize::try_from(listed.len()) else { return };
        let open = self.rooms.open_id().and_then(|open| listed.iter().position(|id| *id == open));
        let at = open.and_then(|at| isize::try_from(at).ok()).map_or(0, |at| at + steps);
        if let Some(at) = at.checked_rem_euclid(count).and_then(|at| usize::try_from(at).ok()) {
            self.open(listed[at], now);
        }
    }

    /// Whether the person sees the end of the open chat. What is seen is read.
    pub(super) fn look(&mut self, is_looking: bool, now: Duration) {
        self.is_looking = is_looking;
        self.mark_read(now);
    }

    /// How many messages of a chat are unread among those that are kept, and whether there may be more. What is before
    /// the person's eyes is read, even if the server has not heard of it.
    pub(super) fn unread(&self, room: &Room) -> (usize, bool) {
        if self.is_looking && self.rooms.open_id() == Some(room.id) { (0, false) } else { room.unread(self.me.user) }
    }

    /// Tells the server what was read, unless that was just done.
    fn mark_read(&mut self, now: Duration) {
        let Some(room) = self.rooms.open_id().and_then(|open| self.rooms.room_mut(open)) else { return };
        let Some((_, newest)) = room.timeline.ends() else { return };
        if !self.is_looking || room.is_marking || room.mark_at > now || newest <= room.read {
            return;
        }
        room.is_marking = true;
        room.mark_at = now + MARK_EVERY;
        let request = Request::MarkRead { chat: room.id, read: newest };
        self.ask(request);
    }

    /// Loads what was said before what is there, if there is more.
    pub(super) fn load_older(&mut self) {
        let Some(room) = self.rooms.open_id().and_then(|open| self.rooms.room_mut(open)) else { return };
        let Some((oldest, _)) = room.timeline.ends() else { return };
        if room.timeline.is_loading || room.timeline.is_full() || !room.has_older() {
            return;
        }
        room.timeline.is_loading = true;
        let request = Request::Page {
            chat: room.id,
            from: Seq(oldest.0.saturating_sub(1)),
            limit: PAGE_EVENTS,
            purpose: Purpose::Older,
        };
        self.ask_now(request);
    }

    /// The person types, or emptied the line. The others hear of it, but not of every key.
    pub(super) fn compose(&mut self, is_typing: bool, now: Duration) {
        let Some(chat) = self.rooms.open_id() else { return };
        match self.typing_told {
            Some((told, _)) if told == chat && !is_typing => {
                self.typing_told = None;
                self.ask_now(Request::Typing { chat, is_typing: false });
            }
            Some((told, when)) if told == chat && now < when + TYPING_EVERY => {}
            _ if is_typing => {
                self.typing_told = Some((chat, now));
                self.ask_now(Request::Typing { chat, is_typing: true });
            }
            _ => {}
        }
    }

    /// When something changes by itself.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let open = self.rooms.open_room();
        let mark = open.filter(|room| {
            !room.is_marking && room.mark_at > now && room.timeline.ends().is_some_and(|(_, newest)| newest > room.read)
        });
        let typing = open.and_then(|room| room.typing_ends(now));
        let mark = mark.map(|room| room.mark_at);
        [self.connection.due(now), self.start_due(now), typing, mark].into_iter().flatten().min()
    }

    /// Time passed.
    pub(super) fn tick(&mut self, now: Duration) {
        self.begin(now);
        self.mark_read(now);
    }
}
