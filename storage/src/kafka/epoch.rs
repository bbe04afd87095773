//! Epochs: a log is read and appended to only as the one that the event store knows.
//!
//! The store holds positions of a log. In another log the same positions are other commands, so a
//! router must not own a shard of it. It is another one if its cluster or its topic has another ID, if
//! it ends before something that is stored, if it begins behind something that is not, or if it does not have the record
//! with which what is stored ends.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_protocol::ShardId;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use super::KafkaLog;
use super::client::failure;
use super::config::KafkaLogConfig;
use super::identity;
use super::topic::{self, Admin, Layout, check_brokers, prepare};
use crate::epoch_store::{EPOCH_READ_EVERY, EpochStore, LogEpoch, LogIdentity};
use crate::error::StoreError;
use crate::event_store::{Checkpoint, EventStore};
use crate::known_log::{read_on, refused};

/// Shards whose checkpoints are compared at once.
const SHARDS_AT_ONCE: usize = 64;
/// So long after an epoch was opened every router has read that it is, and has got an answer, however slow.
const OUTLAST: Duration = Duration::from_secs(EPOCH_READ_EVERY.as_secs() + 5);
/// How often the group is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The first epoch of a cluster.
const FIRST: u32 = 1;

impl KafkaLog {
    /// Connects as [`KafkaLog::connect`] does, with the epoch that the event store has in force; opens
    /// the first if there is none. For routers: an edge knows no event store, and learns the epoch from
    /// the board of owners.
    ///
    /// # Errors
    /// As [`KafkaLog::connect`] and of the store; [`StoreError::Misconfigured`] also if the log is not
    /// the one that the store knows.
    pub async fn open<S: EventStore + EpochStore>(config: &KafkaLogConfig, store: &S) -> Result<Self, StoreError> {
        config.check()?;
        let admin = topic::admin(config)?;
        prepare(&admin, config, &Layout::commands(config)).await?;
        check_brokers(&admin, config).await?;
        let epoch = in_force(&admin, config, store).await?;
        drop(admin);
        let log = Self::start(config, epoch)?;
        check_shards(&log, store).await?;
        Ok(log)
    }
}

/// The epoch that is about to be opened: its log is there and takes records, and no router may own a shard
/// of it yet. What the store needs before routers run on another log is done in between. Dropping it opens
/// nothing, and leaves what was appended for whoever tries again.
pub struct NextEpoch {
    config: KafkaLogConfig,
    /// The one in force.
    after: Option<LogEpoch>,
    next: LogEpoch,
    log: KafkaLog,
}

impl NextEpoch {
    /// Connects to the log that is there now; makes its topic if there is none. For the person who knows
    /// that the log of the epoch in force is gone.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] while a router is in the group, or if the epoch in force has this very
    /// log, and it is whole as far as it is stored; else as [`KafkaLog::connect`] and of the store.
    pub async fn prepare<S: EventStore + EpochStore>(config: &KafkaLogConfig, store: &S) -> Result<Self, StoreError> {
        config.check()?;
        let admin = topic::admin(config)?;
        prepare(&admin, config, &Layout::commands(config)).await?;
        refuse_members(&admin, config).await?;
        let (log, after) = (who(&admin, config).await?, store.log_epoch().await?);
        if let Some(after) = &after
            && after.log == log
        {
            refuse_whole(&KafkaLog::connect(config, after.epoch).await?, store).await?;
        }
        let epoch = match &after {
            None => FIRST,
            Some(after) => after
                .epoch
                .checked_add(1)
                .ok_or_else(|| StoreError::Limit("there is no epoch behind the last one".into()))?,
        };
        let next = LogEpoch { epoch, log };
        let log = KafkaLog::connect(config, epoch).await?;
        Ok(Self { config: config.clone(), after, next, log })
    }

    /// Its log.
    pub const fn log(&self) -> &KafkaLog {
        &self.log
    }

    /// The epoch in force, whose log is gone; none if there was none yet.
    pub const fn after(&self) -> Option<&LogEpoch> {
        self.after.as_ref()
    }

    /// Opens it: routers may own shards of it. Waits, some seconds at most, for a router that came to the group
    /// meanwhile and still takes the older epoch for the open one.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if a router has come into the group, if the topic was made anew, or if
    /// somebody else has opened another epoch meanwhile; then nothing was opened here. Else of the store.
    pub async fn open<S: EpochStore>(&self, store: &S) -> Result<LogEpoch, StoreError> {
        let admin = topic::admin(&self.config)?;
        self.open_with(&admin, store).await
    }

