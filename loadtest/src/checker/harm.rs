//! What happened to single sends that must not happen, and when each of them was acked: for whoever asks between which of
//! several faults that was.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::violation::Violation;

/// A send to which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harmed {
    /// What.
    pub how: Harm,
    /// When it was acked, or else due, on the run's clock.
    pub at: Duration,
}

/// What happened to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Harm {
    /// It was acked, or delivered to somebody, and is not there.
    Lost,
    /// It is there twice.
    Doubled,
    /// It stands behind one that its sender sent later.
    Reordered,
    /// It is there with another text, or otherwise than it was delivered.
    Altered,
    /// It was refused and is there.
    RefusedButThere,
}

impl Harm {
    /// Of a violation that concerns one send of this run.
    pub const fn of(violation: &Violation) -> Option<Self> {
        match violation {
            Violation::LostAck { .. } => Some(Self::Lost),
            Violation::Duplicate { .. } => Some(Self::Doubled),
            Violation::SenderOrder { .. } => Some(Self::Reordered),
            Violation::Altered { .. } => Some(Self::Altered),
            Violation::RefusedButThere { .. } => Some(Self::RefusedButThere),
            _ => None,
        }
    }
}

/// How many sends each of it happened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Acked, or delivered, and not there.
    pub lost: u64,
    /// There twice.
    pub doubled: u64,
    /// Behind one that its sender sent later.
    pub reordered: u64,
    /// There with another text, or otherwise than delivered.
    pub altered: u64,
    /// Refused and there.
    pub refused_but_there: u64,
}

impl Losses {
    /// Of these sends.
    pub fn of<'a>(harmed: impl IntoIterator<Item = &'a Harmed>) -> Self {
        let mut losses = Self::default();
        for send in harmed {
            *match send.how {
                Harm::Lost => &mut losses.lost,
                Harm::Doubled => &mut losses.doubled,
                Harm::Reordered => &mut losses.reordered,
                Harm::Altered => &mut losses.altered,
                Harm::RefusedButThere => &mut losses.refused_but_there,
            } += 1;
        }
        losses
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, reordered, altered, refused_but_there } = *self;
        let all = [
            (lost, "lost"),
            (doubled, "doubled"),
            (reordered, "reordered"),
            (altered, "altered"),
            (refused_but_there, "refused but there"),
        ];
        let words: Vec<String> =
            all.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        if words.is_empty() { f.write_str("nothing lost") } else { f.write_str(&words.join(", ")) }
    }
}
