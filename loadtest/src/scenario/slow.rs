//! A share of all sessions reads nothing for a while, while the rest talks on, and then reads what waited.

use std::sync::Arc;
use std::time::Duration;

use super::crowd::{self, Comings, Crowd, Spread};
use super::metrics::sum_of;
use super::under_load;
use crate::cli::{AgentSecret, Common, Slow};
use crate::lean::Pace;
use crate::report::{SlowReport, Summary, line};
use crate::run::{RunError, Underway};

/// How often it is looked at who has caught up: agents tell once in a second.
const LOOK: Duration = Duration::from_millis(100);
/// Until all have told that they stall, and behind the last that caught up.
const CALM: Duration = Duration::from_secs(3);
/// What the kernel keeps of a session that does not read: what it took would hide for long that nobody reads.
const RECEIVE_BYTES: u32 = 8 * 1024;
/// What an edge says of how much waits for its sessions.
const OUTBOX_BYTES: &str = "panda_edge_outbox_bytes";
/// What an edge counts of outboxes that were full.
const CUTS: &str = "panda_edge_outbox_cuts_total";

pub(super) async fn run(
    asked: &Slow,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "slow".into();
    // Of this machine only: who has caught up is told by its clock.
    let crew = crowd::crew(asked.sessions, &[], &AgentSecret::default())?;
    let spread = Spread { all_at: None, comes_back: true, receive_bytes: Some(RECEIVE_BYTES) };
    let (mut crowd, plans) =
        Crowd::gather(common, crew, (asked.sessions, asked.check, spread), summary, underway).await?;
    let run = Arc::clone(&crowd.run);
    let mut report = SlowReport::default();
    let load = stall(asked, &mut crowd, &mut report);
    let held = under_load(&run, summary.sessions, summary, load).await;
    run.recorder.seconds.fault_ends();
    report.meanwhile.compare(&run.recorder.seconds.all());
    summary.slow = Some(report);
    crowd.end(&plans, (held?, asked.check > 0.0), summary).await
}

/// The load: all read, a share stalls, and reads again until it has what waited for it.
async fn stall(asked: &Slow, crowd: &mut Crowd, report: &mut SlowReport) -> Result<(), RunError> {
    let run = Arc::clone(&crowd.run);
    crowd.go(Pace { sends: f64::from(asked.rate), churn: 0.0 })?;
    crowd.hear_while(tokio::time::sleep(asked.before)).await?;
    let cuts = crowd.hear_while(sum_of(CUTS, &asked.health)).await??;
    crowd.comings = Comings::default();
    run.recorder.seconds.fault_begins(format!("{} % stall", asked.stall));
    crowd.stall(asked.stall)?;
    report.meanwhile.began_s = run.now().as_secs_f64();
    crowd.hear_while(tokio::time::sleep(CALM)).await?;
    report.stalled = crowd.stalled();
    if report.stalled == 0 || report.stalled >= u64::from(asked.sessions) {
        return Err(RunError::Usage(
            "nobody stalled, or nobody was left to talk; take more --sessions or another --stall".into(),
        ));
    }
    line(format_args!("{} sessions read nothing", report.stalled));
    crowd.hear_while(tokio::time::sleep(asked.duration.saturating_sub(CALM))).await?;
    // Who is not among them any more was lost meanwhile.
    let reading = crowd.stalled();
    report.outbox_bytes = crowd.hear_while(sum_of(OUTBOX_BYTES, &asked.health)).await??;
    report.lost = crowd.comings.lost();
    report.meanwhile.ended_s = run.now().as_secs_f64();
    let (again, read_up) = (run.now(), |crowd: &Crowd| crowd.comings.read_up_us.values().sum::<u64>());
    crowd.read_on()?;
    while read_up(crowd) < reading && run.now() < again + run.patience {
        crowd.hear_while(tokio::time::sleep(LOOK)).await?;
    }
    report.caught_up(&crowd.comings.read_up_us, run.now().saturating_sub(again));
    let cuts_after = crowd.hear_while(sum_of(CUTS, &asked.health)).await??;
    report.cuts = cuts.zip(cuts_after).map(|(before, after)| after.saturating_sub(before));
    run.recorder.seconds.fault_ends();
    crowd.hear_while(tokio::time::sleep(CALM)).await
}
