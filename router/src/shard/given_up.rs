//! Why an owner's term ends before its router does.

/// What made an owner give its shard up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// A later Takeover of another router stands in the log.
    #[error("router {router:016x} took the shard over")]
    TakenOver {
        /// That router.
        router: u64,
    },
    /// A record is of a version or kind that this router does not know.
    #[error("a record of the log is of a version or kind that this router does not know")]
    UnknownRecord,
    /// The shard's rules were raised beyond what this router knows.
    #[error("the shard's rules are of version {version}, and this router knows them up to {known}")]
    UnknownRules {
        /// The version that holds from here on.
        version: u16,
        /// The newest that this router knows.
        known: u16,
    },
}

impl GivenUp {
    /// Whether only another release of the router can own the shard: a new term of this one would end
    /// where this term did.
    pub const fn needs_upgrade(self) -> bool {
        matches!(self, Self::UnknownRecord | Self::UnknownRules { .. })
    }
}
