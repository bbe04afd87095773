//! `panda admin export`: what a data folder holds, in one file.
//!
//! The folder is opened as a start opens it, so it must not be in use, and its epoch is one above every
//! position in it. What stored events still owe to other entities is not written: it follows from the events
//! and from what their targets took, and an import makes it up from those.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use panda_protocol::{EntityId, Seq, ShardId};
use panda_router::fold::RULES_FIRST;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, SqliteUsers};
use panda_storage::user_store::USERS_MAX;
use panda_storage::{Copies, EntityStore as _, EventStore as _, ReadOrder, UserStore as _};
use tokio::time::Instant;

use super::archive::{ArchiveDigest, Counts, Header, Reading, Record, Writing};
use crate::lifecycle::now;
use crate::serve::{SECRET_FILE, SHARDS, USERS_FILE};

/// Entities named at once.
const ENTITIES_AT_ONCE: usize = 256;
/// Events read at once, and bytes of them; as many rows.
const ROWS_AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 1 << 20;
/// How often the log says how far it is.
const REMIND: Duration = Duration::from_secs(10);

/// Exports the folder `data` to `file`, and says what is in it and what is next.
///
/// # Errors
/// The folder holds no data, is in use, or cannot be read; the file is there, or cannot be written.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) async fn run(data: &Path, file: &Path) -> anyhow::Result<()> {
    let (counts, digest) = export(data, file).await?;
    println!("Exported {counts}");
    println!("to {}, SHA-256 {digest}.", file.display());
    println!(
        "Next: 'panda admin import' on an empty cluster whose fleet_secret is {}, or has that one in its second line.",
        data.join(SECRET_FILE).display()
    );
    println!("Do not start 'panda serve' on {} again once its chats go on in the cluster.", data.display());
    Ok(())
}

async fn export(data: &Path, file: &Path) -> anyhow::Result<(Counts, ArchiveDigest)> {
    let folder = DataFolder::open_existing(data)?;
    let users = data.join(USERS_FILE);
    ensure!(users.is_file(), "{} is missing: restore all of the data folder, or name another one", users.display());
    let users = SqliteUsers::open(&users, now()).context("open the users")?;
    let mut archive = Writing::begin(file)?;
    let events = EmbeddedEvents::open(&folder).context("open the events")?;
    archive.add(&Record::Header(header(&events).await?))?;
    write_users(&users, &mut archive).await.context("read the users")?;
    write_entities(&events, &mut archive).await?;
    events.close().await.context("close the event store")?;
    let written = archive.end()?;
    // A disk that gives back something else is better found out now.
    let (_, counts, digest) = Reading::open(file)?.finish()?;
    ensure!((counts, digest) == written, "{} does not hold what was written: use another disk", file.display());
    Ok(written)
}

async fn header(events: &EmbeddedEvents) -> anyhow::Result<Header> {
    let mut rules = RULES_FIRST;
    for shard in 0..SHARDS {
        let checkpoint = events.checkpoint(ShardId(shard)).await.context("read a checkpoint")?;
        rules = rules.max(checkpoint.map_or(RULES_FIRST, |checkpoint| checkpoint.rules));
    }
    Ok(Header { incarnation: events.incarnation(), epoch: events.epoch(), rules, made: now() })
}

async fn write_users(users: &SqliteUsers, archive: &mut Writing) -> anyhow::Result<()> {
    for key in users.signing_keys().await? {
        archive.add(&Record::SigningKey(key))?;
    }
    let (keys, now) = (users.api_keys().await?, now());
    let (good, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.is_good(now));
    if !others.is_empty() {
        tracing::info!(count = others.len(), "API keys that were revoked or are over stay behind");
    }
    for key in good {
        archive.add(&Record::ApiKey(key))?;
    }
    let mut last = None;
    loop {
        let page = users.scan_users(last, USERS_MAX).await?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.user.id);
        for user in page {
            archive.add(&Record::User(user))?;
        }
    }
}

async fn write_entities(events: &EmbeddedEvents, archive: &mut Writing) -> anyhow::Result<()> {
    let (mut last, mut done, mut told): (Option<EntityId>, u64, Instant) = (None, 0, Instant::now());
    loop {
        let page = events.entities(Copies::Enough, last, ENTITIES_AT_ONCE).await.context("find chats and inboxes")?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(*end);
        for entity in page {
            write_entity(events, entity, archive).await.with_context(|| format!("export {entity}"))?;
            done += 1;
            if told.elapsed() >= REMIND {
                told = Instant::now();
                tracing::info!(entities = done, "chats and inboxes are exported");
            }
        }
    }
}

async fn write_entity(events: &EmbeddedEvents, entity: EntityId, archive: &mut Writing) -> anyhow::Result<()> {
    archive.add(&Record::Entity(entity))?;
    let mut next = Seq(1);
    loop {
        let page = events.read_events(entity, next, ReadOrder::Forward, ROWS_AT_ONCE, BYTES_AT_ONCE).await?;
        if page.is_empty() {
            break;
        }
        for row in page {
            ensure!(row.seq == next, "event {next} is missing: restore the data folder from a backup");
            next = next.next();
            archive.add(&Record::Event(row))?;
        }
    }
    let mut last = None;
    loop {
        let page = events.state_rows(entity, last, ROWS_AT_ONCE).await?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.key.clone());
        for row in page {
            archive.add(&Record::Row(row))?;
        }
    }
}

#[cfg(test)]
mod tests;