    async fn open_with<S: EpochStore>(&self, admin: &Arc<Admin>, store: &S) -> Result<LogEpoch, StoreError> {
        let changed = |what: &str| Err(StoreError::Misconfigured(format!("{what} meanwhile: run this again")));
        refuse_members(admin, &self.config).await?;
        if who(admin, &self.config).await? != self.next.log {
            return changed("the topic was made anew");
        }
        let opened = store.open_log_epoch(self.after.as_ref().map(|after| after.epoch), self.next.clone()).await?;
        if opened != self.next {
            return changed("somebody else opened an epoch");
        }
        outlast(async || members(admin, &self.config).await).await;
        Ok(opened)
    }
}

/// Refuses to open another epoch while the log of the one in force is whole.
async fn refuse_whole<S: EventStore>(log: &KafkaLog, store: &S) -> Result<(), StoreError> {
    let by = compare_by(log);
    let shards = stream::iter((0..log.inner.config.shards).map(ShardId));
    let mut checked = pin!(shards.map(|shard| check_shard(log, store, shard, by)).buffer_unordered(SHARDS_AT_ONCE));
    let mut unread = None;
    while let Some(checked) = checked.next().await {
        match checked {
            Ok(Checked::Whole) => {}
            Ok(Checked::NotCompared(shard)) => {
                unread = Some(StoreError::Unavailable(format!(
                    "the brokers do not give the last record of shard {shard} that is known: without it nobody can tell \
                     whether the log is whole"
                )));
            }
            // This is what the next epoch is for, whatever the other shards are.
            Err(StoreError::Misconfigured(_)) => return Ok(()),
            Err(error) if error.is_retryable() => unread = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(unread.unwrap_or_else(|| {
        StoreError::Misconfigured(format!(
            "topic {} is the log of epoch {}, and whole as far as the event store knows it: there is no epoch to \
             open, start the routers",
            log.inner.config.topic, log.inner.epoch
        ))
    }))
}

/// Waits while somebody is in the group, until whoever came before the epoch was opened has read that it is.
async fn outlast(members: impl AsyncFn() -> Result<usize, StoreError>) {
    let until = Instant::now() + OUTLAST;
    let mut told = false;
    while Instant::now() < until {
        match members().await {
            Ok(0) => return,
            found if !told => {
                told = true;
                tracing::warn!(
                    ?found,
                    "somebody came to the group while the epoch was opened, or it does not answer: waiting until a \
                     router of the older epoch has noticed that it is over"
                );
            }
            _ => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn refuse_members(admin: &Arc<Admin>, config: &KafkaLogConfig) -> Result<(), StoreError> {
    let members = members(admin, config).await?;
    if members > 0 {
        return Err(StoreError::Misconfigured(format!(
            "group {} has {members} members: stop every router before another epoch is opened",
            config.group
        )));
    }
    Ok(())
}

async fn members(admin: &Arc<Admin>, config: &KafkaLogConfig) -> Result<usize, StoreError> {
    let (client, group, timeout) = (Arc::clone(admin), config.group.clone(), config.request_timeout);
    let asked = spawn_blocking(move || {
        let groups = client.get()?.inner().fetch_group_list(Some(&group), timeout);
        let groups = groups.map_err(|error| failure("asking for its group", &error))?;
        Ok(groups.groups().iter().map(|group| group.members().len()).sum::<usize>())
    });
    asked.await.map_err(|error| StoreError::Unavailable(format!("asking the brokers: {error}")))?
}

async fn who(admin: &Arc<Admin>, config: &KafkaLogConfig) -> Result<LogIdentity, StoreError> {
    let (client, topic, timeout) = (Arc::clone(admin), config.topic.clone(), config.request_timeout);
    let asked = spawn_blocking(move || identity::ask(&client, &topic, timeout)).await;
    asked.map_err(|error| StoreError::Unavailable(format!("asking the brokers: {error}")))?
}

/// The epoch in force, if this log is its log.
async fn in_force<S: EpochStore>(admin: &Arc<Admin>, config: &KafkaLogConfig, store: &S) -> Result<u32, StoreError> {
    let log = who(admin, config).await?;
    let stored = match store.log_epoch().await? {
        Some(stored) => stored,
        None => store.open_log_epoch(None, LogEpoch { epoch: FIRST, log: log.clone() }).await?,
    };
    if stored.log == log {
        return Ok(stored.epoch);
    }
    if let Some(archive) = stored.log.archive() {
        return Err(StoreError::Misconfigured(format!(
            "an import into the event store has begun and not ended, of the export with SHA-256 {archive}: run 'panda \
             admin import' with that file again"
        )));
    }
    Err(refused(format!(
        "topic {} is not the log of epoch {}: it is topic {} of cluster {}, and the event store knows topic {} of \
         cluster {}",
        config.topic, stored.epoch, log.topic, log.cluster, stored.log.topic, stored.log.cluster
    )))
}

/// What a check of a shard's log found that is not another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// Nothing that the store knows is missing.
    Whole,
    /// It holds what the store knows, by its bounds; the last record before the checkpoint did not come in time.
    NotCompared(ShardId),
}

/// Until when records are waited for: as long as a few questions may take. A reader waits for as long as the brokers
/// are away, and may wait for ever for a shard that they cannot give.
fn compare_by(log: &KafkaLog) -> Instant {
    Instant::now() + log.inner.config.request_timeout * 3
}

/// Refuses a log that is another one than the store knows. What cannot be compared now does not keep a router from
/// its other shards: an owner compares it before it decides anything.
async fn check_shards<S: EventStore>(log: &KafkaLog, store: &S) -> Result<(), StoreError> {
    let by = compare_by(log);
    let shards = stream::iter((0..log.inner.config.shards).map(ShardId));
    let checked = shards.map(|shard| check_shard(log, store, shard, by)).buffer_unordered(SHARDS_AT_ONCE);
    let not_compared: Vec<u16> = checked
        .try_filter_map(|checked| {
            ready(Ok(match checked {
                Checked::Whole => None,
                Checked::NotCompared(shard) => Some(shard.0),
            }))
        })
        .try_collect()
        .await?;
    if !not_compared.is_empty() {
        tracing::warn!(
            shards = ?not_compared,
            "the brokers did not give the last record before a checkpoint: whoever owns such a shard waits for it"
        );
    }
    Ok(())
}

/// Refuses a shard whose log is not the one up to whose checkpoint the store holds it. Whoever owns it meanwhile may go
/// on and delete what is behind its next checkpoint: so only a checkpoint that stays is believed.
async fn check_shard<S: EventStore>(
    log: &KafkaLog,
    store: &S,
    shard: ShardId,
    by: Instant,
) -> Result<Checked, StoreError> {
    let mut refused = None;
    loop {
        let Some(checkpoint) = store.checkpoint(shard).await? else { return Ok(Checked::Whole) };
        match check_log(log, shard, &checkpoint, by).await {
            Err(StoreError::Misconfigured(_)) if refused.replace(checkpoint) != Some(checkpoint) => {}
            Err(StoreError::Unavailable(why)) => return Err(StoreError::Unavailable(format!("shard {shard}: {why}"))),
            checked => return checked,
        }
    }
}

async fn check_log(
    log: &KafkaLog,
    shard: ShardId,
    checkpoint: &Checkpoint,
    by: Instant,
) -> Result<Checked, StoreError> {
    let (stored, epoch) = (checkpoint.position, log.inner.epoch);
    if stored.epoch < epoch {
        return Ok(Checked::Whole);
    }
    if stored.epoch > epoch {
        return Err(refused(format!("shard {shard} is stored to {stored}, and its log has epoch {epoch}")));
    }
    let mut reader = read_on(log, shard, checkpoint, None).await?;
    match timeout_at(by, reader.compare()).await {
        Ok(compared) => compared.map(|()| Checked::Whole),
        Err(_) => Ok(Checked::NotCompared(shard)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_router_that_came_while_an_epoch_was_opened_is_waited_for_until_it_has_noticed() {
        let began = Instant::now();
        outlast(async || Ok(0)).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody is there");
        let looks = Cell::new(0);
        outlast(async || {
            looks.set(looks.get() + 1);
            Ok(usize::from(looks.get() < 5))
        })
        .await;
        assert_eq!(began.elapsed(), LOOK_EVERY * 4, "it left");
        let began = Instant::now();
        outlast(async || Err(StoreError::Unavailable("no answer".into()))).await;
        assert_eq!(began.elapsed(), OUTLAST, "it may be of the epoch that is open now");
    }
}
