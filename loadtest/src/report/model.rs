//! What a run's JSON report says beside its summary, version 1: where and how it ran, what each second showed, how times
//! were spread, what sessions cost, and the verdict. Who draws, compares or plans reads it back through [`Report`].
//!
//! All moments are seconds on the run's clock, which begins when its users and chats are there: the same clock that faults
//! are told by. Fields are added, never changed; a change that an older reader would misread is a new [`VERSION`].

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Checked, HistoryReport, LoginsReport, Percentiles, Rates, SlowReport, StormReport};
use crate::recorder::Recorder;

/// The version of the report's form.
pub const VERSION: u32 = 1;
/// The name of all watched processes together in [`Told::memory`].
pub const ALL_PROCESSES: &str = "all processes";
/// Points of a curve for each halving of the distance to 100 %, as HDR histograms are drawn.
const TICKS_PER_HALVING: u32 = 5;

/// What a run's JSON has beside its summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// [`VERSION`]; 0 in a report that has none of this.
    #[serde(default)]
    pub report: u32,
    /// Where and how it ran.
    #[serde(default)]
    pub meta: Meta,
    /// One entry a second, the ramp of sessions included; neighbours of a long run are put together.
    #[serde(default)]
    pub series: Vec<Second>,
    /// How times were spread, of the whole load.
    #[serde(default)]
    pub latency: Latency,
    /// What sessions cost the servers, where their processes were watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Memory>,
    /// What came of it.
    #[serde(default)]
    pub verdict: Verdict,
}

/// Where and how a run was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The scenario's name.
    pub scenario: String,
    /// The text of the scenario's file as it was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario_file: Option<String>,
    /// The command, quoted for a shell.
    pub command: String,
    /// Of `panda-loadtest`.
    pub version: String,
    /// Of the sources that it was built from or runs in; absent where nothing says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Where the controller ran.
    pub machine: Machine,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC.
    pub ended: String,
    /// When the load began and ended, in seconds on the run's clock; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_s: Option<(f64, f64)>,
    /// What a reader must know of how figures were taken, such as what was measured on one agent only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The processor, as the system names it.
    pub cpu: String,
    /// Of those that the process may use.
    pub cores: usize,
    /// In bytes.
    pub memory_bytes: u64,
    /// Name and release.
    pub kernel: String,
}

/// What one second showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Its end, in seconds on the run's clock.
    pub at_s: f64,
    /// How long it was, in seconds: 1 but for a late look and for the entries of a long run.
    pub span_s: f64,
    /// Sends that left meanwhile.
    pub sent: u64,
    /// Acks that came.
    pub acked: u64,
    /// Events that sessions got.
    pub delivered: u64,
    /// Refusals by label and code, those behind which a client sent again too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Connections that were lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Sessions connected at its end.
    pub connected: u64,
    /// Sends that waited for their answer at its end.
    pub waiting: u64,
    /// Send due to ack, of the acks that came meanwhile, in microseconds.
    #[serde(skip_serializing_if = "Percentiles::is_empty")]
    pub ack_us: Percentiles,
    /// Send due to delivery, likewise.
    #[serde(skip_serializing_if = "Percentiles::is_empty")]
    pub delivery_us: Percentiles,
    /// The servers' processes, where they are watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Process>,
    /// The process that tells this: without its agents, whose processor time is judged for the run's verdict only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harness: Option<Harness>,
}

/// A server's process in one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Such as `edge-1`; the same name in every second.
    pub name: String,
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time by time: 1 is a whole core.
    pub cpu_share: f64,
}

/// The harness in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Harness {
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time by time: 1 is a whole core.
    pub cpu_share: f64,
}

/// How times were spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Send due to ack.
    pub ack: Curve,
    /// Send due to delivery, of every session.
    pub delivery: Curve,
    /// From the first byte to a session that is subscribed to all its chats.
    pub connect: Curve,
}

/// A histogram as a curve of its quantiles. Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curve {
    /// How many times were counted.
    pub count: u64,
    /// The shortest.
    pub min_us: u64,
    /// All of them by their number.
    pub mean_us: f64,
    /// The longest.
    pub max_us: u64,
    /// Rising in both.
    pub points: Vec<Point>,
}

/// A point of a curve: so large a share took at most so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// From 0 to 1.
    pub quantile: f64,
    /// In microseconds.
    pub us: u64,
}

