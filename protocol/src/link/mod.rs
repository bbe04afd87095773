//! Between edges and routers: the record of a command in the log, and the frames of a link.
//!
//! `LINK.md` is the law. One release of skew is allowed: what an older peer does not know it ignores.

mod frame;
mod opening;
mod record;
mod wire;

pub use frame::{
    Admit, Admitted, Answer, Down, Events, JOINING_USERS_MAX, LinkEvent, Membership, Opens, Outcome,
    RESUME_ENTITIES_MAX, Read, ReadQuery, ReadReply, Rejection, Resume, Up,
};
pub use opening::{
    ALIVE, ALIVE_EVERY_MS, Challenge, LINK_VERSION, LinkKey, OPENING_TIMEOUT_MS, Open, Opened, Opening, Refused,
    SILENCE_MAX_MS,
};
pub use record::{CommandOrigin, CommandRecord, Effect, LinkId, Record};
pub use wire::{LINK_FRAME_BYTES_MAX, LINK_FRAME_TYPES};
