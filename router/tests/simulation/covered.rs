//! What the seeds met.

/// What the seeds met, so that a run shows that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Covered {
    pub(crate) seeds: usize,
    pub(super) records: usize,
    pub(super) events: usize,
    pub(super) crashes: usize,
    pub(super) takeovers: usize,
    pub(super) delivered: usize,
    pub(super) acks: usize,
    /// Commands of which a bucket's end made two writes.
    pub(super) crossings: usize,
    /// Those of which a crash left the lower write alone.
    pub(super) half_commands: usize,
    /// Owners that met rules which they do not know.
    pub(super) outdated: usize,
    /// Events made under the second version.
    pub(super) under_second: usize,
    /// Commands on which the rules panicked.
    pub(super) panics: usize,
    /// And on which the release of a later owner did not break.
    pub(super) mended: usize,
    /// Owners that took their shard again.
    pub(super) again: usize,
    /// Reads that were answered.
    pub(super) reads: usize,
    /// Reads and admissions that were refused.
    pub(super) refusals: usize,
    /// Takeovers that began at a checkpoint, behind the epoch's first record.
    pub(super) checkpoints: usize,
    /// Epochs that ended in the middle of their log.
    pub(super) cuts: usize,
    /// Owners that met the end of their epoch before they could release anything.
    pub(super) epochs_over: usize,
    /// Interests that an edge stated to an owner with a watermark.
    pub(super) resumes: usize,
    /// Links that broke while their owner went on.
    pub(super) broken_links: usize,
    /// Times that what is stored of an entity could not be read any more.
    pub(super) damages: usize,
    /// Commands that wait until it can.
    pub(super) held: usize,
    /// Reads and admissions that were refused because of it.
    pub(super) unreadable: usize,
    /// Chats and inboxes that left an owner's memory.
    pub(super) evictions: usize,
    /// Admissions to chats by a proof.
    pub(super) proven: usize,
    /// Admissions to what was not in memory, without a load.
    pub(super) unloaded: usize,
    /// Sessions that one owner admitted and another one served to the end.
    pub(super) kept: usize,
}

impl Covered {
    pub(crate) fn add(&mut self, other: Self) {
        self.seeds += 1;
        self.records += other.records;
        self.events += other.events;
        self.crashes += other.crashes;
        self.takeovers += other.takeovers;
        self.delivered += other.delivered;
        self.acks += other.acks;
        self.crossings += other.crossings;
        self.half_commands += other.half_commands;
        self.outdated += other.outdated;
        self.under_second += other.under_second;
        self.panics += other.panics;
        self.mended += other.mended;
        self.again += other.again;
        self.reads += other.reads;
        self.refusals += other.refusals;
        self.checkpoints += other.checkpoints;
        self.cuts += other.cuts;
        self.epochs_over += other.epochs_over;
        self.resumes += other.resumes;
        self.broken_links += other.broken_links;
        self.damages += other.damages;
        self.held += other.held;
        self.unreadable += other.unreadable;
        self.evictions += other.evictions;
        self.proven += other.proven;
        self.unloaded += other.unloaded;
        self.kept += other.kept;
    }

    /// A fault that no seed meets is not tested.
    pub(crate) fn check_reached(&self) {
        for (count, what) in [
            (self.crashes, "crashes"),
            (self.takeovers, "takeovers"),
            (self.delivered, "delivered events"),
            (self.acks, "answers"),
            (self.crossings, "commands over a bucket's end"),
            (self.half_commands, "commands stored in part"),
            (self.outdated, "owners of older rules"),
            (self.under_second, "events under the second rules"),
            (self.panics, "panics of the rules"),
            (self.mended, "panics of rules that were mended"),
            (self.again, "owners that took their shard again"),
            (self.reads, "reads"),
            (self.refusals, "refusals of reads"),
            (self.checkpoints, "starts from a checkpoint"),
            (self.cuts, "cut epochs"),
            (self.epochs_over, "owners of an epoch that was over"),
            (self.resumes, "resumed interests"),
            (self.broken_links, "broken links"),
            (self.damages, "damaged entities"),
            (self.held, "commands for a damaged entity"),
            (self.unreadable, "reads of a damaged entity"),
            (self.evictions, "evictions"),
            (self.proven, "admissions by a proof"),
            (self.unloaded, "admissions without a load"),
            (self.kept, "sessions that a move left alone"),
        ] {
            assert!(count >= 100, "{what} were met {count} times only");
        }
    }
}
