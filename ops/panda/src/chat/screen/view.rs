//! What a key does, and what of the screen is the person's own: the line that is typed, where they look, what is open.

use std::collections::HashMap;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use panda_protocol::{ChatId, Seq};

use super::Clock;
use super::conversation::{Conversation, Scroll};
use super::editor::Editor;
use crate::chat::input::Input;
use crate::chat::lines;
use crate::chat::state::{News, State};

/// How long a sentence stays if nothing else is said.
const NOTICE_SHOWN: Duration = Duration::from_secs(10);
/// Rows that stay in sight when a page is turned.
const PAGE_OVERLAP: u16 = 2;
/// Texts of other chats that were not sent yet; beyond, they are forgotten.
const UNSENT_MAX: usize = 100;

const KEYS_HELP: &str = "\
Enter                     sends
Alt-Enter, Ctrl-J         begins another line
Tab, Shift-Tab            next and previous chat
Alt-1 ... Alt-9           the chat of this number
PageUp, PageDown          what was said before, and back
Up, Down                  what you typed before
Ctrl-Left, Ctrl-Right     by words; Ctrl-W deletes one
Esc                       drops what was refused; back to the end
Ctrl-C                    empties the line, or ends
Ctrl-L                    draws the screen anew
F1                        this help
";

/// A box over the conversation.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) title: &'static str,
    pub(super) lines: Vec<String>,
    /// Rows above the first that is shown.
    pub(super) top: usize,
    /// The most of them, as it was last drawn.
    pub(super) top_max: usize,
}

