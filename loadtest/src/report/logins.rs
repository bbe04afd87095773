//! What became of a flood of logins, and what it was to everybody else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::meanwhile::Meanwhile;
use super::within::within;

/// Logins were offered, more than are hashed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginsReport {
    /// Logins that were offered.
    pub offered: u64,
    /// Those that were let in.
    pub let_in: u64,
    /// Refusals by their label.
    pub refused: BTreeMap<String, u64>,
    /// Refusals for now that did not say when to come again.
    pub without_retry_after: u64,
    /// Those that got no answer.
    pub unanswered: u64,
    /// Connections of sessions that were lost meanwhile.
    pub lost: u64,
    /// How long those that were let in took: half of them no longer.
    pub p50_s: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99_s: Option<f64>,
    /// How long those that were refused took.
    pub refused_p99_s: Option<f64>,
    /// What it did to the sessions that talked on.
    #[serde(flatten)]
    pub meanwhile: Meanwhile,
}

impl LoginsReport {
    /// Takes in how long each answer took, in microseconds.
    pub fn took(&mut self, let_in_us: &BTreeMap<u64, u64>, refused_us: &BTreeMap<u64, u64>) {
        (self.p50_s, self.p99_s) = (within(let_in_us, 50), within(let_in_us, 99));
        self.refused_p99_s = within(refused_us, 99);
    }

    /// Those that were let in, a second.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn let_in_per_second(&self) -> Option<f64> {
        let lasted = self.meanwhile.ended_s - self.meanwhile.began_s;
        (lasted > 0.0).then(|| self.let_in as f64 / lasted)
    }
}

impl fmt::Display for LoginsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: Option<f64>| at.map_or_else(|| "-".to_owned(), |at| format!("{:.0} ms", at * 1e3));
        let Self { offered, let_in, unanswered, lost, meanwhile, .. } = self;
        let lasted = meanwhile.ended_s - meanwhile.began_s;
        writeln!(f, "  logins     {offered} were offered in {lasted:.0} s; {lost} sessions lost their connection")?;
        writeln!(
            f,
            "             {let_in} were let in ({:.1}/s): p50 {}, p99 {}; {unanswered} got no answer",
            self.let_in_per_second().unwrap_or_default(),
            ms(self.p50_s),
            ms(self.p99_s)
        )?;
        for (label, count) in &self.refused {
            writeln!(f, "             {count} were refused with {label}")?;
        }
        writeln!(
            f,
            "             refusals: p99 {}; {} for now did not say when to come again",
            ms(self.refused_p99_s),
            self.without_retry_after
        )?;
        write!(f, "{meanwhile}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_let_in_is_told_a_second_and_by_its_time() {
        let mut logins = LoginsReport { let_in: 40, ..LoginsReport::default() };
        assert_eq!(logins.let_in_per_second(), None, "nothing lasted");
        (logins.meanwhile.began_s, logins.meanwhile.ended_s) = (10.0, 12.0);
        logins.took(&BTreeMap::from([(50_000, 20), (90_000, 20)]), &BTreeMap::from([(1_000, 160)]));
        assert_eq!(logins.let_in_per_second(), Some(20.0));
        assert_eq!((logins.p50_s, logins.p99_s, logins.refused_p99_s), (Some(0.05), Some(0.09), Some(0.001)));
        logins.refused.insert("overloaded".into(), 160);
        assert!(logins.to_string().contains("160 were refused with overloaded"), "{logins}");
    }
}
