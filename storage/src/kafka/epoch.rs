//! Epochs: a log is read and appended to only as the one that the event store knows.
//!
//! The store holds positions of a log. In another log the same positions are other commands, so a
//! router must not own a shard of it. It is another one if its cluster or its topic has another ID, if
//! it ends before something that is stored, if it begins behind something that is not, or if it does not have the record
//! with which what is stored ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use panda_protocol::ShardId;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

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
        let log = Self::start(config, epoch, admin)?;
        let shards = stream::iter((0..config.shards).map(ShardId).map(Ok));
        shards.try_for_each_concurrent(SHARDS_AT_ONCE, |shard| check_shard(&log, store, shard)).await?;
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
    let shards = stream::iter((0..log.inner.config.shards).map(ShardId).map(Ok));
    match shards.try_for_each_concurrent(SHARDS_AT_ONCE, |shard| check_shard(log, store, shard)).await {
        Ok(()) => Err(StoreError::Misconfigured(format!(
            "topic {} is the log of epoch {}, and whole as far as the event store knows it: there is no epoch to \
             open, start the routers",
            log.inner.config.topic, log.inner.epoch
        ))),
        // This is what the next epoch is for.
        Err(StoreError::Misconfigured(_)) => Ok(()),
        Err(error) => Err(error),
    }
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

/// Refuses a shard whose log is not the one up to whose checkpoint the store holds it. Whoever owns it meanwhile may go
/// on and delete what is behind its next checkpoint: so only a checkpoint that stays is believed.
async fn check_shard<S: EventStore>(log: &KafkaLog, store: &S, shard: ShardId) -> Result<(), StoreError> {
    let mut refused = None;
    loop {
        let Some(checkpoint) = store.checkpoint(shard).await? else { return Ok(()) };
        match check_log(log, shard, &checkpoint).await {
            Err(StoreError::Misconfigured(_)) if refused.replace(checkpoint) != Some(checkpoint) => {}
            checked => return checked,
        }
    }
}

async fn check_log(log: &KafkaLog, shard: ShardId, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let (stored, epoch) = (checkpoint.position, log.inner.epoch);
    if stored.epoch < epoch {
        return Ok(());
    }
    if stored.epoch > epoch {
        return Err(refused(format!("shard {shard} is stored to {stored}, and its log has epoch {epoch}")));
    }
    // As long as a few questions may take: a reader waits for as long as the brokers are away.
    match timeout(log.inner.config.request_timeout * 3, read_on(log, shard, checkpoint)).await {
        Ok(read) => read.map(drop),
        Err(_) => Err(StoreError::Unavailable(format!("the brokers did not give the last record of shard {shard}"))),
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
