//! How sessions came back that lost their edge all at once, and what that cost.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::Second;

/// An edge that uses more of a core than this is busy.
pub const BUSY_SHARE: f64 = 0.8;
/// Points of the curve of those that are back.
const POINTS_MAX: usize = 200;

/// What one edge's death was to its sessions and to the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StormReport {
    /// The edge that was killed.
    pub victim: String,
    /// Whether it had the secret that all edges share, so that the others took its tickets.
    pub shared_secret: bool,
    /// When the first session lost it, in seconds on the run's clock.
    pub began_s: f64,
    /// Sessions that lost it.
    pub lost: u64,
    /// Seconds from the first loss until half of them were subscribed again; absent while they were not. Like the others, on one
    /// clock, and with the waits that clients make before they connect.
    pub p50_back_s: Option<f64>,
    /// Until nine of ten were.
    pub p90_back_s: Option<f64>,
    /// Until ninety-nine of a hundred were.
    pub p99_back_s: Option<f64>,
    /// Until all were.
    pub all_back_s: Option<f64>,
    /// Seconds since the first loss, and how many were back by then; at most 200 points.
    pub back: Vec<(f64, u64)>,
    /// What was counted from before the kill until all were back.
    #[serde(flatten)]
    pub cost: StormCost,
    /// What the edges that were left used, from the kill to the end of the load.
    pub edges: Vec<EdgeUse>,
}

/// What it took to let them in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StormCost {
    /// Connections that were tried and did not become sessions: refused, timed out, or with a ticket that was not taken.
    pub tries_failed: u64,
    /// Full handshakes of TLS.
    pub tls_full: u64,
    /// Resumed ones.
    pub tls_resumed: u64,
    /// Sessions that a resume ticket opened.
    pub by_ticket: u64,
    /// Sessions that an access token opened.
    pub by_token: u64,
    /// Calls of Postgres by all edges and APIs that were left.
    pub postgres_calls: u64,
    /// Reads of the event store by all routers for what sessions asked: admissions, pages of what they missed, listings.
    pub store_reads: u64,
    /// Those for the messages that were sent meanwhile: rows of their senders.
    pub command_reads: u64,
    /// Admissions to chats by a proof, without a row of their user.
    pub admissions_proven: u64,
    /// Admissions to chats and inboxes that were not in memory, without a load.
    pub admissions_unloaded: u64,
}

/// What an edge used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeUse {
    /// As the cluster names it.
    pub name: String,
    /// The longest time without a second below [`BUSY_SHARE`], in seconds.
    pub longest_busy_s: f64,
    /// Of the second in which it used the most: 1 is a whole core.
    pub highest_share: f64,
    /// Of all of them.
    pub cpu_s: f64,
    /// The most resident memory, in bytes.
    pub rss_bytes_max: u64,
}

impl StormReport {
    /// Takes in when sessions were lost and back: milliseconds of one clock, and how many.
    pub fn came_back(&mut self, lost_at_ms: &BTreeMap<u64, u64>, back_at_ms: &BTreeMap<u64, u64>) {
        let Some(&began) = lost_at_ms.keys().next() else { return };
        self.lost = lost_at_ms.values().sum();
        let since = |at: u64| std::time::Duration::from_millis(at.saturating_sub(began)).as_secs_f64();
        let mut back = 0;
        let curve: Vec<(f64, u64)> = back_at_ms
            .range(began..)
            .map(|(&at, &count)| {
                back += count;
                (since(at), back)
            })
            .collect();
        // Rounded up: of three sessions, 99 of a hundred are three.
        let until = |of_a_hundred: u64| {
            let wanted = (self.lost * of_a_hundred).div_ceil(100);
            curve.iter().find(|(_, back)| *back >= wanted).map(|(at, _)| *at)
        };
        (self.p50_back_s, self.p90_back_s, self.p99_back_s, self.all_back_s) =
            (until(50), until(90), until(99), until(100));
        let step = curve.len().div_ceil(POINTS_MAX - 1).max(1);
        let last = curve.last().copied();
        self.back = curve.into_iter().step_by(step).collect();
        if self.back.last() != last.as_ref() {
            self.back.extend(last);
        }
    }

    /// Takes in what the edges of these names used in these seconds, of which those before the kill do not count.
    pub fn used(&mut self, seconds: &[Second], edges: &[String]) {
        self.edges = edges.iter().map(|edge| EdgeUse::of(edge, seconds, self.began_s)).collect();
    }

    /// Reads of the event store for each session that came back.
    #[expect(clippy::cast_precision_loss, reason = "a figure that is read by people")]
    pub fn store_reads_per_session(&self) -> Option<f64> {
        (self.lost > 0).then(|| self.cost.store_reads as f64 / self.lost as f64)
    }

    /// Of the edge that was busy for longest.
    pub fn edge_busy_s(&self) -> Option<f64> {
        self.edges.iter().map(|edge| edge.longest_busy_s).reduce(f64::max)
    }
}

