//! The loop: what happens is printed, what is typed is done.

mod events;
mod requests;

use std::io::BufRead as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use panda_client::{Client, ClientConfig, Connector, TransportKind, Update, Updates};
use panda_protocol::event::Event;
use panda_protocol::frame::SignalKind;
use panda_protocol::{ChatId, DeviceId, EntityId, ErrorCode, Seq, Text};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::account::Account;
use super::input::{HELP, Input};
use super::people::People;
use super::rooms::Rooms;
use super::screen;
use requests::{Done, Speech};

/// Typed lines that wait to be looked at.
const LINES_MAX: usize = 64;
/// Messages that wait for their turn to be sent.
const SPEECH_MAX: usize = 256;
/// How long what was said may take to be stored after `/quit`.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A person at a terminal.
struct Talk {
    account: Account,
    client: Client,
    rooms: Rooms,
    people: People,
    /// Requests that are out.
    work: JoinSet<Done>,
    speech: mpsc::Sender<Speech>,
    ended: Option<ExitCode>,
}

/// Runs until the person quits or the session is over for good.
///
/// # Errors
/// There is no way to connect, or standard output takes nothing.
pub(super) async fn run(account: Account, websocket: bool) -> anyhow::Result<ExitCode> {
    let server = account.server.clone();
    let target = tokio::task::spawn_blocking(move || server.target()).await.context("ask the server")??;
    let transport = if websocket { TransportKind::WebSocket } else { TransportKind::Quic };
    let device = DeviceId::from_random(rand::random());
    let config = ClientConfig::new(transport, device, Text::from(account.token.as_str()));
    let (client, mut updates) = panda_client::start(Connector::new(target).context("set the client up")?, config);
    let (speech, said) = mpsc::channel(SPEECH_MAX);
    let speaker = tokio::spawn(requests::speak(client.clone(), said));
    let mut talk = Talk {
        people: People::new(account.server.clone(), account.token.clone()),
        account,
        client,
        rooms: Rooms::default(),
        work: JoinSet::new(),
        speech,
        ended: None,
    };
    let mut lines = typed_lines()?;
    while talk.ended.is_none() {
        tokio::select! {
            update = updates.next() => match update {
                Some(update) => talk.update(update).await?,
                None => talk.ended = Some(ExitCode::FAILURE),
            },
            Some(done) = talk.work.join_next() => talk.done(done.context("a request broke")?).await?,
            line = lines.recv() => match line {
                Some(line) => talk.typed(Input::parse(&line)).await?,
                None => talk.ended = Some(ExitCode::SUCCESS),
            },
        }
    }
    let status = talk.ended.unwrap_or(ExitCode::SUCCESS);
    talk.leave(updates, speaker).await?;
    Ok(status)
}

/// Standard input blocks, so a thread of its own reads it. It ends with the process.
fn typed_lines() -> anyhow::Result<mpsc::Receiver<String>> {
    let (typed, lines) = mpsc::channel(LINES_MAX);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(read)
        .context("start the thread that reads what is typed")?;
    Ok(lines)
}

impl Talk {
    /// Lets what was said be stored, and says goodbye.
    async fn leave(self, mut updates: Updates, speaker: JoinHandle<()>) -> anyhow::Result<()> {
        let Self { client, speech, .. } = self;
        drop(speech);
        let stored = async {
            tokio::pin!(speaker);
            loop {
                tokio::select! {
                    spoken = &mut speaker => return spoken,
                    // An untaken update would keep the answers away.
                    update = updates.next() => if update.is_none() { return Ok(()) },
                }
            }
        };
        if tokio::time::timeout(LAST_WORDS, stored).await.is_err() {
            screen::line("* not everything that you said was stored in time")?;
        }
        client.close().await;
        Ok(())
    }

