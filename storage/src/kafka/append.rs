//! Appending: an idempotent producer, and what its reports mean.
//!
//! **What is told of a record that was not confirmed.** Once a record is in the client's queue, nobody
//! can say for sure that it never came to be: a leader that loses its place while it waits for its
//! followers answers that it is not the leader, and the record may be in what they took. So whatever
//! failed behind the queue is [`AppendError::Unknown`], and [`AppendError::Full`] and
//! [`AppendError::Unavailable`] are only said before.
//!
//! **A producer that broke** (its sequence does not fit what the broker knows, or it was fenced) stays
//! broken. Its records are given up first, then another producer takes its place; in between the log is
//! unavailable.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{Position, ShardId};
use parking_lot::{Mutex, RwLock};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bootstrap::{Alone, watch};
use super::client::{BATCH_BYTES_MAX, failure, log_error, log_line, settings};
use super::config::KafkaLogConfig;
use super::ending::Ending;
use super::gate::Gate;
use super::questions::{Answer, Bound, Questions};
use super::thread::{self, Breaks};
use crate::command_log::AppendError;
use crate::error::StoreError;
use crate::record_headers::{Appender, FROM_HEADER, RecordHeaders, TRACE_HEADER};

/// How long the thread waits for reports before it looks after the rest. The crate waits whole milliseconds and asks without
/// a pause for what is left of one: a little more than whole ones is over when they are, so nothing is left.
pub(super) const LOOK: Duration = Duration::from_micros(100_050);
/// The same while every shard takes records: reports come without it, and only an end waits for it.
const CALM_LOOK: Duration = Duration::from_micros(250_050);

/// Resolves when the brokers confirm a record, or do not.
#[derive(Debug)]
pub struct KafkaAppending {
    epoch: u32,
    offset: oneshot::Receiver<Option<u64>>,
}

impl Future for KafkaAppending {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let epoch = self.epoch;
        Pin::new(&mut self.offset).poll(cx).map(|offset| match offset {
            Ok(Some(offset)) => Ok(Position { epoch, offset }),
            _ => Err(AppendError::Unknown),
        })
    }
}

/// A record on its way; the client hands it back with its report.
pub(super) struct Sent {
    shard: u16,
    confirmed: oneshot::Sender<Option<u64>>,
}

/// What reports change, by shard.
type Gates = Vec<Mutex<Gate>>;

pub(super) struct Reporting {
    gates: Arc<Gates>,
    alone: Alone,
}

impl ClientContext for Reporting {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.gates.iter().for_each(|gate| gate.lock().close());
        }
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.alone.look(&statistics);
    }
}

impl ProducerContext for Reporting {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        // A confirmation of a repeated record may come without its offset: then it is in the log, and
        // nobody knows where.
        let offset = result.as_ref().ok().and_then(|message| u64::try_from(message.offset()).ok());
        if let Some(gate) = self.gates.get(usize::from(sent.shard)) {
            match result {
                Ok(_) => gate.lock().confirmed(Instant::now()),
                Err(_) => gate.lock().failed(),
            }
        }
        if let Err((error, _)) = result {
            tracing::debug!(shard = sent.shard, %error, "a record was not confirmed");
        }
        if sent.confirmed.send(offset).is_err() {
            tracing::trace!(shard = sent.shard, "nobody waits for this record");
        }
    }
}

pub(super) type Producer = BaseProducer<Reporting>;

/// What the log takes at this moment, also for whoever must not keep it from ending.
#[derive(Clone)]
pub struct KafkaLogState {
    gates: Arc<Gates>,
}

impl KafkaLogState {
    /// How many shards take no records because their brokers do not confirm or are away. A shard to which
    /// nobody appends meanwhile may not have noticed.
    pub fn refusing(&self) -> usize {
        self.gates.iter().filter(|gate| gate.lock().is_away()).count()
    }
}

/// Appends; dropping it waits, on a thread of its own, for what is on its way.
pub(super) struct Appends {
    inner: Arc<Inner>,
}

struct Inner {
    config: KafkaLogConfig,
    gates: Arc<Gates>,
    /// Absent while one that broke is replaced.
    producer: RwLock<Option<Producer>>,
    stop: AtomicBool,
    /// Who appended first, and its word: who appends is the same in almost every record of a process.
    first: OnceLock<(Appender, String)>,
}

impl Appends {
    pub(super) fn start(
        config: &KafkaLogConfig,
        questions: Arc<Questions>,
        ending: Ending,
        breaks: Breaks,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        let gates: Arc<Gates> = Arc::new((0..config.shards).map(|_| Mutex::new(Gate::new(now))).collect());
        let producer = producer(config, &gates)?;
        let (config, producer) = (config.clone(), RwLock::new(Some(producer)));
        let inner = Arc::new(Inner { config, gates, producer, stop: AtomicBool::new(false), first: OnceLock::new() });
        let shared = Arc::clone(&inner);
        let run = move || {
            shared.run(&questions);
            drop(ending);
        };
        thread::start("kafka-append", run, move |why| breaks.tell(why))?;
        Ok(Self { inner })
    }

    pub(super) fn state(&self) -> KafkaLogState {
        KafkaLogState { gates: Arc::clone(&self.inner.gates) }
    }

