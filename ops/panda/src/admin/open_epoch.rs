//! `panda admin open-epoch`: the command log was lost, and the cluster goes on with another one.

use panda_router::new_log::{begin_shards, make_whole};
use panda_storage::CommandLog as _;
use panda_storage::kafka::NextEpoch;

use super::{damaged, import};
use crate::cli::DamagedArgs;
use crate::cluster::services::{self, when_there};
use crate::config::Config;

/// Makes the event store whole for the log that is there now, opens the next epoch with it, and says which it is.
///
/// # Errors
/// A router still runs, the log is the one that the event store knows, chats or inboxes are damaged and not to be left
/// so, or a service is not what the configuration says. One that is away is waited for.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) async fn run(config: &Config, given: DamagedArgs) -> anyhow::Result<()> {
    let kafka = services::kafka(config)?;
    let events = services::events(config).await?;
    import::refuse_unfinished(&events).await?;
    let next = when_there("Kafka", async || NextEpoch::prepare(&kafka, &events).await).await?;
    if let Some(lost) = next.after() {
        tracing::info!(lost = lost.epoch, next = next.log().epoch(), "chats are compared with inboxes");
    }
    // What a router sent that hung has no later time than the clocks show now.
    let routers_gone = crate::lifecycle::now();
    let whole = make_whole(&events, next.log()).await?;
    damaged::accept(&whole.damaged, given)?;
    begin_shards(&events, next.log(), whole.newest.max(routers_gone)).await?;
    let opened = when_there("Kafka", async || next.open(&events).await).await?;
    println!(
        "Epoch {} of the command log is open in topic {}, {} of cluster {}. Of {} chats and inboxes and {} members, {} \
         effects on inboxes were owed: they are in it. Start the routers.",
        opened.epoch, kafka.topic, opened.log.topic, opened.log.cluster, whole.entities, whole.members, whole.effects
    );
    Ok(())
}
