//! Everybody sends and reads at random, whether they are members or not, over their sessions and over HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use panda_client::{HistoryPage, RequestError};
use panda_protocol::event::{MessageFormat, peek_seq};
use panda_protocol::frame::{CommandBody, Direction};
use panda_protocol::{Counter, DeviceId, EntityId, Seq, Text};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::super::load::text;
use super::super::task_ended;
use super::Shared;
use super::follower::Follower;
use crate::api::{Answered, Call, Method, parsed};
use crate::checker::{Answer, Source, Span, digest};
use crate::run::RunError;
use crate::schedule;
use crate::session::{repeats, wait};

/// Requests under way at a time; while so many are, the schedule waits.
const AT_ONCE: usize = 256;
/// Events of a page.
const PAGE: u64 = 20;
/// A command of an `Idempotency-Key` is the first of a device of its own.
const FIRST: Counter = Counter(1);

/// One request of one session's user.
struct Request {
    number: u64,
    session: u32,
    chat: usize,
    due: Duration,
    what: What,
}

enum What {
    /// Over its session, or by HTTP at this target.
    Say(Text, Option<usize>),
    Page(Direction, Seq),
    /// The page behind this event, or the latest, by HTTP at this target.
    Get(Option<u64>, usize),
}

/// So many a second for so long; ends when all are answered.
pub(super) async fn go_on(
    shared: &Arc<Shared>,
    followers: &Arc<[Follower]>,
    rate: u32,
    duration: Duration,
) -> Result<(), RunError> {
    let mut random = StdRng::seed_from_u64(shared.seed);
    let (schedule, began) = (schedule::Steady::new(rate, duration), shared.run.now());
    let mut requests = JoinSet::new();
    for number in 0..schedule.count() {
        let due = began + schedule.due(number);
        tokio::time::sleep_until(shared.run.instant(due)).await;
        if requests.len() >= AT_ONCE
            && let Some(ended) = requests.join_next().await
        {
            ended.map_err(|_| task_ended())??;
        }
        let request = shared.draw(&mut random, followers.len(), (number, due));
        let (shared, followers) = (Arc::clone(shared), Arc::clone(followers));
        requests.spawn(async move { shared.make(&followers[request.session as usize], request).await });
    }
    while let Some(ended) = requests.join_next().await {
        ended.map_err(|_| task_ended())??;
    }
    Ok(())
}

impl Shared {
    fn draw(&self, random: &mut StdRng, sessions: usize, (number, due): (u64, Duration)) -> Request {
        let session = u32::try_from(random.random_range(0..sessions)).unwrap_or(0);
        let chats = self.chats_of(session);
        let chat = chats[random.random_range(0..chats.len())];
        // Another target than the one where the session begins, if there are several.
        let targets = self.run.targets.len();
        let target = (session as usize / 2 + 1 + random.random_range(0..(targets - 1).max(1))) % targets;
        let about = Seq(random.random_range(1..=self.check(chat).last_acked().max(1)));
        let what = match random.random_range(0..20) {
            0..8 => What::Say(text(random, number), None),
            8..11 => What::Say(text(random, number), Some(target)),
            11..13 => What::Page(Direction::Forward, about),
            13..15 => What::Page(Direction::Backward, Seq(panda_protocol::limits::VARINT_MAX)),
            15..17 => What::Get(Some(about.0 - 1), target),
            _ => What::Get(None, target),
        };
        Request { number, session, chat, due, what }
    }

    async fn make(&self, follower: &Follower, request: Request) -> Result<(), RunError> {
        match &request.what {
            What::Say(text, None) => self.say(follower, &request, text).await,
            What::Say(text, Some(target)) => self.post(&request, text, *target).await,
            What::Page(direction, from) => self.page(follower, &request, (*direction, *from)).await,
            What::Get(behind, target) => self.get(&request, *behind, *target).await,
        }
    }

    fn answered(&self, request: &Request, source: Source, span: Span, answer: Answer) {
        self.check(request.chat).answered(request.session, source, span, answer);
    }

    async fn say(&self, follower: &Follower, request: &Request, text: &Text) -> Result<(), RunError> {
        let (run, chat, asked) = (&self.run, request.chat, self.run.now());
        let body = CommandBody::Send { format: MessageFormat::Text, text: text.clone() };
        let until = tokio::time::Instant::now() + run.patience;
        let submitted = follower.client().submit(EntityId::from(run.chats[chat]), body);
        let late = || RunError::Unreachable(format!("a send was not answered within {:?}", run.patience));
        let submitted = tokio::time::timeout_at(until, submitted).await.map_err(|_| late())?;
        let submitted = submitted.map_err(|error| RunError::Unreachable(format!("a send was not taken: {error}")))?;
        run.recorder.sent.fetch_add(1, Relaxed);
        let (device, counter) = (follower.device(), submitted.counter);
        self.check(chat).sending(device, counter, text.as_bytes());
        let outcome = tokio::time::timeout_at(until, submitted.outcome()).await.map_err(|_| late())?;
        let span = Span { asked, answered: run.now() };
        let source = Source::Answer(request.session);
        match outcome {
            Ok(seq) => self.stored(request, (device, counter), seq.0, (source, span)),
            Err(RequestError::Refused { code, .. }) => {
                run.recorder.refusal(code);
                self.answered(request, source, span, Answer::Refused(code));
            }
            Err(RequestError::Ended) => return Err(ended(request)),
        }
        Ok(())
    }

