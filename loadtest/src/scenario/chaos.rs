//! An even load while faults are done to a cluster's processes, one after the other, each once all is calm.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::load::Load;
use super::{close_all, sum_up, under_load};
use crate::chaos::cluster::touched_edges;
use crate::chaos::plan::{self, Victim};
use crate::chaos::promises::{self, Seen, Stall};
use crate::chaos::{Calls, Cluster, Fault, Kind, Status};
use crate::cli::{Chaos, Common};
use crate::output::OutputFile;
use crate::report::{ChaosReport, Counts, Felt, LostSockets, Summary, line, write_table};
use crate::run::{Run, RunError, Underway};
use crate::schedule;
use crate::series::{SLICE, Series};

/// The load goes on until the last fault is over; this is only so that no schedule is endless.
const LOAD_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// For what a fault holds, and a start in its course.
const PATIENCE_BEYOND: Duration = Duration::from_secs(60);
/// What is done if nothing is said, as far as the cluster was made for it.
const KINDS: [Kind; 5] = [Kind::Kill, Kind::Pause, Kind::Restart, Kind::LinkCut, Kind::DiskFull];
const TABLE_KINDS: [Kind; 7] =
    [Kind::Kill, Kind::Pause, Kind::Stop, Kind::Restart, Kind::Absent, Kind::LinkCut, Kind::DiskFull];

pub(super) async fn run(
    asked: Chaos,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "chaos".into();
    let table = OutputFile::open_if("--table", asked.table.as_deref())?;
    let cluster = Cluster::new(&asked.cluster_command, &asked.cluster);
    let status = cluster.status().await.map_err(RunError::Usage)?;
    if let Some(missing) = status.missing() {
        return Err(RunError::Usage(format!("{missing}; start it before faults are done to it")));
    }
    let mut common = common.clone();
    // Of targets that somebody named, nobody knows whether they are this cluster's.
    let mut apis = Vec::new();
    if common.targets.is_empty() {
        common.targets = status.edges();
        summary.targets.clone_from(&common.targets);
        apis = status.apis();
    }
    common.api_key_file = common.api_key_file.or_else(|| status.admin_key.clone());
    // A session that is away is the matter of --recovery first.
    common.patience = common.patience.max(asked.recovery + PATIENCE_BEYOND);
    let processes = status.names();
    let faults = schedule(&asked, summary.seed, &status)?;
    let name_of = |url: &String| status.name_at(url).map(ToOwned::to_owned);
    let edges = common.targets.iter().map(name_of).collect();
    line(format_args!("seed {}; the faults will be:", summary.seed));
    faults.iter().for_each(line);

    let load = Load::prepare((asked.sessions as usize, asked.chats as usize), &common, summary, underway).await?;
    let run = Arc::clone(&load.run);
    run.recorder.follow(Series::new(asked.bound, load.listeners(), run.now()));
    let watch = Watch { run: &run, cluster: &cluster, calls: Calls::new(asked.bound), asked: &asked, edges };
    let mut report = ChaosReport::new(&asked, faults);
    let seed = summary.seed;
    let both = async {
        let (stop, stopped) = oneshot::channel();
        let sending = load.send_all(schedule::Steady::new(asked.rate, LOAD_MAX), seed, async {
            // Whether it was said or dropped: the faults are over.
            stopped.await.unwrap_or(());
        });
        let faulting = async {
            let done = watch.do_all(&mut report, &processes).await;
            drop::<oneshot::Sender<()>>(stop);
            done
        };
        tokio::select! {
            done = async { tokio::try_join!(sending, faulting) } => done.map(drop),
            () = watch.calls.go_on(&run, &apis) => Ok(()),
        }
    };
    let ended = under_load(&run, load.sessions.len(), summary, both).await;
    let judged = match ended {
        Ok(time) => {
            let judged = load.judge(summary, time).await;
            if judged.is_ok() {
                report.judged(&summary.harmed);
            }
            judged
        }
        Err(why) => {
            report.cut_short(&why.to_string());
            Err(why)
        }
    };
    let recovered = report.recovered();
    // The report says which fault it was; that matters more than that nothing could be judged behind it.
    let table = table.filter(|_| !report.faults.is_empty());
    summary.chaos = Some(report);
    sum_up(summary, underway);
    let written = table.map_or(Ok(()), |table| write_table(table, summary));
    match judged {
        Err(why) if recovered => return Err(why),
        Err(why) => line(format_args!("not judged: {why}")),
        Ok(()) => close_all(&run, load.sessions).await,
    }
    written
}

