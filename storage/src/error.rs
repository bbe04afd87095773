//! What can go wrong in a store, shaped by what the caller can do about it.

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away or too slow; the same call may work later. A write may or may not have happened.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// There is no room left; nothing is lost, and the same call may work once there is.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// A value that is stored is not what was written: a person must look. Who asks for another one may go on.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The log does not have what is to be read: it ends before that, or begins behind it.
    #[error("{0}")]
    Gone(String),
    /// The store as a whole cannot be used: a file of it is not what was written, or it does not understand a request.
    /// That says nothing about the value that was asked for; a person must look.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// The call breaks a limit of the store: nothing was stored, and no repetition helps.
    #[error("beyond a limit of the store: {0}")]
    Limit(String),
    /// The store is not what the configuration says, or refuses this program: a person must change
    /// one of them.
    #[error("{0}")]
    Misconfigured(String),
    /// The data was written by a newer version; this one must not touch it.
    #[error(
        "{what} has version {found}, and this program knows versions up to {known}: start a newer panda, or name another folder, database or keyspace"
    )]
    Newer {
        /// What was opened.
        what: String,
        /// Its version.
        found: u32,
        /// The highest version that this program knows.
        known: u32,
    },
    /// Another process has the data open.
    #[error("{0} is in use by another process: stop that one, or name another folder")]
    Locked(String),
    /// A part of this program that serves the store broke: only a new start of the process helps.
    #[error("{0}; this is a fault of this program: start it again, and report what its log says")]
    Broken(String),
    /// The store was stopped.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may work later without anybody's help.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }
}
