//! One session of a run: a client, and a task that hands what it gets to the checkers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use panda_client::{Client, ClientConfig, RequestError, Submitted, Update, Updates};
use panda_protocol::error_code::Recovery;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::CommandBody;
use panda_protocol::{DeviceId, EntityId, ErrorCode, Text};
use serde::Deserialize;
use tokio::task::{JoinHandle, JoinSet};

use crate::checker::{Delivered, Outcome, SendId};
use crate::provision::ProvisionError;
use crate::recorder::Repeated;
use crate::report::line;
use crate::run::{Run, RunError};

/// The longest wait of a client between two attempts; a run wants to see sessions come back soon.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Wait before a refused request is repeated, unless the refusal names a longer one.
pub const REPEAT_AFTER: Duration = Duration::from_millis(50);

/// Who a session is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The session's number, by which evidence names it.
    pub number: u32,
    /// Place of its user in [`Run::users`].
    pub user: u32,
    /// Numbers of the chats to which it listens.
    pub chats: Vec<usize>,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    device: DeviceId,
    client: Client,
    /// Taken by whoever closes the session.
    pump: Mutex<Option<JoinHandle<()>>>,
}

/// A send that waits for its answer.
#[derive(Debug)]
pub struct Sent {
    run: Arc<Run>,
    submitted: Submitted,
    send: SendId,
    chat: usize,
    due: Duration,
}

impl Session {
    /// Connects and subscribes to all its chats.
    ///
    /// # Errors
    /// [`RunError::Unreachable`] beyond the run's patience, or for a refusal that no repetition heals.
    pub async fn open(run: &Arc<Run>, identity: Identity) -> Result<Arc<Self>, RunError> {
        // A device of its own each time: its counters begin anew.
        let device = DeviceId::from_random(rand::random());
        let user = &run.users[identity.user as usize];
        let (connector, others) = run.connectors(identity.number);
        let mut config = ClientConfig::new(run.transport.of(identity.number), device, user.token.clone());
        config.name = Text::from_static("panda-loadtest");
        config.backoff_max = BACKOFF_MAX;
        config.others = others;
        let (client, updates) = panda_client::start(connector, config);
        for &chat in &identity.chats {
            run.check(chat).listening(identity.number, device);
        }
        run.open.fetch_add(1, Relaxed);
        let pump = Pump {
            run: Arc::clone(run),
            identity: identity.clone(),
            client: client.clone(),
            connected: false,
            order: run.order(identity.number),
            target: None,
            refreshing: JoinSet::new(),
        };
        let pump = Mutex::new(Some(tokio::spawn(pump.run(updates))));
        let session = Self { identity, device, client, pump };
        let began = run.now();
        match tokio::time::timeout(run.patience, session.subscribe(run)).await {
            Ok(Ok(())) => {
                run.recorder.connect(session.identity.number as usize, run.now().saturating_sub(began));
                Ok(Arc::new(session))
            }
            Ok(Err(error)) => Err(RunError::Unreachable(format!("a subscription was refused: {error}"))),
            Err(_) => Err(RunError::Unreachable(format!("a session could not connect within {:?}", run.patience))),
        }
    }

    async fn subscribe(&self, run: &Run) -> Result<(), RequestError> {
        for &chat in &self.identity.chats {
            let admission = loop {
                match self.client.subscribe(run.chats[chat], None).await {
                    Err(refused) if repeats(&refused) => tokio::time::sleep(wait(&refused)).await,
                    other => break other?,
                }
            };
            run.check(chat).admitted(self.identity.number, admission.from.0);
        }
        Ok(())
    }

    /// Sends, `due` on the run's clock. Waits while the chat's window of this session is full.
    ///
    /// # Errors
    /// The refusal, if nothing was sent.
    pub async fn submit(&self, run: &Arc<Run>, chat: usize, text: Text, due: Duration) -> Result<Sent, RequestError> {
        let body = CommandBody::Send { format: MessageFormat::Text, text: text.clone() };
        let submitted = self.client.submit(EntityId::from(run.chats[chat]), body).await?;
        run.recorder.sent.fetch_add(1, Relaxed);
        run.recorder.waiting.fetch_add(1, Relaxed);
        let counter = submitted.counter;
        let (send, early) = run.check(chat).submitted(self.identity.user, self.device, counter, text.as_bytes(), due);
        early.into_iter().for_each(|after| run.recorder.delivery(chat, after, due + after));
        Ok(Sent { run: Arc::clone(run), submitted, send, chat, due })
    }

    /// The client, for what is no send.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Says goodbye and waits until nothing comes any more.
    pub async fn close(&self, run: &Run) {
        let Some(pump) = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.client.close().await;
        if pump.await.is_err() {
            line(format_args!("the task of session {} ended early", self.identity.number));
        }
        for &chat in &self.identity.chats {
            run.check(chat).left(self.identity.number);
        }
        run.open.fetch_sub(1, Relaxed);
    }
}

impl Sent {
    /// Waits for the answer and records it. A send that is dropped before stays unknown to the checker.
    pub async fn outcome(self) -> Result<(), RequestError> {
        let Self { run, submitted, send, chat, due } = self;
        let answer = submitted.outcome().await;
        run.recorder.waiting.fetch_sub(1, Relaxed);
        let outcome = match &answer {
            Ok(seq) => {
                let now = run.now();
                run.recorder.ack(chat, now.saturating_sub(due), now);
                Outcome::Acked(seq.0)
            }
            Err(error) => {
                let outcome = outcome_of(error);
                match outcome {
                    Outcome::Refused(code) => run.recorder.refusal(code),
                    _ => {
                        run.recorder.unknown.fetch_add(1, Relaxed);
                    }
                }
                outcome
            }
        };
        run.check(chat).answered(send, outcome, run.now());
        answer.map(|_| ())
    }
}

