//! Reading: one consumer for all shards of a process, each shard with a queue of its own.
//!
//! A consumer has one place in each shard. Whoever reads a shard that another reader of this process
//! reads already gets it from another consumer; usually there is one. A thread opens and closes, because
//! the client library waits while it does, and hears what a consumer has to say besides records.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId, Time};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, oneshot};

use super::bootstrap::watch;
use super::client::{Quiet, failure, reading};
use super::config::KafkaLogConfig;
use super::elsewhere::drop_elsewhere;
use super::ending::Ending;
use super::thread::{self, Breaks};
use crate::command_log::{LogRecord, ShardReader};
use crate::error::StoreError;

/// How long the thread waits for somebody who opens or closes before it hears the consumers.
const LOOK: Duration = Duration::from_millis(100);

type Consumer = BaseConsumer<Quiet>;
type Queue = PartitionQueue<Quiet>;

/// One shard's queue, of which consumer, and what wakes its reader.
struct Open {
    consumer: u64,
    queue: Queue,
    filled: Arc<Notify>,
}

/// What the thread is told. At most two for each reader, so the channel is as bounded as they are.
enum Order {
    Open { shard: u16, offset: i64, opened: oneshot::Sender<Result<Open, StoreError>> },
    Close { shard: u16, consumer: u64, queue: Queue },
}

/// Opens readers. The thread ends when this and every reader is gone.
#[derive(Clone)]
pub(super) struct Readers {
    orders: Sender<Order>,
}

impl Readers {
    pub(super) fn start(config: &KafkaLogConfig, ending: Ending, breaks: Breaks) -> Result<Self, StoreError> {
        let (orders, taken) = channel();
        let pool = Pool { config: config.clone(), consumers: Vec::new(), made: 0 };
        let run = move || {
            pool.run(&taken);
            drop(ending);
        };
        thread::start("kafka-read", run, move |why| breaks.tell(why))?;
        Ok(Self { orders })
    }

    /// Reads a shard from an offset on, which must be in it.
    pub(super) async fn open(&self, epoch: u32, shard: ShardId, offset: u64) -> Result<KafkaReader, StoreError> {
        let at = i64::try_from(offset)
            .map_err(|_| StoreError::Corrupt(format!("shard {shard} is to be read from {offset}")))?;
        let (opened, answer) = oneshot::channel();
        self.orders.send(Order::Open { shard: shard.0, offset: at, opened }).map_err(|_| StoreError::Closed)?;
        let Open { consumer, queue, filled } = answer.await.map_err(|_| StoreError::Closed)??;
        let queue = Some((consumer, queue));
        Ok(KafkaReader { readers: self.clone(), epoch, shard, next: offset, queue, filled, failed: None })
    }
}

/// Reads one shard.
pub struct KafkaReader {
    readers: Readers,
    epoch: u32,
    shard: ShardId,
    next: u64,
    /// With its consumer's number; present until it is dropped.
    queue: Option<(u64, Queue)>,
    filled: Arc<Notify>,
    failed: Option<StoreError>,
}

impl KafkaReader {
    fn take(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let mut records = Vec::new();
        let Some((_, queue)) = &self.queue else { return Err(StoreError::Closed) };
        while records.len() < max && self.failed.is_none() {
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => match record(self.epoch, &message) {
                    Ok(record) => {
                        self.next = record.position.offset + 1;
                        records.push(record);
                    }
                    Err(error) => self.failed = Some(error),
                },
                Some(Err(error)) => self.failed = self.judge(&error),
                None => break,
            }
        }
        match &self.failed {
            // What came before it is given first.
            Some(error) if records.is_empty() => Err(error.clone()),
            _ => Ok(records),
        }
    }

    /// Whether what stands in the way of reading ends it. The consumer goes on by itself after what
    /// nobody needs to mend.
    fn judge(&self, error: &KafkaError) -> Option<StoreError> {
        use RDKafkaErrorCode as Code;
        let Self { shard, next, .. } = self;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(StoreError::Corrupt(format!(
                "shard {shard} was read to {next}, and the log does not have that any more: {error}"
            ))),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Some(StoreError::Corrupt(format!("shard {shard} was read to {next}, and its topic is gone: {error}")))
            }
            Some(Code::TopicAuthorizationFailed) => Some(failure("reading a shard", error)),
            _ => {
                tracing::debug!(%shard, %error, "reading goes on");
                None
            }
        }
    }
}

