//! The handle that an application holds.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use panda_protocol::error_code::Recovery;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{
    Admission, ChatEntry, ChatInfoReply, CommandBody, Direction, ErrorDetails, MemberEntry, Signal, SignalKind,
};
use panda_protocol::session::client::{HistoryPage, Question, Refusal, Reply};
use panda_protocol::{ChatId, Counter, Cursor, EntityId, ErrorCode, Seq, Text, TraceContext, UserId};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::config::ClientConfig;
use crate::connector::Connector;
use crate::operation::{Change, Operation, Submission, Taken};
use crate::task::Task;
use crate::updates::Updates;

/// What handles ask for and the task did not look at yet.
const OPERATIONS_MAX: usize = 64;
/// Commands that wait for room in the 64 unanswered ones of their entity.
const SUBMISSIONS_MAX: usize = 1024;

/// Why a request failed for good. What can be repeated is repeated before this is said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server refused it.
    #[error("refused with code {code}: {text}")]
    Refused {
        /// One of [`ErrorCode`], or a newer one.
        code: u16,
        /// Not before this many milliseconds again.
        retry_after_ms: u64,
        /// What the server knows.
        details: Option<ErrorDetails>,
        /// For a person.
        text: Text,
    },
    /// The client ended. A command may have been applied nevertheless.
    #[error("the client ended")]
    Ended,
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, retry_after_ms, details, text } = refusal;
        Self::Refused { code, retry_after_ms, details, text }
    }
}

impl From<ErrorCode> for RequestError {
    fn from(code: ErrorCode) -> Self {
        Refusal::from(code).into()
    }
}

/// A command that has its counter and will be sent until it is answered.
#[derive(Debug)]
pub struct Submitted {
    /// Its counter.
    pub counter: Counter,
    outcome: oneshot::Receiver<Result<Reply, Refusal>>,
}

impl Submitted {
    /// The seq of the first event that it made. Dropping this future does not take the command back.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn outcome(self) -> Result<Seq, RequestError> {
        match self.outcome.await {
            Ok(Ok(Reply::Applied(seq))) => Ok(seq),
            Ok(Err(refusal)) => Err(refusal.into()),
            Ok(Ok(_)) => Err(ErrorCode::Internal.into()),
            Err(_) => Err(RequestError::Ended),
        }
    }
}

/// A client. Clones are the same client; it ends when all are dropped.
#[derive(Clone, Debug)]
pub struct Client {
    operations: mpsc::Sender<Operation>,
    submissions: Arc<Semaphore>,
    user: Arc<OnceLock<UserId>>,
}

/// Spawns the client's task on the current tokio runtime. The task ends when all Clients are dropped or
/// [`Client::close`] is called, or when the server says not to come back.
pub fn start(connector: Connector, config: ClientConfig) -> (Client, Updates) {
    let (operations, asked) = mpsc::channel(OPERATIONS_MAX);
    let (told, updates) = mpsc::channel(config.updates_max.max(1));
    let user = Arc::new(OnceLock::new());
    tokio::spawn(Task::new(connector, config, asked, told, Arc::clone(&user)).run());
    (Client { operations, submissions: Arc::new(Semaphore::new(SUBMISSIONS_MAX)), user }, Updates { updates })
}

/// The answer's kind is fixed by the request's; another one would be a defect of ours.
macro_rules! expect_reply {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => Ok($value),
            _ => Err(ErrorCode::Internal.into()),
        }
    };
}

impl Client {
    async fn request(
        &self,
        operation: impl FnOnce(crate::operation::Waiter) -> Operation,
    ) -> Result<Reply, RequestError> {
        let (waiter, answer) = oneshot::channel();
        self.operations.send(operation(waiter)).await.map_err(|_| RequestError::Ended)?;
        answer.await.map_err(|_| RequestError::Ended)?.map_err(RequestError::from)
    }

    async fn ask(&self, question: Question) -> Result<Reply, RequestError> {
        self.request(|waiter| Operation::Ask(question, waiter)).await
    }

    async fn change(&self, change: Change) -> Result<Taken, RequestError> {
        let permit = Arc::clone(&self.submissions).acquire_owned().await.map_err(|_| RequestError::Ended)?;
        let (taken, answer) = oneshot::channel();
        let submission = Submission { change, taken, _permit: permit };
        self.operations.send(Operation::Submit(submission)).await.map_err(|_| RequestError::Ended)?;
        answer.await.map_err(|_| RequestError::Ended)?.map_err(RequestError::from)
    }

    /// Listens to a chat from behind `cursor`, or from now on. Kept over reconnects with its cursor,
    /// until [`Self::unsubscribe`] or [`crate::Update::Lost`].
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn subscribe(&self, chat: ChatId, cursor: Option<Cursor>) -> Result<Admission, RequestError> {
        let reply = self.request(|waiter| Operation::Subscribe(chat, cursor, waiter)).await?;
        expect_reply!(reply, Reply::Admitted(admission) => admission)
    }

    /// No event of the chat comes any more, but for those that wait in [`Updates`] already.
    ///
    /// # Errors
    /// [`RequestError::Ended`]
    pub async fn unsubscribe(&self, chat: ChatId) -> Result<(), RequestError> {
        self.request(|waiter| Operation::Unsubscribe(chat, waiter)).await.map(drop)
    }

