//! The command line.

mod crowd;
mod logins;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub use crowd::{History, Slow, Storm};
pub use logins::Logins;
use panda_client::TransportKind;

use crate::agent::{SECRET_VARIABLE, Secret};
use crate::chaos::Kind;
use crate::report::dashboard::screen::When;
use crate::report::{Reading, Watched};
use crate::run::RunError;
use crate::scenario_file::RunFile;
use crate::schedule::{Speed, parse_duration, parse_speed};

/// Where a server's API key is if nothing else is said.
pub const API_KEY_FILE: &str = "data/admin.key";
/// Where a server is if nothing else is said.
const TARGET: &str = "http://127.0.0.1:8080";

/// Of more WebSocket sessions than this, `idle` takes lean ones.
const FULL_SESSIONS_MAX: u32 = 10_000;

/// Loads a Panda server and proves that nothing was lost, doubled, reordered or altered.
///
/// Exit status: 0 everything held, 1 a violation (printed with its evidence) or an answer that is not what HTTP.md says,
/// 2 usage, an interrupt, too little to prove anything or a file that cannot be written, 3 the target is unreachable or
/// stayed away for longer than --patience, 4 a threshold of the scenario was crossed, 5 the load tester itself was the
/// limit: of lean sessions its processor time or its schedule, whether a threshold was crossed or not; its files or ports,
/// or an agent that ended. What was counted, and what was found by then, is printed however the load ended.
#[derive(Debug, Parser)]
#[command(name = "panda-loadtest", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub scenario: Scenario,
    /// What all scenarios take.
    #[command(flatten)]
    pub common: Common,
}

/// What all scenarios take.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Base URL of a server; repeated, sessions are spread over all of them, and go to the next one when
    /// theirs is lost. Default: http://127.0.0.1:8080; of `chaos`: all edges of the cluster.
    #[arg(long = "target", value_name = "URL", global = true)]
    pub targets: Vec<String>,
    /// File with an API key that may provision, such as the data folder's admin.key. Default:
    /// data/admin.key; of `chaos`: the cluster's.
    #[arg(long, value_name = "FILE", global = true)]
    pub api_key_file: Option<PathBuf>,
    /// PEM file with the certificate of https:// targets, which is believed for their HTTP, WebSocket and QUIC, and nobody
    /// else's; of `storm`: the cluster's. Default: those that authorities vouch for.
    #[arg(long, value_name = "FILE", global = true)]
    pub certificate: Option<PathBuf>,
    /// How sessions connect; `mixed` takes QUIC and WebSocket in turn.
    #[arg(long, value_enum, global = true, default_value = "mixed")]
    pub transport: Transport,
    /// The same seed makes the same users, chats and sends; random if it is not given.
    #[arg(long, value_name = "N", global = true)]
    pub seed: Option<u64>,
    /// Writes the summary as JSON to this file; of a run that came to nothing, why.
    #[arg(long, value_name = "OUT", global = true)]
    pub json: Option<PathBuf>,
    /// Writes the report as one HTML page to this file: figures, plots and tables, with nothing to fetch.
    #[arg(long, value_name = "OUT", global = true)]
    pub html: Option<PathBuf>,
    /// Shows the run on the terminal as it goes, instead of a line a second.
    #[arg(
        long,
        value_name = "WHEN",
        global = true,
        value_enum,
        default_value = "auto",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on"
    )]
    pub dashboard: When,
    /// How long to wait, once users and chats are made, before the first session connects: meanwhile servers let go of what
    /// making them took, which would hide what sessions cost.
    #[arg(long, value_name = "TIME", global = true, value_parser = parse_duration)]
    pub settle: Option<Duration>,
    /// What a reader of the report must know, such as how the servers were configured or what else ran; repeated.
    #[arg(long, value_name = "TEXT", global = true)]
    pub note: Vec<String>,
    /// A server's process on this machine whose memory and processor time the report tells, such as edge-1=4711; repeated,
    /// at most 256.
    #[arg(long, value_name = "NAME=PID", global = true)]
    pub watch: Vec<Watched>,
    /// How long sessions may take to connect, to come back and to get what is missing, and how long each request for
    /// users and chats is repeated that is refused for now.
    #[arg(long, value_name = "TIME", global = true, default_value = "60s", value_parser = parse_duration)]
    pub patience: Duration,
}

