//! Between edges and routers: the record of a command in the log, and the frames of a link.
//!
//! `LINK.md` is the law. One release of skew is allowed: what an older peer does not know it ignores.

mod frame;
mod record;

pub use frame::{Admit, Admitted, Answer, Down, Events, LinkEvent, Outcome, Read, ReadQuery, ReadReply, Rejection, Up};
pub use record::{CommandOrigin, CommandRecord, Effect, LinkId, Record};
