//! Sessions that cost next to nothing at the client's end: no task, no channel and no buffer each, but a seat in a table and
//! a socket of the [`crate::engine`]. A million of them are held by a few processes, an [`crate::agent`] each.
//!
//! A session says Hello and Sync in one flight, answers and sends heartbeats from one wheel of its agent, and, where it is
//! one of those that are checked, reports all that it sees to the controller, which judges every chat in one place.

mod away;
mod deck;
mod driver;
mod held;
mod job;
mod layout;
mod pace;
mod told;
mod wheel;

pub use deck::Deck;
pub use driver::Lean;
pub use job::Job;
pub use layout::{CHAT_MEMBERS, Layout, Place, SESSION_CHATS};
pub use pace::Pace;
pub use told::{Second, Seen};
use wheel::Wheel;
