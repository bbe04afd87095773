//! Many sessions that cost little at this end, on agents: each with its inbox and two chats of ten members; a share of them
//! under the checker. What is done with them is a scenario's.

mod comings;
mod heard;

use std::net::{SocketAddrV4, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) use comings::Comings;
use panda_client::Target;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use super::{close_all, user_names};
use crate::agent::{Crew, CrewError, Order, SEATS_A_LINE, SESSIONS_MAX};
use crate::checker::SendId;
use crate::cli::{Common, Transport};
use crate::history::read_back;
use crate::lean::{Job, Layout, Pace, Place, Second};
use crate::limits::{LimitWatch, room_for_files};
use crate::provision::ChatPlan;
use crate::report::{Live, Summary, line};
use crate::run::{Run, RunError, Underway};
use crate::session::{Identity, Session};

/// Chats that are read back from the store at the end, of those that a checked session is in.
const READ_BACK_MAX: usize = 500;

/// The agents of a run and what they have in common.
pub(super) struct Crowd {
    pub(super) run: Arc<Run>,
    crew: Crew,
    layout: Layout,
    sessions: u32,
    /// What each agent counted last.
    last: Vec<Second>,
    /// How often each told what it counted.
    tellings: Vec<u64>,
    ready: usize,
    rested: usize,
    watch: LimitWatch,
    /// Sends to checked chats that wait for their answer.
    sends: std::collections::HashMap<(u32, panda_protocol::DeviceId, u64), SendId>,
    /// Sessions that were closed and opened again.
    pub(super) churned: u64,
    /// How sessions came and went.
    pub(super) comings: Comings,
    /// Whether sends that leave late are the harness's limit: not while an agent is to open thousands of connections at once.
    pub(super) is_punctual: bool,
}

/// How sessions are spread, and what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// All of them at the target of this place first; otherwise members of a chat are on different targets.
    pub(super) all_at: Option<usize>,
    /// As in [`Job::comes_back`].
    pub(super) comes_back: bool,
    /// As in [`Job::receive_bytes`].
    pub(super) receive_bytes: Option<u32>,
}

/// The chats of a layout, of a run with this seed.
fn plans(layout: &Layout, seed: u64) -> Vec<ChatPlan> {
    let plan = |(chat, members)| ChatPlan { key: format!("lt{seed:x}l{chat}"), name: format!("lean {chat}"), members };
    layout.members().into_iter().enumerate().map(plan).collect()
}

/// The agents at these addresses, or as many as so many sessions need on this machine.
pub(super) fn crew(sessions: u32, agents: &[String], secret: &crate::cli::AgentSecret) -> Result<Crew, RunError> {
    let usage = |error: CrewError| RunError::Usage(error.to_string());
    if !agents.is_empty() {
        let secret = secret.secret()?;
        return Crew::at(agents, secret.as_ref()).map_err(usage);
    }
    let each = room_for_files().map_or(SESSIONS_MAX, |room| room.min(SESSIONS_MAX));
    if each == 0 {
        return Err(RunError::Usage("this process may open too few files; raise the limit with `ulimit -n`".into()));
    }
    Crew::start((sessions as usize).div_ceil(each)).map_err(usage)
}

/// At most [`READ_BACK_MAX`] of the chats, any of them by the run's seed.
fn drawn(mut chats: Vec<usize>, seed: u64) -> Vec<usize> {
    chats.shuffle(&mut StdRng::seed_from_u64(seed));
    chats.truncate(READ_BACK_MAX);
    chats
}

/// Where a target's WebSocket is.
struct Server {
    address: SocketAddrV4,
    path: String,
    tls: bool,
}

/// As a target says.
async fn server(run: &Run, target: usize) -> Result<Server, RunError> {
    let http = &run.targets[target].http;
    let document = http.get("/.well-known/panda").await?;
    let base = http.base();
    let found = Target::from_discovery(base, &document).map_err(|error| RunError::Unreachable(error.to_string()))?;
    let url = found.websocket.ok_or_else(|| RunError::Usage(format!("{base} offers no WebSocket")))?;
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let tls = scheme == "wss";
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = if tls { 443 } else { 80 };
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let addresses = with_port.to_socket_addrs();
    let addresses = addresses.map_err(|error| RunError::Unreachable(format!("{with_port}: {error}")))?;
    let v4 = addresses.filter_map(|address| match address {
        std::net::SocketAddr::V4(v4) => Some(v4),
        std::net::SocketAddr::V6(_) => None,
    });
    let address = v4.into_iter().next();
    let address =
        address.ok_or_else(|| RunError::Usage(format!("{with_port} has no IPv4 address; name one with it")))?;
    Ok(Server { address, path: path.to_owned(), tls })
}