impl ShardReader for KafkaReader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let filled = Arc::clone(&self.filled);
        loop {
            let mut notified = std::pin::pin!(filled.notified());
            // Before the look, so that a record after it is not missed.
            notified.as_mut().enable();
            let records = self.take(max.max(1))?;
            if !records.is_empty() {
                return Ok(records);
            }
            notified.await;
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some((consumer, queue)) = self.queue.take()
            && let Err(unsent) = self.readers.orders.send(Order::Close { shard: self.shard.0, consumer, queue })
        {
            // The thread is gone; the queue may hold the last of its consumer, whose end may block.
            drop_elsewhere("read", unsent);
        }
    }
}

fn record(epoch: u32, message: &BorrowedMessage<'_>) -> Result<LogRecord, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a record of partition {} {what}", message.partition()));
    let offset = u64::try_from(message.offset()).map_err(|_| corrupt("has no offset"))?;
    let time = message.timestamp().to_millis().and_then(|time| u64::try_from(time).ok()?.checked_mul(1_000));
    Ok(LogRecord {
        position: Position { epoch, offset },
        time: Time(time.ok_or_else(|| corrupt("has no time"))?),
        record: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}

/// What the thread has.
struct Pool {
    config: KafkaLogConfig,
    consumers: Vec<Shared>,
    made: u64,
}

struct Shared {
    number: u64,
    consumer: Arc<Consumer>,
    /// Shards that somebody reads from it.
    shards: HashSet<u16>,
}

impl Pool {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(Order::Open { shard, offset, opened }) => {
                    let answer = self.open(shard, offset);
                    if let Err(Ok(unwanted)) = opened.send(answer) {
                        self.close(shard, unwanted.consumer, unwanted.queue);
                    }
                }
                Ok(Order::Close { shard, consumer, queue }) => self.close(shard, consumer, queue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for Shared { consumer, .. } in &self.consumers {
                // Records are in the shards' queues; here are logs and errors of brokers.
                while let Some(said) = consumer.poll(Duration::ZERO) {
                    if let Err(error) = said {
                        tracing::debug!(%error, "reading goes on");
                    }
                }
                consumer.context().alone.mend(consumer.client(), &self.config.brokers);
            }
        }
    }

    fn open(&mut self, shard: u16, offset: i64) -> Result<Open, StoreError> {
        let fail = |error: KafkaError| failure("opening a reader", &error);
        let free = self.consumers.iter().position(|shared| !shared.shards.contains(&shard));
        let index = match free {
            Some(index) => index,
            None => {
                let consumer = Arc::new(consumer(&self.config)?);
                self.made += 1;
                self.consumers.push(Shared { number: self.made, consumer, shards: HashSet::new() });
                self.consumers.len() - 1
            }
        };
        let Shared { number, consumer, shards } = &mut self.consumers[index];
        let partition = i32::from(shard);
        // Before the shard is assigned, so that no record goes to the consumer's own queue.
        let queue = consumer.split_partition_queue(&self.config.topic, partition);
        let mut queue = queue.ok_or_else(|| StoreError::Unavailable(format!("shard {shard} has no queue")))?;
        let filled = Arc::new(Notify::new());
        let wake = Arc::clone(&filled);
        queue.set_nonempty_callback(move || wake.notify_waiters());
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_offset(&self.config.topic, partition, Offset::Offset(offset)).map_err(fail)?;
        consumer.incremental_assign(&assigned).map_err(fail)?;
        shards.insert(shard);
        Ok(Open { consumer: *number, queue, filled })
    }

    fn close(&mut self, shard: u16, number: u64, queue: Queue) {
        let Some(index) = self.consumers.iter().position(|shared| shared.number == number) else { return };
        let Shared { consumer, shards, .. } = &mut self.consumers[index];
        // Before anybody else may have the shard from this consumer: it takes the queue's wake-up along.
        drop(queue);
        let mut unassigned = TopicPartitionList::new();
        unassigned.add_partition(&self.config.topic, i32::from(shard));
        if let Err(error) = consumer.incremental_unassign(&unassigned) {
            // It would go on reading a shard that nobody wants.
            tracing::warn!(shard, %error, "a shard could not be given back to the client of the brokers");
        }
        shards.remove(&shard);
        if shards.is_empty() && self.consumers.len() > 1 {
            drop_elsewhere("read", self.consumers.swap_remove(index).consumer);
        }
    }
}

fn consumer(config: &KafkaLogConfig) -> Result<Consumer, StoreError> {
    let mut settings = reading(config, "read");
    watch(&mut settings, config.shards);
    settings
        // Nobody joins it; the client wants a name.
        .set("group.id", format!("{}.readers", config.group))
        .set("partition.assignment.strategy", "cooperative-sticky")
        // A shard that is opened waits for the fetch that is under way.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.message.max.bytes", "262144")
        .set("fetch.max.bytes", "8388608")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", (config.read_ahead_bytes >> 10).to_string())
        .create_with_context::<_, Consumer>(Quiet::default())
        .map_err(|error| failure("a client for readers", &error))
}
