//! The command line.

use std::net::SocketAddrV4;

use clap::{Args, Parser, Subcommand};

use crate::plan::Plan;
use crate::tls;
use crate::workload::IDLE_FIRST;

/// Loads one server with one workload and prints its figures as one line of JSON. `loadtest/peers/run` calls it.
#[derive(Debug, Parser)]
#[command(name = "peerbench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub workload: Workload,
}

/// What to do with a server.
#[derive(Clone, Debug, Subcommand)]
pub enum Workload {
    /// W1: hold idle connections that are authenticated and subscribed
    Idle(Idle),
    /// W2: publish to channels that have subscribers
    Fanout(FanOut),
    /// W3: publish and wait for the acknowledgement
    Ack(Ack),
    /// W4: connect, authenticate, subscribe, close
    Churn(Churn),
}

/// What every workload takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The protocol
    #[arg(long)]
    pub adapter: String,
    /// Where the server listens
    #[arg(long)]
    pub addr: SocketAddrV4,
    /// Its processes, whose CPU and memory count
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// KEY=VALUE for the adapter
    #[arg(long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// Secure the connections
    #[arg(long, value_enum)]
    pub tls: Option<tls::Mode>,
    /// Seconds of load before it is measured
    #[arg(long, default_value_t = 2)]
    pub warm: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 4)]
    pub secs: u32,
    /// Seconds of rest before memory is read
    #[arg(long, default_value_t = 3)]
    pub settle: u32,
    /// Only make the users and chats that the workload needs, and end
    #[arg(long)]
    pub provision: bool,
}

/// See [`Workload`].
#[derive(Clone, Debug, Args)]
pub struct Idle {
    /// Connections of the first reading
    #[arg(long, default_value_t = 10_000)]
    pub n1: u32,
    /// Connections of the second
    #[arg(long, default_value_t = 15_000)]
    pub n2: u32,
    /// What every workload takes.
    #[command(flatten)]
    pub common: Common,
}

/// See [`Workload`].
#[derive(Clone, Debug, Args)]
pub struct FanOut {
    /// Channels
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,
    /// Subscribers of each
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subs: u32,
    /// Publishers, at most one a channel
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub pubs: u32,
    /// Publications under way in each channel, where there is no rate
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// Deliveries a second on a fixed schedule; 0: as many as go through
    #[arg(long, default_value_t = 0)]
    pub rate: u32,
    /// Ask for an acknowledgement of each publication, where the protocol leaves that to the publisher
    #[arg(long)]
    pub ack: bool,
    /// What every workload takes.
    #[command(flatten)]
    pub common: Common,
}

/// See [`Workload`].
#[derive(Clone, Debug, Args)]
pub struct Ack {
    /// Connections, each in a channel of its own
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub conns: u32,
    /// Messages a second on a fixed schedule, taking turns; 0: one under way on each connection
    #[arg(long, default_value_t = 0)]
    pub rate: u32,
    /// What every workload takes.
    #[command(flatten)]
    pub common: Common,
}

/// See [`Workload`].
#[derive(Clone, Debug, Args)]
pub struct Churn {
    /// Connections at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub par: u32,
    /// Channels, over which the connections are spread
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,
    /// Users who take turns, where the server knows users
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
    /// Connections for which there are credentials, where each needs one of its own
    #[arg(long, default_value_t = 100_000)]
    pub connections: u32,
    /// Connections before everything else, whose tickets the later ones bring
    #[arg(long, default_value_t = 0)]
    pub first: u32,
    /// What every workload takes.
    #[command(flatten)]
    pub common: Common,
}

impl FanOut {
    /// Publishers that there are.
    pub fn publishers(&self) -> u32 {
        self.pubs.min(self.channels)
    }
}

impl Workload {
    /// What every workload takes.
    pub const fn common(&self) -> &Common {
        match self {
            Self::Idle(Idle { common, .. })
            | Self::Fanout(FanOut { common, .. })
            | Self::Ack(Ack { common, .. })
            | Self::Churn(Churn { common, .. }) => common,
        }
    }

    /// Who is where in it.
    pub fn plan(&self) -> Plan {
        match self {
            Self::Idle(idle) => Plan::alone(IDLE_FIRST + idle.n2),
            Self::Fanout(fan_out) => Plan::fan_out(fan_out.channels, fan_out.subs, fan_out.publishers()),
            Self::Ack(ack) => Plan::alone(ack.conns),
            Self::Churn(churn) => Plan::coming_and_going(churn.users, churn.channels, churn.connections),
        }
    }
}