impl Crowd {
    /// Makes the users and chats of a layout, and opens its sessions on the agents. They are WebSockets, whatever is asked
    /// for. Comes with the chats.
    pub(super) async fn gather(
        common: &Common,
        crew: Crew,
        (sessions, check, spread): (u32, f64, Spread),
        summary: &mut Summary,
        underway: &Underway,
    ) -> Result<(Self, Vec<ChatPlan>), RunError> {
        let common = Common { transport: Transport::Ws, ..common.clone() };
        summary.transport = common.transport.label().into();
        let layout = Layout::new(sessions, check);
        let plans = plans(&layout, summary.seed);
        let names = user_names(summary.seed, sessions as usize);
        let began = Instant::now();
        let run = Run::prepare(&common, &names, &plans, underway).await?;
        (summary.sessions, summary.chats) = (names.len(), plans.len());
        summary.provision_s = began.elapsed().as_secs_f64();
        (0..plans.len()).for_each(|chat| run.check(chat).only_ours());
        let mut crowd = Self::hand_out(run, crew, layout, (sessions, spread)).await?;
        crowd.open().await?;
        Ok((crowd, plans))
    }

    /// Gives every agent its part of the sessions, evenly. Before that, what users and chats cost must be over: that of
    /// sessions is measured.
    async fn hand_out(
        run: Arc<Run>,
        crew: Crew,
        layout: Layout,
        (sessions, spread): (u32, Spread),
    ) -> Result<Self, RunError> {
        tokio::time::sleep(run.settle).await;
        let last = vec![Second::default(); crew.agents.len()];
        let (sends, comings, watch) = Default::default();
        let mut crowd = Self {
            run,
            crew,
            layout,
            sessions,
            tellings: vec![0; last.len()],
            last,
            ready: 0,
            rested: 0,
            watch,
            sends,
            churned: 0,
            comings,
            is_punctual: true,
        };
        crowd.seat(spread).await?;
        Ok(crowd)
    }

    async fn seat(&mut self, spread: Spread) -> Result<(), RunError> {
        let mut servers = Vec::new();
        for target in 0..self.run.targets.len() {
            servers.push(server(&self.run, target).await?);
        }
        let first = servers.first().ok_or_else(|| RunError::Usage("name a target with --target".into()))?;
        let (path, tls) = (first.path.clone(), first.tls);
        if let Some(other) = servers.iter().find(|other| (&other.path, other.tls) != (&path, tls)) {
            return Err(RunError::Usage(format!(
                "the WebSocket at {} has another path than that at {}, or only one of them speaks TLS; lean sessions need \
                 the same of all targets",
                other.address, first.address
            )));
        }
        let servers: Vec<SocketAddrV4> = servers.into_iter().map(|server| server.address).collect();
        let (watched, count, sessions) = (self.layout.watched(), self.crew.agents.len(), self.sessions);
        for agent in 0..count {
            let number = u16::try_from(agent).map_err(|_| RunError::Usage("more than 65,535 agents".into()))?;
            let part =
                |place: usize| u32::try_from(u64::from(sessions) * place as u64 / count as u64).unwrap_or(sessions);
            let mine: Vec<u32> = (part(agent)..part(agent + 1)).collect();
            let (servers, path) = (servers.clone(), path.clone());
            let Spread { comes_back, receive_bytes, .. } = spread;
            let most = u32::try_from(mine.len()).unwrap_or(sessions);
            let job = Job { agent: number, servers, path, sessions: most, tls, comes_back, receive_bytes };
            let targets = job.servers.len();
            self.tell(agent, &Order::Job(job))?;
            for some in mine.chunks(SEATS_A_LINE) {
                let place = |&session: &u32| {
                    let server = spread.all_at.unwrap_or_else(|| self.server_of(session, targets));
                    self.place(session, server, &watched)
                };
                let seats = some.iter().map(place).collect();
                self.tell(agent, &Order::Seats(seats))?;
                tokio::task::yield_now().await;
            }
        }
        (0..count).try_for_each(|agent| self.tell(agent, &Order::Open))
    }

    fn server_of(&self, session: u32, servers: usize) -> usize {
        self.layout.server(session, u32::try_from(servers).unwrap_or(1)) as usize
    }

