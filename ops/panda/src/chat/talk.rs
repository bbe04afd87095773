//! A running client: its state, fed by what happens, and what the state asks for, done.

use std::time::Duration;

use anyhow::Context as _;
use panda_client::{ClientConfig, Connector, Target, TransportKind, Update, Updates};
use panda_protocol::{DeviceId, Incarnation, Text};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::account::Account;
use super::request::{Deed, Desk, Done, do_in_order};
use super::state::{Me, State};

/// Requests that are out at a time.
const REQUESTS_MAX: usize = 32;
/// Messages and changes that wait for their turn, and answers to them that wait to be looked at.
const DEEDS_MAX: usize = 256;
/// How long what was said may take to be stored after `/quit`.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
    /// Requests that are out and make no chat.
    work: JoinSet<Done>,
    /// Chats that are being made.
    making: JoinSet<Done>,
    deeds: mpsc::Sender<(Desk, Deed)>,
    told: mpsc::Receiver<Done>,
    doer: JoinHandle<()>,
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
    pub(super) fn begin(account: Account, target: Target, way: Way, chat: Option<String>) -> anyhow::Result<Self> {
        let Account { server, credentials, user, name, token } = account;
        let transport = way.first(&target);
        let device = DeviceId::from_random(rand::random());
        let mut config = ClientConfig::new(transport, device, Text::from(token.as_str()));
        config.or_websocket = way == Way::Either;
        let (client, updates) = panda_client::start(Connector::new(target).context("set the client up")?, config);
        let (deeds, to_do) = mpsc::channel(DEEDS_MAX);
        let (tell, told) = mpsc::channel(DEEDS_MAX);
        let doer = tokio::spawn(do_in_order(to_do, tell));
        let incarnation = Incarnation::default();
        Ok(Self {
            state: State::new(Me { user, device, name }, transport, chat),
            desk: Desk { client, server, credentials, me: user, token: token.into(), incarnation },
            updates,
            work: JoinSet::new(),
            making: JoinSet::new(),
            deeds,
            told,
            doer,
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
            update = self.updates.next() => Happened::Update(update),
            Some(done) = self.work.join_next() => Happened::Done(done.context("a request broke")?),
            Some(done) = self.making.join_next() => Happened::Done(done.context("a request broke")?),
            Some(done) = self.told.recv() => Happened::Done(done),
            () = async { tokio::time::sleep_until(due.unwrap_or(self.began)).await }, if due.is_some() => Happened::Due,
        };
        let now = self.now();
        match happened {
            Happened::Update(Some(update)) => self.state.update(update, now),
            // It has said why.
            Happened::Update(None) => self.state.end(false),
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
        while let Some(deed) = self.state.next_deed() {
            if let Err(error) = self.deeds.try_send((self.desk.clone(), deed)) {
                let (_, Deed { chat, act }) = error.into_inner();
                let now = self.now();
                if let Some(done) = act.done(chat, Err("too much waits to be sent; do it again later".to_owned())) {
                    self.state.done(done, now);
                }
            }
        }
        while self.work.len() + self.making.len() < REQUESTS_MAX
            && let Some(request) = self.state.next_request()
        {
            let set = if request.makes_chat() { &mut self.making } else { &mut self.work };
            set.spawn(self.desk.clone().perform(request));
        }
    }

    /// Lets what was said be stored and chats be made, and says goodbye. Returns sentences about what was not.
    pub(super) async fn leave(self) -> Vec<String> {
        let Self { mut state, desk, mut updates, deeds, mut told, mut doer, mut making, .. } = self;
        drop(deeds);
        while let Some(request) = state.next_request() {
            if request.makes_chat() {
                making.spawn(desk.clone().perform(request));
            }
        }
        let mut unmade = Vec::new();
        let stored = async {
            let (mut all, mut is_over, mut is_done) = (true, false, false);
            while !is_done || !making.is_empty() {
                // Untaken updates and answers would keep further answers away.
                tokio::select! {
                    biased;
                    Some(done) = told.recv() => all &= !matches!(done, Done::Said { outcome: Err(_), .. }),
                    ended = &mut doer, if !is_done => (all, is_done) = (all && ended.is_ok(), true),
                    Some(made) = making.join_next() => match made {
                        Ok(Done::Failed(why)) => unmade.push(why),
                        made => all &= made.is_ok(),
                    },
                    update = updates.next(), if !is_over => is_over = update.is_none(),
                }
            }
            all
        };
        let all = tokio::time::timeout(LAST_WORDS, stored).await.unwrap_or(false);
        desk.client.close().await;
        if !all {
            unmade.push("not everything that you said or made was stored in time".to_owned());
        }
        unmade
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
