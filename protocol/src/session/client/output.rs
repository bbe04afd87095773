//! What goes into the client's session and what comes out of it.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::frame::{
    Admission, ChatEntry, ChatInfoReply, Direction, ErrorDetails, ErrorReply, InboxState, MemberEntry, Signal,
};
use crate::ids::{ChatId, Counter, Cursor, DeviceId, EntityId, Incarnation, Seq, SessionId, UserId};
use crate::text::Text;

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// This installation.
    pub device: DeviceId,
    /// The client's name and version, at most 64 bytes.
    pub name: Text,
    /// An access token.
    pub token: Text,
    /// What the application holds of its inbox; absent: live events only.
    pub inbox: Option<Cursor>,
    /// Bits of [`crate::frame::capabilities`].
    pub capabilities: u64,
    /// The first counter. It must be above every counter that this device ever used: microseconds of
    /// the wall clock at the start are, as long as nobody sends a million commands a second.
    pub counter: Counter,
    /// The longest wait between two attempts to connect, in milliseconds.
    pub backoff_max_ms: u64,
    /// Where the randomness of waits comes from.
    pub seed: u64,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<W> {
    /// Make a connection, beside the one that there may be and instead of one that is being made, then
    /// say [`super::ClientSession::connected`], or [`super::ClientSession::not_connected`] if there is
    /// none to be had.
    Connect {
        /// 0 for the first after a session that lived.
        attempt: u32,
        /// `host:port` that the server pointed to; empty: the usual one.
        address: Text,
    },
    /// Send what was taken so far and then this, and close the connection that frames are sent on, and
    /// what is being made. Nothing needs to be said about them any more.
    Close(Option<Bytes>),
    /// A request of the application has its answer.
    Answered(W, Result<Reply, Refusal>),
    /// Tell the application.
    Notice(Notice),
}

/// What the application learns without having asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The session is open.
    Connected {
        /// This connection.
        session: SessionId,
        /// Whose it is.
        user: UserId,
        /// Where the inbox is; `reset` says to drop what was kept of it.
        inbox: InboxState,
    },
    /// The connection is over.
    Disconnected {
        /// The server's code, if it said goodbye.
        code: Option<u16>,
        /// When the next attempt begins, in milliseconds; `None` if it waits for a token.
        retry_in_ms: Option<u64>,
    },
    /// It will not come back.
    Ended {
        /// Why.
        code: u16,
        /// For a person.
        text: Text,
    },
    /// A newer token is needed: soon, if the session is open; at once otherwise.
    TokenNeeded,
    /// A chat was resumed without the application asking.
    Resumed {
        /// The chat.
        chat: ChatId,
        /// Where its events go on.
        admission: Admission,
    },
    /// The next event of a chat or of the inbox.
    Event {
        /// The chat or inbox.
        entity: EntityId,
        /// One above the last one, unless [`Notice::Resumed`] or [`Notice::Connected`] said otherwise.
        seq: Seq,
        /// Canonical bytes.
        event: Bytes,
    },
    /// Events wait until the application reads faster.
    Lagging {
        /// The chat or inbox.
        entity: EntityId,
        /// Its last event.
        head: Seq,
    },
    /// A subscription is over.
    Lost {
        /// The chat or inbox.
        entity: EntityId,
        /// Why.
        code: u16,
        /// It was refused when it was to be resumed: what came last need not be the last that there was.
        resuming: bool,
    },
    /// An event of a chat that the protocol does not allow; it was dropped, and what is missing is asked for. No server
    /// that keeps the protocol is heard doing this: it is for whoever checks one.
    Unexpected {
        /// The chat.
        chat: ChatId,
        /// The event's.
        seq: Seq,
        /// What is wrong with it.
        how: Unexpected,
    },
    /// A signal of another session.
    Signal(Signal),
    /// The server did not take a command, or could not tell what became of it; it goes out again by itself.
    Repeating {
        /// The chat or inbox.
        entity: EntityId,
        /// The command's counter.
        counter: Counter,
        /// Why.
        code: u16,
        /// Not before so many milliseconds, as the server said; 0 if it did not say.
        retry_after_ms: u64,
    },
}

/// What is wrong with an event that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// The session has no subscription to the chat: none was admitted, or it is over.
    NotListening,
    /// It came before.
    Repeated,
    /// Events between are missing.
    Gap {
        /// The event that was due.
        expected: Seq,
    },
}

/// A page of history, its chunks put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The event store's incarnation.
    pub incarnation: Incarnation,
    /// The first event that the user may see.
    pub begins_at: Seq,
    /// The last event there is.
    pub head: Seq,
    /// Canonical bytes, in the direction asked for.
    pub events: Vec<Bytes>,
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was applied; its first event.
    Applied(Seq),
    /// The subscription began.
    Admitted(Admission),
    /// It is done and there is nothing to tell.
    Done,
    /// A page of events.
    Page(HistoryPage),
    /// A page of members.
    Members {
        /// Whether there are more.
        more: bool,
        /// The members.
        members: Vec<MemberEntry>,
    },
    /// A page of chats.
    Chats {
        /// Whether there are more.
        more: bool,
        /// The inbox's seq that the page reflects.
        inbox: Seq,
        /// The chats.
        chats: Vec<ChatEntry>,
    },
    /// A chat's state.
    ChatInfo(ChatInfoReply),
}

/// A request was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`ErrorCode`], or a newer one.
    pub code: u16,
    /// Not before this many milliseconds again.
    pub retry_after_ms: u64,
    /// What the server knows.
    pub details: Option<ErrorDetails>,
    /// For a person.
    pub text: Text,
}

impl From<ErrorReply> for Refusal {
    fn from(error: ErrorReply) -> Self {
        let ErrorReply { code, retry_after_ms, details, text, .. } = error;
        Self { code, retry_after_ms, details, text }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code: code as u16, retry_after_ms: 0, details: None, text: Text::from_static(code.text()) }
    }
}

/// A code without a text of its own, as in [`crate::frame::Synced`].
pub(super) fn refusal_of(code: u16, retry_after_ms: u64) -> Refusal {
    let text = ErrorCode::from_u16(code).map_or_else(Text::default, |known| Text::from_static(known.text()));
    Refusal { code, retry_after_ms, details: None, text }
}

/// A question that changes nothing, so it may be asked again at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A page of events.
    Page {
        /// The chat, or the own inbox.
        entity: EntityId,
        /// Rising or falling seqs.
        direction: Direction,
        /// The first one.
        from: Seq,
        /// At most 256.
        limit: u64,
    },
    /// A page of members.
    Members {
        /// The chat.
        chat: ChatId,
        /// Those behind this one.
        after: Option<UserId>,
        /// At most 256.
        limit: u64,
    },
    /// A page of the user's chats.
    Chats {
        /// Those behind this one.
        after: Option<ChatId>,
        /// At most 256.
        limit: u64,
    },
    /// A chat's state.
    ChatInfo(ChatId),
}
