//! Posts at one target and gets at another one, over HTTP: what was acked must be there for whoever asks next, wherever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use panda_protocol::{Counter, DeviceId, Text};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::load::{read_all, text};
use super::{check_websockets, close_all, open_all, task_ended, under_load, used_seed, user_names};
use crate::api::{Answered, Api, Call, Method, parsed};
use crate::checker::{Outcome, Read, Shown};
use crate::cli::{Common, Reads};
use crate::provision::ChatPlan;
use crate::report::{ReadsReport, Summary};
use crate::run::{Run, RunError, Underway};
use crate::schedule;
use crate::session::Identity;

/// Users of a chat: one posts, the other one gets, in turn.
const MEMBERS: usize = 2;
/// Rounds under way at a time; while so many are, the schedule waits.
const ROUNDS_AT_ONCE: usize = 64;
/// Messages of a page of the latest; those behind a read message that are more are asked for by its seq.
const LATEST: u64 = 256;
/// A command of an `Idempotency-Key` is the first of a device of its own.
const FIRST: Counter = Counter(1);

pub(super) async fn run(
    asked: Reads,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "reads".into();
    let (chats, users) = (asked.chats as usize, asked.chats as usize * MEMBERS);
    check_websockets(common, users)?;
    let plan = |chat: usize| ChatPlan {
        key: format!("lt{:x}r{chat}", summary.seed),
        name: format!("reads {chat}"),
        members: (chat * MEMBERS..(chat + 1) * MEMBERS).collect(),
    };
    let plans: Vec<ChatPlan> = (0..chats).map(plan).collect();
    let began = tokio::time::Instant::now();
    let run = Run::prepare(common, &user_names(summary.seed, users), &plans, underway).await?;
    (summary.sessions, summary.chats) = (users, chats);
    summary.provision_s = began.elapsed().as_secs_f64();
    // Everybody listens, too: what a GET shows and what is delivered must be the same.
    let identity = |number: usize| {
        let place = u32::try_from(number).unwrap_or(u32::MAX);
        Identity { number: place, user: place, chats: vec![number / MEMBERS] }
    };
    let sessions = open_all(&run, (0..users).map(identity).collect()).await?;
    // The same texts under the same keys would be those of that run.
    let made = 1 + MEMBERS as u64;
    if (0..chats).any(|chat| run.check(chat).begins() > made + 1) {
        return Err(used_seed(summary.seed));
    }
    let api = Api::new(&run);
    let rounds = Rounds { api, run: Arc::clone(&run), seed: summary.seed, done: 0.into(), elsewhere: 0.into() };
    let rounds = Arc::new(rounds);
    let time = under_load(&run, sessions.len(), summary, rounds.go_through(&asked)).await?;
    run.all_connected().await?;
    run.all_delivered().await;
    read_all(&run, &sessions, &plans).await?;
    summary.recorded(&run.recorder, time);
    let report = ReadsReport {
        rounds: asked.count,
        done: rounds.done.load(Relaxed),
        elsewhere: rounds.elsewhere.load(Relaxed),
        repeated: rounds.api.repeated(),
    };
    let shown = report.shows_something(run.targets.len());
    summary.reads = Some(report);
    let verdict = run.verdict().await;
    close_all(&run, sessions).await;
    match shown {
        Err(why) if verdict.held() => Err(RunError::Usage(why)),
        _ => {
            summary.judged(&verdict);
            Ok(())
        }
    }
}

struct Rounds {
    run: Arc<Run>,
    api: Arc<Api>,
    seed: u64,
    /// GETs that were answered, and those of them at another target than the POST.
    done: AtomicU32,
    elsewhere: AtomicU32,
}

/// What one round does.
struct Round {
    number: u32,
    chat: usize,
    /// Places of the users.
    poster: usize,
    getter: usize,
    text: Text,
    due: Duration,
}

