//! What clients felt of each fault: a line each for people, JSON for programs, a page for the fault table.

mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use self::page::write_table;
use super::{Counts, LostSockets};
use crate::chaos::plan::seconds;
use crate::chaos::{Failure, Fault};
use crate::checker::{Harmed, Losses};
use crate::cli::Chaos;

/// The faults of a run and what clients felt of them.
#[derive(Debug, Serialize)]
pub struct ChaosReport {
    /// Messages a second that were due.
    pub rate: u32,
    /// All is well while acks, deliveries and HTTP calls come within this.
    #[serde(rename = "bound_s", serialize_with = "seconds")]
    pub bound: Duration,
    /// What was to be done.
    pub schedule: Vec<Fault>,
    /// What was done, and felt.
    pub faults: Vec<Felt>,
    /// What happened to sends in all that must not; absent if nothing was judged.
    pub losses: Option<Losses>,
    /// What of it happened to sends acked, or else due, before the first fault; any fault may have lost them.
    pub losses_before: Option<Losses>,
    /// What is being done, and when it began.
    #[serde(skip)]
    pub under_way: Option<(Fault, Duration)>,
}

/// What clients felt of one fault. Times in seconds; each is from when a send or call was due.
#[derive(Debug, Serialize)]
pub struct Felt {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// When it began, on the run's clock.
    #[serde(rename = "began_s", serialize_with = "seconds")]
    pub began: Duration,
    /// From the fault to when the process was ready again.
    pub lasted_s: f64,
    /// The longest ack.
    pub longest_ack_s: f64,
    /// The longest wait for an ack until the fault's end began, whether the ack had come or not; absent if the fault was
    /// not held. What the end itself costs, such as a start, is not in it.
    pub longest_ack_held_s: Option<f64>,
    /// The longest delivery to any session.
    pub longest_delivery_s: f64,
    /// The longest HTTP call, tries that failed included.
    pub longest_call_s: f64,
    /// All moments together whose sends were not all acked and delivered within the bound.
    pub disturbed_s: f64,
    /// From the fault to the first moment, behind the first trouble, from which all was well for 2 s.
    pub recovered_s: Option<f64>,
    /// From the fault to the last moment of trouble, after its end too.
    pub settled_s: Option<f64>,
    /// What was counted meanwhile.
    #[serde(flatten)]
    pub counts: Counts,
    /// Connections that were lost, by edge.
    #[serde(flatten)]
    pub lost_sockets: LostSockets,
    /// HTTP calls that were tried again, by why.
    pub failed_calls: BTreeMap<Failure, u64>,
    /// What happened to sends acked, or else due, between this fault and the next one; this fault or a later one may have
    /// lost them. Absent if nothing was judged.
    pub losses: Option<Losses>,
    /// What the cluster's command said of it, in lines: whether a process outlived its full disk, or had to be killed.
    pub said: Vec<String>,
    /// What should have held meanwhile and did not.
    pub broken: Vec<String>,
    /// Why the cluster counts as not recovered.
    pub problem: Option<String>,
}

impl ChaosReport {
    /// Nothing was done yet.
    pub const fn new(asked: &Chaos, schedule: Vec<Fault>) -> Self {
        Self {
            rate: asked.rate,
            bound: asked.bound,
            schedule,
            faults: Vec::new(),
            losses: None,
            losses_before: None,
            under_way: None,
        }
    }

    /// Takes in what the checker found to have happened to sends. Each stands with the fault that had begun last when it was
    /// acked, or else due. That one need not have done it: what a kill loses was acked before it.
    pub fn judged(&mut self, harmed: &[Harmed]) {
        let starts: Vec<Duration> = self.faults.iter().map(|felt| felt.began).collect();
        let faults_begun = |send: &Harmed| starts.partition_point(|&began| began <= send.at);
        let of_window = |begun| Losses::of(harmed.iter().filter(|&send| faults_begun(send) == begun));
        self.losses = Some(Losses::of(harmed));
        self.losses_before = Some(of_window(0));
        for (begun, felt) in (1..).zip(&mut self.faults) {
            felt.losses = Some(of_window(begun));
        }
    }

