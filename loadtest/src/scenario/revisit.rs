//! Comes back to the chats of an earlier run, which may have moved: all of them must be as they were, and take
//! another message each.

use std::sync::Arc;

use panda_protocol::Text;
use tokio::task::JoinSet;

use super::load::Load;
use super::record::Record;
use super::{close_all, say_until_taken, task_ended, under_load};
use crate::cli::{Common, Revisit};
use crate::report::Summary;
use crate::run::{RunError, Underway};

/// Chats that are sent to at a time.
const CHATS_AT_ONCE: usize = 64;

pub(super) async fn run(
    asked: Revisit,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    let record = Record::read(&asked.record)?;
    summary.scenario = "revisit".into();
    // Users and chats follow from it.
    summary.seed = record.seed;
    let load = Load::prepare((record.sessions, record.chats.len()), common, summary, underway).await?;
    for (number, digests) in record.chats.iter().enumerate() {
        load.run.check(number).expect(digests);
    }
    let time = under_load(&load.run, load.sessions.len(), summary, send_to_all(&load)).await?;
    load.judge(summary, time).await?;
    close_all(&load.run, load.sessions).await;
    Ok(())
}

/// The first member of each chat sends.
async fn send_to_all(load: &Load) -> Result<(), RunError> {
    let mut sending = JoinSet::new();
    for (number, plan) in load.plans.iter().enumerate() {
        if sending.len() >= CHATS_AT_ONCE {
            sending.join_next().await.transpose().map_err(|_| task_ended())?;
        }
        let (run, session) = (Arc::clone(&load.run), Arc::clone(&load.sessions[plan.members[0]]));
        let user = u32::try_from(plan.members[0]).unwrap_or(u32::MAX);
        sending.spawn(async move {
            let (text, due) = (Text::from(format!("{number} revisited")), run.now());
            if let Err(code) = say_until_taken(&run, &session, number, &text, due).await {
                run.check(number).not_taken(user, code, text.as_bytes());
            }
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent.map_err(|_| task_ended())?;
    }
    Ok(())
}
