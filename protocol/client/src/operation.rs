//! What the application's handles ask of the client's task.

use panda_protocol::frame::{CommandBody, Signal};
use panda_protocol::session::client::{Question, Refusal, Reply};
use panda_protocol::{ChatId, Counter, Cursor, EntityId, ErrorCode, Text, TraceContext, UserId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Who waits for an answer. Dropped without one if the client ends.
pub(crate) type Waiter = oneshot::Sender<Result<Reply, Refusal>>;

/// A command was taken: the chat that it is about, its counter, and where its answer will come.
pub(crate) struct Taken {
    pub(crate) chat: Option<ChatId>,
    pub(crate) counter: Counter,
    pub(crate) outcome: oneshot::Receiver<Result<Reply, Refusal>>,
}

/// What to change.
pub(crate) enum Change {
    Command(EntityId, CommandBody, Option<TraceContext>),
    /// These two need to know whose session it is.
    Group(Text, Vec<UserId>),
    Direct(UserId),
}

/// A command that is to be taken as soon as there is room.
pub(crate) struct Submission {
    pub(crate) change: Change,
    pub(crate) taken: oneshot::Sender<Result<Taken, ErrorCode>>,
    /// Bounds how many wait for room.
    pub(crate) _permit: OwnedSemaphorePermit,
}

pub(crate) enum Operation {
    Subscribe(ChatId, Option<Cursor>, Waiter),
    Unsubscribe(ChatId, Waiter),
    Submit(Submission),
    Ask(Question, Waiter),
    Signal(Signal),
    Refresh(Text, Waiter),
    Hurry,
    Close,
}
