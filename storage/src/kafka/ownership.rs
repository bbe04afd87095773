//! The board of owners: a compacted topic of one partition, keyed by shard.
//!
//! A thread reads it from its first record on and keeps the latest term of each shard; it goes on where
//! it was after a break, so nothing is missed. Compaction keeps the last record of a shard, which may be
//! of an owner that hung before it announced itself: whoever announced the latest term and sees an older
//! one behind it announces its own again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panda_protocol::ShardId;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::announce::Announcing;
use super::bootstrap::watch;
use super::client::{Quiet, code, failure, reading};
use super::config::KafkaLogConfig;
use super::elsewhere::drop_elsewhere;
use super::hearing::Hearing;
use super::ownership_record::from_record;
use super::thread;
use super::topic::{Layout, admin, prepare};
use crate::embedded::{MemoryBoard, MemoryWatch};
use crate::error::StoreError;
use crate::ownership::{OWNER_ADDRESS_BYTES_MAX, Ownership, OwnershipBoard};

/// How long the thread listens before it looks whether it is to end, for which nobody waits. A little more than whole
/// milliseconds, as in `append`.
const LOOK: Duration = Duration::from_micros(1_000_050);
/// The board's only partition.
pub(super) const PARTITION: i32 = 0;
pub(super) const PARTITIONS: u16 = 1;

/// The board of a cluster. Clones share it; one a process is enough.
#[derive(Clone)]
pub struct KafkaOwnership {
    inner: Arc<Inner>,
}

struct Inner {
    config: KafkaLogConfig,
    seen: Arc<Seen>,
    announcing: Arc<Announcing>,
    stop: Arc<AtomicBool>,
}

/// What was read, and what this process announced itself.
struct Seen {
    owners: MemoryBoard,
    announced: Mutex<BTreeMap<ShardId, Ownership>>,
}

impl KafkaOwnership {
    /// Connects, ready to announce; makes the topic if there is none. Several processes may do so at once.
    ///
    /// # Errors
    /// As [`super::KafkaLog::connect`].
    pub async fn connect(config: &KafkaLogConfig) -> Result<Self, StoreError> {
        let board = Self::connect_to_watch(config).await?;
        // It stays; what is dropped is a handle.
        drop(board.inner.announcing.make(config)?);
        Ok(board)
    }

    /// The same for a process that only watches, as edges do.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_to_watch(config: &KafkaLogConfig) -> Result<Self, StoreError> {
        config.check()?;
        let admin = admin(config)?;
        prepare(&admin, config, &layout(config)).await?;
        drop(admin);
        let seen = Arc::new(Seen { owners: MemoryBoard::default(), announced: Mutex::default() });
        let (announcing, stop) = (Arc::new(Announcing::default()), Arc::new(AtomicBool::new(false)));
        let (next, hearing, config) = (Offset::Beginning, Hearing::new(PARTITIONS), config.clone());
        let consumer = consumer(&config, next)?;
        let inner = Inner { config, seen, announcing, stop };
        let Inner { config, seen, announcing, stop } = &inner;
        let (seen, broken, stop) = (Arc::clone(seen), Arc::clone(seen), Arc::clone(stop));
        let announcing = Arc::clone(announcing);
        let board = Board { consumer, next, hearing, config: config.clone(), seen, announcing, stop };
        thread::start("kafka-board", move || board.run(), move |why| broken.owners.end(why))?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.announcing.end();
    }
}

impl OwnershipBoard for KafkaOwnership {
    type Watch = MemoryWatch;

    async fn announce(&self, ownership: Ownership) -> Result<(), StoreError> {
        let bytes = ownership.address.len();
        if bytes > OWNER_ADDRESS_BYTES_MAX {
            return Err(StoreError::Limit(format!(
                "the address of a link has {bytes} bytes, {OWNER_ADDRESS_BYTES_MAX} are allowed"
            )));
        }
        let Inner { config, seen, announcing, .. } = self.inner.as_ref();
        let announcer = announcing.make(config)?;
        if seen.owners.latest(ownership.shard).is_some_and(|last| !ownership.is_after(&last)) {
            return Ok(());
        }
        seen.announced.lock().insert(ownership.shard, ownership.clone());
        announcer.announce(&ownership).await
    }

