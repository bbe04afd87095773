//! The command log in Kafka: one topic, a partition for each shard.
//!
//! **Appends** go through one idempotent producer to the partition that the caller names, and count once
//! every copy that is in sync has them. **Reads** come from one consumer that is assigned its shards and
//! never commits: a reader begins where the caller says. **Where a shard ends** is asked of its leader at
//! that moment. **Membership** is a consumer group of its own.
//!
//! Nothing here blocks an async thread: the client library has its own, and what waits for it has some
//! more (one each for appends, readers, the board and announcements, one a member, three for questions).
//! The library connects again by itself, within about a second of a broker's return; where it does not, see
//! `bootstrap`.

mod announce;
mod append;
mod bootstrap;
mod client;
mod config;
mod elsewhere;
mod ending;
mod epoch;
mod gate;
mod group;
mod hearing;
mod identity;
mod ownership;
mod ownership_record;
mod questions;
mod readers;
mod record;
#[cfg(test)]
mod tests;
mod thread;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId};
use parking_lot::Mutex;
use rdkafka::admin::AdminOptions;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use self::append::Appends;
pub use self::append::{KafkaAppending, KafkaLogState};
use self::client::failure;
pub use self::config::KafkaLogConfig;
use self::ending::Endings;
pub use self::epoch::NextEpoch;
pub use self::group::KafkaGroup;
pub use self::ownership::KafkaOwnership;
use self::questions::{Bound, Questions};
pub use self::readers::KafkaReader;
use self::readers::Readers;
use self::thread::Breaks;
pub use self::thread::KafkaLogBreak;
use self::topic::{Admin, Layout, check_brokers, prepare};
use crate::command_log::{AppendError, CommandLog};
use crate::error::StoreError;
use crate::record_headers::RecordHeaders;

/// The log of a cluster. Clones share its connections; one a process is enough. When the last one is
/// dropped, records that were taken are still sent: [`KafkaLog::ended`] waits for that.
#[derive(Clone)]
pub struct KafkaLog {
    inner: Arc<Inner>,
}

struct Inner {
    config: KafkaLogConfig,
    epoch: u32,
    appends: Appends,
    readers: Readers,
    questions: Arc<Questions>,
    /// Deletes records; there is none before somebody does. Nobody hears whether it forgot its brokers, so one that failed
    /// is replaced.
    admin: Mutex<Option<Arc<Admin>>>,
    endings: Arc<Endings>,
    breaks: Breaks,
}

/// Sees the end of a log whose clones, readers and members are all dropped.
pub struct KafkaLogEnd {
    endings: Arc<Endings>,
}

impl KafkaLogEnd {
    /// Waits until records that were taken are confirmed and members have left, at most for `deadline`.
    /// Whether that is so.
    pub async fn wait(self, deadline: Duration) -> bool {
        self.endings.wait(deadline).await
    }
}

impl KafkaLog {
    /// Connects; makes the topic if there is none. Several processes may do so at once. `epoch` is the
    /// log's; a process that has an event store takes it from there with [`KafkaLog::open`].
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if the topic is laid out otherwise, a broker would notice a dead
    /// router too late, or the configuration cannot be right; it names the command that mends it.
    /// [`StoreError::Unavailable`] if the brokers are away.
    pub async fn connect(config: &KafkaLogConfig, epoch: u32) -> Result<Self, StoreError> {
        config.check()?;
        let admin = topic::admin(config)?;
        prepare(&admin, config, &Layout::commands(config)).await?;
        check_brokers(&admin, config).await?;
        // Edges ask nothing more of it, and a client takes threads and memory.
        drop(admin);
        Self::start(config, epoch)
    }

    fn start(config: &KafkaLogConfig, epoch: u32) -> Result<Self, StoreError> {
        let (endings, breaks) = (Arc::new(Endings::new()), Breaks::new());
        let questions = Arc::new(Questions::start(config, &breaks)?);
        let appends = Appends::start(config, Arc::clone(&questions), endings.thread(), breaks.clone())?;
        let readers = Readers::start(config, endings.thread(), breaks.clone())?;
        let (config, admin) = (config.clone(), Mutex::new(None));
        Ok(Self { inner: Arc::new(Inner { config, epoch, appends, readers, questions, admin, endings, breaks }) })
    }

    /// What waits for the end of this log, for the last moments of a process: a member that left in time
    /// spares the others the wait for its session's end.
    pub fn ended(&self) -> KafkaLogEnd {
        KafkaLogEnd { endings: Arc::clone(&self.inner.endings) }
    }

