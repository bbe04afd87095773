//! The parts of a whole Panda, started in the order in which they stand on each other.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use panda_access::FleetSecret;
use panda_api::{ApiConfig, ApiThreads, Bootstrap, Connection, Discovery};
use panda_edge::admission::AdmissionLimits;
use panda_edge::transport::handover::HandedOver;
use panda_edge::transport::tls::Identity;
use panda_edge::transport::websocket::WebSocketRules;
use panda_edge::{Edge, EdgeConfig, EdgeParts, SessionLimits, WorkerLink};
use panda_link::{LinkClient, LinkLimits, Links};
use panda_protocol::link::LinkId;
use panda_router::shard::ShardLimits;
use panda_router::{Router, RouterConfig};
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog, MemoryBoard, MemoryCache, SqliteUsers};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::{BACKLOG_MAX_MS, now};
use crate::config::Config;

/// Shards of an embedded log; fixed for ever by the data that they made.
const SHARDS: u16 = 16;
/// Frames that may wait on their way up a link.
const UP_QUEUE: usize = 4_096;
/// Messages of many frames each that may wait on their way down a link.
const DOWN_QUEUE: usize = 64;
/// Connections that may wait for the HTTP API.
const HANDOVER_QUEUE: usize = 256;
/// How long shards may take to store their rows at a stop. Nobody waits for them; without it the next start has
/// more to read.
const ROUTER_FINISH_MAX: Duration = Duration::from_secs(5);
/// Profiles, presences and rate limits kept in memory.
const CACHE_ENTRIES: NonZeroUsize = NonZeroUsize::new(65_536).expect("above zero");

/// A running server.
pub(super) struct Server {
    pub(super) edge: Edge,
    pub(super) api: ApiThreads,
    pub(super) router: Router,
    pub(super) events: EmbeddedEvents,
    pub(super) folder: DataFolder,
    /// The fingerprint of QUIC's certificate, if clients have to pin it.
    pub(super) pin: Option<String>,
    backlog_ms: Arc<AtomicU64>,
}

/// Whether sends are accepted now.
pub(super) struct Sends {
    events: EmbeddedEvents,
    backlog_ms: Arc<AtomicU64>,
}

impl Sends {
    pub(super) fn check(&self) -> Result<(), String> {
        let backlog_ms = self.backlog_ms.load(Ordering::Relaxed);
        if backlog_ms > BACKLOG_MAX_MS {
            return Err(format!("the oldest command waits for {backlog_ms} ms: sends are refused until it is stored"));
        }
        match self.events.last_error() {
            Some(error) => Err(format!("the event store refuses writes: {error}")),
            None => Ok(()),
        }
    }
}

impl Server {
    pub(super) fn sends(&self) -> Sends {
        Sends { events: self.events.clone(), backlog_ms: Arc::clone(&self.backlog_ms) }
    }

    /// The router's figures are this thread's to read.
    pub(super) fn note_backlog(&self) {
        self.backlog_ms.store(self.router.backlog_ms(), Ordering::Relaxed);
    }
}

