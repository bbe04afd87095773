//! Members come and go while all of them send and read; each chat's log says in the end who might see what.

mod changes;
mod follower;
mod traffic;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use panda_protocol::event::peek_seq;
use panda_protocol::{ChatId, Seq};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::changes::Until;
use self::follower::Follower;
use super::{check_websockets, task_ended, under_load, used_seed, user_names};
use crate::api::Api;
use crate::checker::{MEMBERSHIP_RECORDS_MAX, MembershipCheck, MembershipVerdict};
use crate::cli::{Common, Members};
use crate::history;
use crate::provision::ChatPlan;
use crate::report::{MembersReport, Summary, line};
use crate::run::{Run, RunError, Underway};
use crate::schedule;

/// Memberships change about so often in each chat.
const CHANGES_A_SECOND: u64 = 2;
/// How often it is looked whether everybody has what they are to have.
const LOOK: Duration = Duration::from_millis(250);

/// What the tasks of such a run share.
struct Shared {
    run: Arc<Run>,
    api: Arc<Api>,
    seed: u64,
    casts: Vec<Cast>,
    checks: Vec<Mutex<MembershipCheck>>,
}

/// The sessions of a chat, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cast {
    owner: u32,
    /// All but the owner; the first ones are members from the beginning.
    others: Vec<u32>,
    first: usize,
}

impl Cast {
    fn of(chat: u32, chats: u32, sessions: u32) -> Self {
        let belongs = |session: &u32| session % chats == chat || (session + 1) % chats == chat;
        let others: Vec<u32> = (0..sessions).filter(|session| *session != chat && belongs(session)).collect();
        Self { owner: chat, first: others.len().div_ceil(2), others }
    }

    /// Everybody, and whether they are members from the beginning.
    fn all(&self) -> impl Iterator<Item = (u32, bool)> {
        let others = self.others.iter().enumerate().map(|(place, session)| (*session, place < self.first));
        std::iter::once((self.owner, true)).chain(others)
    }

    fn has(&self, session: u32) -> bool {
        self.owner == session || self.others.contains(&session)
    }
}