/// What an error says of the send: whether it certainly did not happen.
fn outcome_of(error: &RequestError) -> Outcome {
    match error {
        RequestError::Refused { code, .. } if is_final(*code) => Outcome::Refused(*code),
        RequestError::Refused { .. } | RequestError::Ended => Outcome::Unknown,
    }
}

/// Whether a refusal with this code says that a command did not and will not happen.
pub fn is_final(code: u16) -> bool {
    // Something between that is no server of ours has no code.
    code != 0 && matches!(Recovery::of(code), Recovery::Repeat | Recovery::Fail)
}

/// Whether the same request may succeed later.
pub fn repeats(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused { code, .. } if Recovery::of(*code) == Recovery::Repeat)
}

/// How long to wait before a request is repeated.
pub fn wait(error: &RequestError) -> Duration {
    match error {
        RequestError::Refused { retry_after_ms, .. } => Duration::from_millis(*retry_after_ms).max(REPEAT_AFTER),
        RequestError::Ended => REPEAT_AFTER,
    }
}

/// Takes what a client gets.
struct Pump {
    run: Arc<Run>,
    identity: Identity,
    client: Client,
    connected: bool,
    /// The places of its servers among the run's targets.
    order: Vec<usize>,
    /// The target to which it was connected last; `None` if that is none of the run's.
    target: Option<usize>,
    /// At most one at a time. Updates are taken meanwhile: the client reads no answer while they wait.
    refreshing: JoinSet<()>,
}

impl Pump {
    async fn run(mut self, mut updates: Updates) {
        let mut connections: u64 = 0;
        while let Some(update) = updates.next().await {
            match update {
                Update::Event { entity, seq, event } => {
                    let Some(chat) = entity.chat().and_then(|chat| self.run.number(chat)) else { continue };
                    let now = self.run.now();
                    self.run.recorder.delivered.fetch_add(1, Relaxed);
                    let delivered = self.run.check(chat).delivered(self.identity.number, seq.0, &event, now);
                    if let Delivered::After(after) = delivered {
                        self.run.recorder.delivery(chat, after, now);
                    }
                }
                Update::Connected { server, .. } => {
                    self.target = server.and_then(|place| self.order.get(place).copied());
                    if connections > 0 {
                        self.run.recorder.reconnects.fetch_add(1, Relaxed);
                    }
                    connections += 1;
                    self.connected(true);
                }
                Update::Disconnected { .. } => {
                    if self.connected {
                        self.run.recorder.lose(self.target);
                    }
                    self.connected(false);
                }
                Update::Resumed { chat, admission } => {
                    if let Some(chat) = self.run.number(chat) {
                        self.run.check(chat).resumed(self.identity.number, admission.from.0);
                    }
                }
                Update::Unexpected { chat, seq, how } => self.run.unexpected(self.identity.number, chat, seq, how),
                Update::Ended { code, text } => self.ended(code, &text),
                Update::TokenNeeded => self.refresh(),
                Update::Lost { entity, code, .. } => {
                    line(format_args!("session {} lost {entity:?}: {}", self.identity.number, named(code)));
                }
                Update::Repeating { code, retry_after, .. } => {
                    self.run.recorder.repeat(Repeated { code, names_wait: !retry_after.is_zero() });
                }
                Update::Connecting { .. } | Update::Lagging { .. } | Update::Signal(_) => {}
            }
        }
        self.connected(false);
    }

    fn connected(&mut self, now: bool) {
        let step = i64::from(now) - i64::from(self.connected);
        self.run.recorder.connected.fetch_add(step, Relaxed);
        self.connected = now;
    }

    fn ended(&mut self, code: u16, text: &str) {
        self.connected(false);
        // A goodbye of our own is no end that anybody must hear of.
        if code != ErrorCode::Going as u16 {
            self.run.ended.fetch_add(1, Relaxed);
            line(format_args!("session {} was ended for good: {}: {text}", self.identity.number, named(code)));
        }
    }

    /// Provisioning the same name again gives a new token.
    fn refresh(&mut self) {
        while self.refreshing.try_join_next().is_some() {}
        if self.refreshing.is_empty() {
            let Identity { number, user, .. } = self.identity;
            self.refreshing.spawn(refresh(Arc::clone(&self.run), number, user, self.client.clone()));
        }
    }
}

/// Gives a session's client a new token of user `user`; tells the person who watches if it cannot.
pub(crate) async fn refresh(run: Arc<Run>, number: u32, user: u32, client: Client) {
    let token = match new_token(&run, user, number as usize % run.targets.len(), run.patience).await {
        Ok(token) => token,
        Err(error) => return line(format_args!("session {number} got no new token: {error}")),
    };
    if let Err(error) = client.refresh(token).await {
        line(format_args!("session {number} could not refresh its token: {error}"));
    }
}

/// A new token of user `user`, from target `at`.
///
/// # Errors
/// [`ProvisionError`] beyond `patience`.
pub(crate) async fn new_token(run: &Run, user: u32, at: usize, patience: Duration) -> Result<Text, ProvisionError> {
    #[derive(Deserialize)]
    struct Answer {
        users: [User; 1],
    }
    #[derive(Deserialize)]
    struct User {
        access_token: String,
    }
    let name = &run.users[user as usize].username;
    let body = serde_json::json!({ "users": [{ "username": name }] }).to_string().into_bytes();
    let Answer { users: [user] } = run.targets[at].http.post_until("/bulk/users", body, patience).await?;
    Ok(Text::from(user.access_token))
}

pub(crate) fn named(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| code.to_string(), |known| known.to_string())
}