    async fn update(&mut self, update: Update) -> anyhow::Result<()> {
        match update {
            Update::Connecting { .. } | Update::Lagging { .. } | Update::Resumed { .. } => {}
            Update::Connected { user, inbox, .. } => {
                self.rooms.incarnation = inbox.incarnation;
                screen::line(&format!("* connected as {}", self.people.name(user).await))?;
                // Whatever changed meanwhile, this finds it.
                self.ask_chats();
            }
            Update::Disconnected { retry_in, .. } => {
                let when =
                    retry_in.map_or_else(String::new, |wait| format!("; next attempt in {} ms", wait.as_millis()));
                screen::line(&format!("* not connected{when}"))?;
            }
            Update::Ended { code, text } => {
                screen::line(&format!("* the server ended this session: {text} ({code})"))?;
                self.ended = Some(ExitCode::FAILURE);
            }
            Update::TokenNeeded => self.ask_token(),
            Update::Event { entity, event, .. } => match (Event::from_bytes(&event), entity.chat()) {
                (Ok(event), Some(chat)) => self.chat_event(chat, &event).await?,
                (Ok(event), None) => self.inbox_event(&event)?,
                (Err(_), _) => screen::line("* an event came that this version cannot read")?,
            },
            Update::Lost { entity, code } => self.lost(entity, code)?,
            Update::Signal(signal) if signal.kind == SignalKind::TYPING => {
                if let (Some(user), Some(room)) = (signal.user, self.rooms.room(signal.chat)) {
                    let room = room.name.clone();
                    screen::line(&format!("[{room}] {} is typing", self.people.name(user).await))?;
                }
            }
            Update::Signal(_) => {}
        }
        Ok(())
    }

    fn lost(&mut self, entity: EntityId, code: u16) -> anyhow::Result<()> {
        let Some(chat) = entity.chat() else { return Ok(()) };
        if code == ErrorCode::NotMember as u16 {
            if let Some(name) = self.rooms.leave(chat) {
                screen::line(&format!("* you are no longer in {name}"))?;
            }
        } else {
            screen::line(&format!("* the server no longer sends this chat ({code})"))?;
        }
        Ok(())
    }

    async fn typed(&mut self, input: Input) -> anyhow::Result<()> {
        match input {
            Input::Nothing => {}
            Input::Say(text) => self.say(text)?,
            Input::Help => HELP.lines().try_for_each(screen::line)?,
            Input::Chats => self.list()?,
            Input::Open(name) => match self.rooms.find(&name) {
                Some(chat) => self.show_open(chat)?,
                None => screen::line(&format!("* there is no chat like {name}; /chats lists yours"))?,
            },
            Input::New { name, members } => match self.people.find_all(members).await {
                Ok(members) => self.create(name, members),
                Err(error) => screen::line(&format!("* {error:#}"))?,
            },
            Input::Direct(peer) => match self.people.find(peer).await {
                Ok(peer) => self.create_direct(peer),
                Err(error) => screen::line(&format!("* {error:#}"))?,
            },
            Input::Add(members) => self.change_members(members, true).await?,
            Input::Remove(members) => self.change_members(members, false).await?,
            Input::Leave => self.leave_open()?,
            Input::Who => self.with_open(Self::ask_members)?,
            Input::History(count) => self.with_open(|this, chat| this.ask_history(chat, count))?,
            Input::Quit => self.ended = Some(ExitCode::SUCCESS),
            Input::Wrong(why) => screen::line(&format!("* {why}"))?,
        }
        Ok(())
    }

    fn say(&mut self, text: String) -> anyhow::Result<()> {
        let Some(chat) = self.rooms.open_id() else {
            return Ok(screen::line("* no chat is open: /new makes one, /open opens one")?);
        };
        if self.speech.try_send(Speech { chat, text: text.into() }).is_err() {
            screen::line("* too much waits to be sent; say it again later")?;
        }
        Ok(())
    }

    fn list(&self) -> anyhow::Result<()> {
        for room in self.rooms.all() {
            let mark = if self.rooms.open_id() == Some(room.id) { '>' } else { ' ' };
            let unread = if room.unread > 0 { format!(" ({} unread)", room.unread) } else { String::new() };
            screen::line(&format!("{mark} {}{unread}", room.name))?;
        }
        Ok(())
    }

    fn show_open(&mut self, chat: ChatId) -> anyhow::Result<()> {
        self.rooms.open(chat);
        if let Some(room) = self.rooms.room(chat) {
            screen::line(&format!("* open: {}", room.name))?;
        }
        Ok(())
    }

    /// Does something with the open chat, if there is one.
    fn with_open(&mut self, act: impl FnOnce(&mut Self, ChatId)) -> anyhow::Result<()> {
        match self.rooms.open_id() {
            Some(chat) => act(self, chat),
            None => screen::line("* no chat is open")?,
        }
        Ok(())
    }

    fn head(&self, chat: ChatId) -> Seq {
        self.rooms.room(chat).map_or(Seq(0), |room| room.head)
    }
}
