//! What a recorder counted between two moments.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use panda_protocol::ErrorCode;
use serde::{Serialize, Serializer};

use crate::recorder::{Recorder, Repeated};

/// What a recorder has counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Sends that were acked.
    pub acked: u64,
    /// Sends whose outcome nobody told.
    pub unknown: u64,
    /// Connections of sessions that were lost.
    pub connections_lost: u64,
    /// The same by the place of their target.
    #[serde(skip)]
    pub lost_at: BTreeMap<Option<usize>, u64>,
    /// Sends that were refused for good, by code.
    #[serde(serialize_with = "by_code")]
    pub refused: BTreeMap<u16, u64>,
    /// Refusals after which the client sent again, by code.
    #[serde(serialize_with = "by_reason")]
    pub repeated: BTreeMap<Repeated, u64>,
}

impl Counts {
    /// All so far.
    pub fn of(recorder: &Recorder) -> Self {
        // Read once: the total is that of its parts.
        let lost_at = recorder.losses();
        Self {
            acked: recorder.acked.load(Relaxed),
            unknown: recorder.unknown.load(Relaxed),
            connections_lost: lost_at.values().sum(),
            lost_at,
            refused: recorder.refusals(),
            repeated: recorder.repeats(),
        }
    }

    /// What came behind `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            acked: self.acked.saturating_sub(before.acked),
            unknown: self.unknown.saturating_sub(before.unknown),
            connections_lost: self.connections_lost.saturating_sub(before.connections_lost),
            lost_at: less(&self.lost_at, &before.lost_at),
            refused: less(&self.refused, &before.refused),
            repeated: less(&self.repeated, &before.repeated),
        }
    }

    /// How many refusals by label and code, whatever the client did behind them.
    pub(super) fn by_name(&self) -> BTreeMap<String, u64> {
        let mut named = BTreeMap::new();
        let repeated = self.repeated.iter().map(|(why, count)| (why.code, *count));
        for (code, count) in self.refused.iter().map(|(code, count)| (*code, *count)).chain(repeated) {
            *named.entry(name(code)).or_default() += count;
        }
        named
    }

    /// Every refusal, in words; empty if there was none.
    pub(super) fn refusals(&self) -> String {
        let refused = self.refused.iter().map(|(code, count)| format!("{count} {} for good", name(*code)));
        let repeated = self.repeated.iter().map(|(why, count)| format!("{count} {}", words(*why)));
        refused.chain(repeated).collect::<Vec<_>>().join(", ")
    }
}

fn less<K: Ord + Copy>(counts: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let since = |(key, count): (&K, &u64)| (*key, count.saturating_sub(before.get(key).copied().unwrap_or(0)));
    counts.iter().map(since).filter(|(_, count)| *count > 0).collect()
}

fn name(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| code.to_string(), |known| known.to_string())
}

fn words(Repeated { code, names_wait }: Repeated) -> String {
    format!("{}{}", name(code), if names_wait { "" } else { " without retry_after" })
}

fn by_code<S: Serializer>(counts: &BTreeMap<u16, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(code, count)| (name(*code), count)))
}

fn by_reason<S: Serializer>(counts: &BTreeMap<Repeated, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(why, count)| (words(*why), count)))
}