impl Rounds {
    async fn go_through(self: &Arc<Self>, asked: &Reads) -> Result<(), RunError> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let schedule = schedule::Steady::new(asked.rate, Duration::from_secs(u64::from(asked.count)));
        let (began, chats) = (self.run.now(), asked.chats as usize);
        let mut rounds = JoinSet::new();
        for number in 0..asked.count {
            let due = began + schedule.due(u64::from(number));
            tokio::time::sleep_until(self.run.instant(due)).await;
            if rounds.len() >= ROUNDS_AT_ONCE {
                ended(rounds.join_next().await)?;
            }
            let (place, turn) = (number as usize % chats, number as usize / chats);
            let users = [place * MEMBERS, place * MEMBERS + 1];
            let round = Round {
                number,
                chat: place,
                poster: users[turn % MEMBERS],
                getter: users[(turn + 1) % MEMBERS],
                text: text(&mut random, u64::from(number)),
                due,
            };
            let all = Arc::clone(self);
            rounds.spawn(async move { all.go(round).await });
        }
        while let Some(round) = rounds.join_next().await {
            ended(Some(round))?;
        }
        Ok(())
    }

    async fn go(self: Arc<Self>, round: Round) -> Result<(), RunError> {
        let targets = self.run.targets.len();
        let at = round.number as usize;
        let Some((seq, posted_at)) = self.post(&round, at).await? else { return Ok(()) };
        // Every other target in turn.
        let read_at = posted_at + 1 + at / targets % (targets - 1).max(1);
        let (read_at, shown) = self.get(&round, seq, (read_at, posted_at)).await?;
        if shown.is_ok() {
            self.done.fetch_add(1, Relaxed);
            self.elsewhere.fetch_add(u32::from(read_at != posted_at), Relaxed);
        }
        let shown =
            shown.as_ref().map(|(head, text)| Shown { head: *head, text: text.as_deref() }).map_err(|code| *code);
        let read = Read { posted_at: posted_at + 1, read_at: read_at + 1, seq, text: round.text.as_str() };
        self.run.check(round.chat).read(&read, shown);
        Ok(())
    }

    /// The seq, and the place of the target that told it; none if it was refused for good, which the checker tells.
    async fn post(&self, round: &Round, at: usize) -> Result<Option<(u64, usize)>, RunError> {
        #[derive(Deserialize)]
        struct Sent {
            seq: u64,
        }
        let Round { number, chat, poster, ref text, due, .. } = *round;
        let (run, user) = (&self.run, u32::try_from(poster).unwrap_or(u32::MAX));
        let key = format!("lt{:x}r{number} posts", self.seed);
        let device = DeviceId::from_idempotency_key(run.users[poster].id, key.as_bytes());
        run.recorder.sent.fetch_add(1, Relaxed);
        run.recorder.waiting.fetch_add(1, Relaxed);
        // A user's rounds overlap, so they have no order: each is a sender of its own.
        let (send, _) = run.check(chat).submitted(number, device, FIRST, text.as_bytes(), due);
        let call = Call {
            method: Method::Post,
            path: format!("/chats/{}/messages", run.chats[chat]),
            key: Some(key),
            body: serde_json::json!({ "text": text.as_str() }).to_string().into_bytes(),
        };
        let Answered { target, outcome, .. } = self.api.ask(poster, call, at, None).await?;
        run.recorder.waiting.fetch_sub(1, Relaxed);
        let seq = match outcome {
            Ok(body) => parsed::<Sent>(&body)?.seq,
            Err(code) => {
                run.recorder.refusal(code);
                run.check(chat).not_taken(user, code, text.as_bytes());
                return Ok(None);
            }
        };
        let now = run.now();
        run.recorder.ack(chat, now.saturating_sub(due), now);
        run.check(chat).answered(send, Outcome::Acked(seq), now);
        Ok(Some((seq, target)))
    }

    /// What the first good answer shows at a seq: the head, and the text there.
    async fn get(
        &self,
        round: &Round,
        seq: u64,
        (at, but): (usize, usize),
    ) -> Result<(usize, Result<(u64, Option<String>), u16>), RunError> {
        let chat = self.run.chats[round.chat];
        let by_seq = format!("/chats/{chat}?after={}&limit=1", seq - 1);
        // Both ways in which a chat is read, in turn.
        let is_latest = round.number.is_multiple_of(2);
        let path = if is_latest { format!("/chats/{chat}?limit={LATEST}") } else { by_seq.clone() };
        let Answered { target, outcome, .. } = self.api.ask(round.getter, Call::get(path), at, Some(but)).await?;
        let page = match outcome {
            Err(code) => return Ok((target, Err(code))),
            Ok(body) => parsed::<Page>(&body)?,
        };
        if !is_latest || page.before.is_none_or(|first| first <= seq) {
            return Ok((target, Ok(page.at(seq))));
        }
        // So much was said meanwhile that it is not among the latest any more.
        let Answered { target, outcome, .. } = self.api.ask(round.getter, Call::get(by_seq), target, Some(but)).await?;
        let shown = match outcome {
            Err(code) => Err(code),
            Ok(body) => Ok(parsed::<Page>(&body)?.at(seq)),
        };
        Ok((target, shown))
    }
}

/// A chat with messages, as far as it is looked at.
#[derive(Deserialize)]
struct Page {
    chat: Head,
    messages: Vec<Message>,
    before: Option<u64>,
}

impl Page {
    /// The head, and the text at a seq.
    fn at(self, seq: u64) -> (u64, Option<String>) {
        let found = self.messages.into_iter().find(|message| message.seq == seq);
        (self.chat.head, found.map(|message| message.text))
    }
}

#[derive(Deserialize)]
struct Head {
    head: u64,
}

#[derive(Deserialize)]
struct Message {
    seq: u64,
    text: String,
}

fn ended(round: Option<Result<Result<(), RunError>, tokio::task::JoinError>>) -> Result<(), RunError> {
    round.map_or(Ok(()), |ended| ended.map_err(|_| task_ended())?)
}
