//! Reading: one consumer for all shards of a process, each shard with a queue of its own.
//!
//! A consumer has one place in each shard. Whoever reads a shard that another reader of this process
//! reads already gets it from another consumer; usually there is one. A thread opens and closes, because
//! the client library waits while it does, and hears what a consumer has to say besides records. A consumer that
//! hears nothing is given up: its readers go on where they were, with another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use panda_protocol::ShardId;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::bootstrap::watch;
use super::client::{Quiet, failure, reading};
use super::config::KafkaLogConfig;
use super::elsewhere::drop_elsewhere;
use super::ending::Ending;
use super::hearing::Hearing;
use super::record::record;
use super::thread::{self, Breaks};
use crate::command_log::{LogRecord, ShardReader};
use crate::error::StoreError;

/// How long the thread waits for somebody who opens or closes before it hears the consumers.
const LOOK: Duration = Duration::from_millis(100);
/// After what a reader whose client was given up asks for another one again, if there was none.
const AGAIN: Duration = Duration::from_secs(1);

type Consumer = BaseConsumer<Quiet>;
type Queue = PartitionQueue<Quiet>;
type Opened = Result<Open, StoreError>;

/// One shard's queue, of which consumer, and what its reader and the thread know of it.
struct Open {
    consumer: u64,
    queue: Queue,
    shelf: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// Wakes the reader.
    changed: Notify,
    /// Whether the reader took all that is there.
    empty: AtomicBool,
    /// Whether nothing will come any more: the consumer was given up.
    abandoned: AtomicBool,
}

/// What the thread is told. A reader has no second one under way to open, and closes what it had opened, so the channel
/// is as bounded as they are.
enum Order {
    Open { shard: u16, offset: i64, opened: oneshot::Sender<Opened> },
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
        let pool = Pool::new(config.clone());
        let run = move || {
            pool.run(&taken);
            drop(ending);
        };
        thread::start("kafka-read", run, move |why| breaks.tell(why))?;
        Ok(Self { orders })
    }

    /// Reads a shard from an offset on, which must be in it.
    pub(super) async fn open(&self, epoch: u32, shard: ShardId, offset: u64) -> Result<KafkaReader, StoreError> {
        let open = Some(self.order(shard, offset)?.open().await?);
        Ok(KafkaReader {
            readers: self.clone(),
            epoch,
            shard,
            next: offset,
            open,
            opening: None,
            again: None,
            failed: None,
        })
    }

    fn order(&self, shard: ShardId, offset: u64) -> Result<Opening, StoreError> {
        let at = i64::try_from(offset)
            .map_err(|_| StoreError::Corrupt(format!("shard {shard} is to be read from {offset}")))?;
        let (opened, answer) = oneshot::channel();
        self.orders.send(Order::Open { shard: shard.0, offset: at, opened }).map_err(|_| StoreError::Closed)?;
        Ok(Opening { readers: self.clone(), shard, answer })
    }

    fn close(&self, shard: ShardId, Open { consumer, queue, .. }: Open) {
        if let Err(unsent) = self.orders.send(Order::Close { shard: shard.0, consumer, queue }) {
            // The thread is gone; the queue may hold the last of its consumer, whose end may block.
            drop_elsewhere("read", unsent);
        }
    }
}

/// A place that the thread was asked for. If it is dropped, so is the place.
struct Opening {
    readers: Readers,
    shard: ShardId,
    answer: oneshot::Receiver<Opened>,
}

impl Opening {
    /// Waits for it. Whoever turns away from waiting may come back to it.
    async fn open(&mut self) -> Opened {
        (&mut self.answer).await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok(unwanted)) = self.answer.try_recv() {
            self.readers.close(self.shard, unwanted);
        }
    }
}

/// Reads one shard.
pub struct KafkaReader {
    readers: Readers,
    epoch: u32,
    shard: ShardId,
    next: u64,
    /// Present until it is dropped.
    open: Option<Open>,
    /// What comes in the place of an abandoned one, from which nothing more is taken: it begins at `next`.
    opening: Option<Opening>,
    /// When it is asked for again, after it could not be opened.
    again: Option<Instant>,
    failed: Option<StoreError>,
}

