//! The configuration: one TOML file, `PANDA_…` variables over it, flags over both.

mod check;
mod demands;
mod fault;
mod file;
mod keys;
mod login_providers;
mod mail;
mod pictures;
mod services;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
pub(crate) use demands::Demands;
pub(crate) use fault::ConfigError;
use fault::Place;
pub(crate) use login_providers::LoginProviderConfig;
pub(crate) use mail::{MailConfig, TlsMode};
use panda_access::FleetSecret;
pub(crate) use pictures::PicturesConfig;
use serde::{Deserialize, Serialize};
pub(crate) use services::{CacheConfig, CommandsConfig, EventsConfig, LinksConfig, UsersConfig};
pub(crate) use source::{Overrides, load};

/// Everything that can be set. Each field's default is the one that `panda serve` runs with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The folder that holds everything that is kept.
    pub(crate) data: PathBuf,
    /// The file with the secret that all processes of a deployment share; empty: made in the data folder by
    /// `panda serve`.
    pub(crate) fleet_secret: PathBuf,
    /// HTTP API, page and WebSocket.
    pub(crate) http: HttpConfig,
    /// QUIC for native clients.
    pub(crate) quic: QuicConfig,
    /// `/livez`, `/readyz`, `/sendz`, `/metrics`.
    pub(crate) health: HealthConfig,
    /// Sockets and sessions.
    pub(crate) edge: EdgeLimits,
    /// Shards.
    pub(crate) router: RouterLimits,
    /// The HTTP API's own work.
    pub(crate) api: ApiLimits,
    /// Of a cluster: TLS between its processes.
    pub(crate) links: LinksConfig,
    /// Of a cluster: Kafka.
    pub(crate) commands: CommandsConfig,
    /// Of a cluster: Scylla or Cassandra.
    pub(crate) events: EventsConfig,
    /// Of a cluster: Postgres.
    pub(crate) users: UsersConfig,
    /// Of a cluster: Redis.
    pub(crate) cache: CacheConfig,
    /// Pictures of people.
    pub(crate) pictures: PicturesConfig,
    /// Mail to users.
    pub(crate) mail: MailConfig,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
    /// Whose word about a person is taken.
    pub(crate) login_providers: Vec<LoginProviderConfig>,
    /// Where each key that is set is set; no key itself.
    #[serde(skip)]
    pub(crate) places: Places,
}

/// Where keys are set, by their names.
pub(crate) type Places = BTreeMap<String, Place>;

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./data"),
            fleet_secret: PathBuf::new(),
            http: HttpConfig::default(),
            quic: QuicConfig::default(),
            health: HealthConfig::default(),
            edge: EdgeLimits::default(),
            router: RouterLimits::default(),
            api: ApiLimits::default(),
            links: LinksConfig::default(),
            commands: CommandsConfig::default(),
            events: EventsConfig::default(),
            users: UsersConfig::default(),
            cache: CacheConfig::default(),
            pictures: PicturesConfig::default(),
            mail: MailConfig::default(),
            log: LogConfig::default(),
            login_providers: Vec::new(),
            places: Places::new(),
        }
    }
}

impl Config {
    /// Where the first API key is, or is to be, of a process whose data is in `data`.
    pub(crate) fn admin_key_in(&self, data: &Path) -> PathBuf {
        if self.api.admin_key.as_os_str().is_empty() { data.join("admin.key") } else { self.api.admin_key.clone() }
    }

    /// The secret that all processes of this cluster share.
    ///
    /// # Errors
    /// No file is named, or it holds no secret.
    pub(crate) fn shared_secret(&self) -> anyhow::Result<FleetSecret> {
        if self.fleet_secret.as_os_str().is_empty() {
            return Err(ConfigError::missing("fleet_secret").into());
        }
        let path = self.fleet_secret.display();
        let text = std::fs::read_to_string(&self.fleet_secret).with_context(|| {
            format!(
                "read the fleet secret {path} (`openssl rand -hex 32 > FILE` makes one, for all processes the same)"
            )
        })?;
        FleetSecret::parse(&text).with_context(|| format!("the fleet secret {path}"))
    }
}

/// HTTP API, page and WebSocket, all on one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpConfig {
    /// Where to listen. Loopback by default: opening it to others is a decision.
    pub(crate) address: SocketAddr,
    /// A PEM file with the certificate chain; empty: plain HTTP.
    pub(crate) certificate: PathBuf,
    /// A PEM file with its key.
    pub(crate) key: PathBuf,
    /// Origins of pages that may connect besides those of this address itself, as `https://host[:port]`.
    pub(crate) origins: Vec<String>,
    /// Where browsers reach the edges of this deployment, as `http://` or `https://host[:port]`; at most 16.
    pub(crate) edges: Vec<String>,
}

