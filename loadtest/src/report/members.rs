//! What the scenarios tell that post and get, and that add and remove members.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::checker::MembersSeen;

/// Rounds of a POST at one target and a GET at another one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReadsReport {
    /// How many were asked for.
    pub rounds: u32,
    /// GETs behind a POST that were answered.
    pub done: u32,
    /// Of these, how many at another target than the POST.
    pub elsewhere: u32,
    /// Calls that were made again, by why.
    pub repeated: BTreeMap<String, u64>,
}

/// How members came and went.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names are those of `MembersSeen`, which says it")]
pub struct MembersReport {
    pub added: u64,
    pub added_with_history: u64,
    pub removed: u64,
    pub removals_seen: u64,
    pub admissions: u64,
    pub served: u64,
    pub refused: u64,
    /// HTTP calls that were made again, by why.
    pub repeated: BTreeMap<String, u64>,
}

impl ReadsReport {
    /// Whether anything was looked at, at another target where there are several.
    ///
    /// # Errors
    /// Why the run proves nothing.
    pub fn shows_something(&self, targets: usize) -> Result<(), String> {
        match self {
            Self { done: 0, .. } => Err("nothing was read of what was posted; this proves nothing".into()),
            Self { elsewhere: 0, .. } if targets > 1 => {
                Err("nothing was read at another target than it was posted at; take more --count".into())
            }
            _ => Ok(()),
        }
    }
}

impl MembersReport {
    /// Takes in what was looked at in a chat.
    pub fn add(&mut self, seen: &MembersSeen) {
        let MembersSeen { added, added_with_history, removed, removals_seen, admissions, served, refused } = *seen;
        self.added += added;
        self.added_with_history += added_with_history;
        self.removed += removed;
        self.removals_seen += removals_seen;
        self.admissions += admissions;
        self.served += served;
        self.refused += refused;
    }

    /// Whether what must hold after a removal was looked at at all.
    pub const fn shows_something(&self) -> bool {
        self.added > 0 && self.added_with_history > 0 && self.removals_seen > 0 && self.refused > 0
    }
}

impl fmt::Display for ReadsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, done, elsewhere, .. } = self;
        writeln!(f, "  reads      {done} of {rounds}, {elsewhere} of them at another target than the post")?;
        fmt_repeated(&self.repeated, f)
    }
}

impl fmt::Display for MembersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, added_with_history, removed, removals_seen, admissions, served, refused, repeated } = self;
        writeln!(f, "  members    added {added}, with history {added_with_history}, removed {removed}")?;
        writeln!(f, "             {removals_seen} streams ended with the removal, {admissions} began or went on")?;
        writeln!(f, "             {served} requests of members served, {refused} of others refused")?;
        fmt_repeated(repeated, f)
    }
}

fn fmt_repeated(repeated: &BTreeMap<String, u64>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    repeated.iter().try_for_each(|(why, count)| writeln!(f, "  repeated   {count} calls after {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_as_they_were_done_and_none_prove_nothing() {
        let reads = |done, elsewhere| ReadsReport { rounds: 9, done, elsewhere, ..ReadsReport::default() };
        let told = reads(8, 7).to_string();
        assert!(told.contains("8 of 9, 7 of them at another target"), "{told}");
        assert!(reads(8, 7).shows_something(2).is_ok());
        assert!(reads(8, 0).shows_something(1).is_ok(), "there is one target only, as is told");
        assert!(reads(8, 0).shows_something(2).unwrap_err().contains("another target"));
        assert!(reads(0, 0).shows_something(1).is_err());
    }
}
