//! The summary, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;
use panda_protocol::ErrorCode;
use serde::{Deserialize, Serialize};

use super::model::{Meta, Told, VERSION};
use super::{ChaosReport, HistoryReport, LoginsReport, MembersReport, ReadsReport, SlowReport, StormReport};
use crate::checker::{Harmed, Verdict};
use crate::recorder::Recorder;

/// What a run was and what it showed. Its JSON is what scripts read; fields are added, never changed.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Which scenario.
    pub scenario: String,
    /// The seed: the same one makes the same users, chats and sends.
    pub seed: u64,
    /// Base URLs.
    pub targets: Vec<String>,
    /// `ws`, `quic` or `mixed`.
    pub transport: String,
    /// Sessions, or for a replay users.
    pub sessions: usize,
    /// Chats.
    pub chats: usize,
    /// Seconds that provisioning took.
    pub provision_s: f64,
    /// Seconds from the first send that was due to the last answer.
    pub load_s: f64,
    /// Totals and what they are a second.
    pub rates: Rates,
    /// Send due to ack, in microseconds.
    pub ack_us: Percentiles,
    /// Send due to delivery, in microseconds, of every session.
    pub delivery_us: Percentiles,
    /// Refusals by label and code.
    pub refusals: BTreeMap<String, u64>,
    /// Connections that came back.
    pub reconnects: u64,
    /// What went wrong, if the run ended early or a file could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether the checker found nothing; absent where nothing was to check.
    pub held: Option<bool>,
    /// How many violations it found.
    pub violations: u64,
    /// The first of them, with their evidence.
    pub evidence: Vec<String>,
    /// Every send to which something happened that must not.
    #[serde(skip)]
    pub harmed: Vec<Harmed>,
    /// What was checked.
    pub checked: Checked,
    /// The faults that were done, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chaos: Option<ChaosReport>,
    /// How sessions came back to other edges, where theirs was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<StormReport>,
    /// How sessions caught up that had been away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryReport>,
    /// What sessions that stalled were to the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
    /// What became of a flood of logins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<LoginsReport>,
    /// What was read, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<ReadsReport>,
    /// How members came and went, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<MembersReport>,
    /// Where and how it ran, what each second showed, and the rest of the report.
    #[serde(flatten)]
    pub told: Told,
}

/// Totals and what they are a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Rates {
    pub sent: u64,
    pub acked: u64,
    pub unknown: u64,
    /// Sends that were due and never left: errors, as those whose outcome is unknown.
    pub unsent: u64,
    pub delivered: u64,
    pub sent_per_second: f64,
    pub acked_per_second: f64,
    pub delivered_per_second: f64,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checked {
    /// Different events.
    pub events: u64,
    /// Events that sessions got.
    pub deliveries: u64,
    /// Streams of (session, chat).
    pub streams: u64,
    /// Acked sends, each found at its seq.
    pub acked: u64,
    /// Chats in which a session was checked.
    pub chats: u64,
    /// Chats that were read back from the store.
    pub chats_read_back: u64,
}

impl Checked {
    /// What was read back from the store, behind other words; empty where a report does not say it.
    pub(super) fn read_back(&self) -> String {
        match self.chats {
            0 => String::new(),
            chats => format!(", {} of {chats} checked chats read back from the store", self.chats_read_back),
        }
    }
}

/// Percentiles of one histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    #[serde(rename = "p99.9")]
    pub p99_9: u64,
    pub max: u64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(times: &Histogram<u64>) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        Self { count: times.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: times.max() }
    }
}

impl Percentiles {
    /// Whether nothing was counted.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Percentiles {
    /// Of both together, as far as that can be said: no true percentile is above this.
    #[must_use]
    pub(super) fn worse(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            p50: self.p50.max(other.p50),
            p90: self.p90.max(other.p90),
            p99: self.p99.max(other.p99),
            p99_9: self.p99_9.max(other.p99_9),
            max: self.max.max(other.max),
        }
    }
}

impl Summary {
    /// A run of this process begins.
    pub fn begins() -> Self {
        Self { told: Told { report: VERSION, meta: Meta::begins(), ..Told::default() }, ..Self::default() }
    }

