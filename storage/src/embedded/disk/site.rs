//! Every place where the embedded store waits for the disk. The power-loss test leaves out each in
//! turn and shows what is lost; `ENGINE.md` has the list.

/// A call that syncs. Each site is one place in the code, and each is there for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyncSite {
    /// The name of the data folder, and of those above it that had to be made: before anything is in
    /// it, or all of it would go with the name.
    FolderName,
    /// The version file's content: before it gets its name, or a folder would stand with none that
    /// can be read.
    VersionFile,
    /// The version file's name: before there is anything else, or data would stand without a version.
    VersionName,
    /// The name of the events' folder: before anything in it counts.
    EventsName,
    /// The beginning of a new journal file, and what it carries over: before anything else goes there.
    JournalBegin,
    /// The name of a new journal file: before anything in it is acknowledged.
    JournalName,
    /// A group of commits in the journal: before its writes are acknowledged.
    JournalCommit,
    /// What was found at the journal's end when it was opened: before anybody reads it.
    JournalRecovered,
    /// The name of the last journal file that was found: before the next one is made, or that one's name
    /// could be there alone.
    JournalRecoveredName,
    /// The index's first content: before it gets its name.
    IndexMade,
    /// What is repaired in the index when it is opened.
    IndexOpened,
    /// Rows in the index: before the journal files that they make needless are removed.
    IndexFilled,
    /// The mark that the index was closed in order.
    IndexClosed,
}

impl SyncSite {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::FolderName,
        Self::VersionFile,
        Self::VersionName,
        Self::EventsName,
        Self::JournalBegin,
        Self::JournalName,
        Self::JournalCommit,
        Self::JournalRecovered,
        Self::JournalRecoveredName,
        Self::IndexMade,
        Self::IndexOpened,
        Self::IndexFilled,
        Self::IndexClosed,
    ];
}
