//! Kills an edge of a cluster with all sessions on it, and watches how they come back to the others.

use std::sync::Arc;
use std::time::Duration;

use super::crowd::{self, Comings, Crowd, Spread};
use super::metrics::Page;
use super::under_load;
use crate::chaos::plan::part_of;
use crate::chaos::{Cluster, Fault, Kind, Status};
use crate::cli::{AgentSecret, Common, Storm, Transport};
use crate::lean::Pace;
use crate::report::{StormCost, StormReport, Summary, Watched, line};
use crate::run::{RunError, Underway};

/// How often it is looked at who is back: agents tell once in a second.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(
    asked: &Storm,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "storm".into();
    let cluster = Cluster::new(&asked.cluster_command, &asked.cluster);
    let status = cluster.status().await.map_err(RunError::Usage)?;
    let scene = Scene::of(&status, asked.victim.as_deref()).map_err(RunError::Usage)?;
    let common = scene.common(common, &status);
    summary.targets.clone_from(&common.targets);
    // Of this machine only: when who was back is told by its clock.
    let crew = crowd::crew(asked.sessions, &[], &AgentSecret::default())?;
    let spread = Spread { all_at: Some(scene.survivors.len()), comes_back: true, receive_bytes: None };
    let (mut crowd, plans) =
        Crowd::gather(&common, crew, (asked.sessions, asked.check, spread), summary, underway).await?;
    let run = Arc::clone(&crowd.run);
    let mut report = StormReport {
        victim: scene.victim.clone(),
        shared_secret: status.own_secret.as_ref() != Some(&scene.victim),
        ..StormReport::default()
    };
    let load = scene.storm(asked, (&cluster, &status), &mut crowd, &mut report);
    let held = under_load(&run, summary.sessions, summary, load).await;
    run.recorder.seconds.fault_ends();
    report.used(&run.recorder.seconds.all(), &scene.survivors);
    summary.storm = Some(report);
    crowd.end(&plans, (held?, asked.check > 0.0), summary).await
}

/// Which edge is killed, and which are left.
#[derive(Debug, PartialEq, Eq)]
struct Scene {
    victim: String,
    survivors: Vec<String>,
    /// Base URLs of the survivors, then that of the victim.
    targets: Vec<String>,
}

impl Scene {
    fn of(status: &Status, victim: Option<&str>) -> Result<Self, String> {
        if let Some(missing) = status.missing() {
            return Err(format!("{missing}; start it before an edge is killed"));
        }
        let edges = || status.processes.iter().filter(|process| part_of(&process.name) == "edge");
        let names: Vec<&str> = edges().map(|edge| edge.name.as_str()).collect();
        if names.len() < 2 {
            return Err("sessions need another edge to come back to: ops/cluster up --edges 3".into());
        }
        let victim = victim.unwrap_or(names[0]);
        if !names.contains(&victim) {
            return Err(format!("--victim {victim}: the cluster has {}", names.join(", ")));
        }
        let (mut survivors, killed): (Vec<_>, Vec<_>) = edges().partition(|edge| edge.name != victim);
        let names = survivors.iter().map(|edge| edge.name.clone()).collect();
        survivors.extend(killed);
        let targets = survivors.into_iter().map(|edge| edge.address.clone()).collect();
        Ok(Self { victim: victim.to_owned(), survivors: names, targets })
    }

    /// With this cluster's targets, key and certificate; all of Panda's processes are watched.
    fn common(&self, common: &Common, status: &Status) -> Common {
        let mut common = common.clone();
        common.targets.clone_from(&self.targets);
        common.transport = Transport::Ws;
        common.api_key_file = common.api_key_file.or_else(|| status.admin_key.clone());
        common.certificate = common.certificate.or_else(|| status.certificate.clone());
        let own = status.processes.iter().filter(|process| status.health.contains_key(&process.name));
        common.watch.extend(own.filter_map(|process| Some(Watched { name: process.name.clone(), pid: process.pid? })));
        common
    }

