//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use panda_protocol::{EntityId, Time};
use panda_storage::user_store::{ApiKeyId, ApiKeyLabel, Scopes};

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
    /// Logs in with an account elsewhere, for `panda chat` on this machine.
    Login(crate::chat::login::LoginArgs),
    /// Ends what `panda login` began.
    Logout(crate::chat::login::LogoutArgs),
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
    /// The keys that sign access tokens. Everything may run.
    #[command(subcommand)]
    SigningKeys(SigningKeysCommand),
    /// The keys of programs, which they show instead of a user's access token. Everything may run.
    #[command(subcommand)]
    ApiKeys(ApiKeysCommand),
    /// The secret that all processes share, while it is replaced. Everything may run.
    #[command(subcommand)]
    FleetSecret(FleetSecretCommand),
}

/// What `panda admin fleet-secret` does.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetSecretCommand {
    /// Seals what is stored under the secret in the first line of the file, once every process has that there and the
    /// previous one in the second line. Says when the second line may go.
    Reseal(UsersArgs),
}

impl FleetSecretCommand {
    /// Which deployment.
    pub(crate) const fn place(&self) -> &UsersArgs {
        match self {
            Self::Reseal(place) => place,
        }
    }
}

/// What `panda admin api-keys` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeysCommand {
    /// Makes a key and prints it, once: only a digest is kept.
    Make(MakeApiKeyArgs),
    /// Says what keys there are: what they may do, when they were used, to the hour, and when they end.
    List(ListApiKeysArgs),
    /// Revokes a key, for good: from now on no process takes it. Tokens of users that it was given stay good until their
    /// end.
    Revoke(RevokeApiKeyArgs),
}

impl ApiKeysCommand {
    /// Which deployment.
    pub(crate) const fn place(&self) -> &UsersArgs {
        match self {
            Self::Make(args) => &args.place,
            Self::List(args) => &args.place,
            Self::Revoke(args) => &args.place,
        }
    }
}

/// Flags of `panda admin api-keys make`.
#[derive(Args, Debug)]
pub(crate) struct MakeApiKeyArgs {
    /// Which deployment.
    #[command(flatten)]
    pub(crate) place: UsersArgs,
    /// What a person calls it, such as "the shop's back end": 1 to 64 characters.
    #[arg(long, value_parser = label)]
    pub(crate) label: ApiKeyLabel,
    /// What it may do: `provision` (users, chats and tokens in bulk). Given several times, all of it.
    #[arg(long = "scope", required = true, value_parser = scope)]
    scopes: Vec<Scopes>,
    /// From when on it opens nothing: a date (its begin in UTC) or an RFC 3339 time; without the flag it has no end.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ends: Option<Time>,
}

impl MakeApiKeyArgs {
    /// All that it may do.
    pub(crate) fn scopes(&self) -> Scopes {
        self.scopes.iter().fold(Scopes(0), |all, scope| all.with(*scope))
    }
}

/// Flags of `panda admin api-keys list`.
#[derive(Args, Debug)]
pub(crate) struct ListApiKeysArgs {
    /// Which deployment.
    #[command(flatten)]
    pub(crate) place: UsersArgs,
    /// A line of JSON for each.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `panda admin api-keys revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeApiKeyArgs {
    /// Which deployment.
    #[command(flatten)]
    pub(crate) place: UsersArgs,
    /// Its ID, as the list shows it.
    pub(crate) id: ApiKeyId,
}

/// What `panda admin signing-keys` does.
#[derive(Debug, Subcommand)]
pub(crate) enum SigningKeysCommand {
    /// Publishes a new key. It signs five minutes later; the one before verifies until the last of its tokens is over.
    /// Nobody is logged out, and nothing has to be started again.
    Rotate(UsersArgs),
    /// Says of each key whether it is published, signs or verifies, and until when.
    List(UsersArgs),
}

impl SigningKeysCommand {
    /// Which deployment.
    pub(crate) const fn place(&self) -> &UsersArgs {
        match self {
            Self::Rotate(place) | Self::List(place) => place,
        }
    }
}

/// Which deployment's users and keys are meant.
#[derive(Args, Debug)]
pub(crate) struct UsersArgs {
    /// Where the configuration is: of the cluster's APIs, or of `panda serve`.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data folder of a `panda serve`, which may run, where it is not a cluster.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
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

fn label(text: &str) -> Result<ApiKeyLabel, String> {
    ApiKeyLabel::parse(text).map_err(|error| error.to_string())
}

fn scope(text: &str) -> Result<Scopes, String> {
    let known = || Scopes::ALL.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    Scopes::named(text).ok_or_else(|| format!("the scopes are: {}", known()))
}

/// A date, or a time with its zone.
fn time(text: &str) -> Result<Time, String> {
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let day = text.parse::<jiff::civil::Date>()?;
        jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0))
    });
    let micros = time.ok().and_then(|time| u64::try_from(time.as_microsecond()).ok());
    micros
        .map(Time)
        .ok_or_else(|| "it is a date, such as 2027-01-31, or a time, such as 2027-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_moments() {
        assert_eq!(time("2027-01-15"), Ok(Time(1_799_971_200_000_000)));
        assert_eq!(time("2027-01-15T09:00:00+01:00"), Ok(Time(1_800_000_000_000_000)));
        for text in ["", "tomorrow", "1969-12-31", "2027-13-01"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_with_control_characters_and_unknown_scopes_are_refused() {
        for text in ["shop\n2026-01-01 INFO forged", "shop\r\n", "shop\u{1b}[31m", "a\u{0}b", "a\u{9b}31m", ""] {
            assert!(label(text).is_err(), "{text:?}");
        }
        assert!(label("the shop's back end").is_ok());
        assert_eq!(scope("provision"), Ok(Scopes::PROVISION));
        assert_eq!(scope("root"), Err("the scopes are: provision".to_owned()));
    }
}
