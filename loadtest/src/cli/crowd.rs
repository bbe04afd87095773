//! What is asked of many sessions that all do the same at once.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse_percent;
use crate::schedule::parse_duration;

/// Kills an edge of a cluster with all sessions on it.
#[derive(Clone, Debug, Args)]
pub struct Storm {
    /// Sessions, each of a user of its own, with its inbox and two chats of ten members.
    #[arg(long, value_name = "N", default_value = "15000", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub sessions: u32,
    /// Messages a second to random chats, before the edge is killed, meanwhile and afterwards.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// The edge, as the cluster names it. Default: its first.
    #[arg(long, value_name = "EDGE")]
    pub victim: Option<String>,
    /// How long all is calm before. Sessions that lived for less than 30 s wait longer before they come back.
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = parse_duration)]
    pub before: Duration,
    /// How long the load goes on once all are back.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub after: Duration,
    /// Sessions of a hundred whose events are checked by their texts. That none is missing and none comes twice is checked of all.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = parse_percent)]
    pub check: f64,
    /// The command that works on the cluster.
    #[arg(long, value_name = "PATH", default_value = "ops/cluster")]
    pub cluster_command: PathBuf,
    /// The cluster, as that command names it.
    #[arg(long, value_name = "NAME", default_value = "dev")]
    pub cluster: String,
}

/// Lets a share of all sessions be away.
#[derive(Clone, Debug, Args)]
pub struct History {
    /// Sessions, each of a user of its own, with its inbox and two chats of ten members.
    #[arg(long, value_name = "N", default_value = "2000", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub sessions: u32,
    /// Sessions of a hundred that are away; the rest talks.
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = parse_percent)]
    pub away: f64,
    /// Messages that each of them misses, about.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub missed: u32,
    /// Messages a second meanwhile, all together; those that who is away would send are left out.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Sessions of a hundred whose events are checked by their texts. That none is missing and none comes twice is checked of all.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_percent)]
    pub check: f64,
    /// The health of a process that has routers, whose reads of the event store are counted; repeated.
    #[arg(long, value_name = "HOST:PORT")]
    pub health: Vec<String>,
}

/// Lets a share of all sessions read nothing for a while.
#[derive(Clone, Debug, Args)]
pub struct Slow {
    /// Sessions, each of a user of its own, with its inbox and two chats of ten members.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub sessions: u32,
    /// Sessions of a hundred that stall.
    #[arg(long, value_name = "PERCENT", default_value = "20", value_parser = parse_percent)]
    pub stall: f64,
    /// For how long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How long all read before.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub before: Duration,
    /// Messages a second, all together; those that who stalls would send are left out. There is a chat for every five sessions.
    #[arg(long, value_name = "N", default_value = "4000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Sessions of a hundred whose events are checked by their texts. That none is missing and none comes twice is checked of all.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_percent)]
    pub check: f64,
    /// The health of a process that has edges: what waits in their outboxes, and how often full ones were cut; repeated.
    #[arg(long, value_name = "HOST:PORT")]
    pub health: Vec<String>,
}
