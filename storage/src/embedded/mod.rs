//! The default implementations: one process, one data folder, no services.

mod cache;
mod command_log;
pub mod disk;
pub mod events;
mod folder;
mod ownership;
pub mod users;

pub use cache::MemoryCache;
pub use command_log::{EmbeddedGroup, EmbeddedLog, EmbeddedReader};
pub use events::EmbeddedEvents;
pub use folder::DataFolder;
pub use ownership::{MemoryBoard, MemoryWatch};
pub use users::SqliteUsers;