impl Shared {
    /// The checker of chat `number`. Held for moments, never over a wait.
    fn check(&self, number: usize) -> MutexGuard<'_, MembershipCheck> {
        self.checks[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of the chats that concern a session.
    fn chats_of(&self, session: u32) -> Vec<usize> {
        (0..self.casts.len()).filter(|&chat| self.casts[chat].has(session)).collect()
    }
}

pub(super) async fn run(
    asked: Members,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "members".into();
    let Members { sessions, chats, .. } = asked;
    if sessions / 2 < chats {
        return Err(RunError::Usage(format!("{chats} chats need at least {} sessions", 2 * chats)));
    }
    check_records(&asked)?;
    check_websockets(common, sessions as usize)?;
    let casts: Vec<Cast> = (0..chats).map(|chat| Cast::of(chat, chats, sessions)).collect();
    let plan = |(number, cast): (usize, &Cast)| ChatPlan {
        key: format!("lt{:x}m{number}", summary.seed),
        name: format!("members {number}"),
        members: cast.all().filter(|(_, first)| *first).map(|(session, _)| session as usize).collect(),
    };
    let plans: Vec<ChatPlan> = casts.iter().enumerate().map(plan).collect();
    let began = Instant::now();
    let run = Run::prepare(common, &user_names(summary.seed, sessions as usize), &plans, underway).await?;
    (summary.sessions, summary.chats) = (sessions as usize, chats as usize);
    summary.provision_s = began.elapsed().as_secs_f64();
    let checks = casts.iter().zip(&run.chats).map(|(cast, chat)| Mutex::new(check_of(&run, cast, *chat))).collect();
    let (api, seed) = (Api::new(&run), summary.seed);
    let shared = Arc::new(Shared { run: Arc::clone(&run), api, seed, casts, checks });
    let followers: Arc<[Follower]> = (0..sessions).map(|number| Follower::start(&shared, number)).collect();
    run.all_connected().await?;
    settle(&shared, &followers).await?;
    is_new(&shared)?;
    let history = async {
        let is_over = AtomicBool::new(false);
        let until = asked.changes.map_or_else(
            || Until::Time(run.now() + asked.duration.unwrap_or_default()),
            |count| Until::Count(u64::from(count)),
        );
        let changes = async {
            changes::go_on(&shared, &followers, until).await?;
            is_over.store(asked.changes.is_some(), Relaxed);
            Ok(())
        };
        let schedule = schedule::Steady::new(asked.rate, asked.duration.unwrap_or_else(|| load_max(asked.rate)));
        let traffic = traffic::go_on(&shared, &followers, schedule, &is_over);
        tokio::try_join!(changes, traffic).map(drop)
    };
    let time = under_load(&run, sessions as usize, summary, history).await?;
    run.all_connected().await?;
    settle(&shared, &followers).await?;
    for follower in &*followers {
        follower.close(&run).await;
    }
    summary.recorded(&run.recorder, time);
    judge(&shared, summary)
}

/// Refuses what the checker could not keep.
fn check_records(asked: &Members) -> Result<(), RunError> {
    let (rate, chats) = (u64::from(asked.rate), u64::from(asked.chats));
    let records = match (asked.duration, asked.changes) {
        (Some(duration), _) => duration.as_secs().saturating_mul(rate + chats * CHANGES_A_SECOND),
        // Requests go on meanwhile, as many as there may be.
        (None, changes) => u64::from(changes.unwrap_or(0)) * chats,
    };
    if records <= MEMBERSHIP_RECORDS_MAX {
        return Ok(());
    }
    Err(RunError::Usage(format!(
        "that would be about {records} requests and changes, and the checker keeps at most {MEMBERSHIP_RECORDS_MAX}; take a \
         lower --rate, fewer --chats or a shorter time"
    )))
}

/// The load goes on until the last change, but not beyond what the checker keeps.
fn load_max(rate: u32) -> Duration {
    Duration::from_secs(MEMBERSHIP_RECORDS_MAX / u64::from(rate))
}

fn check_of(run: &Run, cast: &Cast, chat: ChatId) -> MembershipCheck {
    let mut check = MembershipCheck::new(chat);
    cast.all().for_each(|(session, first)| check.concerns(session, run.users[session as usize].id, first));
    check
}

/// Reads every chat's log with its owner, and waits until everybody has what they are to have by it, at most for the
/// run's patience: the checker tells who has not.
async fn settle(shared: &Arc<Shared>, followers: &Arc<[Follower]>) -> Result<(), RunError> {
    let until = Instant::now() + shared.run.patience;
    loop {
        let mut reading = JoinSet::new();
        for chat in 0..shared.casts.len() {
            let (shared, followers) = (Arc::clone(shared), Arc::clone(followers));
            reading.spawn(async move { read_log(&shared, &followers, chat).await });
        }
        while let Some(read) = reading.join_next().await {
            read.map_err(|_| task_ended())??;
        }
        let behind: usize = (0..shared.casts.len()).map(|chat| shared.check(chat).unsettled()).sum();
        if behind == 0 || shared.run.ended.load(Relaxed) > 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            line(format_args!("{behind} sessions have not what they are to have after {:?}", shared.run.patience));
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A chat in which something happened before the first change is one of an earlier run.
fn is_new(shared: &Shared) -> Result<(), RunError> {
    let made = |cast: &Cast| 1 + cast.all().filter(|(_, first)| *first).count() as u64;
    if (0..shared.casts.len()).all(|chat| shared.check(chat).stored_to() == made(&shared.casts[chat])) {
        return Ok(());
    }
    Err(used_seed(shared.seed))
}

async fn read_log(shared: &Shared, followers: &[Follower], chat: usize) -> Result<(), RunError> {
    let client = followers[shared.casts[chat].owner as usize].client();
    let mut from = Seq(shared.check(chat).stored_to() + 1);
    loop {
        let page = history::page(&shared.run, client, chat, from).await?;
        for event in &page.events {
            // Bytes that are no event have no seq of their own; the checker says what they are.
            let seq = peek_seq(event).unwrap_or(from);
            shared.check(chat).stored(seq.0, event);
            from = from.max(seq).next();
        }
        if page.events.is_empty() || from > page.head {
            return Ok(());
        }
    }
}

fn judge(shared: &Shared, summary: &mut Summary) -> Result<(), RunError> {
    let mut verdict = shared.run.found_so_far();
    let mut report = MembersReport { repeated: shared.api.repeated(), ..MembersReport::default() };
    for (number, chat) in shared.run.chats.iter().enumerate() {
        let check = std::mem::replace(&mut *shared.check(number), MembershipCheck::new(*chat));
        let MembershipVerdict { chat: of_chat, seen } = check.finish();
        report.add(&seen);
        verdict.add(*chat, of_chat);
    }
    let shows_something = report.shows_something();
    let told = report.to_string();
    summary.members = Some(report);
    if verdict.held() && !shows_something {
        let why =
            format!("too little happened to prove anything; take a longer --duration, or more --changes:\n{told}");
        return Err(RunError::Usage(why));
    }
    summary.judged(&verdict);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_checker_could_not_keep_is_refused() {
        let asked = |rate, seconds: Option<u64>, changes| {
            let duration = seconds.map(Duration::from_secs);
            check_records(&Members { sessions: 24, chats: 4, rate, duration, changes })
        };
        // 40 requests and 8 changes a second.
        assert!(asked(40, Some(20_833), None).is_ok());
        let Err(RunError::Usage(why)) = asked(40, Some(20_834), None) else { panic!("it was taken") };
        assert!(why.contains("1000032") && why.contains("--rate"), "{why}");
        assert!(asked(40, None, Some(250_000)).is_ok());
        assert!(asked(40, None, Some(250_001)).is_err());
        assert_eq!(load_max(40), Duration::from_secs(25_000));
    }

    #[test]
    fn every_session_comes_and_goes_in_two_chats_and_each_chat_has_members_and_others() {
        let casts: Vec<Cast> = (0..4).map(|chat| Cast::of(chat, 4, 24)).collect();
        for session in 0..24 {
            assert_eq!(casts.iter().filter(|cast| cast.has(session)).count(), 2, "{session}");
        }
        assert!(casts.iter().all(|cast| cast.others.len() == 11 && cast.first == 6));
        assert_eq!(Cast::of(0, 1, 2), Cast { owner: 0, others: vec![1], first: 1 });
        assert_eq!(casts[1].all().filter(|(_, first)| *first).count(), 7);
    }
}