    fn watch(&self) -> MemoryWatch {
        self.inner.seen.owners.watch()
    }
}

/// What the thread has.
struct Board {
    consumer: BaseConsumer<Quiet>,
    /// Behind what was read.
    next: Offset,
    hearing: Hearing,
    config: KafkaLogConfig,
    seen: Arc<Seen>,
    announcing: Arc<Announcing>,
    stop: Arc<AtomicBool>,
}

impl Board {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.consumer.context().alone.mend(self.consumer.client(), &self.config.brokers);
            if self.hearing.is_deaf(&self.consumer.context().answers, [PARTITION].into_iter(), Instant::now()) {
                self.replace();
            }
            match self.consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    self.next = Offset::Offset(message.offset() + 1);
                    self.take(&message);
                }
                Some(Err(error)) => match code(&error) {
                    Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                        tracing::error!(%error, topic = self.config.ownership_topic, "owners of shards cannot be read: allow it");
                    }
                    _ => tracing::debug!(%error, "reading the board goes on"),
                },
                None => {}
            }
        }
    }

    /// Another client reads on from there: what this process announced itself is not answered once more.
    fn replace(&mut self) {
        self.hearing = self.hearing.next();
        match consumer(&self.config, self.next) {
            Ok(consumer) => {
                tracing::warn!("a client of the brokers heard nothing for long: another one reads owners of shards");
                drop_elsewhere("board", std::mem::replace(&mut self.consumer, consumer));
            }
            Err(error) => {
                tracing::warn!(%error, "a client of the brokers hears nothing, and there is no other one yet")
            }
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let key = message.key().unwrap_or_default();
        let Some(found) = from_record(key, message.payload().unwrap_or_default()) else {
            // Of a newer release, or of nobody: links tell who owns what in the end.
            return tracing::warn!(offset = message.offset(), "a record of the board says nothing that is understood");
        };
        if self.seen.owners.note(&found) {
            return;
        }
        let mine = self.seen.announced.lock().get(&found.shard).cloned();
        let latest = |mine: &Ownership| self.seen.owners.latest(mine.shard).as_ref() == Some(mine);
        let again = mine.filter(|mine| mine.is_after(&found) && latest(mine));
        if let (Some(mine), Some(announcer)) = (again, self.announcing.made())
            && let Err(error) = announcer.send(&mine)
        {
            tracing::warn!(shard = %mine.shard, %error, "an owner could not announce itself again");
        }
    }
}

fn layout(config: &KafkaLogConfig) -> Layout {
    use super::topic::Want;
    Layout {
        topic: config.ownership_topic.clone(),
        partitions: 1,
        replication_factor: config.replication_factor,
        settings: vec![
            ("cleanup.policy", Want::Is("compact")),
            ("unclean.leader.election.enable", Want::Is("false")),
            ("min.insync.replicas", Want::AtLeast(u32::from(config.in_sync()))),
        ],
    }
}

/// Reads the board from there on.
fn consumer(config: &KafkaLogConfig, from: Offset) -> Result<BaseConsumer<Quiet>, StoreError> {
    let fail = |error: KafkaError| failure("a client for the board", &error);
    let mut settings = reading(config, "board");
    watch(&mut settings, PARTITIONS);
    let consumer = settings
        // Nobody joins it; the client wants a name.
        .set("group.id", format!("{}.board", config.group))
        // A topic that was made anew is read anew.
        .set("auto.offset.reset", "earliest")
        // A record that comes is told at once, however long the brokers may wait for one. Every edge asks, and mostly there
        // is none; `socket.timeout.ms` is longer by more than a second.
        .set("fetch.wait.max.ms", "2500")
        .set("fetch.error.backoff.ms", "100")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", "1024")
        .create_with_context::<_, BaseConsumer<Quiet>>(Quiet::default())
        .map_err(fail)?;
    let mut partition = TopicPartitionList::new();
    partition.add_partition_offset(&config.ownership_topic, PARTITION, from).map_err(fail)?;
    consumer.assign(&partition).map_err(fail)?;
    Ok(consumer)
}
