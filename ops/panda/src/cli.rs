//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use panda_protocol::EntityId;

use crate::config::Overrides;

/// Panda: a chat system for millions of sockets.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a whole Panda in this process, with its data in one folder.
    Serve(FrontArgs),
    /// Runs an edge of a cluster: sockets, sessions and the HTTP API.
    Edge(FrontArgs),
    /// Runs only the HTTP API of a cluster, apart from the edges' sockets.
    Api(ApiArgs),
    /// Runs a router of a cluster: it owns shards, numbers events and stores them.
    Router(RouterArgs),
    /// Reads a configuration, says what is wrong with it, and prints what is in force.
    CheckConfig(CheckConfigArgs),
    /// Looks after a cluster: what an operator does by hand, and only once what it needs is so.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Chats in this terminal.
    Chat(crate::chat::ChatArgs),
}

/// What `panda admin` does. What works on a cluster takes the configuration that `panda router` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Opens the next epoch of the command log, once the log in Kafka was lost or its topic was made anew. Every
    /// router must be stopped.
    OpenEpoch(OpenEpochArgs),
    /// Writes everything that the data folder of a stopped `panda serve` holds to a file, for a cluster to import.
    Export(ExportArgs),
    /// Fills an empty cluster with what `panda admin export` wrote. No edge, API or router may have run on it yet. After a
    /// kill, the same command goes on.
    Import(ImportArgs),
    /// Makes the rows of a damaged chat or inbox anew from its events: nobody has to know which are damaged or lost. Routers
    /// may run; the one that refuses it takes it once it was started again.
    Rebuild(RebuildArgs),
}

/// Flags of `panda admin open-epoch`.
#[derive(Args, Debug)]
pub(crate) struct OpenEpochArgs {
    /// Where the configuration of the cluster is: of its routers.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// What to do about chats and inboxes that cannot be read.
    #[command(flatten)]
    pub(crate) damaged: DamagedArgs,
}

/// Flags of what makes an event store whole.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DamagedArgs {
    /// Opens the epoch although some chats or inboxes are damaged, and leaves them as they are.
    ///
    /// Everything else goes on; they are refused until their rows are mended. What that costs, for good: changes of
    /// memberships that the lost log owed to or by them never reach the lists of chats that miss them, and messages to
    /// them that were being stored, and that nobody was told are, may be there for one router and not for the next.
    /// Without this flag no epoch is opened before all of them are mended.
    #[arg(long)]
    pub(crate) leave_damaged: bool,
}

/// Flags of `panda admin import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Where the configuration of the cluster is: of its routers and its edges.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The file to read.
    pub(crate) file: PathBuf,
    /// What to do about chats and inboxes that cannot be read.
    #[command(flatten)]
    pub(crate) damaged: DamagedArgs,
}

/// Flags of `panda admin export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Where the configuration of `panda serve` is.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data folder [default: ./data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The file to write; there must be none of this name.
    pub(crate) file: PathBuf,
}

/// Flags of `panda admin rebuild`.
#[derive(Args, Debug)]
pub(crate) struct RebuildArgs {
    /// Where the configuration is: of the cluster's routers, or of `panda serve`.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data folder of a stopped `panda serve`, where it is not one of a cluster's chats or inboxes.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The chat or the user whose inbox it is, as the router's log names it.
    pub(crate) entity: EntityId,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// The configuration, a TOML file; without the flag, the one that PANDA_CONFIG names. Every key is also a variable:
    /// edge.workers is PANDA_EDGE_WORKERS.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file, if one is named. A variable that is set to nothing names none.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let named = || std::env::var_os("PANDA_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(named)
    }
}

/// Flags of `panda check-config`.
#[derive(Args, Debug)]
pub(crate) struct CheckConfigArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// For which command it is: what that lacks or refuses is told, too, and what only others read is not looked at.
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleName>,
}

/// A command that takes a configuration and runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    /// `panda serve`
    Serve,
    /// `panda edge`
    Edge,
    /// `panda router`
    Router,
    /// `panda api`
    Api,
}

/// Flags of `panda serve` and `panda edge`.
#[derive(Args, Debug)]
pub(crate) struct FrontArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The folder that holds everything that is kept; of an edge only what is its own [default: ./data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// HTTP API, page and WebSocket [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    http: Option<SocketAddr>,
    /// QUIC, for native clients [default: 127.0.0.1:8443].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    quic: Option<SocketAddr>,
    /// Health and metrics [default: 127.0.0.1:9600].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    health: Option<SocketAddr>,
}

impl FrontArgs {
    /// What the flags say, over file and environment.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { data: self.data.clone(), http: self.http, quic: self.quic, health: self.health, links: None }
    }
}

/// Flags of `panda api`.
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The folder of what is this process's own [default: ./data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The HTTP API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    http: Option<SocketAddr>,
    /// Health and metrics [default: 127.0.0.1:9600].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    health: Option<SocketAddr>,
}

impl ApiArgs {
    /// What the flags say, over file and environment.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { data: self.data.clone(), http: self.http, health: self.health, ..Overrides::default() }
    }
}

/// Flags of `panda router`.
#[derive(Args, Debug)]
pub(crate) struct RouterArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Links of edges [default: 127.0.0.1:9700].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    links: Option<SocketAddr>,
    /// Health and metrics [default: 127.0.0.1:9600].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    health: Option<SocketAddr>,
}

impl RouterArgs {
    /// What the flags say, over file and environment.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { health: self.health, links: self.links, ..Overrides::default() }
    }
}

/// An address of a flag.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it is an IP address and a port, such as 127.0.0.1:8080".to_owned())
}
