//! What is asked of the server, beside the loop, so that updates are taken meanwhile.

mod deeds;
mod perform;

pub(super) use deeds::{Act, Deed, do_in_order};
pub(super) use perform::Desk;

use panda_client::RequestError;
use panda_protocol::error_code::ErrorCode;
use panda_protocol::event::{Event, Role};
use panda_protocol::frame::{Admission, ChatEntry};
use panda_protocol::{ChatId, Seq, UserId};

/// Something to ask or to do. A `line` is the number of the typed line that is owed an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Which chats the person is in.
    Chats,
    /// What a chat is called, and its events from behind `after`, or from now on.
    Enter {
        chat: ChatId,
        after: Option<Seq>,
    },
    /// Events from `from` down.
    Page {
        chat: ChatId,
        from: Seq,
        limit: u64,
        purpose: Purpose,
    },
    Members {
        chat: ChatId,
        line: u64,
    },
    /// A group with people by their `@names`.
    Create {
        line: u64,
        name: String,
        members: Vec<String>,
    },
    /// The direct chat with an `@name`.
    Direct {
        line: u64,
        peer: String,
    },
    MarkRead {
        chat: ChatId,
        read: Seq,
    },
    /// Tells the others that the person types, or no longer does.
    Typing {
        chat: ChatId,
        is_typing: bool,
    },
    /// A user's name.
    Name(UserId),
    /// A newer token, by the refresh token or by logging in again.
    LogIn,
    /// Gives the newer token to the server.
    Refresh,
}

impl Request {
    /// Whether others see what comes of it, so that it is not given up when the person leaves.
    pub(super) const fn makes_chat(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Direct { .. })
    }
}

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To know what came last.
    Newest,
    /// The person scrolls up.
    Older,
    /// The person asked for it by `/history` in this line.
    History(u64),
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageDone {
    /// The seqs of the page's last and first event; `None` if it has none.
    pub(super) ends: Option<(Seq, Seq)>,
    /// The first event that the person may see.
    pub(super) begins_at: Seq,
    /// Those that this version can read.
    pub(super) events: Vec<Event>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Done {
    /// Nothing to show.
    Quietly,
    Entered(Box<Entered>),
    NotEntered {
        chat: ChatId,
        /// The person is not in it.
        is_gone: bool,
        why: String,
    },
    /// The person's chats.
    Chats(Vec<ChatEntry>),
    /// A chat that the person made, or that was there.
    Made {
        chat: ChatId,
        line: u64,
    },
    Page {
        chat: ChatId,
        purpose: Purpose,
        outcome: Result<PageDone, String>,
    },
    Members {
        line: u64,
        members: Vec<(UserId, Role)>,
        more: bool,
    },
    /// A message is stored, or why not.
    Said {
        chat: ChatId,
        line: u64,
        outcome: Result<Seq, String>,
    },
    /// What this line changes is stored, as this event.
    Changed {
        chat: ChatId,
        line: u64,
        seq: Seq,
    },
    /// What this line asks for is not done, and why.
    Undone {
        line: u64,
        why: String,
    },
    /// MarkRead was answered; if well, the person has read up to this event.
    Marked {
        chat: ChatId,
        read: Option<Seq>,
    },
    Named {
        user: UserId,
        name: Option<String>,
    },
    Token(String),
    Failed(String),
}

/// The person is in a chat and gets its events.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) chat: ChatId,
    pub(super) name: String,
    /// The other one of a direct chat, by name.
    pub(super) peer: Option<(UserId, Option<String>)>,
    pub(super) admission: Admission,
    /// Events are sent from behind this one; `None`: from now on.
    pub(super) after: Option<Seq>,
}

/// A refusal for a person.
pub(super) fn words(error: &RequestError) -> String {
    match error {
        // Their own texts speak of fields that a program reads.
        RequestError::Refused { code, details: Some(details), .. }
            if *code == ErrorCode::NothingToDo as u16 && details.seq > Seq(0) =>
        {
            format!("it is so already, since event {} of this chat", details.seq.0)
        }
        RequestError::Refused { code, retry_after_ms: wait @ 1.., .. } if *code == ErrorCode::RateLimited as u16 => {
            format!("too many requests; again in {} s", wait.div_ceil(1000))
        }
        RequestError::Refused { text, code, .. } if text.is_empty() => code_words(*code),
        RequestError::Refused { text, .. } => text.to_string(),
        RequestError::Ended => "the connection has ended; start panda chat again".to_owned(),
    }
}

/// What a code means, for a person.
pub(super) fn code_words(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| format!("the server says {code}"), |known| known.text().to_owned())
}

#[cfg(test)]
mod tests {
    use panda_protocol::Counter;
    use panda_protocol::frame::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_says_what_the_server_knows() {
        let refused = |code: ErrorCode, retry_after_ms, seq, text: &str| {
            let details = Some(ErrorDetails { counter: Counter(0), seq: Seq(seq) });
            words(&RequestError::Refused { code: code as u16, retry_after_ms, details, text: text.into() })
        };
        assert_eq!(refused(ErrorCode::NothingToDo, 0, 12, "x"), "it is so already, since event 12 of this chat");
        assert_eq!(refused(ErrorCode::RateLimited, 1001, 0, "x"), "too many requests; again in 2 s");
        assert_eq!(refused(ErrorCode::Forbidden, 0, 0, "not on Sundays"), "not on Sundays");
        assert_eq!(refused(ErrorCode::Forbidden, 0, 0, ""), ErrorCode::Forbidden.text());
    }
}
