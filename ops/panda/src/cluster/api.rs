//! `panda api`: the HTTP API of a cluster in a process of its own, so that no flood of logins or requests touches the
//! sockets of an edge.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use panda_api::Discovery;
use panda_edge::api_door::{self, ApiDoor};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::ways::Ways;
use super::{services, user_calls};
use crate::api::{self, Api, ApiParts};
use crate::config::{Config, ConfigError, Demands};
use crate::lifecycle::{Role, now};

/// The HTTP API, and no sessions.
pub(crate) struct ApiRole {
    door: ApiDoor,
    api: Api,
    ways: Ways,
}

impl Role for ApiRole {
    fn check(config: &Config) -> Result<(), ConfigError> {
        config.meets(&Demands::API)
    }

    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let fleet = config.shared_secret()?;
        api::claim(config)?;
        let tls = api::tls(config, &fleet)?;
        let admin_key = config.admin_key_in(&config.data);
        panda_storage::private::make_folder(&config.data)
            .with_context(|| format!("make the data folder {} (--data names another)", config.data.display()))?;
        panda_storage::private::tighten(&config.data);
        let cache = services::cache(config)?;
        let users = services::users(config).await?;
        user_calls::register(&users, registry);
        let log = services::commands(config).await?;
        let (ways, mut links) = Ways::open(config, &fleet, 1, &log, registry).await?;
        let link = links.pop().context("the API has no link")?;
        let identity = panda_api::bootstrap(&users, &fleet, &admin_key, config.api.token_lifetime(), now()).await?;
        let (handed_over, to_api) = mpsc::channel(api::HANDOVER_QUEUE);
        let door = api_door::open(config.http.address, tls, api::admission(config), handed_over)?;
        door.register(registry);
        let discovery = Discovery { api_only: true, edges: config.http.edges.clone(), ..Discovery::default() };
        let pictures = config.pictures.store(None)?;
        let mail = config.mail.way(None)?;
        let parts = ApiParts { log, link, users, cache, identity, pictures, mail };
        let api = api::start(config, discovery, parts, registry, to_api)?;
        Ok(Self { door, api, ways })
    }

    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        self.ways.sends()
    }

    /// Requests are answered whether or not their chats have owners now.
    fn ready(&self) -> bool {
        true
    }

    fn introduce(&self, health: SocketAddr, config: &Config) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Panda's HTTP API serves.")?;
        writeln!(out)?;
        let address = self.door.address();
        writeln!(out, "  API      {}{}", api::url(config, address), api::listens(address))?;
        writeln!(out, "  health   http://{health}")?;
        writeln!(out, "  stop     Ctrl-C")?;
        out.flush()
    }

    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.ways.failed() => error,
            error = self.api.failed() => error,
            error = self.door.failed() => anyhow::Error::new(error).context("nobody accepts connections any more"),
        }
    }

    async fn stop(self, _: Duration) -> anyhow::Result<()> {
        let Self { mut door, api, ways } = self;
        door.close();
        api.stop().await;
        drop(door);
        ways.stop().await;
        Ok(())
    }
}
