//! What can be wrong, told with the evidence.

use std::fmt;
use std::time::Duration;

use panda_protocol::session::client::Unexpected;
use panda_protocol::{ChatId, Counter, DeviceId, Seq, UserId};

/// Who showed an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This session, live.
    Session(u32),
    /// The store, read back by pages.
    Store,
    /// The store at the end of an earlier run.
    Earlier,
    /// An answer to a request of this session.
    Answer(u32),
    /// An HTTP answer to the user of this session.
    Http {
        /// The session.
        session: u32,
        /// The target that answered, counted from 1.
        target: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(number) => write!(f, "session {number}"),
            Self::Store => f.write_str("the store"),
            Self::Earlier => f.write_str("the earlier run"),
            Self::Answer(number) => write!(f, "session {number}, in an answer,"),
            Self::Http { session, target } => write!(f, "the user of session {session}, over HTTP at target {target},"),
        }
    }
}

/// A violation and the chat in which it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub chat: ChatId,
    /// What.
    pub violation: Violation,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chat {}: {}", self.chat, self.violation)
    }
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Events between are missing.
    Gap { source: Source, expected: u64, got: u64 },
    /// The last event came again.
    Repeated { source: Source, seq: u64 },
    /// An earlier event came after a later one.
    Reordered { source: Source, expected: u64, got: u64 },
    /// The stream did not begin where the admission said.
    WrongStart { session: u32, said: u64, got: u64 },
    /// The stream ended before the chat's last event.
    Behind { session: u32, next: u64, head: u64 },
    /// An event for a chat to which the session does not listen.
    NotListening { session: u32, seq: u64 },
    /// A server broke the protocol on a session's connection.
    Breach { session: u32, why: String },
    /// Two sources showed other bytes under one seq.
    Divergence { seq: u64, one: Source, one_digest: u64, other: Source, other_digest: u64 },
    /// The bytes are not an event, or one of another seq.
    Unreadable { source: Source, seq: u64, problem: String },
    /// An acked send is not at the seq of its ack.
    LostAck { device: DeviceId, counter: Counter, acked: u64, there: String },
    /// One send made two messages.
    Duplicate { device: DeviceId, counter: Counter, first: u64, second: u64 },
    /// A message has another text than was sent.
    Altered { device: DeviceId, counter: Counter, seq: u64, sent_digest: u64, got_digest: u64 },
    /// A sender's later message stands before its earlier one.
    SenderOrder { device: DeviceId, counter: Counter, seq: u64, later_device: DeviceId, later_counter: Counter },
    /// A refused send is there all the same.
    RefusedButThere { device: DeviceId, counter: Counter, code: u16, seq: u64 },
    /// A message of one of our devices, or in a chat where only we send, that nobody sent.
    NeverSent { device: DeviceId, counter: Counter, seq: u64 },
    /// Delivered live, or stored once, but the store does not have it.
    NotStored { seq: u64, begins_at: u64, head: u64 },
    /// A message of the transcript was refused for good.
    NotTaken { user: u32, code: u16, text_digest: u64 },
    /// A GET behind the answer to a POST does not show what was posted. Targets are counted from 1.
    ReadMissed { seq: u64, posted_at: usize, read_at: usize, head: u64, there: String },
    /// A GET of a member was refused for good.
    ReadRefused { seq: u64, read_at: usize, code: u16 },
    /// Somebody got an event that its user may not see. `member` says when the user was one.
    NotVisible { source: Source, seq: u64, at: Duration, member: String },
    /// Somebody was told another first visible event than the membership gives.
    WrongGrant { source: Source, said: u64, member: String },
    /// What was asked for by who is no member was done.
    NotRefused { source: Source, at: Duration, member: String },
    /// A member was refused, or who is none was refused with another code than that.
    WrongRefusal { source: Source, code: u16, at: Duration, member: String },
    /// A removed user's session was not told that its subscription is over.
    NotEnded { session: u32, removed: u64 },
    /// An answer does not show an event that was acked before it was asked for, and that the user may see.
    NotShown { source: Source, seq: u64, at: Duration },
    /// A send is there as another user's.
    OtherActor { device: DeviceId, counter: Counter, seq: u64, user: UserId, actor: UserId },
    /// A message of a user who was no member where it stands.
    SentWhileOut { seq: u64, actor: UserId, member: String },
    /// An acked change of a membership is not at the seq of its ack.
    LostChange { user: UserId, acked: u64, there: String },
    /// A change of a membership that must be possible was refused for good.
    ChangeRefused { user: UserId, code: u16 },
    /// A membership changed, and nobody had asked for it.
    NobodyAsked { user: UserId, seq: u64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { source, expected, got } => {
                write!(
                    f,
                    "GAP: {source} got seq {got} where {expected} was due ({} missing)",
                    got.saturating_sub(*expected)
                )
            }
            Self::Repeated { source, seq } => write!(f, "REPEATED: {source} got seq {seq} twice"),
            Self::Reordered { source, expected, got } => {
                write!(f, "REORDERED: {source} got seq {got} where {expected} was due")
            }
            Self::WrongStart { session, said, got } => {
                write!(f, "WRONG START: session {session} was told that events begin at seq {said}, not {got}")
            }
            Self::Behind { session, next, head } => {
                write!(f, "MISSING: session {session} never got seq {next} to {head}")
            }
            Self::NotListening { session, seq } => {
                write!(f, "NOT LISTENING: session {session} got seq {seq} without a subscription")
            }
            Self::Breach { session, why } => write!(f, "BREACH of the protocol, to session {session}: {why}"),
            Self::Divergence { seq, one, one_digest, other, other_digest } => {
                write!(f, "DIVERGENCE: seq {seq} is {one_digest:016x} in {one} and {other_digest:016x} in {other}")
            }
            Self::Unreadable { source, seq, problem } => write!(f, "UNREADABLE: seq {seq} of {source}: {problem}"),
            Self::NotStored { seq, begins_at, head } => {
                write!(f, "NOT STORED: seq {seq} was there; the store has {begins_at} to {head}")
            }
            Self::NotTaken { user, code, text_digest } => {
                write!(f, "NOT TAKEN: the text {text_digest:016x} of user {user} was refused with {code}")
            }
            sent => sent.fmt_send(f),
        }
    }
}

