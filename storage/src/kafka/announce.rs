//! Announcing owners: a producer, and the thread that takes its reports.
//!
//! The library has a producer with a thread of its own. That one asks without a pause for the last part of a millisecond
//! of each tenth of a second, also while nobody announces anything; this one waits for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::{oneshot, watch as latest};

use super::append::LOOK;
use super::bootstrap::{Alone, watch};
use super::client::{failure, log_error, log_line, settings};
use super::config::KafkaLogConfig;
use super::elsewhere::Elsewhere;
use super::ownership::{PARTITION, PARTITIONS};
use super::ownership_record::{key, to_record};
use super::thread;
use crate::error::StoreError;
use crate::ownership::Ownership;

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
        // Who announced a term once more does not wait.
        drop(announced.send(result));
    }
}

/// Announces. Its thread ends when this is dropped.
pub(super) struct Announcer {
    topic: String,
    producer: Arc<Elsewhere<Producer>>,
    stop: Arc<AtomicBool>,
    /// Why the thread broke: no announcement is confirmed any more then.
    broke: latest::Receiver<Option<StoreError>>,
}

impl Announcer {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] and [`StoreError::Unavailable`]: there is no client, or no thread.
    fn start(config: &KafkaLogConfig) -> Result<Self, StoreError> {
        let brokers = config.brokers.clone();
        Self::looking_after(config, move |producer| producer.context().alone.mend(producer.client(), &brokers))
    }

    /// The same; `look_after` is called several times a second.
    fn looking_after(
        config: &KafkaLogConfig,
        look_after: impl Fn(&Producer) + Send + 'static,
    ) -> Result<Self, StoreError> {
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
        let (producer, stop) = (Arc::new(Elsewhere::new("announce", producer)), Arc::new(AtomicBool::new(false)));
        let (tells, broke) = latest::channel(None);
        let (polled, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        let run = move || {
            let Ok(producer) = polled.get() else { return };
            while !stopped.load(Ordering::Acquire) {
                producer.poll(LOOK);
                look_after(producer);
            }
        };
        thread::start("kafka-announce", run, move |why| drop(tells.send_replace(Some(why))))?;
        Ok(Self { topic: config.ownership_topic.clone(), producer, stop, broke })
    }

    /// Sends an announcement, and waits until the brokers confirm it. Whoever does not wait has sent it all the same, if
    /// this was polled once.
    ///
    /// # Errors
    /// What the client library says, [`StoreError::Closed`] if it ends before, and [`StoreError::Broken`] if the thread that
    /// would hear of it broke.
    pub(super) async fn announce(&self, ownership: &Ownership) -> Result<(), StoreError> {
        let fail = |error: KafkaError| failure("announcing an owner", &error);
        let announced = self.send(ownership)?;
        let mut broke = self.broke.clone();
        tokio::select! {
            biased;
            announced = announced => announced.map_err(|_| StoreError::Closed)?.map_err(fail),
            why = broke.wait_for(Option::is_some) => {
                // A thread that ended without breaking was stopped by whoever held this, which is borrowed here.
                Err(why.ok().and_then(|why| why.clone()).unwrap_or(StoreError::Closed))
            }
        }
    }

    /// Sends an announcement, for whose confirmation nobody has to wait.
    ///
    /// # Errors
    /// What the client library says of a record that it does not take.
    pub(super) fn send(&self, ownership: &Ownership) -> Result<oneshot::Receiver<KafkaResult<()>>, StoreError> {
        let (announced, hears) = oneshot::channel();
        let (key, value) = (key(ownership.shard), to_record(ownership));
        let record =
            BaseRecord::with_opaque_to(&self.topic, Box::new(announced)).partition(PARTITION).key(&key).payload(&value);
        let sent = self.producer.get()?.send(record);
        sent.map_err(|(error, _)| failure("announcing an owner", &error))?;
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

    /// The one that there is, or a new one.
    ///
    /// # Errors
    /// As [`Announcer::start`].
    pub(super) fn make(&self, config: &KafkaLogConfig) -> Result<Arc<Announcer>, StoreError> {
        let mut announcer = self.announcer.lock();
        if let Some(made) = announcer.as_ref() {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(Announcer::start(config)?);
        Ok(Arc::clone(announcer.insert(made)))
    }

    /// Lets it end once nobody announces.
    pub(super) fn end(&self) {
        drop(self.announcer.lock().take());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use panda_protocol::{Generation, ShardId};

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_broke() {
        // No broker listens there, so nothing else ends the wait before the record's own time.
        let brokers = vec!["127.0.0.1:1".to_owned()];
        let config = KafkaLogConfig { append_timeout: Duration::from_secs(120), ..KafkaLogConfig::new(brokers, 1, 1) };
        let announcer = Announcer::looking_after(&config, |_| panic!("as a test wants it")).unwrap();
        let address = "127.0.0.1:9700".to_owned();
        let ownership = Ownership { shard: ShardId(0), epoch: 1, generation: Generation(1), router: 1, address };
        let announced = tokio::time::timeout(Duration::from_secs(60), announcer.announce(&ownership)).await;
        let error = announced.expect("it is told").unwrap_err();
        assert!(matches!(&error, StoreError::Broken(why) if why.contains("as a test wants it")), "{error}");
        assert!(!error.is_retryable(), "no waiting mends it");
    }
}
