//! Everybody sends and reads at random, whether they are members or not, over their sessions and over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
use crate::checker::{Answer, Source, Span, Wanted, digest};
use crate::run::RunError;
use crate::schedule;
use crate::session::{is_final, repeats, wait};

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

/// As the schedule says, or until nothing else is done any more; ends when all are answered.
pub(super) async fn go_on(
    shared: &Arc<Shared>,
    followers: &Arc<[Follower]>,
    schedule: schedule::Steady,
    is_over: &AtomicBool,
) -> Result<(), RunError> {
    let mut random = StdRng::seed_from_u64(shared.seed);
    let began = shared.run.now();
    let mut requests = JoinSet::new();
    for number in 0..schedule.count() {
        if is_over.load(Relaxed) {
            break;
        }
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
        let send = (follower.device(), submitted.counter);
        self.leaves(request, send, text, asked);
        let outcome = tokio::time::timeout_at(until, submitted.outcome()).await.map_err(|_| late())?;
        let outcome = match outcome {
            Ok(seq) => Ok(seq.0),
            Err(RequestError::Refused { code, .. }) => Err(code),
            Err(RequestError::Ended) => return Err(ended(request)),
        };
        let span = Span { asked, answered: run.now() };
        self.arrived(request, send, outcome, true, (Source::Answer(request.session), span));
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
        self.leaves(request, (device, FIRST), text, run.now());
        let call = Call {
            method: Method::Post,
            path: format!("/chats/{}/messages", run.chats[chat]),
            key: Some(key),
            body: serde_json::json!({ "text": text.as_str() }).to_string().into_bytes(),
        };
        let Answered { target, span, outcome, certain } = self.api.ask(user, call, target, None).await?;
        let outcome = match outcome {
            Ok(body) => Ok(parsed::<Sent>(&body)?.seq),
            Err(code) => Err(code),
        };
        let source = Source::Http { session: request.session, target: target + 1 };
        self.arrived(request, (device, FIRST), outcome, certain, (source, span));
        Ok(())
    }

    fn leaves(&self, request: &Request, send: (DeviceId, Counter), text: &Text, asked: Duration) {
        let (run, user) = (&self.run, self.run.users[request.session as usize].id);
        run.recorder.sent.fetch_add(1, Relaxed);
        run.recorder.waiting.fetch_add(1, Relaxed);
        self.check(request.chat).sending(user, send, text.as_bytes(), asked);
    }

    /// `certain`: no copy of it that was sent before may still arrive.
    fn arrived(
        &self,
        request: &Request,
        send: (DeviceId, Counter),
        outcome: Result<u64, u16>,
        certain: bool,
        (source, span): (Source, Span),
    ) {
        let (recorder, at) = (&self.run.recorder, span.answered);
        recorder.waiting.fetch_sub(1, Relaxed);
        let answer = match outcome {
            Ok(seq) => {
                recorder.ack(request.chat, at.saturating_sub(request.due), at);
                Answer::Stored(seq)
            }
            Err(code) => {
                recorder.refusal(code);
                Answer::Refused(code)
            }
        };
        if outcome.map_or_else(|code| certain && is_final(code), |_| true) {
            self.check(request.chat).sent(send, outcome, at);
        } else {
            recorder.unknown.fetch_add(1, Relaxed);
        }
        self.answered(request, source, span, answer);
    }

    async fn page(
        &self,
        follower: &Follower,
        request: &Request,
        (direction, from): (Direction, Seq),
    ) -> Result<(), RunError> {
        let (run, entity) = (&self.run, EntityId::from(self.run.chats[request.chat]));
        let until = tokio::time::Instant::now() + run.patience;
        let wanted = Wanted { direction, from: from.0, limit: PAGE };
        loop {
            let asked = run.now();
            let page = follower.client().page(entity, direction, from, PAGE);
            let late = |_| RunError::Unreachable(format!("a page did not come within {:?}", run.patience));
            let page = tokio::time::timeout_at(until, page).await.map_err(late)?;
            let answer = match page {
                Ok(HistoryPage { begins_at, events, .. }) => {
                    // Bytes that are no event have no seq; 0 is none of the log's.
                    let shown = |event: &bytes::Bytes| (peek_seq(event).map_or(0, |seq| seq.0), digest(event));
                    Answer::Page(wanted, begins_at.0, events.iter().map(shown).collect())
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
        let Answered { target, span, outcome, .. } = asked.await?;
        let answer = match outcome {
            Ok(body) => parsed::<Chat>(&body)?.answer(behind),
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
    before: Option<u64>,
    after: u64,
}

impl Chat {
    /// As the answer to a request for what is behind an event, or for the latest.
    fn answer(self, behind: Option<u64>) -> Answer {
        let Self { chat: Info { begins_at }, messages, before, after } = self;
        let wanted = match behind {
            Some(seq) => Wanted { direction: Direction::Forward, from: seq + 1, limit: PAGE },
            None => Wanted { direction: Direction::Backward, from: u64::MAX, limit: PAGE },
        };
        // Without older ones it began where the user's view does, or where it was asked to.
        let first = before.unwrap_or_else(|| begins_at.max(behind.map_or(0, |seq| seq + 1)));
        let texts = messages.into_iter().map(|message| (message.seq, digest(message.text.as_bytes()))).collect();
        Answer::Messages { wanted, begins_at, covers: (first, after), texts }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(behind: Option<u64>, json: &str) -> ((u64, u64), Direction, u64, usize) {
        let Answer::Messages { wanted, covers, texts, .. } = parsed::<Chat>(json.as_bytes()).unwrap().answer(behind)
        else {
            panic!("another answer")
        };
        (covers, wanted.direction, wanted.from, texts.len())
    }

    #[test]
    fn an_answer_says_which_events_it_covers() {
        let tea = r#"{"chat":{"begins_at":3},"messages":[{"seq":8,"text":"tea"}],"before":7,"after":9}"#;
        assert_eq!(answer(Some(6), tea), ((7, 9), Direction::Forward, 7, 1));
        assert_eq!(answer(None, tea), ((7, 9), Direction::Backward, u64::MAX, 1));
        let older = r#"{"chat":{"begins_at":3},"messages":[],"before":null,"after":5}"#;
        assert_eq!(answer(None, older).0, (3, 5), "all that the user may see");
        assert_eq!(answer(Some(0), older).0, (3, 5));
        assert_eq!(answer(Some(5), older).0, (6, 5), "nothing yet");
    }
}
