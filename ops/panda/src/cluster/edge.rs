//! `panda edge`: sockets, sessions and the HTTP API, before the routers of a cluster.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use panda_edge::WorkerLink;
use panda_link::hub::{Hub, HubConfig, HubLane};
use panda_protocol::link::LinkId;
use panda_storage::OwnershipBoard as _;
use panda_storage::kafka::KafkaOwnership;
use prometheus_client::registry::Registry;

use super::services;
use crate::config::Config;
use crate::front::{self, Behind, Front};
use crate::lifecycle::Role;

/// An edge.
pub(crate) struct EdgeRole {
    front: Front,
    hub: Hub,
    /// What the hub watches ends with it.
    board: KafkaOwnership,
    shards: i64,
}

impl Role for EdgeRole {
    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let fleet = config.shared_secret()?;
        front::claim(config)?;
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("make the data folder {} (--data names another)", config.data.display()))?;
        let cache = services::cache(config)?;
        let users = services::users(config).await?;
        let log = services::commands(config).await?;
        let board = services::board(config).await?;
        let lanes = front::workers(config) + 1;
        let lanes = u8::try_from(lanes).with_context(|| format!("{lanes} ends of links are more than there can be"))?;
        let link = LinkId(rand::random());
        let shards = config.commands.shards;
        let hub = HubConfig { link, keys: fleet.link_keys(), shards, lanes };
        let (hub, lanes) = Hub::start(hub, board.watch()).context("start the hub of links")?;
        hub.metrics().register(registry);
        let links = lanes.into_iter().map(|HubLane { lane, up, down }| WorkerLink { link, lane, up, down }).collect();
        let behind = Behind { log, links, users, cache, fleet };
        let front = front::start(config, &config.data, behind, registry).await?;
        Ok(Self { front, hub, board, shards: i64::from(shards) })
    }

    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let (owned, shards) = (self.hub.metrics().shards.clone(), self.shards);
        move || match shards - owned.get() {
            0 => Ok(()),
            missing => Err(format!("{missing} of {shards} shards have no owner that this edge is linked to")),
        }
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
        anyhow::Error::new(self.hub.failed().await)
            .context("the edge has no way to the routers any more; start it again")
    }

    async fn stop(self, drain: Duration) -> anyhow::Result<()> {
        let Self { front, hub, board, .. } = self;
        let front = front.stop(drain).await;
        hub.stop().await;
        drop(board);
        front
    }
}