    /// Waits for room (64 unanswered per entity), takes the next counter, queues it. Resent with the
    /// same counter until answered. If this future is dropped, the command may be sent nevertheless.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn submit(&self, entity: EntityId, body: CommandBody) -> Result<Submitted, RequestError> {
        self.submit_command(entity, body, None).await
    }

    /// As [`Self::submit`], for a command that is to be followed in a context: where the server acts on contexts,
    /// its log says how long each step took, if the context is sampled.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn submit_traced(
        &self,
        entity: EntityId,
        body: CommandBody,
        trace: TraceContext,
    ) -> Result<Submitted, RequestError> {
        self.submit_command(entity, body, Some(trace)).await
    }

    async fn submit_command(
        &self,
        entity: EntityId,
        body: CommandBody,
        trace: Option<TraceContext>,
    ) -> Result<Submitted, RequestError> {
        let Taken { counter, outcome, .. } = self.change(Change::Command(entity, body, trace)).await?;
        Ok(Submitted { counter, outcome })
    }

    /// Says something and waits until it is stored.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn send(&self, chat: ChatId, text: Text) -> Result<Seq, RequestError> {
        let body = CommandBody::Send { format: MessageFormat::Text, text };
        self.submit(chat.into(), body).await?.outcome().await
    }

    /// Makes a group and waits until it is stored. Waits for the first Welcome.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn create_group(&self, name: Text, members: Vec<UserId>) -> Result<(ChatId, Seq), RequestError> {
        self.create(Change::Group(name, members)).await
    }

    /// Makes the direct chat with `peer`, or finds it. Waits for the first Welcome.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn create_direct(&self, peer: UserId) -> Result<(ChatId, Seq), RequestError> {
        self.create(Change::Direct(peer)).await
    }

    async fn create(&self, change: Change) -> Result<(ChatId, Seq), RequestError> {
        let Taken { chat, counter, outcome } = self.change(change).await?;
        let chat = chat.ok_or_else(|| RequestError::from(ErrorCode::Internal))?;
        match (Submitted { counter, outcome }).outcome().await {
            Ok(seq) => Ok((chat, seq)),
            // It is there already, which is as good.
            Err(RequestError::Refused { code, details: Some(details), .. })
                if code == ErrorCode::NothingToDo as u16 =>
            {
                Ok((chat, details.seq))
            }
            Err(error) => Err(error),
        }
    }

    /// A page of history.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn page(
        &self,
        entity: EntityId,
        direction: Direction,
        from: Seq,
        limit: u64,
    ) -> Result<HistoryPage, RequestError> {
        let reply = self.ask(Question::Page { entity, direction, from, limit }).await?;
        expect_reply!(reply, Reply::Page(page) => page)
    }

    /// A page of members, and whether there are more.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn members(
        &self,
        chat: ChatId,
        after: Option<UserId>,
        limit: u64,
    ) -> Result<(bool, Vec<MemberEntry>), RequestError> {
        let reply = self.ask(Question::Members { chat, after, limit }).await?;
        expect_reply!(reply, Reply::Members { more, members } => (more, members))
    }

    /// A page of the user's chats, whether there are more, and the inbox's seq that it reflects.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn chats(&self, after: Option<ChatId>, limit: u64) -> Result<(bool, Seq, Vec<ChatEntry>), RequestError> {
        let reply = self.ask(Question::Chats { after, limit }).await?;
        expect_reply!(reply, Reply::Chats { more, inbox, chats } => (more, inbox, chats))
    }

    /// A chat's state.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn chat_info(&self, chat: ChatId) -> Result<ChatInfoReply, RequestError> {
        let reply = self.ask(Question::ChatInfo(chat)).await?;
        expect_reply!(reply, Reply::ChatInfo(info) => info)
    }

    /// Tells the others in a chat something that may be lost. Dropped if there is no room.
    pub fn signal(&self, chat: ChatId, kind: SignalKind, payload: Bytes) {
        let signal = Signal { chat, user: None, kind, payload };
        if self.operations.try_send(Operation::Signal(signal)).is_err() {
            tracing::debug!(%chat, "dropped a signal: too much waits");
        }
    }

    /// Gives a newer access token of the same user and waits until the server took it.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn refresh(&self, token: Text) -> Result<(), RequestError> {
        self.request(|waiter| Operation::Refresh(token, waiter)).await.map(drop)
    }

    /// A person asks for a connection: the next attempt is made at once, if one is waited for, but not before the wait that
    /// the server asked for is over, nor within a second of the last one. Dropped if there is no room.
    pub fn hurry(&self) {
        if self.operations.try_send(Operation::Hurry).is_err() {
            tracing::debug!("nobody hurries: too much waits");
        }
    }

    /// Says goodbye; then the task ends. What was not answered by now stays unanswered.
    pub async fn close(&self) {
        if self.operations.send(Operation::Close).await.is_ok() {
            self.operations.closed().await;
        }
    }

    /// Whose client it is; known after the first Welcome.
    pub fn user(&self) -> Option<UserId> {
        self.user.get().copied()
    }
}

impl RequestError {
    /// What its code's range says to do next; `None` if the client ended.
    pub const fn recovery(&self) -> Option<Recovery> {
        match self {
            Self::Refused { code, .. } => Some(Recovery::of(*code)),
            Self::Ended => None,
        }
    }
}
