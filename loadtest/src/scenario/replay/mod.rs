//! Replays a transcript: each of its users sends what that user said, where and in the order in which
//! it was said.
//!
//! A minute's messages of a chat begin when those of the minute before are acked. Within a minute users
//! do not wait for each other; each waits for the ack of its own message before.

mod pool;

use std::sync::Arc;
use std::time::Duration;

use panda_protocol::Text;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::pool::Pool;
use super::{check_websockets, say_until_taken, task_ended, under_load, user_names};
use crate::cli::{Common, Replay};
use crate::history::{CHATS_AT_ONCE as READ_AT_ONCE, read_back};
use crate::provision::ChatPlan;
use crate::report::Summary;
use crate::run::{Run, RunError, Underway};
use crate::schedule::Speed;
use crate::transcript::{Conversation, Message, Transcript};

/// Chats that are replayed at a time at [`Speed::Max`]; more would only close and open sessions.
const CHATS_AT_ONCE: usize = 48;

pub(super) async fn run(
    asked: Replay,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    let transcript = Transcript::open(&asked.file).map_err(|error| RunError::Usage(error.to_string()))?;
    let sessions_max = (asked.sessions_max as usize).min(transcript.users.len());
    check_websockets(common, sessions_max)?;
    let plan = |(number, chat): (usize, &Conversation)| ChatPlan {
        key: format!("lt{:x}c{number}", summary.seed),
        // A name may have 256 bytes; the transcript's own may be longer.
        name: chat.name.chars().take(60).collect(),
        members: chat.members.iter().map(|&user| user as usize).collect(),
    };
    let plans: Vec<ChatPlan> = transcript.chats.iter().enumerate().map(plan).collect();
    let names = user_names(summary.seed, transcript.users.len());
    let began = tokio::time::Instant::now();
    let run = Run::prepare(common, &names, &plans, underway).await?;
    summary.scenario = format!("replay {}", asked.file.display());
    (summary.sessions, summary.chats) = (names.len(), plans.len());
    summary.provision_s = began.elapsed().as_secs_f64();
    let mut chats_of = vec![Vec::new(); names.len()];
    for (number, plan) in plans.iter().enumerate() {
        plan.members.iter().for_each(|&member| chats_of[member].push(number));
    }
    let pool = Pool::new(Arc::clone(&run), chats_of, sessions_max);
    let time = under_load(&run, sessions_max, summary, replay(&run, &pool, transcript, asked.speed)).await?;
    summary.recorded(&run.recorder, time);
    run.all_connected().await?;
    run.all_delivered().await;
    read_all(&run, &pool, &plans).await?;
    summary.recorded(&run.recorder, time);
    summary.judged_if_any(&run.verdict().await);
    pool.close_all().await;
    Ok(())
}

async fn replay(run: &Arc<Run>, pool: &Arc<Pool>, transcript: Transcript, speed: Speed) -> Result<(), RunError> {
    let first = transcript.chats.iter().filter_map(|chat| chat.messages.first()).map(|said| said.minute).min();
    let began = Began { at: run.now(), minute: first.unwrap_or(0) };
    let at_once = Arc::new(Semaphore::new(if speed == Speed::Max { CHATS_AT_ONCE } else { transcript.chats.len() }));
    let mut chats = JoinSet::new();
    for (number, chat) in transcript.chats.into_iter().enumerate() {
        let (run, pool, at_once) = (Arc::clone(run), Arc::clone(pool), Arc::clone(&at_once));
        chats.spawn(async move {
            let _permit = at_once.acquire_owned().await.map_err(|_| task_ended())?;
            replay_chat(&run, &pool, number, chat.messages, speed, began).await
        });
    }
    while let Some(ended) = chats.join_next().await {
        ended.map_err(|_| task_ended())??;
    }
    Ok(())
}

/// When the load began on the run's clock, and the transcript's first minute.
#[derive(Clone, Copy)]
struct Began {
    at: Duration,
    minute: u64,
}

async fn replay_chat(
    run: &Arc<Run>,
    pool: &Arc<Pool>,
    chat: usize,
    messages: Vec<Message>,
    speed: Speed,
    began: Began,
) -> Result<(), RunError> {
    for minute in messages.chunk_by(|one, next| one.minute == next.minute) {
        let mut users = JoinSet::new();
        for (user, said) in by_user(minute) {
            let due = |place| {
                let minutes = minute[0].minute.saturating_sub(began.minute);
                speed.due(minutes, place, minute.len()).map(|due| began.at + due)
            };
            let said: Vec<_> = said.into_iter().map(|(place, text)| (due(place), text)).collect();
            users.spawn(say(Arc::clone(run), Arc::clone(pool), chat, user, said));
        }
        while let Some(ended) = users.join_next().await {
            ended.map_err(|_| task_ended())??;
        }
    }
    Ok(())
}

/// What each user said in a minute, with its place there, in order.
fn by_user(minute: &[Message]) -> Vec<(u32, Vec<(usize, Text)>)> {
    let mut users: Vec<(u32, Vec<(usize, Text)>)> = Vec::new();
    for (place, message) in minute.iter().enumerate() {
        let said = (place, Text::from(&*message.text));
        match users.iter_mut().find(|(user, _)| *user == message.user) {
            Some((_, texts)) => texts.push(said),
            None => users.push((message.user, vec![said])),
        }
    }
    users
}

async fn say(
    run: Arc<Run>,
    pool: Arc<Pool>,
    chat: usize,
    user: u32,
    said: Vec<(Option<Duration>, Text)>,
) -> Result<(), RunError> {
    for (due, text) in said {
        if let Some(due) = due.filter(|&due| due > run.now()) {
            tokio::time::sleep_until(run.instant(due)).await;
        }
        let held = pool.acquire(user).await?;
        let due = due.unwrap_or_else(|| run.now());
        if let Err(code) = say_until_taken(&run, held.session(), chat, &text, due).await {
            run.check(chat).not_taken(user, code, text.as_bytes());
        }
    }
    Ok(())
}

/// Reads every chat back, with its first member.
async fn read_all(run: &Arc<Run>, pool: &Arc<Pool>, plans: &[ChatPlan]) -> Result<(), RunError> {
    let at_once = Arc::new(Semaphore::new(READ_AT_ONCE));
    let mut reading = JoinSet::new();
    for (number, plan) in plans.iter().enumerate() {
        let reader = u32::try_from(plan.members[0]).unwrap_or(0);
        let (run, pool, at_once) = (Arc::clone(run), Arc::clone(pool), Arc::clone(&at_once));
        reading.spawn(async move {
            let _permit = at_once.acquire_owned().await.map_err(|_| task_ended())?;
            let held = pool.acquire(reader).await?;
            read_back(&run, held.session(), number).await
        });
    }
    while let Some(read) = reading.join_next().await {
        read.map_err(|_| task_ended())??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_split_by_user_and_keeps_each_ones_order() {
        let said = |user, text: &str| Message { minute: 3, user, text: text.into() };
        let split = by_user(&[said(1, "a"), said(2, "b"), said(1, "c")]);
        let texts = |texts: &[(usize, &str)]| texts.iter().map(|(at, text)| (*at, Text::from(*text))).collect();
        assert_eq!(split, [(1, texts(&[(0, "a"), (2, "c")])), (2, texts(&[(1, "b")]))]);
    }
}