    /// What hears that this log lost a thread: then only a new start of the process helps.
    pub fn broken(&self) -> KafkaLogBreak {
        self.inner.breaks.hear()
    }

    /// What this log takes at a moment.
    pub fn state(&self) -> KafkaLogState {
        self.inner.appends.state()
    }

    fn known(&self, shard: ShardId) -> Result<(), StoreError> {
        let shards = self.inner.config.shards;
        if shard.0 < shards {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("the command log has no shard {shard}")))
    }
}

impl Inner {
    fn admin(&self) -> Result<Arc<Admin>, StoreError> {
        let mut admin = self.admin.lock();
        if admin.is_none() {
            *admin = Some(topic::admin(&self.config)?);
        }
        admin.clone().ok_or(StoreError::Closed)
    }

    /// Ends a client that failed, unless another one has taken its place already.
    fn replace_admin(&self, failed: &Arc<Admin>) {
        drop(self.admin.lock().take_if(|current| Arc::ptr_eq(current, failed)));
    }
}

impl CommandLog for KafkaLog {
    type Appending = KafkaAppending;
    type Group = KafkaGroup;
    type Reader = KafkaReader;

    fn shards(&self) -> u16 {
        self.inner.config.shards
    }

    fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<KafkaAppending, AppendError> {
        self.inner.appends.append(self.inner.epoch, shard, &record, headers)
    }

    fn join(&self, router: u64) -> KafkaGroup {
        KafkaGroup::join(&self.inner.config, router, self.inner.endings.thread())
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<KafkaReader, StoreError> {
        self.known(shard)?;
        let Inner { epoch, questions, readers, .. } = self.inner.as_ref();
        let (first, end) = tokio::join!(questions.ask(Bound::First, shard.0), questions.ask(Bound::End, shard.0));
        let (first, end) = (first?, end?);
        let offset = match from {
            Some(from) if from.epoch == *epoch => from.offset,
            Some(from) if from.epoch > *epoch => {
                return Err(StoreError::Corrupt(format!(
                    "shard {shard} was read to {from}, and its log has epoch {epoch}"
                )));
            }
            // Nothing, or what is before everything in this log.
            _ => first,
        };
        if offset < first || offset > end {
            return Err(StoreError::Gone(format!(
                "shard {shard} is to be read from {offset}, and its log holds {first} to {end}"
            )));
        }
        readers.open(*epoch, shard, offset).await
    }

    async fn read_reached(&self, shard: ShardId, from: Position) -> Result<KafkaReader, StoreError> {
        self.known(shard)?;
        let Inner { epoch, readers, .. } = self.inner.as_ref();
        if from.epoch != *epoch {
            return self.read(shard, Some(from)).await;
        }
        // What was deleted is told by the leader when it is fetched.
        readers.open(*epoch, shard, from.offset).await
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        self.known(shard)?;
        let Inner { epoch, questions, .. } = self.inner.as_ref();
        Ok(Position { epoch: *epoch, offset: questions.ask(Bound::End, shard.0).await? })
    }

    /// Deletes what stands before the record just before `position`; that one stays, because an owner
    /// knows its log by it. How long records are held back behind a checkpoint is the caller's matter.
    async fn release(&self, shard: ShardId, position: Position) -> Result<(), StoreError> {
        self.known(shard)?;
        let Inner { config, epoch, .. } = self.inner.as_ref();
        let Some(keep @ 1..) = position.offset.checked_sub(1) else { return Ok(()) };
        if position.epoch != *epoch {
            return Ok(());
        }
        let admin = self.inner.admin()?;
        let doing = format!("deleting records of shard {shard}");
        let fail = |error: KafkaError| failure(&doing, &error);
        let keep = i64::try_from(keep).map_err(|_| StoreError::Corrupt(format!("{doing} before {position}")))?;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&config.topic, i32::from(shard.0), Offset::Offset(keep)).map_err(fail)?;
        let timeout = Some(config.request_timeout);
        let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        let deleted = match admin.get()?.delete_records(&before, &options).await {
            Ok(deleted) => deleted,
            Err(error) => {
                self.inner.replace_admin(&admin);
                return Err(fail(error));
            }
        };
        match deleted.elements().first().map(|found| found.error()) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(StoreError::Corrupt(format!("shard {shard} is stored to {position}, and its log ends before that")))
            }
            Some(Err(error)) => Err(fail(error)),
            None => Err(fail(KafkaError::NoMessageReceived)),
        }
    }
}