/// What sessions cost a process that serves them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The process, as in [`Process::name`].
    pub name: String,
    /// Its resident memory before the first session, in bytes.
    pub before_bytes: u64,
    /// The same while all of them were held: the median of the load's seconds.
    pub held_bytes: u64,
    /// Sessions that it held; 0 where several processes share them, and nobody knows which has how many.
    pub sessions: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Whether the checker found nothing; absent where nothing was judged.
    pub checker: Option<bool>,
    /// What the scenario demanded.
    pub thresholds: Vec<Threshold>,
    /// Where the harness, and not the target, was the limit: a sentence each.
    pub harness_limits: Vec<String>,
}

/// A figure that may not exceed, or not fall below, what the scenario said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Threshold {
    /// As in the scenario's file, such as `delivery.p99_ms`.
    pub figure: String,
    /// What was demanded, with its relation, such as `<= 30`.
    pub demanded: String,
    /// What was measured; absent if nothing was.
    pub measured: Option<f64>,
    /// Whether it held. What was not measured did not.
    pub passed: bool,
}

/// A report as it is read back: the summary's figures that are drawn, compared or planned with, and [`Told`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of `Summary`, which says it")]
pub struct Report {
    pub scenario: String,
    pub seed: u64,
    pub targets: Vec<String>,
    pub transport: String,
    pub sessions: u64,
    pub chats: u64,
    pub provision_s: f64,
    pub load_s: f64,
    pub rates: Rates,
    pub ack_us: Percentiles,
    pub delivery_us: Percentiles,
    pub refusals: BTreeMap<String, u64>,
    pub reconnects: u64,
    pub problem: Option<String>,
    pub held: Option<bool>,
    pub violations: u64,
    pub evidence: Vec<String>,
    pub checked: Checked,
    pub chaos: Option<Chaos>,
    pub storm: Option<StormReport>,
    pub history: Option<HistoryReport>,
    pub slow: Option<SlowReport>,
    pub logins: Option<LoginsReport>,
    #[serde(flatten)]
    pub told: Told,
}

/// The faults of a run as they are read back.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of `ChaosReport`, which says it")]
pub struct Chaos {
    pub rate: u32,
    pub bound_s: f64,
    pub faults: Vec<Fault>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of `Felt` and its `Fault`, which say it")]
pub struct Fault {
    pub number: usize,
    pub process: String,
    pub kind: String,
    pub cut: Option<String>,
    pub hold_s: f64,
    pub began_s: f64,
    pub lasted_s: f64,
    pub longest_ack_s: f64,
    pub longest_delivery_s: f64,
    pub disturbed_s: f64,
    pub recovered_s: Option<f64>,
    pub settled_s: Option<f64>,
    pub connections_lost: u64,
    pub said: Vec<String>,
    pub broken: Vec<String>,
    pub problem: Option<String>,
}

/// Why a file is no report that can be used.
#[derive(Debug)]
pub enum ReportError {
    /// It is no JSON of a run.
    Malformed(serde_json::Error),
    /// It has none of what [`Told`] says.
    Old,
    /// It is of a newer form.
    Newer(u32),
}

impl std::fmt::Display for ReportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(error) => {
                write!(f, "this is no report of a run ({error}); `panda-loadtest ... --json FILE` writes one")
            }
            Self::Old => f.write_str(
                "this report has no series and does not say where it ran: it is of an older panda-loadtest; run it again",
            ),
            Self::Newer(version) => write!(
                f,
                "this report has version {version}, and this panda-loadtest reads up to {VERSION}; take a newer one"
            ),
        }
    }
}

impl std::error::Error for ReportError {}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ReportError> {
        let report: Self = serde_json::from_slice(json).map_err(ReportError::Malformed)?;
        match report.told.report {
            0 => Err(ReportError::Old),
            VERSION => Ok(report),
            newer => Err(ReportError::Newer(newer)),
        }
    }

    /// Processor seconds of all watched processes in the load, and how many seconds those are that saw any.
    pub fn server_cpu(&self) -> Option<(f64, f64)> {
        let mut sum = None;
        for second in self.loaded().filter(|second| !second.servers.is_empty()) {
            let (cpu_s, span_s) = sum.get_or_insert((0.0, 0.0));
            *cpu_s += second.servers.iter().map(|process| process.cpu_share).sum::<f64>() * second.span_s;
            *span_s += second.span_s;
        }
        sum
    }

    /// The entries of the load alone, without the ramp before it.
    pub fn loaded(&self) -> impl Iterator<Item = &Second> {
        let (from, to) = self.told.meta.load_s.unwrap_or((0.0, f64::INFINITY));
        // The second in which the load began has a part of the ramp.
        self.told.series.iter().filter(move |second| second.at_s - second.span_s >= from && second.at_s <= to + 1.0)
    }
}

