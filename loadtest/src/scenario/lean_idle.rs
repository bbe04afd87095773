//! Holds many sessions that cost little at this end: some churn, some messages, and a share of the sessions under the checker.

use std::sync::Arc;

use tokio::time::Instant;

use super::crowd::{self, Crowd, Spread};
use super::{under_load, user_names};
use crate::cli::{Common, Idle, Transport};
use crate::lean::{Layout, Pace};
use crate::report::Summary;
use crate::run::{Run, RunError, Underway};

pub(super) async fn run(
    asked: &Idle,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    if common.transport == Transport::Quic {
        return Err(RunError::Usage("lean sessions are WebSockets; leave --lean away, or use --transport ws".into()));
    }
    summary.scenario = "idle".into();
    summary.transport = Transport::Ws.label().into();
    let mut common = common.clone();
    common.transport = Transport::Ws;
    let layout = Layout::new(asked.sessions, asked.check);
    let plans = crowd::plans(&layout, summary.seed);
    // Before anything is made: agents that are not there are told at once.
    let crew = crowd::crew(asked.sessions, &asked.agents, &asked.secret)?;
    let names = user_names(summary.seed, asked.sessions as usize);
    let began = Instant::now();
    let run = Run::prepare(&common, &names, &plans, underway).await?;
    (summary.sessions, summary.chats) = (names.len(), plans.len());
    summary.provision_s = began.elapsed().as_secs_f64();
    (0..plans.len()).for_each(|chat| run.check(chat).only_ours());
    let spread = Spread { all_at: None, comes_back: false };
    let mut crowd = Crowd::hand_out(Arc::clone(&run), crew, layout, (asked.sessions, spread)).await?;
    crowd.open().await?;
    let churn = f64::from(asked.sessions) * asked.churn / 100.0 / 60.0;
    let load = async {
        crowd.go(Pace { sends: f64::from(asked.rate), churn })?;
        crowd.hear_while(tokio::time::sleep(asked.duration)).await
    };
    let held = under_load(&run, names.len(), summary, load).await?;
    crowd.end(&plans, (held, asked.rate > 0 && asked.check > 0.0), summary).await
}
