//! What faces users: an edge's sockets and the HTTP API beside them, whatever stands behind.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
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
use panda_storage::{Cache, CommandLog, UserStore};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::lifecycle::now;

/// A shard whose oldest command is older takes no sends.
pub(crate) const BACKLOG_MAX_MS: u64 = 5_000;
/// How long requests of the HTTP API may take to end at a stop.
const API_GRACE: Duration = Duration::from_secs(1);
/// Connections that may wait for the HTTP API.
const HANDOVER_QUEUE: usize = 256;

/// What stands behind a front.
pub(crate) struct Behind<L, U, C> {
    /// Where commands go.
    pub(crate) log: L,
    /// A way to the routers for each worker, and one for the API.
    pub(crate) links: Vec<WorkerLink>,
    /// Users and keys.
    pub(crate) users: U,
    /// What may be lost.
    pub(crate) cache: C,
    /// The secret of the deployment.
    pub(crate) fleet: FleetSecret,
}

/// Running sockets and API.
pub(crate) struct Front {
    edge: Edge,
    api: ApiThreads,
    /// The fingerprint of QUIC's certificate, if clients have to pin it.
    pin: Option<String>,
}

/// How many workers are configured, and thus links needed: one more, for the API.
pub(crate) fn workers(config: &Config) -> usize {
    match config.edge.workers {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        workers => workers,
    }
}

/// Refuses addresses that somebody listens on, before anything is written: a second server in another
/// folder must not make one.
///
/// # Errors
/// Which address, and what to do.
pub(crate) fn claim(config: &Config) -> anyhow::Result<()> {
    if config.http.address.port() != 0 {
        panda_edge::transport::socket::claim(config.http.address).with_context(|| {
            format!("listen on {} for HTTP and WebSocket (--http names another address)", config.http.address)
        })?;
    }
    // Let go at once: the edge takes it again.
    std::net::UdpSocket::bind(config.quic.address)
        .with_context(|| format!("listen on {} for QUIC (--quic names another address)", config.quic.address))?;
    Ok(())
}

/// Takes the addresses and serves. Keys that the deployment lacks are made; `data` holds what is this
/// process's own.
///
/// # Errors
/// What stands in the way, in a sentence.
pub(crate) async fn start<L: CommandLog, U: UserStore, C: Cache>(
    config: &Config,
    data: &Path,
    behind: Behind<L, U, C>,
    registry: &mut Registry,
) -> anyhow::Result<Front> {
    let Behind { log, mut links, users, cache, fleet } = behind;
    let admin_key = config.admin_key_in(data);
    let Bootstrap { keys, signer, .. } = panda_api::bootstrap(&users, &fleet, &admin_key, now()).await?;
    let quic = quic_identity(config, data)?;
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
    let api_link = links.pop().context("the API has no link")?;
    let edge_config = edge_config(config, links.len(), rules, quic.identity);
    let edge_parts = EdgeParts { log: log.clone(), links, keys: keys.clone(), fleet, handed_over, clock: now };
    let edge = panda_edge::start(edge_config, edge_parts)?;
    edge.metrics().register(registry);

    let chats = client(api_link, log);
    let parts = panda_api::Parts { users, cache, chats, keys, signer, clock: now };
    let metrics = panda_api::Metrics::default();
    metrics.register(registry);
    let api_config = api_config(config, &edge, pin.as_deref());
    let api = panda_api::start::<(U, C, LinkClient), _, _, _>(api_config, parts, metrics, to_api, connection)
        .context("start the HTTP API")?;
    Ok(Front { edge, api, pin })
}

impl Front {
    /// Where HTTP and WebSocket are served.
    pub(crate) const fn http_address(&self) -> SocketAddr {
        self.edge.http_address()
    }

    /// Prints the lines about its addresses.
    ///
    /// # Errors
    /// Nobody takes them.
    pub(crate) fn introduce(&self, out: &mut impl std::io::Write, config: &Config) -> std::io::Result<()> {
        writeln!(out, "  page     {}", self.url(config))?;
        if let Some(quic) = self.edge.quic_address() {
            writeln!(out, "  QUIC     {quic}")?;
        }
        if let Some(pin) = &self.pin {
            writeln!(out, "  pinned   {pin} (SHA-256 of QUIC's development certificate)")?;
        }
        Ok(())
    }

    /// What a client is given.
    pub(crate) fn url(&self, config: &Config) -> String {
        let scheme = if config.http.certificate.as_os_str().is_empty() { "http" } else { "https" };
        format!("{scheme}://{}", self.http_address())
    }

    /// Lets sessions go within `drain`, then ends the API.
    ///
    /// # Errors
    /// A worker that did not end.
    pub(crate) async fn stop(self, drain: Duration) -> anyhow::Result<()> {
        let edge = self.edge.stop(drain).await.context("stop the edge");
        self.api.stop(API_GRACE).await;
        edge
    }
}

/// A handed-over socket, in the API's runtime.
fn connection(handed: HandedOver) -> std::io::Result<Connection<panda_edge::transport::socket::Socket>> {
    let HandedOver { socket, head, peer, place } = handed.adopt()?;
    let tls = socket.is_secure();
    Ok(Connection { stream: socket, head, peer, tls, held: Box::new(place) })
}

fn client<L: CommandLog>(link: WorkerLink, log: L) -> LinkClient {
    let WorkerLink { link, lane, up, down } = link;
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