impl EdgeUse {
    fn of(name: &str, seconds: &[Second], from_s: f64) -> Self {
        let mut used = Self { name: name.to_owned(), ..Self::default() };
        let mut busy = 0.0;
        for second in seconds.iter().filter(|second| second.at_s > from_s) {
            let Some(process) = second.servers.iter().find(|process| process.name == name) else { continue };
            busy = if process.cpu_share > BUSY_SHARE { busy + second.span_s } else { 0.0 };
            used.longest_busy_s = used.longest_busy_s.max(busy);
            used.highest_share = used.highest_share.max(process.cpu_share);
            used.cpu_s += process.cpu_share * second.span_s;
            used.rss_bytes_max = used.rss_bytes_max.max(process.rss_bytes);
        }
        used
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: Option<f64>| at.map_or_else(|| "never".to_owned(), |at| format!("{at:.1} s"));
        let secret = if self.shared_secret { "shared" } else { "its own" };
        writeln!(f, "  storm      {} sessions lost {}, whose secret was {secret}", self.lost, self.victim)?;
        writeln!(
            f,
            "             back: 50 % after {}, 90 % {}, 99 % {}, all {}",
            time(self.p50_back_s),
            time(self.p90_back_s),
            time(self.p99_back_s),
            time(self.all_back_s)
        )?;
        let StormCost { tries_failed, tls_full, tls_resumed, by_ticket, by_token, .. } = self.cost;
        writeln!(
            f,
            "             TLS {tls_resumed} resumed, {tls_full} full; {by_ticket} by ticket, {by_token} by token; \
             {tries_failed} tries failed"
        )?;
        let StormCost { postgres_calls, store_reads, command_reads, .. } = self.cost;
        writeln!(
            f,
            "             {postgres_calls} calls of Postgres, {store_reads} reads of the event store for sessions, \
             {command_reads} for messages"
        )?;
        let StormCost { admissions_proven, admissions_unloaded, .. } = self.cost;
        writeln!(f, "             admissions: {admissions_proven} by proof, {admissions_unloaded} without a load")?;
        for EdgeUse { name, longest_busy_s, highest_share, cpu_s, .. } in &self.edges {
            writeln!(
                f,
                "             {name}: {longest_busy_s:.1} s above {:.0} % of a core, at most {:.0} %, {cpu_s:.1} CPU s",
                BUSY_SHARE * 100.0,
                highest_share * 100.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Process;

    #[test]
    fn times_count_from_the_first_loss_and_who_is_not_back_has_none() {
        let mut storm = StormReport::default();
        let lost = BTreeMap::from([(5_000, 90), (5_400, 10)]);
        // One was back before: of an earlier loss.
        let back = BTreeMap::from([(4_000, 1), (5_500, 50), (6_000, 40), (9_000, 9)]);
        storm.came_back(&lost, &back);
        assert_eq!(storm.lost, 100);
        assert_eq!((storm.p50_back_s, storm.p90_back_s, storm.p99_back_s), (Some(0.5), Some(1.0), Some(4.0)));
        assert_eq!(storm.all_back_s, None);
        assert_eq!(storm.back, [(0.5, 50), (1.0, 90), (4.0, 99)]);
        assert!(storm.to_string().contains("all never"), "{storm}");
        storm.came_back(&lost, &BTreeMap::from([(5_000, 100)]));
        assert_eq!(storm.all_back_s, Some(0.0));
    }

    #[test]
    fn a_long_curve_keeps_its_end_and_stays_short() {
        let mut storm = StormReport::default();
        storm.came_back(&BTreeMap::from([(1, 5_000)]), &(1..=5_000).map(|at| (at, 1)).collect());
        assert!(storm.back.len() <= POINTS_MAX, "{}", storm.back.len());
        assert_eq!(storm.back.last(), Some(&(4.999, 5_000)));
    }

    #[test]
    fn the_longest_busy_time_is_of_neighbours_behind_the_kill() {
        let second = |at_s: f64, cpu_share| Second {
            at_s,
            span_s: 1.0,
            servers: vec![Process { name: "edge-2".into(), rss_bytes: 7, cpu_share }],
            ..Second::default()
        };
        let shares = [0.9, 0.9, 0.9, 0.1, 0.9, 0.85, 0.8];
        let seconds: Vec<Second> = (1_u32..).zip(shares).map(|(at, share)| second(f64::from(at), share)).collect();
        let mut storm = StormReport { began_s: 2.5, ..StormReport::default() };
        storm.used(&seconds, &["edge-2".into(), "edge-3".into()]);
        assert_eq!((storm.edges[0].longest_busy_s, storm.edges[0].highest_share), (2.0, 0.9));
        assert!((storm.edges[0].cpu_s - 3.55).abs() < 1e-9, "{:?}", storm.edges);
        assert_eq!((storm.edges[1].longest_busy_s, storm.edge_busy_s()), (0.0, Some(2.0)));
    }
}
