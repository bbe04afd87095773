//! The ways of a process to the routers of a cluster: a hub over the board of the shards' owners.

use anyhow::Context as _;
use panda_access::FleetSecret;
use panda_edge::WorkerLink;
use panda_link::hub::{Hub, HubConfig, HubLane};
use panda_protocol::link::LinkId;
use panda_storage::kafka::{KafkaLog, KafkaLogBreak, KafkaLogState, KafkaOwnership};
use panda_storage::{Appender, OwnershipBoard as _};
use prometheus_client::registry::Registry;

use super::services;
use crate::config::Config;

/// Links to every router that owns a shard.
pub(super) struct Ways {
    hub: Hub,
    /// What the hub watches ends with it.
    board: KafkaOwnership,
    log: KafkaLogState,
    broken: KafkaLogBreak,
    shards: i64,
}

impl Ways {
    /// Opens as many ways as are asked for, which share the links. Commands go to the routers through `log`.
    ///
    /// # Errors
    /// As [`services::watched_board`], or there are more ways than there can be.
    pub(super) async fn open(
        config: &Config,
        fleet: &FleetSecret,
        count: usize,
        log: &KafkaLog,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, Vec<WorkerLink>)> {
        // What is wrong with a file is said before anything is waited for.
        let tls = config.links.tls()?;
        let board = services::watched_board(config).await?;
        let lanes = u8::try_from(count).with_context(|| format!("{count} ends of links are more than there can be"))?;
        let link = LinkId(rand::random());
        tracing::info!(from = %Appender::Edge(link), "this process's records in the command log name it so");
        let shards = config.commands.shards;
        let hub = HubConfig { link, keys: fleet.link_keys(), tls, shards, lanes };
        let (hub, lanes) = Hub::start(hub, board.watch()).context("start the hub of links")?;
        hub.metrics().register(registry);
        let links = lanes.into_iter().map(|HubLane { lane, up, down }| WorkerLink { link, lane, up, down }).collect();
        Ok((Self { hub, board, log: log.state(), broken: log.broken(), shards: i64::from(shards) }, links))
    }

    /// Says why sends are refused now, if they are.
    pub(super) fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let (owned, shards, log) = (self.hub.metrics().shards.clone(), self.shards, self.log.clone());
        move || match (shards - owned.get(), log.refusing()) {
            (0, 0) => Ok(()),
            (0, refusing) => {
                Err(format!("the command log takes nothing for {refusing} of {shards} shards: Kafka is away"))
            }
            (missing, _) => Err(format!("{missing} of {shards} shards have no owner that this process is linked to")),
        }
    }

    /// Resolves when only a new start helps. Cancel safe.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        let lost = "this process has no way to the routers any more; start it again";
        tokio::select! {
            error = self.hub.failed() => anyhow::Error::new(error).context(lost),
            error = self.broken.told() => anyhow::Error::new(error).context(lost),
        }
    }

    /// Closes all links; whoever has a way is to be stopped before.
    pub(super) async fn stop(self) {
        self.hub.stop().await;
        drop(self.board);
    }
}
