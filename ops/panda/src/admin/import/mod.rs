//! `panda admin import`: an archive fills an empty cluster.
//!
//! 1. The archive is read once, to its end: nothing is begun with one that is not whole.
//! 2. The cluster is empty. That is noted and the import begins in one step: the event store names the archive as
//!    the log of the highest imported epoch. From here on no router owns a shard, and no other archive is taken.
//! 3. Incarnation, users, keys, events, rows and checkpoints are written. Everything carries the time, version or
//!    name that it had, so writing it again changes nothing.
//! 4. The store is made whole for the log that is there, as after the loss of one: effects that were owed are
//!    appended.
//! 5. The epoch above is opened, which ends the import in one step: routers may start.
//!
//! Killed anywhere between, it goes on from step 3 when it is run again with the same archive.

mod empty;
mod fill;

use std::path::Path;

use anyhow::{bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_access::{FleetSecret, SigningKey};
use panda_protocol::{Position, ShardId};
use panda_router::fold::RULES_CURRENT;
use panda_router::new_log::{begin_shards, make_whole};
use panda_storage::kafka::{KafkaLogConfig, NextEpoch};
use panda_storage::scylla::ScyllaEvents;
use panda_storage::{Checkpoint, EpochStore, EventStore, LogEpoch, LogIdentity, StoreError, UserStore};

use super::archive::{ArchiveDigest, Counts, Header, Reading, Record};
use super::{EVENT_STORE, damaged};
use crate::cli::DamagedArgs;
use crate::cluster::services::{self, patiently, when_there};
use crate::config::Config;

/// Shards whose checkpoints are read or written at once.
const SHARDS_AT_ONCE: usize = 64;

/// An archive that was read to its end.
struct Checked {
    reading: Reading,
    header: Header,
    counts: Counts,
    digest: ArchiveDigest,
}

/// Fills the cluster, and says what is next.
///
/// # Errors
/// The archive is not whole or not for this cluster, the cluster is not empty, an import of another archive has begun,
/// chats or inboxes are damaged and not to be left so, or a service is not what the configuration says. One that is away
/// is waited for.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) async fn run(config: &Config, file: &Path, given: DamagedArgs) -> anyhow::Result<()> {
    let fleet = config.shared_secret()?;
    let kafka = services::kafka(config)?;
    let checked = check(file, &fleet)?;
    tracing::info!(sha256 = %checked.digest, "the export is whole: {}", checked.counts);
    let users = services::users(config).await?;
    let events = services::events(config).await?;
    begin(&checked, &kafka, &events, &users).await?;
    let incarnation = checked.header.incarnation;
    patiently(EVENT_STORE, async || events.replace_incarnation(incarnation).await).await?;
    // What was opened before speaks for another store.
    drop(events);
    let events = services::events(config).await?;
    let Checked { reading, header, counts, digest } = checked;
    let filled = fill::fill(reading.again()?, &events, &users, &fleet).await?;
    ensure!(filled == digest, "{} was changed while it was read: empty the cluster, and begin again", file.display());
    write_checkpoints(&header, kafka.shards, &events).await?;
    let next = when_there("Kafka", async || NextEpoch::prepare(&kafka, &events).await).await?;
    let whole = make_whole(&events, next.log()).await?;
    damaged::accept(&whole.damaged, given)?;
    begin_shards(&events, next.log(), whole.newest).await?;
    let opened = when_there("Kafka", async || next.open(&events).await).await?;
    println!("Imported {counts}.");
    println!(
        "Epoch {} of the command log is open in topic {}; {} effects on inboxes were owed and are in it.",
        opened.epoch, kafka.topic, whole.effects
    );
    if counts.api_keys > 0 {
        println!("API keys are those of the data folder: its admin.key opens this cluster, and no other is written.");
    }
    println!("Start the routers, the edges and the APIs.");
    Ok(())
}

/// Refuses what must wait for the end of an import.
///
/// # Errors
/// One has begun and not ended.
pub(super) async fn refuse_unfinished(events: &impl EpochStore) -> anyhow::Result<()> {
    let stored = patiently(EVENT_STORE, async || events.log_epoch().await).await?;
    match stored.as_ref().and_then(|stored| stored.log.archive()) {
        None => Ok(()),
        Some(archive) => bail!(
            "an import of the export with SHA-256 {archive} has begun and not ended: run 'panda admin import' with that \
             file again, it opens the epoch"
        ),
    }
}

/// Reads an archive to its end, and says what is against taking it.
fn check(file: &Path, fleet: &FleetSecret) -> anyhow::Result<Checked> {
    let mut reading = Reading::open(file)?;
    let mut newest = None;
    while let Some(record) = reading.next()? {
        if let (Record::SigningKey(key), None) = (record, &newest) {
            newest = Some(key);
        }
    }
    let (header, counts, digest) = reading.finish()?;
    ensure!(
        header.rules <= RULES_CURRENT,
        "{} needs rules version {}, and this program knows versions up to {RULES_CURRENT}: take a newer panda",
        file.display(),
        header.rules
    );
    if let Some(key) = newest
        && SigningKey::open(fleet, &key.kid, &key.sealed).is_err()
    {
        bail!(
            "the signing keys of this export do not open with the fleet secret of this cluster: name the file \
             fleet.secret of the exported data folder as fleet_secret, or put its first line into the second line of \
             the file that is named"
        );
    }
    Ok(Checked { reading, header, counts, digest })
}

/// Begins the import, or goes on with one of the same archive.
async fn begin(
    Checked { header, digest, .. }: &Checked,
    kafka: &KafkaLogConfig,
    events: &ScyllaEvents,
    users: &impl UserStore,
) -> anyhow::Result<()> {
    let mark = LogEpoch { epoch: header.epoch, log: LogIdentity::of_archive(digest.to_string()) };
    let stored = match patiently(EVENT_STORE, async || events.log_epoch().await).await? {
        Some(stored) => stored,
        None => {
            empty::check(kafka, events, users).await?;
            patiently(EVENT_STORE, async || events.open_log_epoch(None, mark.clone()).await).await?
        }
    };
    if stored == mark {
        tracing::info!(sha256 = %digest, "the import has begun");
        return Ok(());
    }
    match stored.log.archive() {
        Some(archive) => bail!(
            "an import of another export has begun here, with SHA-256 {archive}: run 'panda admin import' with that \
             file, or empty the cluster"
        ),
        None => bail!(
            "the event store is in use: epoch {} of the command log is open. An import needs an empty cluster; if one of \
             this file has ended here, start the routers",
            stored.epoch
        ),
    }
}

/// Nothing that is imported stands out in any shard, however many there are, and the rules go on.
async fn write_checkpoints(header: &Header, shards: u16, events: &impl EventStore) -> Result<(), StoreError> {
    let checkpoint =
        Checkpoint { position: Position { epoch: header.epoch, offset: 0 }, rules: header.rules, last: None };
    patiently(EVENT_STORE, async || {
        stream::iter((0..shards).map(ShardId))
            .map(|shard| events.write_checkpoint(shard, checkpoint))
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_collect()
            .await
    })
    .await
}

#[cfg(test)]
mod tests;
