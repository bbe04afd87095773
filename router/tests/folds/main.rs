//! What each command does and when it is refused, and the exact bytes of the events that it makes.

mod chats;
mod golden;
mod inboxes;
mod log;
mod windows;