impl Common {
    /// Base URLs, at least one.
    pub fn bases(&self) -> Vec<&str> {
        if self.targets.is_empty() { vec![TARGET] } else { self.targets.iter().map(String::as_str).collect() }
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Sends at an even rate, from sessions spread over chats.
    Steady(Steady),
    /// Comes back to the chats of an earlier run, wherever they are now: every event must be there as it was, and
    /// each chat takes another message.
    Revisit(Revisit),
    /// Replays a transcript.
    Replay(Replay),
    /// Holds sessions that do nothing, each with its inbox and a chat of its own.
    Idle(Idle),
    /// Sends at an even rate while faults are done to a cluster: processes are killed, paused and restarted; where it was made
    /// for that, links are cut and disks are filled.
    ///
    /// One after the other, each once all is calm. The faults are drawn from --seed and printed before the first of
    /// them. Exit status 1 also means that the cluster did not recover from a fault within --recovery, or did not keep
    /// meanwhile what it promises: sockets of edges that were not touched stay up, a refusal for now says when to come back,
    /// no send is refused for good or stays without an outcome, and what is stopped ends in order; with --limits, also how
    /// long sends stall.
    ///
    /// Losses are told with the fault behind which the sends were acked: sends acked between this fault and the next one;
    /// this fault or a later one may have lost them.
    Chaos(Chaos),
    /// Kills an edge of a cluster with all sessions on it and waits until they are back on the others.
    ///
    /// Sessions come back by the rules of every client: a wait with full jitter, then with their TLS ticket, their resume ticket,
    /// cursors and proofs. The report says when how many were back, what that cost Postgres, the event store and each edge, and how
    /// they were let in. At its end the edge is started again. The cluster is one of this machine, of two edges or more.
    Storm(Storm),
    /// Lets a share of all sessions be away while the rest talks, and come back at once to what it missed.
    ///
    /// The report says how long sessions took until they had all that was there when they came, and, where --health names the
    /// routers' processes, how often the event store was read. Every session is checked to miss nothing and to get nothing twice.
    History(History),
    /// Lets a share of all sessions read nothing for a while, as behind a network that stalls, while the rest talks on.
    ///
    /// The report says what that did to the rest and to the servers' memory, and how long those that stalled took until they had
    /// what waited for them. They must lose nothing by it but time: every session is checked to miss nothing and to get nothing
    /// twice. --watch names the servers' processes, --health those of edges, whose outboxes are looked at.
    Slow(Slow),
    /// Offers logins, more than are hashed, while sessions talk on.
    ///
    /// The report says how many were let in and what the others were told, and what that did to the sessions' deliveries, to their
    /// connections and, with --watch NAME=PID, to the servers' memory.
    Logins(Logins),
    /// Posts at one target and gets at another one: what was acked must be there.
    ///
    /// Messages are posted over HTTP, at each target in turn; once one is acked, another member gets it at another
    /// target, if there is one. It must be there, at its seq and with its text, in the first answer that is no refusal.
    ///
    /// What is refused for now, or lost, is asked again with the same Idempotency-Key, for at most --patience. It goes
    /// well with `chaos` against the same cluster in another process.
    Reads(Reads),
    /// Adds and removes members while all of them send and read: nobody may see what came after a removal.
    ///
    /// The history is random and follows from --seed: changes over sessions and over HTTP, with and without what was
    /// said before, and requests of all users, whether they are members or not. Each chat's log, read back in the end,
    /// says who might see and do what.
    ///
    /// It goes well with `chaos` against the same cluster in another process.
    Members(Members),
    /// Waits for a controller and holds a part of its sessions.
    ///
    /// Says its address on standard output. Controllers are served one after the other. Beyond this machine it needs a
    /// secret that the controller has, too.
    Agent(Agent),
    /// Runs a scenario from a TOML file, or one that is built in.
    Run(RunFile),
    /// Lists the scenarios that are built in, each with what it is for.
    Scenarios,
    /// What is done with reports of runs.
    #[command(flatten)]
    Report(Reading),
}

/// Waits for a controller.
#[derive(Clone, Debug, Args)]
pub struct Agent {
    /// Where; port 0 is a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Ends when its first controller is gone.
    #[arg(long)]
    pub once: bool,
    /// The secret.
    #[command(flatten)]
    pub secret: AgentSecret,
}

/// What controller and agents share.
#[derive(Clone, Debug, Default, Args)]
pub struct AgentSecret {
    /// File with the secret that controller and agents share, at least 16 bytes; else that of the variable
    /// PANDA_LOADTEST_SECRET. Agents that only their own machine reaches need none.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

impl AgentSecret {
    /// The secret, if there is one.
    ///
    /// # Errors
    /// [`RunError::Usage`]: the file cannot be read, or the secret is too short.
    pub fn secret(&self) -> Result<Option<Secret>, RunError> {
        let text = match &self.secret_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                RunError::Usage(format!("--secret-file {} cannot be read: {error}", file.display()))
            })?),
            None => std::env::var(SECRET_VARIABLE).ok(),
        };
        text.map(|text| Secret::new(&text)).transpose().map_err(RunError::Usage)
    }
}

