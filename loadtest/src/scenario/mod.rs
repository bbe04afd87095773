//! What a run does; one file each.

mod chaos;
mod crowd;
mod history;
mod idle;
mod lean_idle;
mod load;
mod logins;
mod members;
mod metrics;
mod reads;
mod record;
mod replay;
mod revisit;
mod slow;
mod steady;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use panda_client::RequestError;
use panda_protocol::Text;
use tokio::task::JoinSet;

use crate::cli::{Common, Scenario};
use crate::limits::{check_files, open_files};
use crate::report::{Live, Summary, line};
use crate::run::{Run, RunError, Underway};
use crate::session::{Identity, Session, repeats, wait};

/// Sessions that connect at a time.
const OPENING_AT_ONCE: usize = 64;

/// Runs a scenario to its end. As far as it comes, `summary` tells; what comes of it when it ends before its verdict,
/// `underway` has: see [`sum_up`].
///
/// # Errors
/// [`RunError`] if there is no verdict, or what is to be written behind it cannot be.
pub async fn run(
    scenario: Scenario,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.seed = common.seed.unwrap_or_else(rand::random);
    summary.targets = common.bases().into_iter().map(Into::into).collect();
    summary.transport = common.transport.label().into();
    match scenario {
        Scenario::Steady(asked) => steady::run(asked, common, summary, underway).await?,
        Scenario::Revisit(asked) => revisit::run(asked, common, summary, underway).await?,
        Scenario::Replay(asked) => replay::run(asked, common, summary, underway).await?,
        Scenario::Idle(asked) if asked.is_lean(common.transport) => {
            Box::pin(lean_idle::run(&asked, common, summary, underway)).await?;
        }
        Scenario::Idle(asked) => idle::run(&asked, common, summary, underway).await?,
        Scenario::Chaos(asked) => Box::pin(chaos::run(asked, common, summary, underway)).await?,
        Scenario::Storm(asked) => Box::pin(storm::run(&asked, common, summary, underway)).await?,
        Scenario::History(asked) => Box::pin(history::run(&asked, common, summary, underway)).await?,
        Scenario::Slow(asked) => Box::pin(slow::run(&asked, common, summary, underway)).await?,
        Scenario::Logins(asked) => Box::pin(logins::run(&asked, common, summary, underway)).await?,
        Scenario::Reads(asked) => Box::pin(reads::run(asked, common, summary, underway)).await?,
        Scenario::Members(asked) => Box::pin(members::run(asked, common, summary, underway)).await?,
        Scenario::Agent(_) | Scenario::Run(_) | Scenario::Scenarios => {
            return Err(RunError::Usage("this is no load of its own".into()));
        }
        Scenario::Report(_) => return Err(RunError::Usage("this reads reports, and is no load".into())),
    }
    Ok(())
}

/// Whatever became of a run: what was counted, if its load was still going on, and the violations that were found by then,
/// if it was not judged.
pub fn sum_up(summary: &mut Summary, underway: &Underway) {
    let Some(run) = underway.run() else { return };
    summary.told.measured(&run.recorder);
    if let Some(&began) = run.load_began.get().filter(|_| !summary.began()) {
        summary.recorded(&run.recorder, run.now().saturating_sub(began));
    }
    if summary.held.is_none() {
        let found = run.found_so_far();
        if !found.held() {
            summary.judged(&found);
        }
    }
}

/// Names of `count` users of a run. Runs of other seeds have others.
fn user_names(seed: u64, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("lt{seed:x}u{number}")).collect()
}

/// What a run cannot begin with where it makes its own history.
fn used_seed(seed: u64) -> RunError {
    RunError::Usage(format!("the chats of seed {seed} are there from an earlier run; take another --seed"))
}

fn check_websockets(common: &Common, sessions: usize) -> Result<(), RunError> {
    check_files(common.transport.websockets(sessions), open_files()).map_err(RunError::Usage)
}

/// Opens sessions, in the order of their identities.
async fn open_all(run: &Arc<Run>, identities: Vec<Identity>) -> Result<Vec<Arc<Session>>, RunError> {
    tokio::time::sleep(run.settle).await;
    let count = identities.len();
    let live = Live::start(run, count);
    let mut opening = JoinSet::new();
    let mut opened: Vec<Option<Arc<Session>>> = Vec::new();
    opened.resize_with(count, || None);
    let mut waiting = identities.into_iter().enumerate();
    loop {
        while opening.len() < OPENING_AT_ONCE
            && let Some((place, identity)) = waiting.next()
        {
            let run = Arc::clone(run);
            opening.spawn(async move { (place, Session::open(&run, identity).await) });
        }
        match opening.join_next().await {
            None => break,
            Some(Ok((place, session))) => opened[place] = Some(session?),
            Some(Err(_)) => return Err(task_ended()),
        }
    }
    live.stop().await;
    Ok(opened.into_iter().flatten().collect())
}

