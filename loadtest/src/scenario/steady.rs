//! Sends at an even rate, from sessions spread over chats.

use super::load::Load;
use super::record::Record;
use super::{close_all, under_load};
use crate::cli::{Common, Steady};
use crate::output::OutputFile;
use crate::report::Summary;
use crate::run::{RunError, Underway};
use crate::schedule;

pub(super) async fn run(
    asked: Steady,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "steady".into();
    let active = asked.active.unwrap_or(asked.chats);
    if active > asked.chats {
        return Err(RunError::Usage(format!("--active {active} is more than --chats {}; take fewer", asked.chats)));
    }
    let file = OutputFile::open_if("--record", asked.record.as_deref())?;
    let mut load = Load::prepare((asked.sessions as usize, asked.chats as usize), common, summary, underway).await?;
    load.active = active as usize;
    let schedule = schedule::Steady::new(asked.rate, asked.duration);
    let sending = load.send_all(schedule, summary.seed, std::future::pending());
    let time = under_load(&load.run, load.sessions.len(), summary, sending).await?;
    load.read_back(summary, time).await?;
    // Before the checker judges, which takes what it knows; its verdict is there whatever becomes of the file.
    let recorded = file.map_or(Ok(()), |file| Record::of(&load, summary.seed)?.write(file));
    summary.judged_if_any(&load.run.verdict().await);
    close_all(&load.run, load.sessions).await;
    recorded
}