fn schedule(asked: &Chaos, seed: u64, status: &Status) -> Result<Vec<Fault>, RunError> {
    let usage = |why: String| Err(RunError::Usage(why));
    let default: &[Kind] = if asked.table.is_some() { &TABLE_KINDS } else { &KINDS };
    let kinds = if asked.kinds.is_empty() { default } else { &asked.kinds };
    let processes = status.names();
    let parts: Vec<&str> = processes.iter().map(|process| plan::part_of(process)).collect();
    if let Some(unknown) = asked.parts.iter().find(|part| !parts.contains(&part.as_str())) {
        return usage(format!("--parts {unknown}: the cluster has {}", processes.join(", ")));
    }
    let victims = status.victims(&asked.parts, kinds);
    let everywhere = status.victims(&[], kinds);
    for &kind in &asked.kinds {
        match (able(&victims, kind).is_empty(), able(&everywhere, kind)) {
            (false, _) => {}
            (true, others) if !others.is_empty() => {
                let (kind, others) = (kind.label(), others.join(","));
                return usage(format!("--kinds {kind}: nothing of --parts can suffer it; --parts {others} can"));
            }
            (true, _) => {
                let why = kind.needs().unwrap_or("nothing of --parts can suffer it");
                return usage(format!("--kinds {}: {why}", kind.label()));
            }
        }
    }
    let faults = match asked.table {
        Some(_) => plan::table(&victims),
        None => plan::draw(seed, &victims, asked.faults as usize, asked.pause),
    };
    if faults.is_empty() {
        return usage(format!(
            "there is nothing to do: no fault of --kinds fits what the cluster has: {}",
            processes.join(", ")
        ));
    }
    Ok(faults)
}

/// Kinds of process to which a fault can be done, each once.
fn able(victims: &[Victim], kind: Kind) -> Vec<&str> {
    let able = victims.iter().filter(|victim| victim.kinds.contains(&kind));
    let mut parts: Vec<&str> = able.map(|victim| plan::part_of(&victim.process)).collect();
    parts.dedup();
    parts
}

/// Does the faults and watches what clients feel.
struct Watch<'a> {
    run: &'a Run,
    cluster: &'a Cluster,
    calls: Calls,
    asked: &'a Chaos,
    /// Names of the edges, in the order of the run's targets; a target that the cluster does not have has none.
    edges: Vec<Option<String>>,
}

