//! What an application learns without having asked.

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::frame::{Admission, InboxState, Signal};
use panda_protocol::session::client::{Notice, Unexpected};
use panda_protocol::{ChatId, Counter, EntityId, Seq, SessionId, Text, UserId};
use tokio::sync::mpsc;

use crate::config::TransportKind;

/// The updates of one client, in their order. They wait up to a limit; while that many wait, the
/// client does not read its socket, and neither replies nor events arrive. So take them all the time,
/// not only while nothing is asked. Dropping this drops all further updates.
#[derive(Debug)]
pub struct Updates {
    pub(crate) updates: mpsc::Receiver<Update>,
}

impl Updates {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// The next update; `None` once the client ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A connection is being made.
    Connecting {
        /// How many were made since a session last lived.
        attempt: u32,
        /// How it is made.
        transport: TransportKind,
    },
    /// The session is open, and what the application asked for goes on.
    Connected {
        /// This connection.
        session: SessionId,
        /// Whose it is.
        user: UserId,
        /// Where the inbox is. `reset` says to drop what was kept of it.
        inbox: InboxState,
        /// Which server it is: 0 the first that the client was given, 1 the first of the others, and so on; `None` if a
        /// server named another address.
        server: Option<usize>,
    },
    /// The connection is over. Nothing that was asked for is lost.
    Disconnected {
        /// The server's code, if it said goodbye.
        code: Option<u16>,
        /// When the next attempt begins; `None` if it waits for a token.
        retry_in: Option<Duration>,
        /// Why no connection came about; `None` if there was one, or if `code` says why.
        reason: Option<Reason>,
    },
    /// The client will not come back by itself.
    Ended {
        /// Why.
        code: u16,
        /// For a person.
        text: Text,
    },
    /// Call [`crate::Client::refresh`] with a newer token. Without a connection the client waits for it;
    /// with one it works on, until the right that it has ends.
    TokenNeeded,
    /// A chat goes on after a new connection or a gap.
    Resumed {
        /// The chat.
        chat: ChatId,
        /// `start` says whether nothing is missing, there is a hole, or what was kept is to be dropped.
        admission: Admission,
    },
    /// The next event of a chat or of the inbox: in the order of seqs, each once.
    Event {
        /// The chat or inbox.
        entity: EntityId,
        /// Its number.
        seq: Seq,
        /// Canonical bytes; [`panda_protocol::event::Event::from_bytes`] reads them.
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
        /// Why; `not_member` after a removal.
        code: u16,
        /// It was refused when it was to be resumed: what came last need not be the last that there was.
        resuming: bool,
    },
    /// An event of a chat that the protocol does not allow: it was dropped, and what is missing is asked for. No server
    /// that keeps the protocol is heard doing this; an application may pass over it.
    Unexpected {
        /// The chat.
        chat: ChatId,
        /// The event's number.
        seq: Seq,
        /// What is wrong with it.
        how: Unexpected,
    },
    /// A signal of another session.
    Signal(Signal),
    /// The server did not take a command, or could not tell what became of it; it is sent again by itself.
    Repeating {
        /// The chat or inbox.
        entity: EntityId,
        /// The command's counter.
        counter: Counter,
        /// One of [`panda_protocol::ErrorCode`], or a newer one.
        code: u16,
        /// The wait that the server asked for; zero if it named none.
        retry_after: Duration,
    },
}

/// Why no connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The server's certificate was refused: the next attempt by this transport will fail, too.
    pub is_certificate: bool,
    /// For a person: English, without a full stop.
    pub text: Text,
}

impl From<Notice> for Update {
    fn from(notice: Notice) -> Self {
        match notice {
            // The task knows which one it dialed.
            Notice::Connected { session, user, inbox } => Self::Connected { session, user, inbox, server: None },
            Notice::Disconnected { code, retry_in_ms } => {
                Self::Disconnected { code, retry_in: retry_in_ms.map(Duration::from_millis), reason: None }
            }
            Notice::Ended { code, text } => Self::Ended { code, text },
            Notice::TokenNeeded => Self::TokenNeeded,
            Notice::Resumed { chat, admission } => Self::Resumed { chat, admission },
            Notice::Event { entity, seq, event } => Self::Event { entity, seq, event },
            Notice::Lagging { entity, head } => Self::Lagging { entity, head },
            Notice::Lost { entity, code, resuming } => Self::Lost { entity, code, resuming },
            Notice::Unexpected { chat, seq, how } => Self::Unexpected { chat, seq, how },
            Notice::Signal(signal) => Self::Signal(signal),
            Notice::Repeating { entity, counter, code, retry_after_ms } => {
                Self::Repeating { entity, counter, code, retry_after: Duration::from_millis(retry_after_ms) }
            }
        }
    }
}
