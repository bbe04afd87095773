//! A session that listens to its chats as often as it is a member of them.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use panda_client::{Client, ClientConfig, RequestError, Update, Updates};
use panda_protocol::event::{Event, EventBody};
use panda_protocol::frame::Admission;
use panda_protocol::{ChatId, Cursor, DeviceId, ErrorCode, Incarnation, Seq, Text};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::{JoinHandle, JoinSet};

use super::Shared;
use crate::checker::{Grant, Span, StepId};
use crate::report::line;
use crate::run::Run;
use crate::session::{BACKOFF_MAX, named, refresh, repeats, wait};

/// A session, each of a user of its own.
pub(super) struct Follower {
    number: u32,
    device: DeviceId,
    client: Client,
    pump: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Connects, and subscribes to all its chats, also those of which its user is no member yet.
    pub(super) fn start(shared: &Arc<Shared>, number: u32) -> Self {
        let run = &shared.run;
        let device = DeviceId::from_random(rand::random());
        let (connector, others) = run.connectors(number);
        let token = run.users[number as usize].token.clone();
        let mut config = ClientConfig::new(run.transport.of(number), device, token);
        config.name = Text::from_static("panda-loadtest");
        config.backoff_max = BACKOFF_MAX;
        config.others = others;
        let (client, updates) = panda_client::start(connector, config);
        run.open.fetch_add(1, Relaxed);
        let following = |chat: usize| {
            let first = shared.casts[chat].all().any(|(session, first)| session == number && first);
            (
                run.chats[chat],
                Following { chat, state: State::Idle, last: None, is_member: first, heard: Duration::ZERO },
            )
        };
        let pump = Pump {
            shared: Arc::clone(shared),
            number,
            client: client.clone(),
            store: None,
            chats: shared.chats_of(number).into_iter().map(following).collect(),
            random: StdRng::seed_from_u64(shared.seed ^ u64::from(number) << 32),
            asking: JoinSet::new(),
            refreshing: JoinSet::new(),
            connected: false,
            target: None,
            caught_up: Duration::ZERO,
        };
        let pump = Mutex::new(Some(tokio::spawn(pump.run(updates))));
        Self { number, device, client, pump }
    }

    pub(super) const fn device(&self) -> DeviceId {
        self.device
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Says goodbye and waits until nothing comes any more.
    pub(super) async fn close(&self, run: &Run) {
        let Some(pump) = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.client.close().await;
        if pump.await.is_err() {
            line(format_args!("the task of session {} ended early", self.number));
        }
        run.open.fetch_sub(1, Relaxed);
    }
}

/// What a session has of a chat.
struct Following {
    chat: usize,
    state: State,
    /// The last event that came.
    last: Option<u64>,
    /// By the inbox.
    is_member: bool,
    /// What last came of the chat, or of the connection's end, came behind this: what the client asks for by itself was
    /// asked for later.
    heard: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A subscription waits for its answer. `again`: the inbox told since then of a new membership. `over`: what the
    /// answer began is over already.
    Asking {
        again: bool,
        over: bool,
    },
    Listening,
}

/// A subscription that is asked for.
#[derive(Clone, Copy)]
struct Asking {
    chat: ChatId,
    step: StepId,
    cursor: Option<Cursor>,
}

impl Asking {
    async fn ask(self, client: Client, after: Duration) -> (Self, Result<Admission, RequestError>) {
        tokio::time::sleep(after).await;
        (self, client.subscribe(self.chat, self.cursor).await)
    }
}

struct Pump {
    shared: Arc<Shared>,
    number: u32,
    client: Client,
    /// Whose cursors are good; known once there was a connection.
    store: Option<Incarnation>,
    chats: HashMap<ChatId, Following>,
    random: StdRng,
    asking: JoinSet<(Asking, Result<Admission, RequestError>)>,
    refreshing: JoinSet<()>,
    connected: bool,
    /// The target to which it was connected last; `None` if that is none of the run's.
    target: Option<usize>,
    /// When no update waited.
    caught_up: Duration,
}

impl Pump {
    async fn run(mut self, mut updates: Updates) {
        loop {
            let now = self.shared.run.now();
            if updates.is_empty() {
                self.caught_up = now;
            }
            tokio::select! {
                update = updates.next() => match update {
                    Some(update) => self.take(update),
                    None => break,
                },
                Some(Ok((asking, answer))) = self.asking.join_next() => self.subscribed(asking, answer),
            }
        }
        self.connected(false);
    }

    fn take(&mut self, update: Update) {
        let recorder = &self.shared.run.recorder;
        match update {
            Update::Event { entity, seq, event } => match entity.chat() {
                Some(chat) => self.event(chat, seq, &event),
                None => self.inbox(&event),
            },
            Update::Connected { inbox, server, .. } => {
                self.target = server.and_then(|place| self.shared.run.order(self.number).get(place).copied());
                recorder.reconnects.fetch_add(u64::from(self.store.is_some()), Relaxed);
                let is_first = self.store.replace(inbox.incarnation).is_none();
                self.connected(true);
                if is_first {
                    let chats: Vec<ChatId> = self.chats.keys().copied().collect();
                    chats.into_iter().for_each(|chat| self.subscribe(chat));
                }
            }
            Update::Disconnected { .. } => {
                if self.connected {
                    recorder.lose(self.target);
                }
                self.connected(false);
                self.chats.values_mut().for_each(|following| following.heard = self.caught_up);
            }
            Update::Resumed { chat, admission } => {
                let now = self.shared.run.now();
                let Some(following) = self.chats.get_mut(&chat) else { return };
                following.last = Some(admission.from.0.saturating_sub(1));
                let span = Span { asked: following.heard, answered: now };
                following.heard = self.caught_up;
                self.shared.check(following.chat).resumed(self.number, Grant::from(&admission), span);
            }
            Update::Unexpected { chat, seq, how } => self.shared.run.unexpected(self.number, chat, seq, how),
            Update::Lost { entity, code, resuming } => match entity.chat() {
                Some(chat) => self.lost(chat, code, resuming),
                None => line(format_args!("session {} lost its inbox: {}", self.number, named(code))),
            },
            Update::Ended { code, text } => self.ended(code, &text),
            Update::TokenNeeded => self.refresh(),
            Update::Connecting { .. } | Update::Lagging { .. } | Update::Signal(_) | Update::Repeating { .. } => {}
        }
    }