/// What of the screen is the person's own.
#[derive(Debug)]
pub(super) struct View {
    pub(super) editor: Editor,
    /// What was typed in other chats and not sent.
    unsent: HashMap<ChatId, String>,
    /// The chat that the rest of this is about.
    chat: Option<ChatId>,
    pub(super) scroll: Scroll,
    /// The event that the next drawing puts at the top, if what is behind it fills the screen.
    pub(super) look_at: Option<Seq>,
    pub(super) overlay: Option<Overlay>,
    notice: Option<(String, Duration)>,
    pub(super) is_focused: bool,
    /// Columns and rows of the conversation, as it was last drawn.
    pub(super) pane: (u16, u16),
    /// Whether the first event that is loaded was in sight.
    pub(super) is_at_top: bool,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            editor: Editor::default(),
            unsent: HashMap::new(),
            chat: None,
            scroll: Scroll::End,
            look_at: None,
            overlay: None,
            notice: None,
            is_focused: true,
            pane: (0, 0),
            is_at_top: false,
        }
    }

    /// A sentence for now.
    pub(super) fn say(&mut self, words: impl Into<String>, now: Duration) {
        self.notice = Some((words.into(), now + NOTICE_SHOWN));
    }

    pub(super) fn notice(&self, now: Duration) -> Option<&str> {
        self.notice.as_ref().filter(|(_, until)| *until > now).map(|(words, _)| &**words)
    }

    /// When the sentence goes.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        self.notice.as_ref().map(|(_, until)| *until).filter(|until| *until > now)
    }

    /// Takes the news, and goes along if another chat was opened.
    pub(super) fn follow(&mut self, state: &mut State, now: Duration) {
        if state.rooms.open_id() != self.chat {
            // It may have been about what was open.
            self.notice = None;
        }
        while let Some(news) = state.next_news() {
            match news {
                News::Notice(words) | News::Failed { words, .. } => self.say(words, now),
                // They are on the screen.
                News::Shown(_) | News::Event { .. } | News::Typing { .. } => {}
                News::Members { .. } => self.cover("members", lines::told(&news, state)),
                News::Chats | News::Several { .. } => self.cover("chats", lines::told(&news, state)),
                News::Help => self.help(),
                News::History { room, events } => {
                    self.say(format!("the last {} events; PageUp shows what was before", events.len()), now);
                    let is_open = state.rooms.open_room().is_some_and(|open| open.name == room);
                    self.look_at = events.first().map(|first| first.seq).filter(|_| is_open);
                }
            }
        }
        let open = state.rooms.open_id();
        if open == self.chat {
            return;
        }
        let waiting = open.and_then(|open| self.unsent.remove(&open));
        match self.chat {
            // What was typed before any chat was open is for the one that opens.
            None if waiting.is_none() => {}
            before => self.keep(before, waiting.unwrap_or_default()),
        }
        self.chat = open;
        self.scroll = Scroll::End;
        self.look_at = None;
    }

    /// Another text, and this one kept for when its chat is opened again.
    fn keep(&mut self, chat: Option<ChatId>, next: String) {
        let typed = self.editor.replace(next);
        if let (Some(chat), false) = (chat, typed.is_empty()) {
            if self.unsent.len() >= UNSENT_MAX {
                self.unsent.clear();
            }
            self.unsent.insert(chat, typed);
        }
    }

    fn cover(&mut self, title: &'static str, lines: Vec<String>) {
        self.overlay = Some(Overlay { title, lines, top: 0, top_max: 0 });
    }

    fn help(&mut self) {
        let lines = KEYS_HELP.lines().chain([""]).chain(crate::chat::input::HELP.lines());
        self.cover("help", lines.map(str::to_owned).collect());
    }

    /// After drawing: what is in sight is read, and above the first event there may be more.
    pub(super) fn seen(&self, state: &mut State, now: Duration) {
        state.look(self.is_focused && self.scroll == Scroll::End && self.overlay.is_none(), now);
        if self.is_at_top {
            state.load_older();
        }
    }

    /// Something was pasted: it is typed, and never sent by itself.
    pub(super) fn paste(&mut self, text: &str, state: &mut State, now: Duration) {
        self.overlay = None;
        self.insert(text, now);
        self.compose(state, now);
    }

    fn insert(&mut self, text: &str, now: Duration) {
        if !self.editor.insert(text) {
            self.say("a message has at most 16 KiB; the rest was not taken", now);
        }
    }

    fn compose(&self, state: &mut State, now: Duration) {
        let text = self.editor.text();
        state.compose(!text.is_empty() && !text.starts_with('/'), now);
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent, state: &mut State, clock: &Clock) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let now = clock.now;
        if self.overlay.is_some() && !self.key_in_overlay(key.code) {
            return;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        if self.move_key(key.code, control || alt) || self.chat_key(key.code, alt, state, clock) {
            return;
        }
        let before = self.editor.text().len();
        match key.code {
            KeyCode::Enter if alt => self.insert("\n", now),
            KeyCode::Char('j') if control => self.insert("\n", now),
            KeyCode::Enter => return self.enter(state, now),
            KeyCode::Char('c') if control && self.editor.text().is_empty() => state.end(true),
            KeyCode::Char('c') if control => drop(self.editor.take()),
            KeyCode::Char('d') if control && self.editor.text().is_empty() => state.end(true),
            KeyCode::Char('w') if control => self.editor.delete_word(),
            KeyCode::Backspace if alt || control => self.editor.delete_word(),
            KeyCode::Char('u') if control => self.editor.delete_to_begin(),
            KeyCode::Char('k') if control => self.editor.delete_to_end(),
            KeyCode::Backspace => self.editor.backspace(),
            KeyCode::Char('h') if control => self.editor.backspace(),
            KeyCode::Delete => self.editor.delete_behind(),
            KeyCode::Char('d') if control => self.editor.delete_behind(),
            KeyCode::Char(character) if !control && !alt => self.insert(character.encode_utf8(&mut [0; 4]), now),
            _ => {}
        }
        if self.editor.text().len() != before {
            self.compose(state, now);
        }
    }

    /// Whether the key is for what is below the box, too.
    fn key_in_overlay(&mut self, code: KeyCode) -> bool {
        let Some(overlay) = &mut self.overlay else { return true };
        let page = usize::from(self.pane.1.saturating_sub(PAGE_OVERLAP).max(1));
        let last = overlay.top_max;
        match code {
            KeyCode::Up => overlay.top = overlay.top.saturating_sub(1),
            KeyCode::Down => overlay.top = (overlay.top + 1).min(last),
            KeyCode::PageUp => overlay.top = overlay.top.saturating_sub(page),
            KeyCode::PageDown => overlay.top = (overlay.top + page).min(last),
            KeyCode::Char(_) => {
                self.overlay = None;
                return true;
            }
            _ => self.overlay = None,
        }
        false
    }

    /// Whether the key moved the cursor.
    fn move_key(&mut self, code: KeyCode, by_words: bool) -> bool {
        match code {
            KeyCode::Left if by_words => self.editor.word_left(),
            KeyCode::Right if by_words => self.editor.word_right(),
            KeyCode::Char('b') if by_words => self.editor.word_left(),
            KeyCode::Char('f') if by_words => self.editor.word_right(),
            KeyCode::Left => self.editor.left(),
            KeyCode::Right => self.editor.right(),
            KeyCode::Home => self.editor.home(),
            KeyCode::End => self.editor.end(),
            KeyCode::Char('a') if by_words => self.editor.home(),
            KeyCode::Char('e') if by_words => self.editor.end(),
            KeyCode::Up if !by_words => self.editor.up(),
            KeyCode::Down if !by_words => self.editor.down(),
            _ => return false,
        }
        true
    }

    /// Whether the key was about chats and where they are looked at.
    fn chat_key(&mut self, code: KeyCode, alt: bool, state: &mut State, clock: &Clock) -> bool {
        let page = self.pane.1.saturating_sub(PAGE_OVERLAP).max(1).cast_signed();
        match code {
            KeyCode::Tab => state.open_neighbour(1, clock.now),
            KeyCode::BackTab => state.open_neighbour(-1, clock.now),
            KeyCode::Down if alt => state.open_neighbour(1, clock.now),
            KeyCode::Up if alt => state.open_neighbour(-1, clock.now),
            KeyCode::Char(digit @ '1'..='9') if alt => {
                let number = usize::from(digit as u8 - b'1');
                if let Some(chat) = state.rooms.by_activity().get(number).map(|room| room.id) {
                    state.open(chat, clock.now);
                }
            }
            KeyCode::PageUp => self.turn(page.into(), state, clock),
            KeyCode::PageDown => self.turn(-isize::from(page), state, clock),
            KeyCode::F(1) => self.help(),
            KeyCode::Esc => {
                if !state.dismiss() {
                    self.scroll = Scroll::End;
                    self.notice = None;
                }
            }
            _ => return false,
        }
        true
    }

    fn turn(&mut self, rows: isize, state: &State, clock: &Clock) {
        if let Some(room) = state.rooms.open_room() {
            let (width, height) = self.pane;
            let conversation = Conversation::new(state, room, clock, width);
            self.scroll = conversation.scrolled(self.scroll, rows, height.into());
        }
    }

    /// The line is whole.
    fn enter(&mut self, state: &mut State, now: Duration) {
        self.notice = None;
        let input = Input::parse(&self.editor.take());
        if matches!(input, Input::Say(_)) {
            self.scroll = Scroll::End;
        }
        state.typed(input, now);
    }
}
