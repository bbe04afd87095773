//! An even load: who is in which chat, sends when they are due, and the chats read back in the end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use panda_protocol::Text;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{check_websockets, open_all, task_ended, user_names};
use crate::cli::Common;
use crate::history::{CHATS_AT_ONCE, read_back};
use crate::provision::ChatPlan;
use crate::report::Summary;
use crate::run::{Run, RunError, Underway};
use crate::schedule;
use crate::session::{Identity, Session};

/// Members of a chat that the bulk API makes at once.
const CHAT_MEMBERS_MAX: usize = 10_000;
/// Sends that wait in a session behind a full window. While so many wait, the schedule waits too; the
/// sends behind still count from when they were due.
const SESSION_QUEUE: usize = 256;
/// Texts have so many characters behind their number.
const TEXT_CHARACTERS: std::ops::Range<usize> = 8..160;
/// What texts are made of: one to four bytes a character, right-to-left and combining ones too.
const ALPHABET: [char; 32] = [
    'a', 'e', 'n', 'r', 's', 't', ' ', ' ', ' ', '.', 'ß', 'é', 'ж', 'ы', 'λ', 'ω', 'ש', 'ל', 'ع', 'م', 'न', 'ि', 'ท',
    '้', '中', '語', 'か', '한', '\u{301}', '𠮷', '🐼', '🎋',
];

struct Job {
    chat: usize,
    text: Text,
    due: Duration,
}

/// Sessions in their chats, ready to send.
pub(super) struct Load {
    pub(super) run: Arc<Run>,
    pub(super) sessions: Vec<Arc<Session>>,
    chats_of: Vec<Vec<usize>>,
    /// Sends go to the first so many chats.
    pub(super) active: usize,
    pub(super) plans: Vec<ChatPlan>,
}

impl Load {
    /// Makes users and chats and connects all sessions.
    pub(super) async fn prepare(
        (sessions, chats): (usize, usize),
        common: &Common,
        summary: &mut Summary,
        underway: &Underway,
    ) -> Result<Self, RunError> {
        check_websockets(common, sessions)?;
        if sessions.div_ceil(chats) > CHAT_MEMBERS_MAX {
            return Err(RunError::Usage(format!("a chat takes at most {CHAT_MEMBERS_MAX} sessions; take more chats")));
        }
        let (chats_of, plans) = spread(summary.seed, sessions, chats);
        let began = tokio::time::Instant::now();
        let run = Run::prepare(common, &user_names(summary.seed, sessions), &plans, underway).await?;
        (summary.sessions, summary.chats) = (sessions, chats);
        summary.provision_s = began.elapsed().as_secs_f64();
        let identity = |(number, chats): (u32, &Vec<usize>)| Identity { number, user: number, chats: chats.clone() };
        let sessions = open_all(&run, (0..).zip(&chats_of).map(identity).collect()).await?;
        Ok(Self { run, sessions, chats_of, active: chats, plans })
    }

    /// Sessions that listen to each chat.
    pub(super) fn listeners(&self) -> Vec<u32> {
        self.plans.iter().map(|plan| u32::try_from(plan.members.len()).unwrap_or(u32::MAX)).collect()
    }

    /// Waits until everybody has everything, reads the store back, and lets the checker judge.
    pub(super) async fn judge(&self, summary: &mut Summary, time: Duration) -> Result<(), RunError> {
        self.read_back(summary, time).await?;
        summary.judged_if_any(&self.run.verdict().await);
        Ok(())
    }

    /// As [`Self::judge`], up to where the checker judges.
    pub(super) async fn read_back(&self, summary: &mut Summary, time: Duration) -> Result<(), RunError> {
        summary.recorded(&self.run.recorder, time);
        self.run.all_connected().await?;
        self.run.all_delivered().await;
        read_all(&self.run, &self.sessions, &self.plans).await?;
        summary.recorded(&self.run.recorder, time);
        Ok(())
    }

    /// Hands every send to its session when it is due, until none is left or `until` comes; ends when all
    /// are answered. Answers that do not come within the run's patience stay unknown.
    pub(super) async fn send_all(
        &self,
        schedule: schedule::Steady,
        seed: u64,
        until: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let mut sending = JoinSet::new();
        let mut queues = Vec::with_capacity(self.sessions.len());
        for session in &self.sessions {
            let (queue, jobs) = mpsc::channel(SESSION_QUEUE);
            sending.spawn(send_in_order(Arc::clone(&self.run), Arc::clone(session), jobs));
            queues.push(queue);
        }
        tokio::select! {
            handed = self.hand_over(&queues, schedule, seed) => handed?,
            () = pin!(until) => {}
        }
        drop(queues);
        let answered = async { while sending.join_next().await.is_some() {} };
        // What is not answered in time is dropped here, and stays unknown to the checker.
        if tokio::time::timeout(self.run.patience, answered).await.is_err() {
            sending.abort_all();
        }
        Ok(())
    }

