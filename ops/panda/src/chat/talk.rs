//! A running client: its state, fed by what happens, and what the state asks for, done.

use std::time::Duration;

use anyhow::Context as _;
use panda_client::{ClientConfig, Connector, Target, TransportKind, Update, Updates};
use panda_protocol::{DeviceId, Incarnation, Text};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::account::Account;
use super::request::{Deed, Desk, Done, do_in_order};
use super::state::{Me, Naming, State};

/// Requests that are out at a time.
const REQUESTS_MAX: usize = 32;
/// Messages and changes that wait for their turn, and answers to them that wait to be looked at.
const DEEDS_MAX: usize = 256;
/// How long what was said may take to be stored once a person leaves.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

/// How to connect, as the flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    WebSocket,
    Quic,
    /// QUIC, unless the server has none that this client believes.
    Either,
}

impl Way {
    pub(super) const fn of(websocket: bool, quic: bool) -> Self {
        match (websocket, quic) {
            (true, _) => Self::WebSocket,
            (false, true) => Self::Quic,
            (false, false) => Self::Either,
        }
    }

    /// The way that is tried first.
    fn first(self, target: &Target) -> TransportKind {
        match self {
            Self::WebSocket => TransportKind::WebSocket,
            Self::Either if target.quic.is_none() => TransportKind::WebSocket,
            Self::Quic | Self::Either => TransportKind::Quic,
        }
    }
}

/// A person at a terminal.
pub(super) struct Talk {
    pub(super) state: State,
    desk: Desk,
    updates: Updates,
    /// No update comes any more.
    is_over: bool,
    /// Requests that are out and make no chat.
    work: JoinSet<Done>,
    /// Chats that are being made.
    making: JoinSet<Done>,
    deeds: mpsc::Sender<(Desk, Deed)>,
    told: mpsc::Receiver<Done>,
    began: Instant,
}

enum Happened {
    Update(Option<Update>),
    Done(Done),
    Due,
}

impl Talk {
    /// Begins to connect; `chat` is opened first.
    ///
    /// # Errors
    /// There is no way to connect.
    pub(super) fn begin(
        account: Account,
        target: Target,
        way: Way,
        (chat, naming): (Option<String>, Naming),
    ) -> anyhow::Result<Self> {
        let Account { server, login, user, name, token } = account;
        let transport = way.first(&target);
        let device = DeviceId::from_random(rand::random());
        let mut config = ClientConfig::new(transport, device, Text::from(token.as_str()));
        config.or_websocket = way == Way::Either;
        let (client, updates) = panda_client::start(Connector::new(target).context("set the client up")?, config);
        let (deeds, to_do) = mpsc::channel(DEEDS_MAX);
        let (tell, told) = mpsc::channel(DEEDS_MAX);
        tokio::spawn(do_in_order(to_do, tell));
        let incarnation = Incarnation::default();
        Ok(Self {
            state: State::new(Me { user, device, name }, transport, chat, naming),
            desk: Desk { client, server, login, me: user, token: token.into(), incarnation },
            updates,
            is_over: false,
            work: JoinSet::new(),
            making: JoinSet::new(),
            deeds,
            told,
            began: Instant::now(),
        })
    }

    /// The time since it began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for the next thing that happens, and lets the state know. Cancel safe.
    ///
    /// # Errors
    /// A request broke, which is a defect.
    pub(super) async fn step(&mut self) -> anyhow::Result<()> {
        let due = self.state.due(self.now()).map(|due| self.began + due);
        let happened = tokio::select! {
            update = self.updates.next(), if !self.is_over => Happened::Update(update),
            Some(done) = self.work.join_next() => Happened::Done(done.context("a request broke")?),
            Some(done) = self.making.join_next() => Happened::Done(done.context("a request broke")?),
            Some(done) = self.told.recv() => Happened::Done(done),
            () = async { tokio::time::sleep_until(due.unwrap_or(self.began)).await }, if due.is_some() => Happened::Due,
        };
        let now = self.now();
        match happened {
            Happened::Update(Some(update)) => self.state.update(update, now),
            // It has said why.
            Happened::Update(None) => {
                self.is_over = true;
                self.state.end(false);
            }
            Happened::Done(done) => self.state.done(done, now),
            Happened::Due => self.state.tick(now),
        }
        Ok(())
    }

    /// Begins what the state asks for, as far as there is room.
    pub(super) fn act(&mut self) {
        self.desk.incarnation = self.state.incarnation;
        if let Some(token) = self.state.token.take() {
            self.desk.token = token.into();
        }
        if self.state.hurries() {
            self.desk.client.hurry();
        }
        while let Some(deed) = self.state.next_deed() {
            if let Err(error) = self.deeds.try_send((self.desk.clone(), deed)) {
                let (_, deed) = error.into_inner();
                let now = self.now();
                self.state.done(deed.done(Err("too much waits to be sent; do it again later".to_owned())), now);
            }
        }
        while self.work.len() + self.making.len() < REQUESTS_MAX
            && let Some(request) = self.state.next_request()
        {
            let set = if request.makes_chat() { &mut self.making } else { &mut self.work };
            set.spawn(self.desk.clone().perform(request));
        }
    }

    /// Waits until everything that was typed is answered, for as long as [`LAST_WORDS`] at most. Cancel safe.
    ///
    /// # Errors
    /// A request broke, which is a defect.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + LAST_WORDS;
        while self.state.unstored() > 0 {
            self.act();
            match tokio::time::timeout_at(until, self.step()).await {
                Ok(stepped) => stepped?,
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        self.desk.client.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_taken_unless_the_server_has_none_or_the_person_says_otherwise() {
        let first = |websocket, quic, served: &str| {
            let document = format!(r#"{{"versions":[1],"websocket":"/ws"{served}}}"#);
            let target = Target::from_discovery("http://h", document.as_bytes()).unwrap();
            Way::of(websocket, quic).first(&target)
        };
        let served = r#","quic":"h:1""#;
        assert_eq!(first(false, false, served), TransportKind::Quic);
        assert_eq!(first(false, false, ""), TransportKind::WebSocket);
        assert_eq!(first(false, true, ""), TransportKind::Quic);
        assert_eq!(first(true, false, served), TransportKind::WebSocket);
    }
}
