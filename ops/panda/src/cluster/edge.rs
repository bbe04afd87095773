//! `panda edge`: sockets, sessions and the HTTP API, before the routers of a cluster.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;

use super::ways::Ways;
use super::{services, user_calls};
use crate::config::{Config, ConfigError, Demands};
use crate::front::{self, Behind, Front};
use crate::lifecycle::Role;

/// An edge.
pub(crate) struct EdgeRole {
    front: Front,
    ways: Ways,
}

impl Role for EdgeRole {
    fn check(config: &Config) -> Result<(), ConfigError> {
        config.meets(&Demands::EDGE)
    }

    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let fleet = config.shared_secret()?;
        front::claim(config)?;
        panda_storage::private::make_folder(&config.data)
            .with_context(|| format!("make the data folder {} (--data names another)", config.data.display()))?;
        panda_storage::private::tighten(&config.data);
        let cache = services::cache(config)?;
        let users = services::users(config).await?;
        user_calls::register(&users, registry);
        let log = services::commands(config).await?;
        let (ways, links) = Ways::open(config, &fleet, front::workers(config) + 1, &log, registry).await?;
        let pictures = config.pictures.store(None)?;
        let behind = Behind { log, links, users, cache, fleet, pictures, logs_mail: false };
        let front = front::start(config, &config.data, behind, registry).await?;
        Ok(Self { front, ways })
    }

    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        self.ways.sends()
    }

    /// Sessions are admitted whether or not their chats have owners now.
    fn ready(&self) -> bool {
        true
    }

    fn introduce(&self, health: SocketAddr, config: &Config) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Panda's edge serves.")?;
        writeln!(out)?;
        self.front.introduce(&mut out, config)?;
        writeln!(out, "  health   http://{health}")?;
        writeln!(out, "  stop     Ctrl-C")?;
        out.flush()
    }

    /// What an edge needs may be away for a time, and that does not end it. A hub that broke would leave it
    /// without owners for ever.
    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.ways.failed() => error,
            error = self.front.failed() => error,
        }
    }

    async fn stop(self, drain: Duration) -> anyhow::Result<()> {
        let front = self.front.stop(drain).await;
        self.ways.stop().await;
        front
    }
}