    /// It ended; with `problem`, early.
    pub fn ends(&mut self, problem: Option<String>) {
        self.problem = problem;
        self.told.meta.scenario.clone_from(&self.scenario);
        self.told.meta.ends();
        self.told.verdict.checker = self.held;
    }

    /// Takes in what was recorded while the load ran for `load`.
    pub fn recorded(&mut self, recorder: &Recorder, load: Duration) {
        let seconds = load.as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate is read by people")]
        let a_second = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let (sent, acked, delivered) = (count(&recorder.sent), count(&recorder.acked), count(&recorder.delivered));
        self.load_s = load.as_secs_f64();
        self.rates = Rates {
            sent,
            acked,
            // Nobody told what became of those that still wait, either.
            unknown: count(&recorder.unknown) + u64::try_from(recorder.waiting.load(Relaxed)).unwrap_or(0),
            unsent: count(&recorder.unsent),
            delivered,
            sent_per_second: a_second(sent),
            acked_per_second: a_second(acked),
            delivered_per_second: a_second(delivered),
        };
        let times = recorder.times();
        self.ack_us = Percentiles::from(&times.ack);
        self.delivery_us = Percentiles::from(&times.delivery);
        let named = |(code, count)| match ErrorCode::from_u16(code) {
            Some(known) => (known.to_string(), count),
            None => (code.to_string(), count),
        };
        self.refusals = recorder.refusals().into_iter().map(named).collect();
        self.reconnects = count(&recorder.reconnects);
    }

    /// Whether the load began: before, there is nothing to sum up.
    pub fn began(&self) -> bool {
        self.load_s > 0.0
    }

    /// Whether the checker found nothing, and the target recovered from every fault and kept its promises meanwhile.
    pub fn passed(&self) -> bool {
        self.held != Some(false) && self.chaos.as_ref().is_none_or(ChaosReport::passed)
    }

    /// Takes in the checker's verdict.
    pub fn judged(&mut self, verdict: &Verdict) {
        self.held = Some(verdict.held());
        self.violations = verdict.violations;
        self.evidence = verdict.kept.iter().map(ToString::to_string).collect();
        self.harmed.clone_from(&verdict.harmed);
        self.checked = Checked {
            events: verdict.events,
            deliveries: verdict.deliveries,
            streams: verdict.streams,
            acked: verdict.acked,
            chats: verdict.chats_checked,
            chats_read_back: verdict.chats_read_back,
        };
    }