/// Posts at one target and gets at another one.
#[derive(Clone, Copy, Debug, Args)]
pub struct Reads {
    /// How many times.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: u32,
    /// How many a second; while 64 are under way, none is begun.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Chats, of two users each; a user may ask 20 times a second.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub chats: u32,
}

/// Adds and removes members while all of them send and read.
#[derive(Clone, Copy, Debug, Args)]
pub struct Members {
    /// Sessions, each of a user of its own; at least two a chat.
    #[arg(long, value_name = "N", default_value = "24", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub sessions: u32,
    /// Chats; session i comes and goes in chat i modulo this and in the one behind it.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub chats: u32,
    /// Sends and reads a second, all together. Memberships change about twice a second in each chat.
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// For how long, such as 60s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, required_unless_present = "changes")]
    pub duration: Option<Duration>,
    /// Instead of a time: until each chat's members changed so many times, however long that takes.
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: Option<u32>,
}

/// Comes back to the chats of an earlier run.
#[derive(Clone, Debug, Args)]
pub struct Revisit {
    /// What `steady --record` wrote; its seed is this run's, too.
    pub record: PathBuf,
}

/// Sends at an even rate, from sessions spread over chats.
#[derive(Clone, Debug, Args)]
pub struct Steady {
    /// Sessions, each of a user of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,
    /// Chats; session i is in chat i modulo this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub chats: u32,
    /// Messages a second, all together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// For how long, such as 60s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Duration,
    /// Sends go to the first so many chats only; the others are listened to, and nothing is said there.
    /// Default: all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub active: Option<u32>,
    /// Writes what the chats hold at the end to this file, for `revisit`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Replays a transcript.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// JSON lines of chat, minute, user, kind and text; plain or gzip.
    pub file: PathBuf,
    /// How many times faster than it was said, or `max`.
    #[arg(long, value_name = "N|max", default_value = "max", value_parser = parse_speed)]
    pub speed: Speed,
    /// Sessions at a time; the one that was idle for longest is closed for a new one.
    #[arg(long, value_name = "N", default_value = "2000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions_max: u32,
}