    /// Whether the cluster recovered from each fault that was done.
    pub fn recovered(&self) -> bool {
        self.faults.iter().all(|felt| felt.problem.is_none())
    }

    /// The run ended while a fault was felt: the cluster did not recover from it.
    pub fn cut_short(&mut self, why: &str) {
        let Some((fault, began)) = self.under_way.take() else { return };
        self.faults.push(Felt {
            lasted_s: fault.hold.as_secs_f64(),
            fault,
            began,
            longest_ack_s: 0.0,
            longest_ack_held_s: None,
            longest_delivery_s: 0.0,
            longest_call_s: 0.0,
            disturbed_s: 0.0,
            recovered_s: None,
            settled_s: None,
            counts: Counts::default(),
            lost_sockets: LostSockets::default(),
            failed_calls: BTreeMap::new(),
            losses: None,
            said: Vec::new(),
            broken: Vec::new(),
            problem: Some(format!("{why}; how long its sends waited is not known")),
        });
    }

    /// Whether it recovered, and all held meanwhile that should.
    pub fn passed(&self) -> bool {
        self.recovered() && self.faults.iter().all(|felt| felt.broken.is_empty())
    }
}

fn or_never(time: Option<f64>) -> String {
    time.map_or_else(|| "never".into(), |time| format!("{time:.1} s"))
}

impl fmt::Display for Felt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longest ack {:.1} s", self.longest_ack_s)?;
        if let Some(held) = self.longest_ack_held_s {
            write!(f, " ({held:.1} s until its end)")?;
        }
        write!(
            f,
            ", delivery {:.1} s, call {:.1} s; disturbed {:.1} s; recovered after {}, settled after {}",
            self.longest_delivery_s,
            self.longest_call_s,
            self.disturbed_s,
            or_never(self.recovered_s),
            or_never(self.settled_s),
        )?;
        if !self.lost_sockets.is_none() {
            write!(f, "; {}", self.lost_sockets)?;
        }
        let refusals = self.counts.refusals();
        if !refusals.is_empty() {
            write!(f, "; refused: {refusals}")?;
        }
        if !self.failed_calls.is_empty() {
            write!(f, "; calls failed: {}", calls(&self.failed_calls))?;
        }
        if let Some(losses) = &self.losses {
            write!(f, "; sends acked from here on: {losses}")?;
        }
        for said in &self.said {
            write!(f, "; {said}")?;
        }
        for broken in &self.broken {
            write!(f, "; NOT KEPT: {broken}")?;
        }
        match &self.problem {
            Some(problem) => write!(f, "; NOT RECOVERED: {problem}"),
            None => Ok(()),
        }
    }
}

