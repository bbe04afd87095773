//! Error codes: one table for replies, Bye, GoAway and the HTTP API.
//!
//! The range says what a client does next, so that an unknown code of a newer server still does:
//!
//! | range | what the client does |
//! |---|---|
//! | 1000-1099 | the connection is over: come back at once, with the ticket |
//! | 1100-1199 | the connection is over: come back with full-jitter backoff, not before `retry_after` |
//! | 1200-1299 | the connection is over: get a new access token first |
//! | 1300-1399 | the connection is over: do not come back; a person or a new version must act |
//! | 2000-2099 | the request was refused and did not happen: repeat it unchanged, not before `retry_after` |
//! | 2100-2199 | the request may still happen: send the same counter again to learn |
//! | 2200-2299 | the request was refused for good: tell the user |
//! | 2300-2399 | the request does not fit what the server knows of this sender: the details say how to go on |

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $text:literal;)+) => {
        /// Why something was refused or ended. The number is stable; the text is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $code,)+
        }

        impl ErrorCode {
            /// Every code there is, in rising order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code of this number, if this version knows it.
            pub const fn from_u16(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The code of this number; for one that only a newer version knows, the code of its range
            /// that asks the same of a client.
            pub const fn from_u16_or_alike(code: u16) -> Self {
                match Self::from_u16(code) {
                    Some(known) => known,
                    None => Recovery::of(code).alike(),
                }
            }

            /// The stable name that logs, metrics and the HTTP API use.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// What it means and what to do, in a sentence for a person.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

error_codes! {
    /// The server drains or the client says goodbye.
    Going = 1000, "going", "This server is going down for maintenance; connect again.";
    /// The server takes no more connections or handshakes now.
    Overloaded = 1100, "overloaded", "The server is at its limit; wait and try again.";
    /// The peer was silent for longer than the heartbeat allows.
    HeartbeatTimeout = 1101, "heartbeat_timeout", "Nothing was heard for longer than the heartbeat allows; connect again.";
    /// The client did not authenticate in time.
    HandshakeTimeout = 1102, "handshake_timeout", "The Hello did not come in time; connect again and send it at once.";
    /// The server met a defect of its own in this connection.
    Internal = 1103, "internal", "The server made a mistake and closed this connection; connect again.";
    /// Too many connections from one address.
    TooManyConnections = 1104, "too_many_connections", "Too many connections come from this address; close some or wait.";
    /// What is stored of the user's inbox is damaged.
    InboxDamaged = 1105, "inbox_damaged", "What is stored of your inbox is damaged: who runs this service has to mend it; connect again later.";
    /// The access token's time is over.
    TokenExpired = 1200, "token_expired", "The access token has expired; log in or refresh it.";
    /// The access token is not one of this deployment's.
    TokenInvalid = 1201, "token_invalid", "The access token is not valid here; log in again.";
    /// The ticket cannot be opened or its time is over: use the access token.
    TicketInvalid = 1202, "ticket_invalid", "The resume ticket is not valid any more; connect with an access token.";
    /// A newer session of the same device took over.
    Replaced = 1300, "replaced", "A newer connection of this device replaced this one; use that one.";
    /// Bytes that are not a frame.
    Malformed = 1301, "malformed", "The bytes are not a valid frame of this protocol; the client has a defect.";
    /// A frame above its size limit.
    FrameTooLarge = 1302, "frame_too_large", "A frame is larger than the limit that Welcome named; the client has a defect.";
    /// No version in common.
    VersionUnsupported = 1303, "version_unsupported", "Client and server have no protocol version in common; update the older one.";
    /// A known frame at a moment when it is not allowed.
    UnexpectedFrame = 1304, "unexpected_frame", "This frame is not allowed now; the client has a defect.";
    /// A text message on the binary WebSocket.
    TextMessage = 1305, "text_message", "This WebSocket carries binary messages only; the client has a defect.";
    /// An unknown frame type outside of the ignorable range.
    UnknownFrame = 1306, "unknown_frame", "The frame type is unknown to this version; update the older side.";
    /// The page's origin may not connect.
    OriginRefused = 1307, "origin_refused", "Pages of this origin may not connect; the operator can allow it.";
    /// The user was deactivated or the session revoked.
    Revoked = 1308, "revoked", "This session was ended by its user or an operator; log in again.";
    /// Nothing was appended; it did not happen.
    Unavailable = 2000, "unavailable", "The service cannot take this now and nothing happened; repeat it later.";
    /// The sender is faster than its limit.
    RateLimited = 2001, "rate_limited", "Too many requests; wait as long as retry_after says.";
    /// Too many requests wait for their reply.
    TooManyInFlight = 2002, "too_many_in_flight", "Too many requests are waiting; wait for replies first.";
    /// The shard is behind and takes no sends.
    Backlogged = 2003, "backlogged", "The service is catching up and takes no new commands; repeat it later.";
    /// What is stored of the chat or inbox is damaged, so it cannot be read; nothing happened.
    Damaged = 2004, "damaged", "What is stored of this chat or inbox is damaged: who runs this service has to mend it; try again later.";
    /// Appended, but its outcome did not come.
    OutcomeUnknown = 2100, "outcome_unknown", "It may still happen; send it again with the same counter to learn.";
    /// This copy of the command made nothing, and nobody knows why: another may have.
    NotApplied = 2101, "not_applied", "Nothing came of this copy; send it again with the same counter to learn.";
    /// Appended, and not decided: what is stored of the chat or inbox is damaged. It may be once that is mended, where the
    /// log is kept for so long.
    Held = 2102, "held", "What is stored of this chat or inbox is damaged: who runs this service has to mend it; this may still happen then.";
    /// A field's value is not allowed.
    InvalidRequest = 2200, "invalid_request", "A value in this request is not allowed.";
    /// No such chat, or not one that the user may see.
    NotFound = 2201, "not_found", "There is no such thing, or you may not see it.";
    /// The user is not a member.
    NotMember = 2202, "not_member", "You are not a member of this chat.";
    /// The member's role does not allow it.
    Forbidden = 2203, "forbidden", "Your role does not allow this.";
    /// A limit of the chat or user is reached.
    LimitReached = 2204, "limit_reached", "A limit is reached; remove something first.";
    /// Larger than its limit.
    TooLarge = 2205, "too_large", "This is larger than its limit.";
    /// Too many subscriptions in this session.
    TooManySubscriptions = 2206, "too_many_subscriptions", "This session has as many subscriptions as it may; unsubscribe first.";
    /// The name or address is taken.
    Taken = 2207, "taken", "This name is taken; choose another.";
    /// Wrong username or password.
    BadCredentials = 2208, "bad_credentials", "The username or the password is wrong.";
    /// Not authenticated.
    Unauthenticated = 2209, "unauthenticated", "This needs a valid access token or API key.";
    /// The row changed since it was read.
    VersionConflict = 2210, "version_conflict", "It was changed by somebody else meanwhile; read it again.";
    /// The counter was used for something else.
    CounterReused = 2300, "counter_reused", "This counter was used for another command; take the next one.";
    /// The counter does not follow the last applied one.
    OutOfOrder = 2301, "out_of_order", "The command does not follow the last applied one; go on from the counter in the details.";
    /// There is nothing to do; the details name the event that did it.
    NothingToDo = 2302, "nothing_to_do", "It is so already; the details name the event.";
}

/// What a client does after an error, by the code's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Connect again at once, with the ticket.
    Reconnect,
    /// Connect again after a full-jitter backoff, not before `retry_after`.
    BackOff,
    /// Get a new access token, then connect.
    Authenticate,
    /// Do not connect again.
    Stop,
    /// Repeat the request unchanged, not before `retry_after`.
    Repeat,
    /// Send the same counter again to learn the outcome.
    Ask,
    /// The request failed for good.
    Fail,
    /// The error's details say how to go on.
    Adjust,
}

impl Recovery {
    /// What to do for a code, known or not. A code of no range fails the request.
    pub const fn of(code: u16) -> Self {
        match code {
            1000..=1099 => Self::Reconnect,
            1100..=1199 => Self::BackOff,
            1200..=1299 => Self::Authenticate,
            1300..=1399 => Self::Stop,
            2000..=2099 => Self::Repeat,
            2100..=2199 => Self::Ask,
            2300..=2399 => Self::Adjust,
            _ => Self::Fail,
        }
    }

    /// The plainest code of the range.
    const fn alike(self) -> ErrorCode {
        match self {
            Self::Reconnect => ErrorCode::Going,
            Self::BackOff => ErrorCode::Internal,
            Self::Authenticate => ErrorCode::TokenInvalid,
            Self::Stop => ErrorCode::UnexpectedFrame,
            Self::Repeat => ErrorCode::Unavailable,
            Self::Ask => ErrorCode::OutcomeUnknown,
            Self::Fail => ErrorCode::InvalidRequest,
            Self::Adjust => ErrorCode::OutOfOrder,
        }
    }
}

impl core::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.label(), *self as u16)
    }
}