/// Holds sessions that do nothing, each with its inbox and a chat of its own.
#[derive(Clone, Debug, Args)]
pub struct Idle {
    /// Sessions, each of a user of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,
    /// For how long, such as 60s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Duration,
    /// With sessions that cost little at this end, over WebSocket, on agents, each with two chats of ten members in the
    /// place of one of its own. Taken by itself beyond 10,000 WebSocket sessions, and where one of the flags below is
    /// given.
    #[arg(long)]
    pub lean: bool,
    /// Messages a second to random chats.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate: u32,
    /// Sessions of a hundred that are closed and opened again, a minute.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub churn: f64,
    /// Sessions of a hundred that are checked: all events of their chats, in order, none missing, none twice; their inboxes
    /// go on where they were.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = parse_percent)]
    pub check: f64,
    /// Agent to hold a part of the sessions, as `panda-loadtest agent --listen` of its machine said; repeated. Default:
    /// as many on this machine as it takes.
    #[arg(long = "agent", value_name = "HOST:PORT")]
    pub agents: Vec<String>,
    /// What the agents know.
    #[command(flatten)]
    pub secret: AgentSecret,
}

impl Idle {
    /// Whether lean sessions are held.
    pub fn is_lean(&self, transport: Transport) -> bool {
        let asked = self.lean || self.rate > 0 || self.churn > 0.0 || !self.agents.is_empty();
        asked || transport == Transport::Ws && self.sessions > FULL_SESSIONS_MAX
    }
}

/// A share in percent.
fn parse_percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100, such as 1".into()),
    }
}

/// Sends at an even rate while faults are done to a cluster.
#[derive(Clone, Debug, Args)]
pub struct Chaos {
    /// Sessions, each of a user of its own.
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions: u32,
    /// Chats; session i is in chat i modulo this.
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub chats: u32,
    /// Messages a second, all together.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
    /// The command that works on the cluster.
    #[arg(long, value_name = "PATH", default_value = "ops/cluster")]
    pub cluster_command: PathBuf,
    /// The cluster, as that command names it.
    #[arg(long, value_name = "NAME", default_value = "dev")]
    pub cluster: String,
    /// How many faults.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub faults: u32,
    /// What is done to processes. Default: kill,pause,restart, with --table also stop and absent; and what the cluster was
    /// made for: link-cut to routers where links go through proxies (`ops/cluster up --link-proxies`), disk-full to
    /// services with small disks (`--small-disks`).
    #[arg(long, value_name = "KIND,…", value_enum, value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// To which kinds of process, such as edge,router,kafka. Default: all that the cluster has, without the proxies before
    /// routers' links, `link`.
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    pub parts: Vec<String>,
    /// How long each pause lasts. Default: drawn; every second one of a part is longer than a link or a membership
    /// without a word.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "table")]
    pub pause: Option<Duration>,
    /// All is well while every ack, delivery and HTTP call comes within this time.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub bound: Duration,
    /// How long after a fault's end all must be well again.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_duration)]
    pub recovery: Duration,
    /// Also judges how long sends stall: at most 1 s while a router is stopped, 3 s when it is restarted, 6 s when it is
    /// killed or paused for longer than 3 s, and 2 s in any fault of redis, postgres or api but absent. For a machine that
    /// does nothing else.
    #[arg(long)]
    pub limits: bool,
    /// Instead of drawn faults: each part with each kind once, written as a table to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    pub table: Option<PathBuf>,
}

/// How sessions connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// WebSocket.
    Ws,
    /// QUIC.
    Quic,
    /// QUIC and WebSocket in turn.
    Mixed,
}

impl Transport {
    /// Of session `number`.
    pub const fn of(self, number: u32) -> TransportKind {
        match self {
            Self::Ws => TransportKind::WebSocket,
            Self::Quic => TransportKind::Quic,
            Self::Mixed if number.is_multiple_of(2) => TransportKind::Quic,
            Self::Mixed => TransportKind::WebSocket,
        }
    }

    /// How many of so many sessions are WebSockets.
    pub const fn websockets(self, sessions: usize) -> usize {
        match self {
            Self::Ws => sessions,
            Self::Quic => 0,
            Self::Mixed => sessions / 2,
        }
    }

    /// As on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Quic => "quic",
            Self::Mixed => "mixed",
        }
    }
}

#[cfg(test)]
mod tests;