    fn event(&mut self, chat: ChatId, seq: Seq, event: &Bytes) {
        let Some(following) = self.chats.get_mut(&chat) else { return };
        following.last = Some(seq.0);
        following.heard = self.caught_up;
        let run = &self.shared.run;
        run.recorder.delivered.fetch_add(1, Relaxed);
        self.shared.check(following.chat).delivered(self.number, seq.0, event, run.now());
    }

    /// The inbox says of which chats the user is a member; a moment after the chats do.
    fn inbox(&mut self, event: &Bytes) {
        let body = match Event::from_bytes(event) {
            Ok(event) => event.body,
            Err(error) => return line(format_args!("session {}: an event of its inbox: {error}", self.number)),
        };
        let (chat, is_member) = match body {
            EventBody::ChatJoined { chat, .. } => (chat, true),
            EventBody::ChatLeft { chat, .. } => (chat, false),
            _ => return,
        };
        let Some(following) = self.chats.get_mut(&chat) else { return };
        following.is_member = is_member;
        match &mut following.state {
            State::Idle if is_member => self.subscribe(chat),
            State::Asking { again, .. } => *again = is_member,
            State::Idle | State::Listening => {}
        }
    }

    /// Behind what it has, or from where it may see, or from now on.
    fn subscribe(&mut self, chat: ChatId) {
        let Some(following) = self.chats.get_mut(&chat) else { return };
        following.state = State::Asking { again: false, over: false };
        following.heard = self.shared.run.now();
        let behind = match self.random.random_range(0..20) {
            0..14 => Some(following.last.unwrap_or(0)),
            14..17 => Some(0),
            _ if following.last.is_none() => Some(0),
            _ => None,
        };
        let cursor = behind.zip(self.store).map(|(seq, incarnation)| Cursor { incarnation, seq: Seq(seq) });
        let step = self.shared.check(following.chat).subscribing(self.number, behind, self.shared.run.now());
        self.asking.spawn(Asking { chat, step, cursor }.ask(self.client.clone(), Duration::ZERO));
    }

    fn subscribed(&mut self, asking: Asking, answer: Result<Admission, RequestError>) {
        let (now, Asking { chat, step, .. }) = (self.shared.run.now(), asking);
        let Some(following) = self.chats.get_mut(&chat) else { return };
        let State::Asking { again, over } = following.state else { return };
        let number = following.chat;
        match answer {
            Ok(admission) => {
                self.shared.check(number).subscribed(step, Ok(Grant::from(&admission)), now);
                let before = admission.from.0.saturating_sub(1);
                following.last = Some(following.last.map_or(before, |last| last.max(before)));
                following.state = if over { State::Idle } else { State::Listening };
                if over && following.is_member {
                    self.subscribe(chat);
                }
            }
            Err(error) if repeats(&error) => {
                self.asking.spawn(asking.ask(self.client.clone(), wait(&error)));
            }
            Err(RequestError::Refused { code, .. }) => {
                self.shared.check(number).subscribed(step, Err(code), now);
                following.state = State::Idle;
                if again {
                    self.subscribe(chat);
                }
            }
            // It is over for good, as the update says.
            Err(RequestError::Ended) => {}
        }
    }

    fn lost(&mut self, chat: ChatId, code: u16, resuming: bool) {
        let now = self.shared.run.now();
        let Some(following) = self.chats.get_mut(&chat) else { return };
        self.shared.check(following.chat).ended(self.number, code, resuming, now);
        if let State::Asking { over, .. } = &mut following.state {
            *over = true;
            return;
        }
        following.state = State::Idle;
        // The inbox may have told of a new membership while the one before was listened to.
        if following.is_member {
            self.subscribe(chat);
        }
    }

    fn connected(&mut self, now: bool) {
        let step = i64::from(now) - i64::from(self.connected);
        self.shared.run.recorder.connected.fetch_add(step, Relaxed);
        self.connected = now;
    }

    fn ended(&mut self, code: u16, text: &str) {
        self.connected(false);
        // A goodbye of our own is no end that anybody must hear of.
        if code != ErrorCode::Going as u16 {
            self.shared.run.ended.fetch_add(1, Relaxed);
            line(format_args!("session {} was ended for good: {}: {text}", self.number, named(code)));
        }
    }

    fn refresh(&mut self) {
        while self.refreshing.try_join_next().is_some() {}
        if self.refreshing.is_empty() {
            let (run, client) = (Arc::clone(&self.shared.run), self.client.clone());
            self.refreshing.spawn(refresh(run, self.number, self.number, client));
        }
    }
}

#[cfg(test)]
mod tests;
