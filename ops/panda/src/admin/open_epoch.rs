//! `panda admin open-epoch`: the command log was lost, and the cluster goes on with another one.

use panda_storage::kafka;

use crate::cluster::services::{self, when_there};
use crate::config::Config;

/// Opens the next epoch, and says which it is.
///
/// # Errors
/// A router still runs, the log is the one that the event store knows, or a service is not what the configuration
/// says. One that is away is waited for.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let kafka = services::kafka(config)?;
    let events = services::events(config).await?;
    let opened = when_there("Kafka", async || kafka::open_epoch(&kafka, &events).await).await?;
    println!(
        "Epoch {} of the command log is open in topic {}, {} of cluster {}. Start the routers.",
        opened.epoch, kafka.topic, opened.log.topic, opened.log.cluster
    );
    Ok(())
}
