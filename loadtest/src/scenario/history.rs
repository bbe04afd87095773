//! A share of all sessions is away for long, while the rest goes on talking, and comes back to what it missed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::crowd::{self, Comings, Crowd, Spread};
use super::metrics::sum_of;
use super::under_load;
use crate::cli::{AgentSecret, Common, History};
use crate::lean::{Pace, SESSION_CHATS};
use crate::report::{HistoryReport, Summary, line};
use crate::run::{RunError, Underway};

/// How often it is looked at who has caught up: agents tell once in a second.
const LOOK: Duration = Duration::from_millis(100);
/// Before anybody leaves, and behind the last message: what was sent is stored and delivered by then.
const CALM: Duration = Duration::from_secs(3);
/// What a router counts of reads of its store for what sessions ask.
const STORE_READS: &str = "panda_router_question_reads_total";

pub(super) async fn run(
    asked: &History,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "history".into();
    let crew = crowd::crew(asked.sessions, &[], &AgentSecret::default())?;
    let spread = Spread { all_at: None, comes_back: true, receive_bytes: None };
    let (mut crowd, plans) =
        Crowd::gather(common, crew, (asked.sessions, asked.check, spread), summary, underway).await?;
    let run = Arc::clone(&crowd.run);
    let mut report = HistoryReport::default();
    let load = absence(asked, plans.len(), &mut crowd, &mut report);
    let held = under_load(&run, summary.sessions, summary, load).await;
    summary.history = Some(report);
    crowd.end(&plans, (held?, asked.check > 0.0), summary).await
}

/// The load: a share leaves, the rest talks until that has missed enough, and it comes back.
async fn absence(asked: &History, chats: usize, crowd: &mut Crowd, report: &mut HistoryReport) -> Result<(), RunError> {
    let run = Arc::clone(&crowd.run);
    crowd.hear_while(tokio::time::sleep(CALM)).await?;
    let connected = || run.recorder.connected.load(Relaxed);
    let before = connected();
    crowd.leave(asked.away)?;
    crowd.hear_while(tokio::time::sleep(CALM)).await?;
    report.away = u64::try_from(before - connected()).unwrap_or(0);
    if report.away == 0 || connected() <= 0 {
        return Err(RunError::Usage(
            "nobody left, or nobody stayed to talk; take more --sessions or another --away".into(),
        ));
    }
    line(format_args!("{} sessions are away", report.away));
    // Each session is in so many chats; those who are away say nothing.
    let wanted = u64::from(asked.missed) * chats as u64 / SESSION_CHATS as u64;
    let (began, acked) = (run.now(), run.recorder.acked.load(Relaxed));
    crowd.go(Pace { sends: f64::from(asked.rate), churn: 0.0 })?;
    while run.recorder.acked.load(Relaxed) - acked < wanted {
        crowd.hear_while(tokio::time::sleep(LOOK)).await?;
    }
    crowd.go(Pace::default())?;
    crowd.hear_while(tokio::time::sleep(CALM)).await?;
    report.absent_s = (run.now().saturating_sub(began)).as_secs_f64();
    let reads = crowd.hear_while(sum_of(STORE_READS, &asked.health)).await??;
    let delivered = run.recorder.delivered.load(Relaxed);
    crowd.comings = Comings::default();
    let back = run.now();
    crowd.come_back()?;
    let caught_up = |crowd: &Crowd| crowd.comings.caught_up_us.values().sum::<u64>();
    while caught_up(crowd) < report.away {
        if run.now() > back + run.patience {
            break;
        }
        crowd.hear_while(tokio::time::sleep(LOOK)).await?;
    }
    let reads_after = crowd.hear_while(sum_of(STORE_READS, &asked.health)).await??;
    report.caught_up(&crowd.comings.caught_up_us, run.now().saturating_sub(back));
    report.missed = run.recorder.delivered.load(Relaxed) - delivered;
    report.store_reads = reads.zip(reads_after).map(|(before, after)| after.saturating_sub(before));
    crowd.hear_while(tokio::time::sleep(CALM)).await
}