impl Watch<'_> {
    /// All faults, or those up to the first from which the cluster does not recover.
    async fn do_all(&self, report: &mut ChaosReport, processes: &[String]) -> Result<(), RunError> {
        if let Err(why) = self.becomes_calm(self.run.now()).await {
            return Err(RunError::Usage(format!("the load is not calm before the first fault: {why}")));
        }
        for fault in report.schedule.clone() {
            line(format_args!("fault {fault}"));
            report.under_way = Some((fault.clone(), self.run.now()));
            self.run.recorder.seconds.fault_begins(format!("{} {}", fault.kind.label(), fault.process));
            let felt = self.feel(fault, processes).await;
            self.run.recorder.seconds.fault_ends();
            report.under_way = None;
            line(format_args!("      {felt}"));
            let recovered = felt.problem.is_none();
            report.faults.push(felt);
            if !recovered {
                line("the cluster did not recover; no further fault is done");
                break;
            }
        }
        Ok(())
    }

    async fn feel(&self, fault: Fault, processes: &[String]) -> Felt {
        let recorder = &self.run.recorder;
        let before = Counts::of(recorder);
        let began = self.run.now();
        self.series(Series::take_longest);
        self.calls.take(began);
        let mut held = None;
        let ended = async {
            let open = self.cluster.begin(&fault, processes).await?;
            if !fault.hold.is_zero() {
                tokio::time::sleep(fault.hold).await;
                let now = self.run.now();
                held = Some(self.series(|series| series.longest_ack(began, now)));
            }
            self.cluster.end(open).await
        };
        let ended = ended.await;
        let healed = self.run.now();
        let (said, calm) = match ended {
            Ok(said) => (said, self.becomes_calm(healed).await),
            Err(why) => (Vec::new(), Err(why)),
        };
        let now = self.run.now();
        let mut longest = self.series(Series::take_longest);
        if calm.is_err() {
            // Who still waits has felt at least this.
            let waiting = self.series(|series| series.waiting(began, now));
            (longest.ack, longest.delivery) = (longest.ack.max(waiting), longest.delivery.max(waiting));
        }
        let (longest_call, failed_calls) = self.calls.take(now);
        let since = |at: Option<Duration>| at.map(|at| at.saturating_sub(began).as_secs_f64());
        let recovered = since(self.series(|series| series.calm_from(began, now)));
        let settled = since(calm.is_ok().then(|| self.series(|series| series.calm_since(began, now))).flatten());
        let counts = Counts::of(recorder).since(&before);
        let lost_sockets = LostSockets::of(&counts.lost_at, &self.edges, &touched_edges(&fault, processes));
        let seen = Seen { lost: &lost_sockets, counts: &counts, failed_calls: &failed_calls, said: &said };
        let mut broken = promises::broken(seen);
        if self.asked.limits {
            broken.extend(promises::too_long(&fault, Stall { whole: longest.ack, held }));
        }
        Felt {
            fault,
            began,
            lasted_s: healed.saturating_sub(began).as_secs_f64(),
            longest_ack_s: longest.ack.as_secs_f64(),
            longest_ack_held_s: held.map(|held| held.as_secs_f64()),
            longest_delivery_s: longest.delivery.as_secs_f64(),
            longest_call_s: longest_call.as_secs_f64(),
            disturbed_s: self.series(|series| series.disturbed(began, now)).as_secs_f64(),
            recovered_s: recovered,
            settled_s: settled,
            counts,
            lost_sockets,
            failed_calls,
            losses: None,
            said,
            broken,
            problem: calm.err(),
        }
    }

    /// Waits until everything has been well for a while, all of it behind `from`.
    async fn becomes_calm(&self, from: Duration) -> Result<(), String> {
        loop {
            let now = self.run.now();
            let sends = self.series(|series| series.calm_since(from, now)).is_some();
            let trouble = match (self.run.away(), sends, self.calls.is_calm(now)) {
                (1.., ..) => format!("{} sessions have no connection", self.run.away()),
                (_, false, _) => {
                    let waiting = self.series(|series| series.waiting(from, now));
                    format!(
                        "sends or deliveries take longer than {:?}; the oldest waits for {waiting:.1?}",
                        self.asked.bound
                    )
                }
                (_, _, false) => format!("HTTP calls fail or take longer than {:?}", self.asked.bound),
                _ => match self.cluster.status().await?.missing() {
                    None => return Ok(()),
                    Some(missing) => missing,
                },
            };
            if now > from + self.asked.recovery {
                return Err(format!("after {:?}: {trouble}", self.asked.recovery));
            }
            tokio::time::sleep(SLICE).await;
        }
    }

    fn series<T: Default>(&self, look: impl FnOnce(&mut Series) -> T) -> T {
        // It is followed from before the first send.
        self.run.recorder.series().map(|mut series| look(&mut series)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::chaos::Process;
    use crate::cli::{Cli, Scenario};

    /// What is said of flags for a cluster that has these processes.
    fn refused(flags: &str, processes: &[&str]) -> String {
        let line = format!("panda-loadtest chaos {flags}");
        let Scenario::Chaos(asked) = Cli::try_parse_from(line.split_whitespace()).unwrap().scenario else {
            panic!("another scenario")
        };
        let process = |name: &&str| {
            let [name, state, address] = [name, "running", "127.0.0.1:1"].map(ToOwned::to_owned);
            Process { name, state, pid: None, address }
        };
        let status = Status { processes: processes.iter().map(process).collect(), ..Status::default() };
        match schedule(&asked, 1, &status) {
            Err(why) => why.to_string(),
            Ok(faults) => format!("{} faults", faults.len()),
        }
    }

    #[test]
    fn what_nothing_can_suffer_is_refused_with_what_would_help() {
        let (plain, proxied) = (["kafka-1", "router-1"], ["kafka-1", "link-1", "router-1"]);
        assert!(refused("--kinds link-cut", &plain).contains("up --link-proxies"));
        let elsewhere = "--kinds link-cut: nothing of --parts can suffer it; --parts router can";
        assert_eq!(refused("--parts kafka --kinds link-cut", &proxied), elsewhere);
        assert!(refused("--parts kafka --kinds link-cut", &plain).contains("up --link-proxies"));
        assert_eq!(refused("--kinds link-cut --faults 3", &proxied), "3 faults");
        assert_eq!(
            refused("--parts link --kinds absent", &proxied),
            "--kinds absent: nothing of --parts can suffer it; --parts kafka,router can"
        );
        assert!(refused("--faults 3", &["link-1"]).starts_with("there is nothing to do"));
        assert!(refused("--parts edge", &plain).contains("the cluster has kafka-1, router-1"));
    }
}
