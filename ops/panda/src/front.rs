//! What faces users: an edge's sockets and the HTTP API beside them, whatever stands behind.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use panda_access::FleetSecret;
use panda_api::Discovery;
use panda_edge::transport::tls::Identity;
use panda_edge::transport::websocket::WebSocketRules;
use panda_edge::{Edge, EdgeConfig, EdgeParts, SessionLimits, WorkerLink};
use panda_link::LinkLimits;
use panda_storage::{Cache, CommandLog, PictureStore, UserStore};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::api::{self, Api, ApiParts};
use crate::config::Config;
use crate::lifecycle::now;

/// A shard whose oldest command is older takes no sends.
pub(crate) const BACKLOG_MAX_MS: u64 = 5_000;

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
    /// Where pictures are kept, if they are.
    pub(crate) pictures: Option<PictureStore>,
    /// Whether mails are logged where no mail server is configured.
    pub(crate) logs_mail: bool,
}

/// Running sockets and API.
pub(crate) struct Front {
    edge: Edge,
    api: Api,
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
    api::claim(config)?;
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
    let Behind { log, mut links, users, cache, fleet, pictures, logs_mail } = behind;
    let admin_key = config.admin_key_in(data);
    let identity = panda_api::bootstrap(&users, &fleet, &admin_key, config.api.token_lifetime(), now()).await?;
    let quic = quic_identity(config, data)?;
    let pin = quic.development.then(|| quic.identity.fingerprint());
    if let Some(pin) = &pin {
        let path = data.join("quic-certificate.sha256");
        panda_storage::private::write_file(&path, format!("{pin}\n").as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
    }
    let rules = WebSocketRules { tls: api::tls(config, &fleet)?, origins: config.http.page_origins(), api_only: false };
    let (handed_over, to_api) = mpsc::channel(api::HANDOVER_QUEUE);
    let api_link = links.pop().context("the API has no link")?;
    let edge_config = edge_config(config, links.len(), rules, quic.identity);
    let (keys, revocations) = (identity.keys.accepted().clone(), identity.ended.revocations().clone());
    let edge_parts = EdgeParts { log: log.clone(), links, keys, revocations, fleet, handed_over, clock: now };
    let edge = panda_edge::start(edge_config, edge_parts)?;
    edge.metrics().register(registry);

    let discovery = Discovery {
        api_only: false,
        quic: edge.quic_address(),
        quic_host: (!config.quic.host.is_empty()).then(|| config.quic.host.clone()),
        quic_certificate_sha256: pin.as_deref().and_then(digest),
        edges: config.http.edges.clone(),
    };
    let own = logs_mail.then(|| api::url(config, edge.http_address()));
    let mail = config.mail.way(own)?;
    let parts = ApiParts { log, link: api_link, users, cache, identity, pictures, mail };
    let api = api::start(config, discovery, parts, registry, to_api)?;
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
        writeln!(out, "  page     {}{}", self.url(config), api::listens(self.http_address()))?;
        if let Some(quic) = self.edge.quic_address() {
            let told = match config.quic.host.as_str() {
                "" => String::new(),
                host => format!(" (clients are told {host}, port {})", quic.port()),
            };
            writeln!(out, "  QUIC     {}{}{told}", api::reachable(quic), api::listens(quic))?;
        }
        if let Some(pin) = &self.pin {
            writeln!(out, "  pinned   {pin} (SHA-256 of QUIC's development certificate)")?;
        }
        Ok(())
    }

    /// What a client is given.
    pub(crate) fn url(&self, config: &Config) -> String {
        api::url(config, self.http_address())
    }

    /// Resolves when a part broke that only a new start of the process mends. Cancel safe.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.edge.failed() => error.into(),
            error = self.api.failed() => error,
        }
    }

    /// Lets sessions go within `drain`, then ends the API.
    ///
    /// # Errors
    /// A worker that did not end.
    pub(crate) async fn stop(self, drain: Duration) -> anyhow::Result<()> {
        let Self { mut edge, api, .. } = self;
        let stopped = edge.stop(drain).await.context("stop the edge");
        api.stop().await;
        // Requests that came to the edge over TLS were read and answered through it until here.
        drop(edge);
        stopped
    }
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

fn edge_config(config: &Config, workers: usize, rules: WebSocketRules, quic: Identity) -> EdgeConfig {
    let edge = &config.edge;
    EdgeConfig {
        workers,
        http: config.http.address,
        quic: Some(config.quic.address),
        rules,
        quic_identity: Some(quic),
        admission: api::admission(config),
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

/// The 32 bytes of a fingerprint in hexadecimal.
fn digest(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, slot) in bytes.iter_mut().enumerate() {
        *slot = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