impl KafkaReader {
    fn take(&mut self, max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let mut records = Vec::new();
        let Some(Open { queue, shelf, .. }) = &self.open else { return Err(StoreError::Closed) };
        shelf.empty.store(false, Ordering::Release);
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
                None => {
                    shelf.empty.store(true, Ordering::Release);
                    break;
                }
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
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(StoreError::Gone(format!(
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
        loop {
            if let Some(opening) = &mut self.opening {
                let opened = opening.open().await;
                self.opening = None;
                match opened {
                    Ok(open) => {
                        if let Some(before) = self.open.replace(open) {
                            self.readers.close(self.shard, before);
                        }
                    }
                    Err(StoreError::Closed) => return Err(StoreError::Closed),
                    // It could be opened once, with the same configuration: what stands in the way now goes away.
                    Err(error) => {
                        tracing::warn!(shard = %self.shard, %error, "a shard cannot be read on yet");
                        self.again = Some(Instant::now() + AGAIN);
                    }
                }
            }
            let Some(open) = &self.open else { return Err(StoreError::Closed) };
            let shelf = Arc::clone(&open.shelf);
            let mut changed = std::pin::pin!(shelf.changed.notified());
            // Before the look, so that a record after it is not missed.
            changed.as_mut().enable();
            let records = self.take(max.max(1))?;
            if !records.is_empty() {
                return Ok(records);
            }
            if shelf.abandoned.load(Ordering::Acquire) {
                if let Some(again) = self.again {
                    sleep_until(again).await;
                    self.again = None;
                }
                self.opening = Some(self.readers.order(self.shard, self.next)?);
            } else {
                changed.await;
            }
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.readers.close(self.shard, open);
        }
    }
}

/// What the thread has.
struct Pool {
    config: KafkaLogConfig,
    consumers: Vec<Shared>,
    made: u64,
    /// Of the next one.
    hearing: Hearing,
}

struct Shared {
    number: u64,
    consumer: Arc<Consumer>,
    hearing: Hearing,
    /// Shards that somebody reads from it.
    shards: HashMap<u16, Arc<Shelf>>,
}

impl Shared {
    /// Whether somebody waits for records that do not come.
    fn is_deaf(&mut self, now: Instant) -> bool {
        let empty = self.shards.iter().filter(|(_, shelf)| shelf.empty.load(Ordering::Acquire));
        self.hearing.is_deaf(&self.consumer.context().answers, empty.map(|(shard, _)| i32::from(*shard)), now)
    }

    /// Sends its readers to another one.
    fn abandon(self) {
        tracing::warn!(
            shards = self.shards.len(),
            "a client of the brokers heard nothing for long: another one reads its shards"
        );
        for shelf in self.shards.values() {
            shelf.abandoned.store(true, Ordering::Release);
            shelf.changed.notify_waiters();
        }
        drop_elsewhere("read", self.consumer);
    }
}

impl Pool {
    fn new(config: KafkaLogConfig) -> Self {
        let hearing = Hearing::new(config.shards);
        Self { config, consumers: Vec::new(), made: 0, hearing }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            // Whoever only appends has no consumer to hear.
            let look = if self.consumers.is_empty() { Duration::MAX } else { LOOK };
            match orders.recv_timeout(look) {
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
            self.abandon_deaf(Instant::now());
        }
    }

    fn abandon_deaf(&mut self, now: Instant) {
        while let Some(deaf) = self.consumers.iter_mut().position(|shared| shared.is_deaf(now)) {
            let deaf = self.consumers.swap_remove(deaf);
            self.hearing = deaf.hearing.next();
            deaf.abandon();
        }
    }

    fn open(&mut self, shard: u16, offset: i64) -> Result<Open, StoreError> {
        let fail = |error: KafkaError| failure("opening a reader", &error);
        let free = self.consumers.iter().position(|shared| !shared.shards.contains_key(&shard));
        let index = match free {
            Some(index) => index,
            None => {
                let consumer = Arc::new(consumer(&self.config)?);
                self.made += 1;
                let hearing = self.hearing.clone();
                self.consumers.push(Shared { number: self.made, consumer, hearing, shards: HashMap::new() });
                self.consumers.len() - 1
            }
        };
        let Shared { number, consumer, shards, .. } = &mut self.consumers[index];
        let partition = i32::from(shard);
        // Before the shard is assigned, so that no record goes to the consumer's own queue.
        let queue = consumer.split_partition_queue(&self.config.topic, partition);
        let mut queue = queue.ok_or_else(|| StoreError::Unavailable(format!("shard {shard} has no queue")))?;
        let shelf = Arc::new(Shelf::default());
        let filled = Arc::clone(&shelf);
        queue.set_nonempty_callback(move || {
            filled.empty.store(false, Ordering::Release);
            filled.changed.notify_waiters();
        });
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_offset(&self.config.topic, partition, Offset::Offset(offset)).map_err(fail)?;
        consumer.incremental_assign(&assigned).map_err(fail)?;
        shards.insert(shard, Arc::clone(&shelf));
        Ok(Open { consumer: *number, queue, shelf })
    }

    fn close(&mut self, shard: u16, number: u64, queue: Queue) {
        let Some(index) = self.consumers.iter().position(|shared| shared.number == number) else {
            // Its consumer was given up, and may end with it.
            return drop_elsewhere("read", queue);
        };
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

#[cfg(test)]
mod tests {
    use super::super::ending::Endings;
    use super::*;

    /// Ends a test that hangs.
    const GUARD: Duration = Duration::from_secs(120);

    /// Brokers at an address where nobody listens.
    fn nowhere() -> KafkaLogConfig {
        KafkaLogConfig::new(vec!["127.0.0.1:1".to_owned()], 2, 1)
    }

    /// Whoever reads may turn to something else at any time.
    async fn turn_away_from(reader: &mut KafkaReader) {
        let read = tokio::time::timeout(Duration::ZERO, reader.next(10)).await;
        assert!(read.is_err(), "there is nothing to read");
    }

    #[tokio::test]
    async fn a_reader_that_is_turned_away_from_asks_once_for_another_client_and_gives_back_what_it_gets() {
        let mut pool = Pool::new(nowhere());
        let (orders, taken) = channel();
        let (readers, shard) = (Readers { orders }, ShardId(1));
        let open = Some(pool.open(shard.0, 7).unwrap());
        let mut reader =
            KafkaReader { readers, epoch: 1, shard, next: 7, open, opening: None, again: None, failed: None };

        pool.consumers.remove(0).abandon();
        for _ in 0..3 {
            turn_away_from(&mut reader).await;
        }
        let orders: Vec<_> = taken.try_iter().collect();
        let Ok([Order::Open { shard: 1, offset: 7, opened }]) = <[_; 1]>::try_from(orders) else {
            panic!("it asks once, from where it was");
        };
        assert!(opened.send(pool.open(1, 7)).is_ok(), "it still waits");
        turn_away_from(&mut reader).await;
        assert!(matches!(taken.try_recv(), Ok(Order::Close { shard: 1, consumer: 1, .. })), "it has another one");

        pool.consumers.remove(0).abandon();
        turn_away_from(&mut reader).await;
        let Ok(Order::Open { opened, .. }) = taken.try_recv() else { panic!("it asks again") };
        assert!(opened.send(pool.open(1, 7)).is_ok(), "it still waits");
        drop(reader);
        let mut closed: Vec<_> = taken
            .try_iter()
            .map(|order| match order {
                Order::Close { shard: 1, consumer, .. } => consumer,
                _ => panic!("it only closes"),
            })
            .collect();
        closed.sort_unstable();
        assert_eq!(closed, [2, 3], "what it had and what it did not take any more");
    }

    #[tokio::test]
    async fn a_reader_to_whose_client_nobody_answers_goes_on_with_another_client() {
        let endings = Endings::new();
        let readers = Readers::start(&nowhere(), endings.thread(), Breaks::new()).unwrap();
        let mut reader = readers.open(0, ShardId(1), 7).await.unwrap();
        let number = |reader: &KafkaReader| reader.open.as_ref().map(|open| open.consumer);
        assert_eq!(number(&reader), Some(1));
        let began = Instant::now();
        while number(&reader) == Some(1) {
            assert!(began.elapsed() < GUARD, "the reader never got another client");
            turn_away_from(&mut reader).await;
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!((number(&reader), reader.next), (Some(2), 7), "it goes on where it was");
        drop((reader, readers));
        assert!(endings.wait(GUARD).await, "the thread ends with its last reader");
    }
}