    fn place(&self, session: u32, server: usize, watched: &[bool]) -> Place {
        let numbers = self.layout.chats_of(session);
        Place {
            user: session,
            server: u16::try_from(server).unwrap_or(0),
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
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), RunError> {
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

    /// Waits until every session is connected, with a line a second.
    ///
    /// # Errors
    /// None got ready within the run's patience.
    async fn open(&mut self) -> Result<(), RunError> {
        let opening = Instant::now();
        let live = Live::start(&self.run, self.sessions as usize);
        let agents = self.crew.agents.len();
        let opened = self.until("no session got ready", |crowd| crowd.ready == agents).await;
        live.stop().await;
        opened?;
        line(format_args!("all connected after {:.1} s", opening.elapsed().as_secs_f64()));
        self.run.open.store(i64::from(self.sessions), Relaxed);
        Ok(())
    }

    /// From now on messages are sent and sessions churned, so many a second of both together.
    ///
    /// # Errors
    /// An agent is gone.
    pub(super) fn go(&mut self, pace: Pace) -> Result<(), RunError> {
        let agents = self.crew.agents.len();
        #[expect(clippy::cast_precision_loss, reason = "a share of a rate")]
        let each = 1.0 / agents as f64;
        let pace = Pace { sends: pace.sends * each, churn: pace.churn * each };
        (0..agents).try_for_each(|agent| self.tell(agent, &Order::Go(pace)))
    }

    /// So many of a hundred sessions leave, until [`Self::come_back`].
    ///
    /// # Errors
    /// An agent is gone.
    pub(super) fn leave(&mut self, percent: f64) -> Result<(), RunError> {
        (0..self.crew.agents.len()).try_for_each(|agent| self.tell(agent, &Order::Absent(percent)))
    }

    /// They come back.
    ///
    /// # Errors
    /// An agent is gone.
    pub(super) fn come_back(&mut self) -> Result<(), RunError> {
        (0..self.crew.agents.len()).try_for_each(|agent| self.tell(agent, &Order::Back))
    }

    /// So many of a hundred sessions read nothing more, until [`Self::read_on`].
    ///
    /// # Errors
    /// An agent is gone.
    pub(super) fn stall(&mut self, percent: f64) -> Result<(), RunError> {
        (0..self.crew.agents.len()).try_for_each(|agent| self.tell(agent, &Order::Stall(percent)))
    }

    /// They read again.
    ///
    /// # Errors
    /// An agent is gone.
    pub(super) fn read_on(&mut self) -> Result<(), RunError> {
        (0..self.crew.agents.len()).try_for_each(|agent| self.tell(agent, &Order::ReadOn))
    }

    /// Sessions that read nothing now.
    pub(super) fn stalled(&self) -> u64 {
        self.last.iter().map(|last| last.stalled).sum()
    }

    /// Takes what agents say while something else is done.
    ///
    /// # Errors
    /// An agent is gone, or says what it may not.
    pub(super) async fn hear_while<T>(&mut self, what: impl Future<Output = T>) -> Result<T, RunError> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Ok(done),
                heard = self.crew.next() => {
                    let (agent, heard) = heard.ok_or_else(|| RunError::Harness("all agents are gone".into()))?;
                    self.hear(agent, heard)?;
                }
            }
        }
    }

    /// Waits until everything is answered, everybody is back and every checked session has everything.
    pub(super) async fn quieten(&mut self) -> Result<(), RunError> {
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
        // What came since an agent told last counts, too. The first telling that is heard now may have been on its way.
        let told = self.tellings.clone();
        let is_over = move |crowd: &Self| crowd.tellings.iter().zip(&told).all(|(now, then)| *now > then + 1);
        self.until("no agent told its last second", is_over).await?;
        line("all delivered");
        Ok(())
    }

    /// Reads chats of checked sessions back, with sessions of members that are opened for that.
    ///
    /// # Errors
    /// As those of a session that is opened.
    pub(super) async fn read_back(&mut self, plans: &[ChatPlan], seed: u64) -> Result<(), RunError> {
        let told = |chat: &usize| self.run.check(*chat).head() > 1;
        let chats = drawn((0..self.run.chats.len()).filter(told).collect(), seed);
        for (place, &chat) in chats.iter().enumerate() {
            let user = u32::try_from(plans[chat].members[0]).unwrap_or(0);
            let number = self.sessions + u32::try_from(place).unwrap_or(0);
            let session = Session::open(&self.run, Identity { number, user, chats: vec![chat] }).await?;
            read_back(&self.run, &session, chat).await?;
            close_all(&self.run, vec![session]).await;
        }
        line(format_args!("{} chats were read back from the store", chats.len()));
        Ok(())
    }

    /// The load is over: everything is answered, delivered, read back and judged.
    ///
    /// # Errors
    /// Somebody did not come back, or nothing was there to judge although it should have been.
    pub(super) async fn end(
        mut self,
        plans: &[ChatPlan],
        (held, is_judged): (Duration, bool),
        summary: &mut Summary,
    ) -> Result<(), RunError> {
        self.quieten().await?;
        self.read_back(plans, summary.seed).await?;
        summary.recorded(&self.run.recorder, held);
        summary.told.verdict.harness_limits = self.watch.limits();
        let lost: u64 = self.run.recorder.losses().values().sum();
        line(format_args!("churned {}, lost unasked {lost}", self.churned));
        summary.judged_if_any(&self.run.verdict().await);
        if summary.held.is_none() && is_judged {
            return Err(RunError::Usage(
                "too little happened to prove anything: no event came to a checked session; take a longer --duration, a \
                 higher --rate, or --check more"
                    .into(),
            ));
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