/// Starts everything.
///
/// # Errors
/// What stands in the way, in a sentence.
pub(super) async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Server> {
    let folder = DataFolder::open(&config.data)?;
    let data = folder.path().to_owned();
    let fleet = FleetSecret::load_or_create(&data.join("fleet.secret"))?;
    let users = SqliteUsers::open(&data.join("users.db"), now()).context("open the users")?;
    let cache = MemoryCache::new(CACHE_ENTRIES);
    let events = EmbeddedEvents::open(&folder).context("open the events")?;
    let log = EmbeddedLog::new(SHARDS, events.epoch(), now);
    let limits = ShardLimits { queue_max: config.router.shard_queue_max, ..ShardLimits::default() };
    let router_config = RouterConfig {
        threads: config.router.threads,
        limits,
        finish_max: ROUTER_FINISH_MAX,
        ..RouterConfig::new(rand::random())
    };
    // Its only edge is in this process: nobody has to be told where it is.
    let router = panda_router::start(router_config, log.clone(), events.clone(), MemoryBoard::default())
        .await
        .context("start the router")?;
    let keys = panda_api::bootstrap(&users, &fleet, &data.join("admin.key"), now()).await?;

    let quic = quic_identity(config, &data)?;
    let pin = quic.development.then(|| quic.identity.fingerprint());
    if let Some(pin) = &pin {
        let path = data.join("quic-certificate.sha256");
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{pin}\n"))
            .and_then(|()| std::fs::rename(&partial, &path))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let rules = WebSocketRules { tls: tls(config, &fleet)?, origins: config.http.origins.clone() };
    let (handed_over, to_api) = mpsc::channel(HANDOVER_QUEUE);
    let workers = workers(config);
    let mut links = Vec::with_capacity(workers);
    for _ in 0..workers {
        links.push(worker_link(&router).await);
    }
    let Bootstrap { keys, signer, .. } = keys;
    let edge_config = edge_config(config, workers, rules, quic.identity);
    let edge_parts = EdgeParts { log: log.clone(), links, keys: keys.clone(), fleet, handed_over, clock: now };
    let edge = panda_edge::start(edge_config, edge_parts)?;

    let chats = api_link(&router, log).await;
    let parts = panda_api::Parts { users, cache, chats, keys, signer, clock: now };
    let metrics = panda_api::Metrics::default();
    metrics.register(registry);
    edge.metrics().register(registry);
    router.metrics().register(registry);
    let api_config = api_config(config, &edge, pin.as_deref());
    let api = panda_api::start::<(SqliteUsers, MemoryCache, LinkClient), _, _, _>(
        api_config, parts, metrics, to_api, connection,
    )
    .context("start the HTTP API")?;
    Ok(Server { edge, api, router, events, folder, pin, backlog_ms: Arc::default() })
}

/// A handed-over socket, in the API's runtime.
fn connection(handed: HandedOver) -> std::io::Result<Connection<panda_edge::transport::socket::Socket>> {
    let HandedOver { socket, head, peer, place } = handed.adopt()?;
    let tls = socket.is_secure();
    Ok(Connection { stream: socket, head, peer, tls, held: Box::new(place) })
}

fn workers(config: &Config) -> usize {
    match config.edge.workers {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        workers => workers,
    }
}

async fn worker_link(router: &Router) -> WorkerLink {
    let link = LinkId(rand::random());
    let (up, up_receiver) = mpsc::channel(UP_QUEUE);
    let (down_sender, down) = mpsc::channel(DOWN_QUEUE);
    router.attach(link, up_receiver, down_sender).await;
    // Every worker has a link of its own here.
    WorkerLink { link, lane: 0, up, down }
}

async fn api_link(router: &Router, log: EmbeddedLog) -> LinkClient {
    let WorkerLink { link, lane, up, down } = worker_link(router).await;
    let (client, driver) = LinkClient::new(Links::new(log, link, lane, LinkLimits::default()), up, down);
    // It ends by itself when the last client of it is gone.
    drop(tokio::spawn(driver.run()));
    client
}

struct Quic {
    identity: Identity,
    development: bool,
}

fn quic_identity(config: &Config, data: &Path) -> anyhow::Result<Quic> {
    let development = config.quic.certificate.as_os_str().is_empty();
    let identity = if development {
        Identity::development(data)
    } else {
        Identity::from_pem_files(&config.quic.certificate, &config.quic.key)
    };
    Ok(Quic { identity: identity.context("QUIC's certificate")?, development })
}

fn tls(config: &Config, fleet: &FleetSecret) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    if config.http.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let identity = Identity::from_pem_files(&config.http.certificate, &config.http.key)?;
    Ok(Some(identity.https_config(fleet)?))
}

fn edge_config(config: &Config, workers: usize, rules: WebSocketRules, quic: Identity) -> EdgeConfig {
    let edge = &config.edge;
    EdgeConfig {
        workers,
        http: config.http.address,
        quic: Some(config.quic.address),
        rules,
        quic_identity: Some(quic),
        admission: AdmissionLimits {
            handshakes_max: edge.handshakes_max,
            sessions_max: edge.sessions_max,
            connections_per_address_max: edge.connections_per_address_max,
            handshake_timeout: Duration::from_millis(edge.handshake_timeout_ms),
        },
        session: SessionLimits {
            heartbeat_ms: edge.heartbeat_ms,
            hello_timeout_ms: edge.handshake_timeout_ms,
            outbox_bytes_max: edge.outbox_bytes_max,
            subscriptions_max: edge.subscriptions_max,
            commands_per_second: edge.commands_per_second,
        },
        link: LinkLimits { backlog_max_ms: BACKLOG_MAX_MS, ..LinkLimits::default() },
    }
}

fn api_config(config: &Config, edge: &Edge, pin: Option<&str>) -> ApiConfig {
    ApiConfig {
        threads: config.api.threads,
        hash_threads: config.api.hash_threads,
        hash_queue_max: config.api.hash_queue_max,
        connections_max: config.api.connections_max,
        token_ttl: Duration::from_secs(config.api.token_lifetime_s),
        discovery: Discovery {
            quic: edge.quic_address(),
            quic_host: (!config.quic.host.is_empty()).then(|| config.quic.host.clone()),
            quic_certificate_sha256: pin.and_then(digest),
        },
        ..ApiConfig::default()
    }
}

/// The 32 bytes of a fingerprint in hexadecimal.
fn digest(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, slot) in bytes.iter_mut().enumerate() {
        *slot = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