    async fn post(&self, request: &Request, text: &Text, target: usize) -> Result<(), RunError> {
        #[derive(Deserialize)]
        struct Sent {
            seq: u64,
        }
        let (run, chat, user) = (&self.run, request.chat, request.session as usize);
        let key = format!("lt{:x}m{chat}s{}", self.seed, request.number);
        let device = DeviceId::from_idempotency_key(run.users[user].id, key.as_bytes());
        run.recorder.sent.fetch_add(1, Relaxed);
        self.check(chat).sending(device, FIRST, text.as_bytes());
        let call = Call {
            method: Method::Post,
            path: format!("/chats/{}/messages", run.chats[chat]),
            key: Some(key),
            body: serde_json::json!({ "text": text.as_str() }).to_string().into_bytes(),
        };
        let Answered { target, span, outcome } = self.api.ask(user, call, target, None).await?;
        let source = Source::Http { session: request.session, target: target + 1 };
        match outcome {
            Ok(body) => {
                let Sent { seq } = parsed(&body)?;
                self.stored(request, (device, FIRST), seq, (source, span));
            }
            Err(code) => {
                run.recorder.refusal(code);
                self.answered(request, source, span, Answer::Refused(code));
            }
        }
        Ok(())
    }

    fn stored(
        &self,
        request: &Request,
        (device, counter): (DeviceId, Counter),
        seq: u64,
        (source, span): (Source, Span),
    ) {
        self.run.recorder.ack(request.chat, span.answered.saturating_sub(request.due), span.answered);
        self.check(request.chat).acked(device, counter, seq);
        self.answered(request, source, span, Answer::Stored(seq));
    }

    async fn page(
        &self,
        follower: &Follower,
        request: &Request,
        (direction, from): (Direction, Seq),
    ) -> Result<(), RunError> {
        let (run, entity) = (&self.run, EntityId::from(self.run.chats[request.chat]));
        let until = tokio::time::Instant::now() + run.patience;
        loop {
            let asked = run.now();
            let page = follower.client().page(entity, direction, from, PAGE);
            let late = |_| RunError::Unreachable(format!("a page did not come within {:?}", run.patience));
            let page = tokio::time::timeout_at(until, page).await.map_err(late)?;
            let answer = match page {
                Ok(HistoryPage { begins_at, events, .. }) => {
                    // Bytes that are no event have no seq; 0 is none of the log's.
                    let shown = |event: &bytes::Bytes| (peek_seq(event).map_or(0, |seq| seq.0), digest(event));
                    Answer::Page(begins_at.0, events.iter().map(shown).collect())
                }
                Err(error) if repeats(&error) && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(wait(&error)).await;
                    continue;
                }
                Err(RequestError::Refused { code, .. }) => Answer::Refused(code),
                Err(RequestError::Ended) => return Err(ended(request)),
            };
            let span = Span { asked, answered: run.now() };
            self.answered(request, Source::Answer(request.session), span, answer);
            return Ok(());
        }
    }

    async fn get(&self, request: &Request, behind: Option<u64>, target: usize) -> Result<(), RunError> {
        let after = behind.map_or_else(String::new, |seq| format!("after={seq}&"));
        let path = format!("/chats/{}?{after}limit={PAGE}", self.run.chats[request.chat]);
        let asked = self.api.ask(request.session as usize, Call::get(path), target, None);
        let Answered { target, span, outcome } = asked.await?;
        let answer = match outcome {
            Ok(body) => {
                let Chat { chat: Info { begins_at }, messages } = parsed(&body)?;
                let shown = messages.into_iter().map(|message| (message.seq, digest(message.text.as_bytes())));
                Answer::Messages(begins_at, shown.collect())
            }
            Err(code) => Answer::Refused(code),
        };
        self.answered(request, Source::Http { session: request.session, target: target + 1 }, span, answer);
        Ok(())
    }
}

/// A chat with messages, as far as it is looked at.
#[derive(Deserialize)]
struct Chat {
    chat: Info,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Info {
    begins_at: u64,
}

#[derive(Deserialize)]
struct Message {
    seq: u64,
    text: String,
}

fn ended(request: &Request) -> RunError {
    RunError::Unreachable(format!("session {} was ended", request.session))
}