    async fn hand_over(
        &self,
        queues: &[mpsc::Sender<Job>],
        schedule: schedule::Steady,
        seed: u64,
    ) -> Result<(), RunError> {
        let senders = senders(&self.chats_of, self.active);
        let mut random = StdRng::seed_from_u64(seed);
        let began = self.run.now();
        for number in 0..schedule.count() {
            let due = began + schedule.due(number);
            if due > self.run.now() {
                tokio::time::sleep_until(self.run.instant(due)).await;
            }
            let (session, chats) = &senders[random.random_range(0..senders.len())];
            let chat = chats[random.random_range(0..chats.len())];
            let text = text(&mut random, number);
            self.run.recorder.due(due);
            if queues[*session].send(Job { chat, text, due }).await.is_err() {
                return Err(task_ended());
            }
        }
        Ok(())
    }
}

/// Membership `i` puts session `i` modulo sessions into chat `i` modulo chats, until every session and
/// every chat has one.
fn spread(seed: u64, sessions: usize, chats: usize) -> (Vec<Vec<usize>>, Vec<ChatPlan>) {
    let mut memberships = vec![Vec::new(); sessions];
    let plan = |chat| ChatPlan { key: format!("lt{seed:x}c{chat}"), name: format!("load {chat}"), members: Vec::new() };
    let mut plans: Vec<ChatPlan> = (0..chats).map(plan).collect();
    for number in 0..sessions.max(chats) {
        memberships[number % sessions].push(number % chats);
        plans[number % chats].members.push(number % sessions);
    }
    (memberships, plans)
}

/// The sessions that are in one of the first `active` chats, each with those of its chats.
fn senders(chats_of: &[Vec<usize>], active: usize) -> Vec<(usize, Vec<usize>)> {
    let of_active = |chats: &Vec<usize>| chats.iter().copied().filter(|&chat| chat < active).collect::<Vec<_>>();
    let all = chats_of.iter().map(of_active).enumerate();
    all.filter(|(_, chats)| !chats.is_empty()).collect()
}

/// One session's sends, in order, without waiting for their answers.
async fn send_in_order(run: Arc<Run>, session: Arc<Session>, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = JoinSet::new();
    while let Some(Job { chat, text, due }) = jobs.recv().await {
        match session.submit(&run, chat, text, due).await {
            Ok(sent) => {
                // What a refusal says is in the recorder and the checker.
                waiting.spawn(async move { sent.outcome().await.is_ok() });
            }
            Err(_) => return,
        }
        while waiting.try_join_next().is_some() {}
    }
    while waiting.join_next().await.is_some() {}
}

/// Different from every other text of the run, so that none can stand for another.
pub(super) fn text(random: &mut StdRng, number: u64) -> Text {
    let length = random.random_range(TEXT_CHARACTERS);
    let mut text = format!("{number} ");
    text.extend((0..length).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())]));
    Text::from(text)
}

/// Reads every chat back, with its first member.
pub(super) async fn read_all(run: &Arc<Run>, sessions: &[Arc<Session>], plans: &[ChatPlan]) -> Result<(), RunError> {
    let mut reading = JoinSet::new();
    for (number, plan) in plans.iter().enumerate() {
        if reading.len() >= CHATS_AT_ONCE {
            reading.join_next().await.transpose().map_err(|_| task_ended())?.transpose()?;
        }
        let (run, session) = (Arc::clone(run), Arc::clone(&sessions[plan.members[0]]));
        reading.spawn(async move { read_back(&run, &session, number).await });
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
    fn sessions_spread_over_chats() {
        let (memberships, plans) = spread(1, 5_000, 500);
        assert!(memberships.iter().enumerate().all(|(session, chats)| *chats == [session % 500]));
        assert!(plans.iter().all(|plan| plan.members.len() == 10));
    }

    #[test]
    fn more_chats_than_sessions_all_have_a_member() {
        let (memberships, plans) = spread(1, 3, 10);
        assert_eq!(memberships[0], [0, 3, 6, 9]);
        assert!(plans.iter().all(|plan| plan.members.len() == 1));
    }

    #[test]
    fn sends_go_to_active_chats_only_and_from_whoever_is_in_one() {
        let (memberships, _) = spread(1, 3, 10);
        let sends = |active| senders(&memberships, active);
        assert_eq!(sends(2), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(sends(5), [(0, vec![0, 3]), (1, vec![1, 4]), (2, vec![2])]);
        assert_eq!(sends(10), (0..3).zip(memberships.clone()).collect::<Vec<_>>(), "all of them");
        let (listening, _) = spread(1, 6, 3);
        let sessions = senders(&listening, 1).into_iter().map(|(session, _)| session);
        assert_eq!(sessions.collect::<Vec<_>>(), [0, 3], "everybody who is in the chat");
    }

    #[test]
    fn a_seed_gives_the_same_texts_and_no_text_twice() {
        let texts = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|number| text(&mut random, number)).collect::<Vec<_>>()
        };
        assert_eq!(texts(7), texts(7));
        assert_ne!(texts(7), texts(8));
        let different: std::collections::HashSet<Text> = texts(7).into_iter().collect();
        assert_eq!(different.len(), 100);
    }
}
