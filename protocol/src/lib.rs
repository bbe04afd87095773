//! The wire and nothing else: identifiers, limits, frames, events, link frames and the session
//! state machines of both ends.
//!
//! There is no I/O, no clock and no runtime in this crate: callers pass `now` and bytes. `no_std`
//! proves it. `SPEC.md`, `EVENTS.md` and `LINK.md` beside this crate are the law; the code follows them.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod codec;
pub mod error_code;
pub mod event;
pub mod frame;
pub mod framing;
pub mod ids;
pub mod limits;
pub mod link;
pub mod login_id;
pub mod session;
pub mod text;
pub mod trace;

pub use codec::{DecodeError, Reader, Writer};
pub use error_code::ErrorCode;
pub use ids::{
    ChatId, Counter, Cursor, DeviceId, EntityId, Generation, Incarnation, Position, Seq, SessionId, ShardId, Time,
    UserId,
};
pub use login_id::LoginId;
pub use text::Text;
pub use trace::TraceContext;