async fn close_all(run: &Arc<Run>, sessions: Vec<Arc<Session>>) {
    let mut closing = JoinSet::new();
    for session in sessions {
        let run = Arc::clone(run);
        closing.spawn(async move { session.close(&run).await });
    }
    while let Some(closed) = closing.join_next().await {
        if closed.is_err() {
            line("a session's task ended early");
        }
    }
}

/// Runs the load with a line a second; `load begins` on stderr tells scripts that it began. However it ends, the summary
/// has what was counted.
async fn under_load(
    run: &Arc<Run>,
    sessions: usize,
    summary: &mut Summary,
    load: impl Future<Output = Result<(), RunError>>,
) -> Result<Duration, RunError> {
    let began = *run.load_began.get_or_init(|| run.now());
    line("load begins");
    let live = Live::start(run, sessions);
    let ended = tokio::select! {
        ended = load => ended,
        gone = run.target_gone() => Err(gone),
    };
    live.stop().await;
    let ended_at = run.now();
    let time = ended_at.saturating_sub(began);
    summary.recorded(&run.recorder, time);
    summary.told.meta.load_s = Some((began.as_secs_f64(), ended_at.as_secs_f64()));
    ended.map(|()| time)
}

/// Repeats what was refused and did not happen. An unknown outcome is not repeated; the checker finds the
/// message, or nothing.
async fn say_until_taken(
    run: &Arc<Run>,
    session: &Session,
    chat: usize,
    text: &Text,
    due: Duration,
) -> Result<(), u16> {
    let until = tokio::time::Instant::now() + run.patience;
    loop {
        let answer = match session.submit(run, chat, text.clone(), due).await {
            Ok(sent) => sent.outcome().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if repeats(&error) && tokio::time::Instant::now() < until => {
                tokio::time::sleep(wait(&error)).await;
            }
            Err(RequestError::Refused { code, .. }) => return Err(code),
            Err(RequestError::Ended) => return Err(0),
        }
    }
}

fn task_ended() -> RunError {
    RunError::Unreachable("a task of the load tester ended early; this is a defect of it".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use panda_client::Unexpected;
    use panda_protocol::{ChatId, Seq, UserId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_load_that_ends_early_leaves_its_counts() {
        let user = |byte| UserId::from_random([byte; 16]);
        let run = Arc::new(Run::of_chat(ChatId::direct(user(1), user(2))));
        let mut summary = Summary::default();
        let load = async {
            run.recorder.sent.store(20, Relaxed);
            run.recorder.ack(0, Duration::from_millis(3), run.now());
            tokio::time::sleep(Duration::from_secs(4)).await;
            Err(RunError::Unreachable("gone".into()))
        };
        let ended = under_load(&run, 1, &mut summary, load).await;
        assert!(matches!(ended, Err(RunError::Unreachable(_))));
        assert_eq!((summary.rates.sent, summary.rates.acked, summary.ack_us.count), (20, 1, 1));
        assert!(summary.began() && summary.held.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_ends_early_is_summed_up_with_what_was_counted_and_found() {
        let user = |byte| UserId::from_random([byte; 16]);
        let chat = ChatId::direct(user(1), user(2));
        let other = ChatId::direct(user(3), user(4));
        let underway = Underway::default();
        let mut summary = Summary::default();
        sum_up(&mut summary, &underway);
        assert!(!summary.began(), "there was no run yet");
        let run = underway.begin(Run::of_chat(chat));
        // It is interrupted while its load goes on.
        let interrupted = async {
            let mut dropped = Summary::default();
            under_load(&run, 1, &mut dropped, std::future::pending()).await
        };
        assert!(tokio::time::timeout(Duration::from_secs(3), interrupted).await.is_err());
        run.recorder.sent.store(7, Relaxed);
        sum_up(&mut summary, &underway);
        assert_eq!((summary.rates.sent, summary.held, summary.passed()), (7, None, true));
        assert!((summary.load_s - 3.0).abs() < 0.01, "{}", summary.load_s);
        run.unexpected(1, chat, Seq(5), Unexpected::NotListening);
        run.unexpected(1, other, Seq(6), Unexpected::NotListening);
        sum_up(&mut summary, &underway);
        assert_eq!((summary.held, summary.violations, summary.passed()), (Some(false), 2, false));
        assert!(summary.evidence.iter().any(|found| found.contains(&other.to_string())), "{:?}", summary.evidence);
    }
}