    /// The load: calm, the kill, and on until all are back and a while more.
    async fn storm(
        &self,
        asked: &Storm,
        (cluster, status): (&Cluster, &Status),
        crowd: &mut Crowd,
        report: &mut StormReport,
    ) -> Result<(), RunError> {
        crowd.go(Pace { sends: f64::from(asked.rate), churn: 0.0 })?;
        crowd.hear_while(tokio::time::sleep(asked.before)).await?;
        let run = Arc::clone(&crowd.run);
        let before = crowd.hear_while(self.figures(status)).await??;
        crowd.comings = Comings::default();
        crowd.is_punctual = false;
        let fault =
            Fault { number: 1, process: self.victim.clone(), kind: Kind::Kill, cut: None, hold: Duration::ZERO };
        run.recorder.seconds.fault_begins(format!("kill {}", self.victim));
        let begins = run.now();
        let open = crowd.hear_while(cluster.begin(&fault, &status.names())).await?.map_err(RunError::Usage)?;
        line(format_args!("{} was killed", self.victim));
        let (mut killed, sessions) = (None, u64::from(asked.sessions));
        while run.now() < begins + run.patience && crowd.comings.back() < sessions.max(crowd.comings.lost()) {
            crowd.hear_while(tokio::time::sleep(LOOK)).await?;
            if crowd.comings.lost() > 0 {
                killed.get_or_insert_with(|| run.now());
            }
        }
        let after = crowd.hear_while(self.figures(status)).await??;
        let comings = crowd.comings.clone();
        // The second in which it happened.
        report.began_s = killed.unwrap_or(begins).max(begins).as_secs_f64().min(begins.as_secs_f64() + 1.0);
        report.came_back(&comings.lost_at_ms, &comings.back_at_ms);
        report.cost = cost(&before, &after, &comings);
        write_line(report);
        crowd.is_punctual = true;
        run.recorder.seconds.fault_ends();
        crowd.hear_while(tokio::time::sleep(asked.after)).await?;
        // What it cost is measured; the cluster is left as it was found.
        let restarted = crowd.hear_while(cluster.end(open)).await?;
        restarted.map(drop).map_err(RunError::Usage)
    }

    /// What the processes that are left count: the figures of Postgres and of the event store by their names, added up.
    async fn figures(&self, status: &Status) -> Result<Figures, RunError> {
        let mut figures = Figures::default();
        for (name, address) in status.health.iter().filter(|(name, _)| **name != self.victim) {
            let page = Page::of(address).await?;
            match part_of(name) {
                "router" => {
                    figures.all_reads += page.figure("panda_router_store_reads_total")?;
                    figures.store_reads += page.figure("panda_router_question_reads_total")?;
                    figures.proven += page.figure("panda_router_admissions_proven_total")?;
                    figures.unloaded += page.figure("panda_router_admissions_unloaded_total")?;
                }
                _ => figures.postgres_calls += page.figure("panda_users_calls_total")?,
            }
        }
        Ok(figures)
    }
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    postgres_calls: u64,
    store_reads: u64,
    all_reads: u64,
    proven: u64,
    unloaded: u64,
}

fn cost(before: &Figures, after: &Figures, comings: &Comings) -> StormCost {
    let store_reads = after.store_reads.saturating_sub(before.store_reads);
    StormCost {
        tries_failed: comings.failed,
        tls_full: comings.tls_full,
        tls_resumed: comings.tls_resumed,
        by_ticket: comings.by_ticket,
        by_token: comings.by_token,
        postgres_calls: after.postgres_calls.saturating_sub(before.postgres_calls),
        store_reads,
        command_reads: after.all_reads.saturating_sub(before.all_reads).saturating_sub(store_reads),
        admissions_proven: after.proven.saturating_sub(before.proven),
        admissions_unloaded: after.unloaded.saturating_sub(before.unloaded),
    }
}

fn write_line(report: &StormReport) {
    match report.all_back_s {
        Some(all) => line(format_args!("all {} sessions are back after {all:.1} s", report.lost)),
        None => {
            let back = report.back.last().map_or(0, |(_, back)| *back);
            line(format_args!("{back} of {} sessions are back", report.lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Process;

    fn status(edges: u32, state: &str) -> Status {
        let process = |number| Process {
            name: format!("edge-{number}"),
            state: state.into(),
            pid: Some(number),
            address: format!("https://127.0.0.1:{number}"),
        };
        Status { processes: (1..=edges).map(process).collect(), ..Status::default() }
    }

    #[test]
    fn the_first_edge_is_killed_or_the_one_that_is_named_and_the_others_come_first() {
        let scene = Scene::of(&status(3, "running"), None).unwrap();
        assert_eq!((scene.victim.as_str(), scene.survivors.join(" ")), ("edge-1", "edge-2 edge-3".into()));
        assert_eq!(scene.targets.last().map(String::as_str), Some("https://127.0.0.1:1"));
        let scene = Scene::of(&status(3, "running"), Some("edge-3")).unwrap();
        assert_eq!((scene.victim.as_str(), scene.survivors.join(" ")), ("edge-3", "edge-1 edge-2".into()));
    }

    #[test]
    fn what_cannot_be_done_is_told_with_what_to_do() {
        assert!(Scene::of(&status(1, "running"), None).unwrap_err().contains("up --edges"));
        assert!(Scene::of(&status(3, "paused"), None).unwrap_err().contains("edge-1 is paused"));
        assert!(Scene::of(&status(2, "running"), Some("edge-9")).unwrap_err().contains("edge-1, edge-2"));
    }
}