impl Violation {
    /// What a session's client says of an event that it dropped.
    pub fn unexpected(session: u32, seq: Seq, how: Unexpected) -> Self {
        let (source, seq) = (Source::Session(session), seq.0);
        match how {
            Unexpected::NotListening => Self::NotListening { session, seq },
            Unexpected::Repeated => Self::Repeated { source, seq },
            Unexpected::Gap { expected } => Self::Gap { source, expected: expected.0, got: seq },
        }
    }

    /// Those that concern one send, named by its device and counter.
    fn fmt_send(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostAck { device, counter, acked, there } => {
                write!(f, "LOST ACK: send {counter} of device {device} was acked at seq {acked}; there is {there}")
            }
            Self::Duplicate { device, counter, first, second } => {
                write!(f, "DUPLICATE: send {counter} of device {device} is at seq {first} and at seq {second}")
            }
            Self::Altered { device, counter, seq, sent_digest, got_digest } => write!(
                f,
                "ALTERED: send {counter} of device {device} had the text {sent_digest:016x}, seq {seq} has {got_digest:016x}"
            ),
            Self::SenderOrder { device, counter, seq, later_device, later_counter } => write!(
                f,
                "SENDER ORDER: send {counter} of device {device} is at seq {seq}, behind send {later_counter} of device {later_device}, which was sent later"
            ),
            Self::RefusedButThere { device, counter, code, seq } => {
                write!(
                    f,
                    "REFUSED BUT THERE: send {counter} of device {device} was refused with {code} and is at seq {seq}"
                )
            }
            Self::OtherActor { device, counter, seq, user, actor } => {
                write!(
                    f,
                    "OTHER ACTOR: send {counter} of device {device} is of {user}, and at seq {seq} as one of {actor}"
                )
            }
            Self::NeverSent { device, counter, seq } => {
                write!(f, "NEVER SENT: seq {seq} says it is send {counter} of device {device}, which did not send it")
            }
            other => other.fmt_membership(f),
        }
    }

    /// Those that concern who is a member.
    fn fmt_membership(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadMissed { seq, posted_at, read_at, head, there } => write!(
                f,
                "READ MISSED: target {posted_at} answered a POST with seq {seq}; a GET at target {read_at} behind it shows {there} there (head {head})"
            ),
            Self::ReadRefused { seq, read_at, code } => {
                write!(f, "READ REFUSED: a member's GET of seq {seq} at target {read_at} was refused with {code}")
            }
            Self::NotVisible { source, seq, at, member } => {
                write!(f, "NOT VISIBLE: {source} got seq {seq} at {at:.3?}; the user {member}")
            }
            Self::NotShown { source, seq, at } => {
                write!(
                    f,
                    "NOT SHOWN: {source} was answered at {at:.3?} without seq {seq}, which was acked before it asked"
                )
            }
            Self::WrongGrant { source, said, member } => {
                write!(
                    f,
                    "WRONG GRANT: {source} was told that events are visible from seq {said} on; the user {member}"
                )
            }
            Self::NotRefused { source, at, member } => {
                write!(f, "NOT REFUSED: {source} was served at {at:.3?}; the user {member}")
            }
            Self::WrongRefusal { source, code, at, member } => {
                write!(f, "WRONG REFUSAL: {source} was refused with {code} at {at:.3?}; the user {member}")
            }
            Self::NotEnded { session, removed } => {
                write!(f, "NOT ENDED: session {session} was not told of its removal at seq {removed}")
            }
            Self::SentWhileOut { seq, actor, member } => {
                write!(f, "SENT WHILE OUT: seq {seq} is a message of {actor}, who {member}")
            }
            Self::LostChange { user, acked, there } => {
                write!(f, "LOST CHANGE: a change of {user} was acked at seq {acked}; there is {there}")
            }
            Self::ChangeRefused { user, code } => {
                write!(f, "CHANGE REFUSED: a change of {user} was refused with {code}")
            }
            Self::NobodyAsked { user, seq } => {
                write!(f, "NOBODY ASKED: seq {seq} changes the membership of {user}, which nobody asked for")
            }
            _ => Ok(()),
        }
    }
}
