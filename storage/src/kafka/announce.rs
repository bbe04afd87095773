//! Announcing owners: a producer, and the thread that takes its reports.
//!
//! The library has a producer with a thread of its own. That one asks without a pause for the last part of a millisecond
//! of each tenth of a second, which was a tenth of what a router with little to do took; this one waits for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::oneshot;

use super::append::LOOK;
use super::bootstrap::{Alone, watch};
use super::client::{failure, log_error, log_line, settings};
use super::config::KafkaLogConfig;
use super::ownership::{PARTITION, PARTITIONS};
use super::ownership_record::{key, to_record};
use super::thread;
use crate::error::StoreError;
use crate::ownership::Ownership;

/// Resolves when the brokers confirm an announcement, or do not; ends with the producer.
pub(super) type Announced = oneshot::Receiver<KafkaResult<()>>;

type Producer = BaseProducer<Reporting>;

#[derive(Default)]
struct Reporting {
    alone: Alone,
}

impl ClientContext for Reporting {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.alone.look(&statistics);
    }
}

impl ProducerContext for Reporting {
    type DeliveryOpaque = Box<oneshot::Sender<KafkaResult<()>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, announced: Self::DeliveryOpaque) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // Whoever announces again waits for nothing.
        drop(announced.send(result));
    }
}

/// Announces. Its thread ends, and the producer on it, when this is dropped.
pub(super) struct Announcer {
    topic: String,
    producer: Arc<Producer>,
    stop: Arc<AtomicBool>,
}

impl Announcer {
    /// Connects. `broken` is told if the thread panics: no announcement is confirmed any more then.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] and [`StoreError::Unavailable`]: there is no client, or no thread.
    fn start(
        config: &KafkaLogConfig,
        broken: impl FnOnce(StoreError) + Send + 'static,
    ) -> Result<Arc<Self>, StoreError> {
        let mut settings = settings(config, "announce");
        watch(&mut settings, PARTITIONS);
        let producer: Producer = settings
            .set("acks", "all")
            // Announcements of one shard stay in their order without a producer that can break.
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "0")
            .set("message.timeout.ms", config.append_timeout.as_millis().to_string())
            .set("request.timeout.ms", "3000")
            .create_with_context(Reporting::default())
            .map_err(|error| failure("a client for announcements", &error))?;
        let (producer, stop) = (Arc::new(producer), Arc::new(AtomicBool::new(false)));
        let (polled, stopped, brokers) = (Arc::clone(&producer), Arc::clone(&stop), config.brokers.clone());
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                polled.poll(LOOK);
                polled.context().alone.mend(polled.client(), &brokers);
            }
        };
        thread::start("kafka-announce", run, broken)?;
        Ok(Arc::new(Self { topic: config.ownership_topic.clone(), producer, stop }))
    }

    /// Sends an announcement.
    ///
    /// # Errors
    /// What the client library says of a record that it does not take.
    pub(super) fn send(&self, ownership: &Ownership) -> KafkaResult<Announced> {
        let (announced, hears) = oneshot::channel();
        let (key, value) = (key(ownership.shard), to_record(ownership));
        let record =
            BaseRecord::with_opaque_to(&self.topic, Box::new(announced)).partition(PARTITION).key(&key).payload(&value);
        self.producer.send(record).map_err(|(error, _)| error)?;
        Ok(hears)
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The announcer of a process, absent where nobody announces: one that has nothing to do takes threads, memory and
/// processor time all the same.
#[derive(Default)]
pub(super) struct Announcing {
    announcer: Mutex<Option<Arc<Announcer>>>,
}

impl Announcing {
    /// The one that there is.
    pub(super) fn made(&self) -> Option<Arc<Announcer>> {
        self.announcer.lock().clone()
    }

    /// The one that there is, or a new one; `broken` as in [`Announcer::start`].
    ///
    /// # Errors
    /// As [`Announcer::start`].
    pub(super) fn make(
        &self,
        config: &KafkaLogConfig,
        broken: impl FnOnce(StoreError) + Send + 'static,
    ) -> Result<Arc<Announcer>, StoreError> {
        let mut announcer = self.announcer.lock();
        if let Some(made) = announcer.as_ref() {
            return Ok(Arc::clone(made));
        }
        let made = Announcer::start(config, broken)?;
        Ok(Arc::clone(announcer.insert(made)))
    }

    /// Lets it end once nobody announces.
    pub(super) fn end(&self) {
        drop(self.announcer.lock().take());
    }
}
