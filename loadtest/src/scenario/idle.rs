//! Holds sessions that do nothing, each with its inbox and a chat of its own, for measuring what they cost.

use super::{check_websockets, close_all, open_all, under_load, user_names};
use crate::cli::{Common, Idle};
use crate::provision::ChatPlan;
use crate::report::Summary;
use crate::run::{Run, RunError, Underway};
use crate::session::Identity;

pub(super) async fn run(
    asked: &Idle,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    let sessions = asked.sessions as usize;
    check_websockets(common, sessions)?;
    let own = |number| ChatPlan {
        key: format!("lt{:x}i{number}", summary.seed),
        name: format!("idle {number}"),
        members: vec![number],
    };
    let plans: Vec<ChatPlan> = (0..sessions).map(own).collect();
    let run = Run::prepare(common, &user_names(summary.seed, sessions), &plans, underway).await?;
    summary.scenario = "idle".into();
    (summary.sessions, summary.chats) = (sessions, plans.len());
    summary.provision_s = run.now().as_secs_f64();
    let identity = |number| Identity { number, user: number, chats: vec![number as usize] };
    let sessions = open_all(&run, (0..asked.sessions).map(identity).collect()).await?;
    run.all_connected().await?;
    let load = under_load(&run, sessions.len(), summary, async {
        tokio::time::sleep(asked.duration).await;
        Ok(())
    });
    let held = load.await?;
    run.all_connected().await?;
    summary.recorded(&run.recorder, held);
    close_all(&run, sessions).await;
    Ok(())
}
