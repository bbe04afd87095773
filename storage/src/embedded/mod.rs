//! The default implementations: one process, one data folder, no services.

mod cache;
pub mod users;

pub use cache::MemoryCache;
pub use users::SqliteUsers;