    pub(super) fn append(
        &self,
        epoch: u32,
        shard: ShardId,
        record: &Bytes,
        headers: RecordHeaders,
    ) -> Result<KafkaAppending, AppendError> {
        let Inner { config, gates, producer, .. } = self.inner.as_ref();
        let gate = gates.get(usize::from(shard.0)).ok_or(AppendError::Unavailable)?;
        let producer = producer.read();
        let producer = producer.as_ref().ok_or(AppendError::Unavailable)?;
        gate.lock().admit(Instant::now(), config.patience, config.shard_records_max)?;
        let (confirmed, offset) = oneshot::channel();
        let sent = Box::new(Sent { shard: shard.0, confirmed });
        let mut record = BaseRecord::<(), [u8], _>::with_opaque_to(&config.topic, sent)
            .partition(i32::from(shard.0))
            .payload(record);
        record.headers = self.inner.owned(headers);
        match producer.send(record) {
            Ok(()) => Ok(KafkaAppending { epoch, offset }),
            Err((error, _)) => {
                gate.lock().withdraw();
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => Err(AppendError::Full),
                    Some(RDKafkaErrorCode::Fatal) => Err(AppendError::Unavailable),
                    _ => {
                        tracing::warn!(%error, "the client of the command log took no record");
                        Err(AppendError::Unavailable)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
impl Appends {
    /// Lets a test do something to the producer that is there.
    pub(super) fn with_producer(&self, act: impl FnOnce(&Producer)) {
        if let Some(producer) = self.inner.producer.read().as_ref() {
            act(producer);
        }
    }
}

impl Drop for Appends {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
    }
}

impl Inner {
    /// Takes reports, replaces a producer that broke, and asks for shards that nobody can say are back.
    fn run(&self, questions: &Questions) {
        let mut asked: Vec<Option<oneshot::Receiver<Answer>>> = self.gates.iter().map(|_| None).collect();
        let mut look = LOOK;
        while !self.stop.load(Ordering::Acquire) {
            let works = match self.producer.read().as_ref() {
                Some(producer) => {
                    producer.poll(look);
                    producer.context().alone.mend(producer.client(), &self.config.brokers);
                    producer.client().fatal_error().is_none()
                }
                None => {
                    std::thread::park_timeout(look);
                    false
                }
            };
            if !works {
                self.replace();
            }
            questions.hear();
            for (number, (gate, asked)) in self.gates.iter().zip(&mut asked).enumerate() {
                ask_for(questions, number, gate, asked);
            }
            let is_calm =
                works && asked.iter().all(Option::is_none) && !self.gates.iter().any(|gate| gate.lock().is_away());
            look = if is_calm { CALM_LOOK } else { LOOK };
        }
        // What was taken is still sent.
        let Some(producer) = self.producer.write().take() else { return };
        if let Err(error) = producer.flush(self.config.append_timeout) {
            tracing::warn!(%error, "the last records were not all confirmed");
        }
    }

    /// As the client takes them; none where there is nothing to tell.
    fn owned(&self, RecordHeaders { from, trace }: RecordHeaders) -> Option<OwnedHeaders> {
        let count = usize::from(from.is_some()) + usize::from(trace.is_some());
        let mut headers = (count > 0).then(|| OwnedHeaders::new_with_capacity(count))?;
        if let Some(from) = from {
            let (first, word) = self.first.get_or_init(|| (from, from.to_string()));
            headers = if *first == from {
                headers.insert(Header { key: FROM_HEADER, value: Some(word) })
            } else {
                headers.insert(Header { key: FROM_HEADER, value: Some(&from.to_string()) })
            };
        }
        if let Some(trace) = trace {
            headers = headers.insert(Header { key: TRACE_HEADER, value: Some(&trace.to_string()) });
        }
        Some(headers)
    }

    fn replace(&self) {
        // Dropping it gives up its records, so that none is on its way beside those of the next.
        let broken = self.producer.write().take();
        if let Some(broken) = broken {
            let why = broken.client().fatal_error();
            tracing::warn!(?why, "the command log's producer broke and is replaced");
        }
        match producer(&self.config, &self.gates) {
            Ok(producer) => *self.producer.write() = Some(producer),
            Err(error) => tracing::warn!(%error, "there is no producer for the command log yet"),
        }
    }
}

/// Lets a gate open once the shard's leader answers.
fn ask_for(questions: &Questions, shard: usize, gate: &Mutex<Gate>, asked: &mut Option<oneshot::Receiver<Answer>>) {
    match asked.as_mut().map(oneshot::Receiver::try_recv) {
        Some(Err(oneshot::error::TryRecvError::Empty)) => return,
        Some(Ok(Ok(_))) => gate.lock().answered(),
        _ => {}
    }
    *asked = match u16::try_from(shard) {
        Ok(shard) if gate.lock().needs_question() => Some(questions.send(Bound::End, shard)),
        _ => None,
    };
}

fn producer(config: &KafkaLogConfig, gates: &Arc<Gates>) -> Result<Producer, StoreError> {
    let mut settings = settings(config, "append");
    watch(&mut settings, config.shards);
    settings
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", config.linger.as_millis().to_string())
        .set("compression.type", "none")
        .set("message.max.bytes", BATCH_BYTES_MAX.to_string())
        .set("message.timeout.ms", config.append_timeout.as_millis().to_string())
        // Below the time after which a connection that hangs is given up.
        .set("request.timeout.ms", "3000")
        .set("queue.buffering.max.messages", config.queue_records_max.to_string())
        .set("queue.buffering.max.kbytes", (config.queue_bytes_max >> 10).to_string())
        .create_with_context::<_, Producer>(Reporting { gates: Arc::clone(gates), alone: Alone::default() })
        .map_err(|error| failure("a client for appends", &error))
}
