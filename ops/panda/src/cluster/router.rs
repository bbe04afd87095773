//! `panda router`: shards of the command log, and links to the edges of a cluster.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use panda_router::listener::{LinkListener, ListenerLimits, Listening};
use panda_router::shard::ShardLimits;
use panda_router::{Router, RouterConfig};
use panda_storage::Appender;
use panda_storage::kafka::{KafkaLogBreak, KafkaLogEnd};
use prometheus_client::registry::Registry;

use super::services;
use crate::config::{Config, ConfigError, Demands};
use crate::front::BACKLOG_MAX_MS;
use crate::lifecycle::Role;

/// How long the log may take at a stop to send what was taken, and to leave its group.
const LOG_GRACE: Duration = Duration::from_secs(3);

/// A router.
pub(crate) struct RouterRole {
    router: Router,
    links: Listening,
    address: SocketAddr,
    log: KafkaLogEnd,
    broken: KafkaLogBreak,
    backlog_ms: Arc<AtomicU64>,
}

impl Role for RouterRole {
    fn check(config: &Config) -> Result<(), ConfigError> {
        config.meets(&Demands::ROUTER)
    }

    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let fleet = config.shared_secret()?;
        let listen = config.router.links;
        let tls = config.links.tls()?;
        let listener = LinkListener::bind(listen)
            .await
            .with_context(|| format!("listen on {listen} for links of edges (--links names another address)"))?;
        let listener = match tls {
            Some(tls) => listener.with_tls(tls),
            None => listener,
        };
        let address = listener.address().context("read the address of the links")?;
        let events = services::events(config).await?;
        let log = services::known_commands(config, &events).await?;
        let board = services::board(config).await?;
        let (end, broken) = (log.ended(), log.broken());
        let advertise = &config.router.advertise;
        let link_address = if advertise.is_empty() { address.to_string() } else { advertise.clone() };
        let router_config = RouterConfig {
            threads: config.router.threads,
            limits: ShardLimits { queue_max: config.router.shard_queue_max, ..ShardLimits::default() },
            link_address: Some(link_address),
            ..RouterConfig::new(rand::random())
        };
        let router = panda_router::start(router_config, log, events, board).await.context("start the router")?;
        tracing::info!(from = %Appender::Router(router.id()), "this process's records in the command log name it so");
        router.metrics().register(registry);
        let links = listener.listen(&router, fleet.link_keys(), ListenerLimits::default());
        Ok(Self { router, links, address, log: end, broken, backlog_ms: Arc::default() })
    }

    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let backlog_ms = Arc::clone(&self.backlog_ms);
        move || match backlog_ms.load(Ordering::Relaxed) {
            0..=BACKLOG_MAX_MS => Ok(()),
            age_ms => Err(format!("the oldest command waits for {age_ms} ms: edges refuse sends until it is stored")),
        }
    }

    fn ready(&self) -> bool {
        self.router.ready()
    }

    fn look(&self) {
        // The router's figures are this thread's to read.
        self.backlog_ms.store(self.router.backlog_ms(), Ordering::Relaxed);
    }

    fn introduce(&self, health: SocketAddr, _: &Config) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Panda's router owns shards.")?;
        writeln!(out)?;
        writeln!(out, "  links    {}", self.address)?;
        writeln!(out, "  health   http://{health}")?;
        writeln!(out, "  stop     Ctrl-C")?;
        out.flush()
    }

    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.router.failed() => anyhow::Error::new(error).context("the router failed"),
            error = self.broken.told() => anyhow::Error::new(error).context("the router has no command log any more"),
        }
    }

    async fn stop(self, _: Duration) -> anyhow::Result<()> {
        let router = self.router.stop().await.context("stop the router");
        // They end with their router.
        self.links.stop().await;
        if !self.log.wait(LOG_GRACE).await {
            tracing::warn!(
                "the command log did not end in time: the others notice that this router left in some seconds"
            );
        }
        router
    }
}
