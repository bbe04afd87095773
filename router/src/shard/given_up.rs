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
    /// The owner before went on from the checkpoint at which this term began, and the log does not go on behind that.
    #[error("the owner before went on from where this term began")]
    Outrun,
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
    /// So much of what is stored cannot be read that it is not some rows.
    #[error("what is stored of more than {entities} of the shard's chats and inboxes is damaged")]
    Damaged {
        /// As many were refused before.
        entities: usize,
    },
    /// The next epoch of the log was opened while this router was not in its group.
    #[error("epoch {open} of the log was opened while this router did not hear from its log")]
    EpochOver {
        /// The epoch that is open.
        open: u32,
    },
}

impl GivenUp {
    /// Whether a new term of this process would end where this term did: only another release, or a start
    /// over the log of the open epoch, can own the shard.
    pub const fn is_for_good(self) -> bool {
        !matches!(self, Self::TakenOver { .. } | Self::Outrun)
    }

    /// What whoever runs the router is to do about it.
    pub const fn mend(self) -> &'static str {
        match self {
            Self::TakenOver { .. } => "wait: whoever took it runs it",
            Self::Outrun => "wait: it begins behind that",
            Self::UnknownRecord | Self::UnknownRules { .. } => "upgrade it, and start it again",
            Self::EpochOver { .. } => "start it again",
            Self::Damaged { .. } => "mend the event store as its log says, then start it again",
        }
    }
}