impl HttpConfig {
    /// Origins of pages that may connect: those that are listed, and the pages of the deployment's edges.
    pub(crate) fn page_origins(&self) -> Vec<String> {
        self.origins.iter().chain(&self.edges).cloned().collect()
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            origins: Vec::new(),
            edges: Vec::new(),
        }
    }
}

/// QUIC for native clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QuicConfig {
    /// Where to listen (UDP).
    pub(crate) address: SocketAddr,
    /// The host that clients are told to connect to, as the certificate names it; empty: the address.
    pub(crate) host: String,
    /// A PEM file with the certificate chain; empty: one for development is made in the data folder.
    pub(crate) certificate: PathBuf,
    /// A PEM file with its key.
    pub(crate) key: PathBuf,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8443)),
            host: String::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
        }
    }
}

/// Health and metrics; not for the public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HealthConfig {
    /// Where to listen.
    pub(crate) address: SocketAddr,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9600)) }
    }
}

/// Limits of the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EdgeLimits {
    /// Threads that hold sockets; 0: one a core.
    pub(crate) workers: usize,
    /// Sessions of this process.
    pub(crate) sessions_max: usize,
    /// Connections that are not authenticated yet.
    pub(crate) handshakes_max: usize,
    /// Connections from one IPv4 address or IPv6 /64.
    pub(crate) connections_per_address_max: usize,
    /// Of them, connections of the HTTP API; more where a proxy stands before it.
    pub(crate) http_connections_per_address_max: usize,
    /// From accept to a valid Hello, in milliseconds.
    pub(crate) handshake_timeout_ms: u64,
    /// Each side sends something at least this often, in milliseconds.
    pub(crate) heartbeat_ms: u64,
    /// What may wait for one session, in bytes; a slower reader is cut and catches up.
    pub(crate) outbox_bytes_max: usize,
    /// Subscriptions of one session.
    pub(crate) subscriptions_max: usize,
    /// Commands a second of one session, over a longer time.
    pub(crate) commands_per_second: u32,
    /// How long a stop may take while sessions are told to go, in milliseconds.
    pub(crate) drain_ms: u64,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            workers: 0,
            sessions_max: 1_000_000,
            handshakes_max: 4_096,
            connections_per_address_max: 20_000,
            http_connections_per_address_max: 512,
            handshake_timeout_ms: 10_000,
            heartbeat_ms: 45_000,
            outbox_bytes_max: 256 * 1024,
            subscriptions_max: 10_000,
            commands_per_second: 100,
            drain_ms: 3_000,
        }
    }
}

/// Limits of the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouterLimits {
    /// Threads that run shards.
    pub(crate) threads: usize,
    /// Commands of one shard that may wait in memory.
    pub(crate) shard_queue_max: usize,
    /// Where a router of a cluster listens for the links of edges.
    pub(crate) links: SocketAddr,
    /// Where edges reach that: `host:port`; empty: as it listens.
    pub(crate) advertise: String,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            threads: 1,
            shard_queue_max: 16_384,
            links: SocketAddr::from(([127, 0, 0, 1], 9700)),
            advertise: String::new(),
        }
    }
}

/// Limits of the HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiLimits {
    /// Threads that answer requests.
    pub(crate) threads: usize,
    /// Threads that hash passwords; each takes 19 MiB while it works.
    pub(crate) hash_threads: usize,
    /// Passwords that may wait to be hashed.
    pub(crate) hash_queue_max: usize,
    /// Connections of the HTTP API.
    pub(crate) connections_max: usize,
    /// How long an access token lasts, in seconds.
    pub(crate) token_lifetime_s: u64,
    /// A login that is not refreshed for so long is over, in seconds.
    pub(crate) login_idle_s: u64,
    /// A login is over after so long, however much it is used, in seconds.
    pub(crate) login_lifetime_s: u64,
    /// How long a refresh token is taken once more after it was used, in seconds.
    pub(crate) refresh_grace_s: u64,
    /// Where the first API key is written, readable by its owner only; empty: `admin.key` in the data folder.
    pub(crate) admin_key: PathBuf,
}

impl ApiLimits {
    /// How long an access token lasts.
    pub(crate) const fn token_lifetime(&self) -> Duration {
        Duration::from_secs(self.token_lifetime_s)
    }
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            threads: 1,
            hash_threads: 1,
            hash_queue_max: 64,
            connections_max: 1_024,
            token_lifetime_s: 3_600,
            login_idle_s: 2_592_000,
            login_lifetime_s: 31_536_000,
            refresh_grace_s: 300,
            admin_key: PathBuf::new(),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `human`, `json`, or `auto`: human on a terminal.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,panda_router=debug`.
    pub(crate) level: String,
    /// Whether the steps of commands whose senders follow them (W3C Trace Context, sampled) are logged.
    pub(crate) traces: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned(), traces: false }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Human on a terminal, otherwise JSON.
    Auto,
    /// For a person.
    Human,
    /// One JSON object a line.
    Json,
}
