//! The one task of a client: moves frames, time and requests between the session and the world.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use panda_protocol::frame::{CommandBody, Frame, capabilities};
use panda_protocol::session::client::{ClientSession, Notice, Output, Parameters};
use panda_protocol::{ChatId, Counter, EntityId, ErrorCode, Text, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use crate::config::{ClientConfig, TransportKind};
use crate::connector::{ConnectError, Connector};
use crate::operation::{Change, Operation, Submission, Taken, Waiter};
use crate::updates::{Reason, Update};
use crate::wire::{BATCH_BYTES, Received, Trouble, Wire};

/// For the goodbye to leave; the next connection waits for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

type Dialing = Pin<Box<dyn Future<Output = Result<Wire, ConnectError>> + Send>>;
type Room = Pin<Box<dyn Future<Output = Option<mpsc::OwnedPermit<Update>>> + Send>>;

pub(crate) struct Task {
    session: ClientSession<Waiter>,
    /// Servers of one deployment: the first one is where the next connection is made. At least one.
    /// Each with its place among those that the application gave.
    connectors: VecDeque<(usize, Connector)>,
    /// Where the last connection was made; `None` if a server named the address.
    server: Option<usize>,
    transport: TransportKind,
    or_websocket: bool,
    /// Why the last attempt failed, until that is told.
    reason: Option<Reason>,
    wire: Option<Wire>,
    dialing: Option<Dialing>,
    /// A connection that takes the place of `wire` once that one is closed.
    dialed: Option<Wire>,
    /// Whole frames on their way into one write; empty and without memory when idle.
    batch: BytesMut,
    operations: mpsc::Receiver<Operation>,
    /// `None` once the application dropped its end.
    updates: Option<mpsc::Sender<Update>>,
    /// What did not fit; the socket is not read before it is empty.
    pending: VecDeque<Update>,
    room: Option<Room>,
    /// Commands that wait for an answer to one before them.
    parked: BTreeMap<EntityId, VecDeque<Submission>>,
    /// Commands that wait for the first Welcome.
    early: VecDeque<Submission>,
    timer: Pin<Box<Sleep>>,
    started: Instant,
    user: Arc<OnceLock<UserId>>,
    /// A first connection was tried: a further one goes elsewhere if it can.
    attempted: bool,
    closing: bool,
}

enum Happened {
    Asked(Option<Operation>),
    Dialed(Result<Wire, ConnectError>),
    Heard(Received),
    Trouble(Trouble),
    Room(Option<mpsc::OwnedPermit<Update>>),
    Due,
}

impl Task {
    pub(crate) fn new(
        connector: Connector,
        config: ClientConfig,
        operations: mpsc::Receiver<Operation>,
        updates: mpsc::Sender<Update>,
        user: Arc<OnceLock<UserId>>,
    ) -> Self {
        let capabilities = match config.transport {
            TransportKind::Quic => capabilities::DATAGRAM_SIGNALS,
            TransportKind::WebSocket => 0,
        };
        let session = ClientSession::new(Parameters {
            device: config.device,
            name: config.name,
            token: config.token,
            inbox: config.inbox,
            capabilities,
            counter: config.counter,
            backoff_max_ms: u64::try_from(config.backoff_max.as_millis()).unwrap_or(u64::MAX),
            seed: rand::random(),
        });
        let started = Instant::now();
        let connectors = std::iter::once(connector).chain(config.others).enumerate().collect();
        Self {
            session,
            connectors,
            server: None,
            attempted: false,
            transport: config.transport,
            or_websocket: config.or_websocket,
            reason: None,
            wire: None,
            dialing: None,
            dialed: None,
            batch: BytesMut::new(),
            operations,
            updates: Some(updates),
            pending: VecDeque::new(),
            room: None,
            parked: BTreeMap::new(),
            early: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep_until(started)),
            started,
            user,
            closing: false,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.act().await;
            if self.session.is_ended() {
                break;
            }
            self.arm();
            let happened = std::future::poll_fn(|cx| self.poll(cx)).await;
            self.take(happened);
        }
        // Who waits for an answer or for room gets none, as soon as possible.
        self.operations.close();
        drop((self.operations, self.session, self.wire, self.parked, self.early));
        let Some(updates) = self.updates else { return };
        for update in self.pending {
            let kept = if self.closing { updates.try_send(update).is_ok() } else { updates.send(update).await.is_ok() };
            if !kept {
                return;
            }
        }
    }

    /// Does what the session decided.
    async fn act(&mut self) {
        let mut answered = false;
        while let Some(output) = self.session.next_output() {
            match output {
                Output::Connect { attempt, address } => {
                    // Nobody is without a session while it moves; where to, the server says.
                    if !self.session.is_open() {
                        self.tell(Update::Connecting { attempt, transport: self.transport });
                        self.turn(address.is_empty());
                    }
                    let ((place, connector), transport) = (self.connectors[0].clone(), self.transport);
                    self.server = address.is_empty().then_some(place);
                    self.dialing = Some(Box::pin(async move { connector.connect(transport, &address).await }));
                }
                Output::Close(farewell) => self.close(farewell).await,
                Output::Answered(waiter, answer) => {
                    answered = true;
                    if waiter.send(answer).is_err() {
                        tracing::trace!("nobody waits for this answer any more");
                    }
                }
                Output::Notice(notice) => {
                    if let Notice::Connected { user, .. } = notice {
                        self.opened(user);
                    }
                    let mut update = Update::from(notice);
                    match &mut update {
                        Update::Connected { server, .. } => *server = self.server,
                        Update::Disconnected { reason, .. } => *reason = self.reason.take(),
                        _ => {}
                    }
                    self.tell(update);
                }
            }
        }
        if let Some(wire) = self.dialed.take() {
            self.wire = Some(wire);
        }
        if answered && !self.parked.is_empty() {
            self.unpark();
        }
    }

    /// A connection to be made after one that was lost or did not come about goes to the next server,
    /// unless the last one named an address of its own.
    fn turn(&mut self, unnamed: bool) {
        if core::mem::replace(&mut self.attempted, true) && unnamed {
            self.connectors.rotate_left(1);
        }
    }

    fn opened(&mut self, user: UserId) {
        if let Some(wire) = &mut self.wire
            && self.session.capabilities() & capabilities::DATAGRAM_SIGNALS != 0
        {
            wire.take_datagrams();
        }
        if *self.user.get_or_init(|| user) == user {
            for submission in core::mem::take(&mut self.early) {
                self.submit(submission);
            }
        }
    }

    async fn close(&mut self, farewell: Option<bytes::Bytes>) {
        if self.dialing.take().is_some() && self.wire.is_none() {
            self.reason = Some(Reason { is_certificate: false, text: Text::from_static("nobody answers there") });
        }
        let Some(mut wire) = self.wire.take() else { return };
        if let Some(farewell) = farewell {
            self.batch.extend_from_slice(&farewell);
            if tokio::time::timeout(CLOSE_TIMEOUT, wire.close(&mut self.batch)).await.is_err() {
                tracing::debug!("the server did not take the goodbye");
            }
        }
        self.batch = BytesMut::new();
    }

    fn tell(&mut self, update: Update) {
        let Some(updates) = &self.updates else { return };
        if !self.pending.is_empty() {
            return self.pending.push_back(update);
        }
        match updates.try_send(update) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(update)) => self.pending.push_back(update),
            Err(mpsc::error::TrySendError::Closed(_)) => self.updates = None,
        }
    }

    /// The timer only ever needs to be early enough: when it fires too early, it is set again.
    fn arm(&mut self) {
        let Some(due_ms) = self.session.due_ms() else { return };
        let due = self.started + Duration::from_millis(due_ms);
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        let broken = self.poll_send(cx);
        if let Poll::Ready(operation) = self.operations.poll_recv(cx) {
            return Poll::Ready(Happened::Asked(operation));
        }
        // Between connections, a client whose updates nobody takes rests: each attempt would add more.
        let rests = !self.pending.is_empty() && !self.session.is_open();
        if !rests && self.session.due_ms().is_some() && self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Happened::Due);
        }
        if let Some(dialing) = &mut self.dialing
            && let Poll::Ready(dialed) = dialing.as_mut().poll(cx)
        {
            self.dialing = None;
            return Poll::Ready(Happened::Dialed(dialed));
        }
        if !self.pending.is_empty() {
            return self.poll_room(cx).map(Happened::Room);
        }
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        match (wire.poll_recv(cx), broken) {
            // Also of a connection that takes nothing more: its Bye says whether to come back.
            (Poll::Ready(Ok(received)), _) => Poll::Ready(Happened::Heard(received)),
            (Poll::Ready(Err(trouble)), _) | (Poll::Pending, Poll::Ready(trouble)) => {
                Poll::Ready(Happened::Trouble(trouble))
            }
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }

    /// Waits for the application to take an update.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<mpsc::OwnedPermit<Update>>> {
        let Some(updates) = &self.updates else { return Poll::Ready(None) };
        let room = self.room.get_or_insert_with(|| {
            let updates = updates.clone();
            Box::pin(async move { updates.reserve_owned().await.ok() })
        });
        let permit = std::task::ready!(room.as_mut().poll(cx));
        self.room = None;
        Poll::Ready(permit)
    }

    /// Gathers frames and sends them, until there are none or the transport takes no more. `Ready` only
    /// if it broke.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Trouble> {
        let now_ms = self.now_ms();
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        loop {
            while self.batch.len() < BATCH_BYTES
                && let Some(frame) = self.session.next_frame(now_ms)
            {
                self.batch.extend_from_slice(&frame);
            }
            if self.batch.is_empty() {
                return match wire.poll_flush(cx) {
                    Poll::Ready(Err(trouble)) => Poll::Ready(trouble),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            }
            match wire.poll_send(cx, &mut self.batch) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(trouble)) => return Poll::Ready(trouble),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, happened: Happened) {
        let now_ms = self.now_ms();
        match happened {
            Happened::Asked(Some(operation)) => self.operate(operation, now_ms),
            // Every handle is gone.
            Happened::Asked(None) => {
                self.closing = true;
                self.session.close();
            }
            Happened::Dialed(Ok(wire)) => {
                self.dialed = Some(wire);
                self.session.connected(now_ms);
            }
            Happened::Dialed(Err(error)) => {
                tracing::debug!(%error, "no connection");
                self.not_connected((&error).into());
                self.session.not_connected(now_ms);
            }
            Happened::Heard(Received::Frame(raw)) => self.session.hear(raw, now_ms),
            Happened::Heard(Received::Alive) => self.session.alive(now_ms),
            Happened::Trouble(Trouble::Gone) => {
                self.drop_wire();
                self.session.disconnected(now_ms);
            }
            Happened::Trouble(Trouble::Closed(code)) => {
                self.drop_wire();
                self.session.closed(code, now_ms);
            }
            Happened::Trouble(Trouble::Defect(code)) => self.session.defect(code, now_ms),
            Happened::Room(permit) => self.make_room(permit),
            Happened::Due => {
                if !self.pending.is_empty() {
                    // We do not read, so the server's silence is ours.
                    self.session.alive(now_ms);
                }
                self.session.tick(now_ms);
            }
        }
    }

    /// Keeps why, and takes the other way where this one leads nowhere. A connection beside one that goes on may fail
    /// without anybody being told.
    fn not_connected(&mut self, reason: Reason) {
        if self.transport == TransportKind::Quic
            && self.or_websocket
            && reason.is_certificate
            && self.connectors.iter().all(|(_, connector)| connector.has_websocket())
        {
            self.transport = TransportKind::WebSocket;
        }
        if !self.session.is_open() {
            self.reason = Some(reason);
        }
    }

    fn drop_wire(&mut self) {
        self.wire = None;
        self.batch = BytesMut::new();
    }

    fn make_room(&mut self, permit: Option<mpsc::OwnedPermit<Update>>) {
        let Some(permit) = permit else {
            self.updates = None;
            return self.pending.clear();
        };
        if let Some(update) = self.pending.pop_front() {
            permit.send(update);
        }
        while let (Some(updates), Some(update)) = (&self.updates, self.pending.pop_front()) {
            if let Err(error) = updates.try_send(update) {
                self.pending.push_front(error.into_inner());
                break;
            }
        }
    }

    fn operate(&mut self, operation: Operation, now_ms: u64) {
        match operation {
            Operation::Subscribe(chat, cursor, waiter) => self.session.subscribe(chat, cursor, waiter),
            Operation::Unsubscribe(chat, waiter) => self.session.unsubscribe(chat, waiter),
            Operation::Submit(submission) => self.submit(submission),
            Operation::Ask(question, waiter) => self.session.ask(question, waiter),
            Operation::Signal(signal) => {
                let by_datagram = self.session.is_open()
                    && self.session.capabilities() & capabilities::DATAGRAM_SIGNALS != 0
                    && self
                        .wire
                        .as_mut()
                        .is_some_and(|wire| wire.send_datagram(&Frame::from(signal.clone()).to_bytes()));
                if !by_datagram {
                    self.session.signal(signal);
                }
            }
            Operation::Refresh(token, waiter) => self.session.refresh(token, waiter, now_ms),
            Operation::Hurry => self.session.hurry(now_ms),
            Operation::Close => {
                self.closing = true;
                self.session.close();
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        let entity = match &submission.change {
            Change::Command(entity, ..) => Some(*entity),
            Change::Group(..) | Change::Direct(_) => match self.session.user() {
                None => return self.early.push_back(submission),
                Some(user) => match submission.change {
                    Change::Direct(peer) => Some(ChatId::direct(user, peer).into()),
                    _ => None,
                },
            },
        };
        if let Some(entity) = entity
            && (self.parked.contains_key(&entity) || !self.session.has_room(entity))
        {
            return self.parked.entry(entity).or_default().push_back(submission);
        }
        self.hand_over(submission, entity);
    }

    /// Gives the command to the session, which has room for it.
    fn hand_over(&mut self, submission: Submission, entity: Option<EntityId>) {
        let Submission { change, taken, .. } = submission;
        let (waiter, outcome) = oneshot::channel();
        let handed: Result<(Option<ChatId>, Counter), (Waiter, ErrorCode)> = match (change, entity) {
            (Change::Group(name, members), _) => {
                self.session.create_group(name, members, waiter).map(|(chat, counter)| (Some(chat), counter))
            }
            (Change::Command(_, body, trace), Some(entity)) => {
                self.session.submit_traced(entity, body, trace, waiter).map(|counter| (None, counter))
            }
            (Change::Direct(peer), Some(entity)) => {
                let body = CommandBody::CreateDirect { peer };
                self.session.submit(entity, body, waiter).map(|counter| (entity.chat(), counter))
            }
            (Change::Command(..) | Change::Direct(_), None) => Err((waiter, ErrorCode::Internal)),
        };
        let handed = handed.map(|(chat, counter)| Taken { chat, counter, outcome }).map_err(|(_, code)| code);
        if taken.send(handed).is_err() {
            tracing::trace!("nobody waits for this command's counter any more");
        }
    }

    /// Answers came: there may be room for commands that wait.
    fn unpark(&mut self) {
        let entities: Vec<EntityId> = self.parked.keys().copied().collect();
        for entity in entities {
            while self.session.has_room(entity)
                && let Some(submission) = self.parked.get_mut(&entity).and_then(VecDeque::pop_front)
            {
                self.hand_over(submission, Some(entity));
            }
            if self.parked.get(&entity).is_some_and(VecDeque::is_empty) {
                self.parked.remove(&entity);
            }
        }
    }
}
