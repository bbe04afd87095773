//! Holds many sessions that cost little at this end: some churn, some messages, and a share of the sessions under the checker.

use std::sync::Arc;

use super::crowd::{self, Crowd, Spread};
use super::under_load;
use crate::cli::{Common, Idle, Transport};
use crate::lean::Pace;
use crate::report::Summary;
use crate::run::{RunError, Underway};

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
    // Before anything is made: agents that are not there are told at once.
    let crew = crowd::crew(asked.sessions, &asked.agents, &asked.secret)?;
    let spread = Spread { all_at: None, comes_back: false, receive_bytes: None };
    let (mut crowd, plans) =
        Crowd::gather(common, crew, (asked.sessions, asked.check, spread), summary, underway).await?;
    let run = Arc::clone(&crowd.run);
    let churn = f64::from(asked.sessions) * asked.churn / 100.0 / 60.0;
    let load = async {
        crowd.go(Pace { sends: f64::from(asked.rate), churn })?;
        crowd.hear_while(tokio::time::sleep(asked.duration)).await
    };
    let held = under_load(&run, summary.sessions, summary, load).await?;
    crowd.end(&plans, (held, asked.rate > 0 && asked.check > 0.0), summary).await
}
