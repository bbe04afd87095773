//! Holds many sessions that cost little at this end, on agents: each with its inbox and two chats of ten members on
//! different servers; some churn, some messages, and a share of the sessions under the checker.

use std::net::{SocketAddrV4, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use panda_client::{Target, Unexpected};
use panda_protocol::{ChatId, Counter, DeviceId, Seq};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use super::{close_all, under_load, user_names};
use crate::agent::{Crew, CrewError, Heard, Order, SEATS_A_LINE, SESSIONS_MAX, Word};
use crate::checker::{Outcome, SendId};
use crate::cli::{Common, Idle, Transport};
use crate::history::read_back;
use crate::lean::{Layout, Pace, Place, Second, Seen};
use crate::limits::{LimitWatch, room_for_files};
use crate::provision::ChatPlan;
use crate::report::{Live, Summary, line};
use crate::run::{Run, RunError, Underway};
use crate::session::{Identity, Session};

/// Chats that are read back from the store at the end, of those that a checked session is in.
const READ_BACK_MAX: usize = 500;

/// The agents of a run and what they have in common.
struct Crowd {
    run: Arc<Run>,
    crew: Crew,
    layout: Layout,
    /// What each agent counted last.
    last: Vec<Second>,
    ready: usize,
    rested: usize,
    watch: LimitWatch,
    /// Sends to checked chats that wait for their answer.
    sends: std::collections::HashMap<(u32, DeviceId, u64), SendId>,
    churned: u64,
}

pub(super) async fn run(
    asked: &Idle,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    if common.transport == Transport::Quic {
        return Err(RunError::Usage("lean sessions are WebSockets; leave --lean away, or use --transport ws".into()));
    }
    summary.scenario = "idle".into();
    summary.transport = Transport::Ws.label().into();
    let mut common = common.clone();
    common.transport = Transport::Ws;
    let layout = Layout::new(asked.sessions, asked.check);
    let plans: Vec<ChatPlan> = layout
        .members()
        .into_iter()
        .enumerate()
        .map(|(chat, members)| ChatPlan {
            key: format!("lt{:x}l{chat}", summary.seed),
            name: format!("lean {chat}"),
            members,
        })
        .collect();
    // Before anything is made: agents that are not there are told at once.
    let crew = crew(asked)?;
    let names = user_names(summary.seed, asked.sessions as usize);
    let began = Instant::now();
    let run = Run::prepare(&common, &names, &plans, underway).await?;
    (summary.sessions, summary.chats) = (names.len(), plans.len());
    summary.provision_s = began.elapsed().as_secs_f64();
    (0..plans.len()).for_each(|chat| run.check(chat).only_ours());
    let mut crowd = Crowd::new(run, crew, layout);
    // What users and chats cost is over before the first session costs anything.
    tokio::time::sleep(crowd.run.settle).await;
    crowd.hand_out(asked.sessions).await?;
    let opening = Instant::now();
    let live = Live::start(&crowd.run, names.len());
    let opened = crowd.opened().await;
    live.stop().await;
    opened?;
    line(format_args!("all connected after {:.1} s", opening.elapsed().as_secs_f64()));
    crowd.run.open.store(i64::from(asked.sessions), Relaxed);
    let run = Arc::clone(&crowd.run);
    let load = under_load(&run, names.len(), summary, crowd.hold(asked));
    let held = load.await?;
    crowd.quieten().await?;
    crowd.read_back(asked.sessions, &plans, summary.seed).await?;
    summary.recorded(&run.recorder, held);
    summary.told.verdict.harness_limits = crowd.watch.limits();
    let lost: u64 = run.recorder.losses().values().sum();
    line(format_args!("churned {}, lost unasked {lost}", crowd.churned));
    summary.judged_if_any(&run.verdict().await);
    if summary.held.is_none() && asked.rate > 0 && asked.check > 0.0 {
        return Err(RunError::Usage(
            "too little happened to prove anything: no event came to a checked session; take a longer --duration, a \
             higher --rate, or --check more"
                .into(),
        ));
    }
    Ok(())
}

/// The agents that were named, or as many as the sessions need on this machine.
fn crew(asked: &Idle) -> Result<Crew, RunError> {
    let usage = |error: CrewError| RunError::Usage(error.to_string());
    if !asked.agents.is_empty() {
        let secret = asked.secret.secret()?;
        return Crew::at(&asked.agents, secret.as_ref()).map_err(usage);
    }
    let each = room_for_files().map_or(SESSIONS_MAX, |room| room.min(SESSIONS_MAX));
    if each == 0 {
        return Err(RunError::Usage("this process may open too few files; raise the limit with `ulimit -n`".into()));
    }
    Crew::start((asked.sessions as usize).div_ceil(each)).map_err(usage)
}

/// At most [`READ_BACK_MAX`] of the chats, any of them by the run's seed.
fn drawn(mut chats: Vec<usize>, seed: u64) -> Vec<usize> {
    chats.shuffle(&mut StdRng::seed_from_u64(seed));
    chats.truncate(READ_BACK_MAX);
    chats
}

/// The address of a target's WebSocket, and its path.
async fn server(run: &Run, target: usize) -> Result<(SocketAddrV4, String), RunError> {
    let http = &run.targets[target].http;
    let document = http.get("/.well-known/panda").await?;
    let base = http.base();
    let found = Target::from_discovery(base, &document).map_err(|error| RunError::Unreachable(error.to_string()))?;
    let url = found.websocket.ok_or_else(|| RunError::Usage(format!("{base} offers no WebSocket")))?;
    let rest = url.strip_prefix("ws://").ok_or_else(|| {
        RunError::Usage(format!("{base}: lean sessions speak no TLS; leave --lean away, or name an http:// target"))
    })?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let addresses = with_port.to_socket_addrs();
    let addresses = addresses.map_err(|error| RunError::Unreachable(format!("{with_port}: {error}")))?;
    let v4 = addresses.filter_map(|address| match address {
        std::net::SocketAddr::V4(v4) => Some(v4),
        std::net::SocketAddr::V6(_) => None,
    });
    let address = v4.into_iter().next();
    let address =
        address.ok_or_else(|| RunError::Usage(format!("{with_port} has no IPv4 address; name one with it")))?;
    Ok((address, path.to_owned()))
}

impl Crowd {
    fn new(run: Arc<Run>, crew: Crew, layout: Layout) -> Self {
        let last = vec![Second::default(); crew.agents.len()];
        let sends = std::collections::HashMap::new();
        Self { run, crew, layout, last, ready: 0, rested: 0, watch: LimitWatch::default(), sends, churned: 0 }
    }

    /// Gives every agent its part of the sessions, evenly.
    async fn hand_out(&mut self, sessions: u32) -> Result<(), RunError> {
        let mut servers = Vec::new();
        for target in 0..self.run.targets.len() {
            servers.push(server(&self.run, target).await?);
        }
        let path = servers.first().map(|(_, path)| path.clone()).unwrap_or_default();
        if let Some((address, other)) = servers.iter().find(|(_, other)| *other != path) {
            return Err(RunError::Usage(format!(
                "the targets' WebSockets are at {path} and, of {address}, at {other}; lean sessions need one path"
            )));
        }
        let servers: Vec<SocketAddrV4> = servers.into_iter().map(|(address, _)| address).collect();
        let (watched, count) = (self.layout.watched(), self.crew.agents.len());
        for agent in 0..count {
            let number = u16::try_from(agent).map_err(|_| RunError::Usage("more than 65,535 agents".into()))?;
            self.tell(agent, &Order::Job { agent: number, servers: servers.clone(), path: path.clone() })?;
            let part =
                |place: usize| u32::try_from(u64::from(sessions) * place as u64 / count as u64).unwrap_or(sessions);
            let mine: Vec<u32> = (part(agent)..part(agent + 1)).collect();
            for some in mine.chunks(SEATS_A_LINE) {
                let seats = some.iter().map(|&session| self.place(session, servers.len(), &watched)).collect();
                self.tell(agent, &Order::Seats(seats))?;
                tokio::task::yield_now().await;
            }
        }
        (0..count).try_for_each(|agent| self.tell(agent, &Order::Open))
    }

    fn place(&self, session: u32, servers: usize, watched: &[bool]) -> Place {
        let numbers = self.layout.chats_of(session);
        let servers = u32::try_from(servers).unwrap_or(1);
        Place {
            user: session,
            server: u16::try_from(self.layout.server(session, servers)).unwrap_or(0),
            token: self.run.users[session as usize].token.to_string(),
            chats: numbers.map(|chat| self.run.chats[chat as usize].to_string()),
            numbers,
            watched: numbers.map(|chat| watched[chat as usize]),
            is_checked: self.layout.is_checked(session),
        }
    }

    fn tell(&mut self, agent: usize, order: &Order) -> Result<(), RunError> {
        let agent = &mut self.crew.agents[agent];
        agent.tell(order).map_err(|error| RunError::Harness(format!("agent {} is gone: {error}", agent.name())))
    }

    /// Takes what agents say until something holds; at most for as long as nothing moves on for the run's patience.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), RunError> {
        let (mut moved, mut seen) = (Instant::now(), self.progress());
        while !holds(self) {
            let patience = self.run.patience;
            match tokio::time::timeout_at(moved + patience, self.crew.next()).await {
                Ok(Some((agent, heard))) => self.hear(agent, heard)?,
                Ok(None) => return Err(RunError::Harness("all agents are gone".into())),
                Err(_) => {
                    let connected = self.run.recorder.connected.load(Relaxed);
                    return Err(RunError::Unreachable(format!(
                        "{what} for {patience:?}; {connected} sessions are connected"
                    )));
                }
            }
            if self.progress() != seen {
                (moved, seen) = (Instant::now(), self.progress());
            }
        }
        Ok(())
    }

    /// What rises while something is done.
    fn progress(&self) -> (i64, u64, usize, usize) {
        let recorder = &self.run.recorder;
        (recorder.connected.load(Relaxed), recorder.acked.load(Relaxed), self.ready, self.rested)
    }

    async fn opened(&mut self) -> Result<(), RunError> {
        let agents = self.crew.agents.len();
        self.until("no session got ready", |crowd| crowd.ready == agents).await
    }

    /// The load: its messages and its churn, spread over the agents.
    async fn hold(&mut self, asked: &Idle) -> Result<(), RunError> {
        let agents = self.crew.agents.len();
        #[expect(clippy::cast_precision_loss, reason = "a share of a rate")]
        let each = 1.0 / agents as f64;
        let churn = f64::from(asked.sessions) * asked.churn / 100.0 / 60.0;
        let pace = Pace { sends: f64::from(asked.rate) * each, churn: churn * each };
        (0..agents).try_for_each(|agent| self.tell(agent, &Order::Go(pace)))?;
        let end = Instant::now() + asked.duration;
        while let Ok(heard) = tokio::time::timeout_at(end, self.crew.next()).await {
            let (agent, heard) = heard.ok_or_else(|| RunError::Harness("all agents are gone".into()))?;
            self.hear(agent, heard)?;
        }
        Ok(())
    }

    /// Waits until everything is answered, everybody is back and every checked session has everything.
    async fn quieten(&mut self) -> Result<(), RunError> {
        let agents = self.crew.agents.len();
        (0..agents).try_for_each(|agent| self.tell(agent, &Order::Rest))?;
        self.until("no answer came", |crowd| crowd.rested == agents).await?;
        self.until("no session came back", |crowd| crowd.run.away() <= 0).await?;
        let chats = self.run.chats.len();
        let until = Instant::now() + self.run.patience;
        let behind = |run: &Run| (0..chats).any(|chat| run.check(chat).behind() > 0);
        while behind(&self.run) && Instant::now() < until {
            // A second brings what was seen meanwhile; agents tell once in a second.
            let end = Instant::now() + Duration::from_secs(1);
            while let Ok(Some((agent, heard))) = tokio::time::timeout_at(end, self.crew.next()).await {
                self.hear(agent, heard)?;
            }
        }
        line("all delivered");
        Ok(())
    }

    /// Reads chats of checked sessions back, with sessions of members that are opened for that.
    async fn read_back(&mut self, sessions: u32, plans: &[ChatPlan], seed: u64) -> Result<(), RunError> {
        let told = |chat: &usize| self.run.check(*chat).head() > 1;
        let chats = drawn((0..self.run.chats.len()).filter(told).collect(), seed);
        for (place, &chat) in chats.iter().enumerate() {
            let user = u32::try_from(plans[chat].members[0]).unwrap_or(0);
            let number = sessions + u32::try_from(place).unwrap_or(0);
            let session = Session::open(&self.run, Identity { number, user, chats: vec![chat] }).await?;
            read_back(&self.run, &session, chat).await?;
            close_all(&self.run, vec![session]).await;
        }
        line(format_args!("{} chats were read back from the store", chats.len()));
        Ok(())
    }

    fn hear(&mut self, agent: usize, heard: Heard) -> Result<(), RunError> {
        let name = self.crew.agents[agent].name().to_owned();
        match heard {
            Heard::Gone(why) => return Err(RunError::Harness(format!("agent {} is gone: {why}", name))),
            Heard::Said(Word::Failed(why)) => {
                return Err(RunError::Harness(format!("agent {} cannot go on: {why}", name)));
            }
            Heard::Said(Word::Ready) => self.ready += 1,
            Heard::Said(Word::Rested) => self.rested += 1,
            Heard::Said(Word::Lost(why)) => line(format_args!("agent {} lost a session: {why}", name)),
            Heard::Said(Word::Second(second)) => self.second(agent, *second),
            Heard::Said(Word::Seen(seen)) => {
                for each in seen {
                    self.saw(each).map_err(|why| RunError::Harness(format!("agent {} says {why}", name)))?;
                }
            }
            Heard::Said(other) => return Err(RunError::Harness(format!("agent {} says {other:?}", name))),
        }
        Ok(())
    }

    fn second(&mut self, agent: usize, second: Second) {
        let (recorder, now) = (&self.run.recorder, self.run.now());
        recorder.sent.fetch_add(second.sent, Relaxed);
        recorder.unknown.fetch_add(second.unknown, Relaxed);
        recorder.unsent.fetch_add(second.unsent, Relaxed);
        recorder.delivered.fetch_add(second.delivered, Relaxed);
        recorder.reconnects.fetch_add(second.reconnects, Relaxed);
        self.churned += second.churned;
        let times = |list: &[(u64, u64)], each: &dyn Fn(Duration)| {
            for &(us, count) in list {
                (0..count).for_each(|_| each(Duration::from_micros(us)));
            }
        };
        times(&second.ack_us, &|after| recorder.ack(agent, after, now));
        times(&second.delivery_us, &|after| recorder.delivery(agent, after, now));
        for (&code, &count) in &second.refused {
            (0..count).for_each(|_| recorder.refusal(code));
        }
        for (&server, &count) in &second.lost {
            (0..count).for_each(|_| recorder.lose(Some(usize::from(server))));
        }
        // Handshakes at full speed are no limit of the load that follows.
        if self.run.load_began.get().is_some() {
            self.watch.agent(self.crew.agents[agent].name(), &second);
        }
        self.last[agent] = second;
        let sum = |of: fn(&Second) -> u64| self.last.iter().map(of).sum::<u64>();
        recorder.connected.store(i64::try_from(sum(|last| last.connected)).unwrap_or(i64::MAX), Relaxed);
        recorder.waiting.store(i64::try_from(sum(|last| last.waiting)).unwrap_or(i64::MAX), Relaxed);
    }

    /// Hands what was seen to the checker of its chat.
    fn saw(&mut self, seen: Seen) -> Result<(), String> {
        let chats = self.run.chats.len();
        let number = |chat: u32| match chat as usize {
            number if number < chats => Ok(number),
            other => Err(format!("something of chat {other} of {chats}")),
        };
        let device_of = |text: &str| text.parse::<DeviceId>().map_err(|error| format!("device {text}: {error}"));
        let now = self.run.now();
        match seen {
            Seen::Listening { session, chat, device } => {
                self.run.check(number(chat)?).listening(session, device_of(&device)?);
            }
            Seen::Admitted { session, chat, from } => self.run.check(number(chat)?).admitted(session, from),
            Seen::Resumed { session, chat, from } => self.run.check(number(chat)?).resumed(session, from),
            Seen::Delivered { session, chat, seq, event } => {
                let event =
                    BASE64_STANDARD.decode(&event).map_err(|error| format!("an event that is none: {error}"))?;
                // When it came is in what the agent counted.
                self.run.check(number(chat)?).delivered(session, seq, &Bytes::from(event), now);
            }
            Seen::InboxBroken { session, expected, got } => {
                let user = self.run.users.get(session as usize).ok_or_else(|| format!("session {session}"))?.id;
                let how = match got.cmp(&expected) {
                    std::cmp::Ordering::Less => Unexpected::Repeated,
                    _ => Unexpected::Gap { expected: Seq(expected) },
                };
                // An inbox is named by its user's chat with itself: evidence names chats.
                self.run.unexpected(session, ChatId::direct(user, user), Seq(got), how);
            }
            Seen::Breach { session, why } => {
                let user = self.run.users.get(session as usize).ok_or_else(|| format!("session {session}"))?.id;
                self.run.breach(session, ChatId::direct(user, user), why);
            }
            Seen::Submitted { user, chat, device, counter, text } => {
                let device = device_of(&device)?;
                let mut check = self.run.check(number(chat)?);
                let (send, _) = check.submitted(user, device, Counter(counter), text.as_bytes(), now);
                drop(check);
                self.sends.insert((chat, device, counter), send);
            }
            Seen::Answered { chat, device, counter, seq, refused } => {
                let device = device_of(&device)?;
                let send = self.sends.remove(&(chat, device, counter));
                let send = send.ok_or_else(|| format!("an answer to send {counter} of {device}, which never left"))?;
                let outcome = match (seq, refused) {
                    (Some(seq), _) => Outcome::Acked(seq),
                    (None, Some(code)) => Outcome::Refused(code),
                    (None, None) => Outcome::Unknown,
                };
                self.run.check(number(chat)?).answered(send, outcome, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_to_read_back_are_drawn_from_all_by_the_seed() {
        let (one, other) = (drawn((0..20_000).collect(), 1), drawn((0..20_000).collect(), 2));
        assert_eq!(one.len(), READ_BACK_MAX);
        assert_eq!(one, drawn((0..20_000).collect(), 1));
        assert_ne!(one, other);
        assert!(one.iter().any(|&chat| chat > 15_000), "not those of the lowest numbers");
        assert_eq!(drawn(vec![7], 1), [7]);
    }
}