fn calls(failed: &BTreeMap<Failure, u64>) -> String {
    failed.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, all) = (self.faults.len(), self.schedule.len());
        writeln!(f, "  faults     {done} of {all}, at {}/s, well within {:?}:", self.rate, self.bound)?;
        for felt in &self.faults {
            writeln!(f, "  {}\n       {felt}", felt.fault)?;
        }
        if let (Some(losses), Some(before)) = (&self.losses, &self.losses_before) {
            writeln!(f, "  losses     in all: {losses}; before the first fault: {before}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::page::{page, verdict};
    use super::*;
    use crate::chaos::{Cut, Kind};
    use crate::checker::Harm;
    use crate::recorder::Repeated;
    use crate::report::{Checked, Summary};

    fn felt(problem: Option<&str>) -> Felt {
        let hold = Duration::from_secs(30);
        let fault = Fault { number: 1, process: "kafka-1".into(), kind: Kind::Pause, cut: None, hold };
        let why = |names_wait| Repeated { code: 2000, names_wait };
        let repeated = BTreeMap::from([(why(true), 40), (why(false), 2)]);
        Felt {
            fault,
            began: Duration::from_secs(10),
            lasted_s: 30.2,
            longest_ack_s: 31.04,
            longest_ack_held_s: Some(29.96),
            longest_delivery_s: 31.1,
            longest_call_s: 0.1,
            disturbed_s: 30.6,
            recovered_s: Some(31.0),
            settled_s: problem.is_none().then_some(31.0),
            counts: Counts { acked: 7, connections_lost: 3, repeated, ..Counts::default() },
            lost_sockets: LostSockets { of_touched: BTreeMap::from([("edge-1".into(), 3)]), ..LostSockets::default() },
            failed_calls: BTreeMap::from([(Failure::NoAnswer, 5)]),
            losses: None,
            said: Vec::new(),
            broken: Vec::new(),
            problem: problem.map(Into::into),
        }
    }

    fn report(felt: Felt) -> ChaosReport {
        ChaosReport {
            rate: 100,
            bound: Duration::from_secs(1),
            schedule: vec![felt.fault.clone()],
            faults: vec![felt],
            losses: None,
            losses_before: None,
            under_way: None,
        }
    }

    #[test]
    fn a_fault_is_told_with_what_was_felt_of_it() {
        let report = report(felt(None));
        assert!(report.recovered());
        let text = report.to_string();
        assert!(text.contains("pause     kafka-1      for 30.0 s"), "{text}");
        assert!(
            text.contains("40 unavailable (2000)") && text.contains("2 unavailable (2000) without retry_after"),
            "{text}"
        );
        assert!(text.contains("connections lost: 3 of edge-1") && text.contains("5 no answer"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["faults"][0]["kind"], "pause");
        assert_eq!((&json["faults"][0]["hold_s"], &json["bound_s"]), (&30.0.into(), &1.0.into()));
        assert_eq!(json["faults"][0]["repeated"]["unavailable (2000)"], 40);
        assert_eq!(json["faults"][0]["acked"], 7);
        assert_eq!(json["faults"][0]["longest_ack_held_s"], 29.96);
    }

    #[test]
    fn what_the_cluster_said_of_a_fault_is_told() {
        let said = "kafka-1 ended and was started".to_owned();
        let report = report(Felt { said: vec![said.clone()], ..felt(None) });
        assert!(report.to_string().contains("; kafka-1 ended and was started\n"), "{report}");
        assert_eq!(serde_json::to_value(&report).unwrap()["faults"][0]["said"], serde_json::json!([said]));
        assert!(verdict(&Summary::default(), &report).contains("- pause kafka-1: kafka-1 ended and was started\n"));
    }

    #[test]
    fn a_cluster_that_did_not_recover_shows_everywhere() {
        let mut report = report(felt(Some("kafka-1 is ended")));
        assert!(!report.recovered());
        assert!(report.to_string().contains("NOT RECOVERED: kafka-1 is ended"));
        report.faults[0].problem = None;
        report.cut_short("no session could connect again for 60s");
        assert!(report.recovered(), "it was over");
        report.schedule.push(report.schedule[0].clone());
        report.under_way = Some((report.schedule[1].clone(), Duration::from_secs(90)));
        report.cut_short("no session could connect again for 60s");
        assert!(!report.recovered());
        assert!(report.to_string().contains("NOT RECOVERED: no session could connect again"), "{report}");
        let summary = Summary { chaos: Some(report), ..Summary::default() };
        assert!(!summary.passed());
    }

    #[test]
    fn what_did_not_hold_meanwhile_shows_everywhere() {
        let mut report = report(felt(None));
        assert!(report.passed());
        report.faults[0].broken.push("3 sessions lost their connection".into());
        assert!(report.recovered() && !report.passed());
        assert!(report.to_string().contains("NOT KEPT: 3 sessions lost"));
        let summary = Summary { held: Some(true), ..Summary::default() };
        assert!(verdict(&summary, &report).contains("- pause kafka-1: 3 sessions lost"));
    }

    #[test]
    fn each_loss_is_told_with_the_fault_that_had_begun_last_when_the_send_was_acked() {
        let at = |how, seconds| Harmed { how, at: Duration::from_secs(seconds) };
        let mut report = report(felt(None));
        report.schedule.push(report.schedule[0].clone());
        report.faults.push(Felt { began: Duration::from_secs(60), ..felt(None) });
        report.schedule.push(report.schedule[0].clone());
        report.faults.push(Felt { began: Duration::from_secs(90), ..felt(None) });
        assert!(!report.to_string().contains("losses"), "nothing was judged yet");
        let harmed =
            [at(Harm::Lost, 9), at(Harm::Lost, 10), at(Harm::Doubled, 59), at(Harm::Reordered, 60), at(Harm::Lost, 60)];
        report.judged(&harmed);
        let of = |losses: Option<Losses>| losses.unwrap().to_string();
        assert_eq!(of(report.losses_before), "1 lost");
        let faults: Vec<String> = report.faults.iter().map(|felt| of(felt.losses)).collect();
        assert_eq!(faults, ["1 lost, 1 doubled", "1 lost, 1 reordered", "nothing lost"]);
        let text = report.to_string();
        assert!(text.contains("in all: 3 lost, 1 doubled, 1 reordered; before the first fault: 1 lost"), "{text}");
        assert!(text.contains("; sends acked from here on: 1 lost, 1 doubled\n"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["losses"]["lost"], &json["losses_before"]["lost"]), (&3.into(), &1.into()));
        assert_eq!((&json["faults"][0]["losses"]["doubled"], &json["faults"][1]["began_s"]), (&1.into(), &60.0.into()));
        let summary = Summary { held: Some(false), violations: 5, ..Summary::default() };
        let text = verdict(&summary, &report);
        let of_fault =
            "- sends acked between pause kafka-1 and the next fault: 1 lost, 1 reordered; it or a later one may";
        assert!(text.contains(of_fault) && text.contains("- sends acked before the first fault: 1 lost\n"), "{text}");
    }

    #[test]
    fn the_page_has_a_row_for_each_fault_and_the_verdict() {
        let checked = Checked { acked: 9, deliveries: 18, streams: 2, ..Checked::default() };
        let mut summary = Summary { sessions: 60, chats: 12, held: Some(true), checked, ..Summary::default() };
        let page =
            |summary: &Summary, felt| page(summary, &report(felt), "2026-01-02", "2 cores", "panda-loadtest chaos");
        let text = page(&summary, felt(None));
        assert!(
            text.contains(
                "| kafka-1 | pause 30 s | 31.0 | 30.0 | 31.1 | 0.1 | 30.6 | 31.0 | 31.0 | 3 | 2 unavailable (2000) without"
            ),
            "{text}"
        );
        assert!(text.contains("nothing, of 9 acked sends"), "{text}");
        let stayed_up = |text: &str| text.contains("Sockets of edges that were not touched stayed up");
        assert!(stayed_up(&text), "{text}");
        let text = page(&summary, felt(Some("edge-1 is ended")));
        assert!(text.contains("| never |") && text.contains("- pause kafka-1: edge-1 is ended"), "{text}");
        assert!(!stayed_up(&text), "a fault that was cut short was not looked at: {text}");
        summary.held = None;
        let text = page(&summary, felt(None));
        assert!(text.contains("**Nothing could be judged") && !stayed_up(&text), "{text}");
        (summary.held, summary.violations) = (Some(false), 3);
        assert!(page(&summary, felt(None)).contains("**The checker found 3 violations.**"));
        let hold = Duration::from_secs(10);
        let fault = Fault { number: 1, process: "router-1".into(), kind: Kind::LinkCut, cut: Some(Cut::Silent), hold };
        let text = page(&summary, Felt { fault, ..felt(None) });
        assert!(text.contains("| router-1 | link-cut 10 s, open and silent | 31.0 |"), "{text}");
    }
}