impl Told {
    /// Takes in what was recorded.
    pub fn measured(&mut self, recorder: &Recorder) {
        let times = recorder.times();
        self.series = recorder.seconds.all();
        self.latency = Latency {
            ack: Curve::from(&times.ack),
            delivery: Curve::from(&times.delivery),
            connect: Curve::from(&times.connect),
        };
        self.memory = memory(&self.series, self.meta.load_s);
    }
}

/// Of each process what it held before the first session and in the load; one that serves all sessions, or all processes
/// together, with how many these were.
fn memory(series: &[Second], load_s: Option<(f64, f64)>) -> Vec<Memory> {
    let (Some(before), Some((from, to))) = (series.first().filter(|second| second.connected == 0), load_s) else {
        return Vec::new();
    };
    // A second of the load is one that ended in it; what is as late as its end is seen a moment behind it.
    let load: Vec<&Second> = series.iter().filter(|second| second.at_s > from && second.at_s <= to + 1.0).collect();
    let held = |name: &str| {
        let of = |second: &&Second| Some(second.servers.iter().find(|process| process.name == name)?.rss_bytes);
        median(load.iter().filter_map(of))
    };
    let of = |process: &Process| {
        let held_bytes = held(&process.name)?;
        Some(Memory { name: process.name.clone(), before_bytes: process.rss_bytes, held_bytes, sessions: 0 })
    };
    let mut memory: Vec<Memory> = before.servers.iter().filter_map(of).collect();
    let sessions = median(load.iter().map(|second| second.connected)).unwrap_or(0);
    match &mut memory[..] {
        [] => {}
        [one] => one.sessions = sessions,
        several => {
            let sum = |bytes: fn(&Memory) -> u64| several.iter().map(bytes).sum();
            let (before_bytes, held_bytes) = (sum(|of| of.before_bytes), sum(|of| of.held_bytes));
            memory.push(Memory { name: ALL_PROCESSES.into(), before_bytes, held_bytes, sessions });
        }
    }
    memory
}

fn median(figures: impl Iterator<Item = u64>) -> Option<u64> {
    let mut figures: Vec<u64> = figures.collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied()
}

impl From<&Histogram<u64>> for Curve {
    fn from(times: &Histogram<u64>) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        let mut points: Vec<Point> = Vec::new();
        for step in times.iter_quantiles(TICKS_PER_HALVING) {
            let point = Point { quantile: step.quantile_iterated_to(), us: step.value_iterated_to() };
            // The steps go on halving where nothing lies between any more.
            match points.last_mut() {
                Some(last) if last.quantile >= point.quantile => last.us = last.us.max(point.us),
                _ => points.push(point),
            }
        }
        Self { count: times.len(), min_us: times.min(), mean_us: times.mean(), max_us: times.max(), points }
    }
}

impl Second {
    /// So many in this entry as a rate.
    #[expect(clippy::cast_precision_loss, reason = "a rate is read by people")]
    pub fn rate(&self, count: u64) -> f64 {
        if self.span_s > 0.0 { count as f64 / self.span_s } else { 0.0 }
    }

    /// The same, rounded.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is no larger than its count")]
    pub fn a_second(&self, count: u64) -> u64 {
        self.rate(count).round() as u64
    }
}

impl Memory {
    /// What each session added, in bytes; `None` if it held none, or held more before them: what a server let go of
    /// meanwhile, such as of provisioning, hides what they cost.
    #[expect(clippy::cast_precision_loss, reason = "a figure of a session is read by people")]
    pub fn per_session_bytes(&self) -> Option<f64> {
        let grew = self.held_bytes.checked_sub(self.before_bytes).filter(|grew| *grew > 0 && self.sessions > 0)?;
        Some(grew as f64 / self.sessions as f64)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests;