    /// As [`Self::judged`] where there was something to judge: of what nobody saw, nobody can say that it held.
    pub fn judged_if_any(&mut self, verdict: &Verdict) {
        self.judged(verdict);
        if !verdict.judged_anything() {
            self.held = None;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rates { sent, acked, unknown, unsent, delivered, .. } = self.rates;
        writeln!(f, "{}: {} sessions, {} chats, seed {}", self.scenario, self.sessions, self.chats, self.seed)?;
        writeln!(f, "  load       {:.1} s, provisioned in {:.1} s", self.load_s, self.provision_s)?;
        writeln!(f, "  sent       {sent} ({:.1}/s), outcome unknown {unknown}", self.rates.sent_per_second)?;
        if unsent > 0 {
            writeln!(f, "  unsent     {unsent} were due and never left")?;
        }
        writeln!(f, "  acked      {acked} ({:.1}/s)  {}", self.rates.acked_per_second, self.ack_us)?;
        writeln!(f, "  delivered  {delivered} ({:.1}/s)  {}", self.rates.delivered_per_second, self.delivery_us)?;
        for (code, count) in &self.refusals {
            writeln!(f, "  refused    {count} with {code}")?;
        }
        writeln!(f, "  reconnects {}", self.reconnects)?;
        if let Some(chaos) = &self.chaos {
            write!(f, "{chaos}")?;
        }
        if let Some(storm) = &self.storm {
            write!(f, "{storm}")?;
        }
        if let Some(history) = &self.history {
            write!(f, "{history}")?;
        }
        if let Some(slow) = &self.slow {
            write!(f, "{slow}")?;
        }
        if let Some(logins) = &self.logins {
            write!(f, "{logins}")?;
        }
        if let Some(reads) = &self.reads {
            write!(f, "{reads}")?;
        }
        if let Some(members) = &self.members {
            write!(f, "{members}")?;
        }
        let Checked { events, deliveries, streams, acked, .. } = self.checked;
        match self.held {
            None if self.problem.is_some() => {
                writeln!(f, "  checker    judged nothing: the run ended early")?;
            }
            None => writeln!(f, "  checker    judged nothing: no event was checked")?,
            Some(true) => {
                writeln!(f, "  checker    held: {events} events, {deliveries} deliveries in {streams} streams,")?;
                writeln!(f, "             {acked} acked sends{}", self.checked.read_back())?;
            }
            Some(false) => {
                writeln!(f, "  checker    {} VIOLATIONS; the first {}:", self.violations, self.evidence.len())?;
                self.evidence.iter().try_for_each(|found| writeln!(f, "    {found}"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_micros;
        let Self { count, p50, p90, p99, p99_9, max } = *self;
        if count == 0 {
            return f.write_str("p50 -  p90 -  p99 -  p99.9 -  max -");
        }
        write!(
            f,
            "p50 {:.1?}  p90 {:.1?}  p99 {:.1?}  p99.9 {:.1?}  max {:.1?}",
            time(p50),
            time(p90),
            time(p99),
            time(p99_9),
            time(max)
        )
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::{ChatId, UserId};

    use super::*;
    use crate::checker::{Found, Source, Violation};

    #[test]
    fn the_json_has_what_scripts_read() {
        let recorder = Recorder::default();
        recorder.sent.store(10, Relaxed);
        recorder.waiting.store(1, Relaxed);
        assert_eq!(Percentiles::default().to_string(), "p50 -  p90 -  p99 -  p99.9 -  max -", "of nothing");
        (1..=9).for_each(|ms| recorder.ack(0, Duration::from_millis(ms), Duration::from_secs(1)));
        recorder.refusal(2000);
        recorder.refusal(2999);
        let mut summary = Summary { scenario: "steady".into(), ..Summary::default() };
        summary.recorded(&recorder, Duration::from_secs(2));
        summary.judged(&Verdict::default());
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["rates"]["sent_per_second"], 5.0);
        assert_eq!((&json["ack_us"]["count"], &json["rates"]["unknown"]), (&9.into(), &1.into()));
        assert!(json["ack_us"]["p99.9"].as_u64().unwrap() >= 9_000);
        assert_eq!(json["refusals"], serde_json::json!({"unavailable (2000)": 1, "2999": 1}));
        assert_eq!(json["held"], true);
        assert!(summary.to_string().contains("checker    held"));
    }

    #[test]
    fn a_run_that_checked_nothing_did_not_hold_and_says_how_much_of_the_store_was_read() {
        let mut summary = Summary::default();
        summary.judged_if_any(&Verdict { streams: 5, ..Verdict::default() });
        assert_eq!(summary.held, None, "no event");
        summary.judged_if_any(&Verdict { events: 5, ..Verdict::default() });
        assert_eq!(summary.held, None, "no stream");
        assert!(summary.to_string().contains("judged nothing"), "{summary}");
        summary.judged_if_any(&Verdict { violations: 1, ..Verdict::default() });
        assert_eq!(summary.held, Some(false), "a violation needs no stream");
        let (chats_checked, chats_read_back) = (19_000, 500);
        let seen = Verdict { streams: 1, events: 1, chats_checked, chats_read_back, ..Verdict::default() };
        summary.judged_if_any(&seen);
        assert_eq!(summary.held, Some(true));
        assert!(summary.to_string().contains("500 of 19000 checked chats read back"), "{summary}");
    }

    #[test]
    fn a_violation_is_printed_with_its_evidence() {
        let user = |byte| UserId::from_random([byte; 16]);
        let chat = ChatId::direct(user(1), user(2));
        let violation = Violation::Gap { source: Source::Session(7), expected: 3, got: 5 };
        let kept = vec![Found { chat, violation }];
        let mut summary = Summary::default();
        summary.judged(&Verdict { violations: 1, kept, ..Verdict::default() });
        let text = summary.to_string();
        assert!(text.contains("1 VIOLATIONS"), "{text}");
        assert!(text.contains(&chat.to_string()) && text.contains("session 7 got seq 5 where 3 was due"), "{text}");
    }
}
