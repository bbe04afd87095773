//! Clients that forgot every broker are told of them again.
//!
//! The client library forgets brokers that the latest metadata does not name. A broker that hung and comes
//! back is fenced for a moment by its controller, and answers with metadata that names nobody. If that answer
//! comes while the library is about to begin again with the configured brokers, it gives that up, too, and
//! the client stays alone for ever (librdkafka's issue 5301; its versions since 2.10). Its statistics then
//! name no broker that was configured or learned.

#![allow(unsafe_code, reason = "the crate has no safe way to name brokers to a client that runs")]

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::statistics::Statistics;

/// How often a client looks at itself, in milliseconds.
const LOOK_MS: u32 = 2_000;
/// So much less often for each partition that it knows: what it says grows with each, and little of it is read. At 1,024
/// that is every ten seconds.
const LOOK_MS_A_PARTITION: u32 = 8;
/// It looks at least so often: a client that forgot its brokers is of no use before.
const LOOK_MS_MAX: u32 = 30_000;

/// How often a client looks at itself that knows so many partitions.
pub(super) fn look_every(partitions: u16) -> Duration {
    let look_ms = LOOK_MS + LOOK_MS_A_PARTITION * u32::from(partitions);
    Duration::from_millis(look_ms.min(LOOK_MS_MAX).into())
}

/// Has the client say how it is; whoever polls it hears it. It is about to know so many partitions.
pub(super) fn watch(settings: &mut ClientConfig, partitions: u16) {
    settings.set("statistics.interval.ms", look_every(partitions).as_millis().to_string());
}

/// Whether a client has nobody left to ask. Clones share it: the client's context notes, its owner acts.
#[derive(Clone, Debug, Default)]
pub(super) struct Alone(Arc<AtomicBool>);

impl Alone {
    /// Notes what a client's statistics say.
    pub(super) fn look(&self, statistics: &Statistics) {
        self.0.store(!names_brokers(statistics), Ordering::Release);
    }

    /// Names the configured brokers to a client that has none left. Call it now and then, after polling.
    pub(super) fn mend<C: ClientContext>(&self, client: &Client<C>, brokers: &[String]) {
        if !self.0.swap(false, Ordering::AcqRel) {
            return;
        }
        let brokers = brokers.join(",");
        // The library names itself so in its logs and in the brokers'.
        tracing::warn!(brokers, "a client of the brokers had forgotten them all and is told of them again");
        let Ok(brokers) = CString::new(brokers) else { return };
        // SAFETY: the client lives as long as the borrow; any thread may call this, and it copies the text.
        let named = unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
        if named == 0 {
            tracing::warn!("the client took none of them");
        }
    }
}

/// Whether statistics name a broker that a client can ask. A group's coordinator is only a role of one.
fn names_brokers(statistics: &Statistics) -> bool {
    statistics.brokers.values().any(|broker| matches!(broker.source.as_str(), "learned" | "configured"))
}

#[cfg(test)]
mod tests {
    use rdkafka::config::FromClientConfigAndContext as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::statistics::Broker;
    use tokio::time::Instant;

    use super::super::client::Quiet;
    use super::*;

    /// Ends a test that hangs.
    const GUARD: Duration = Duration::from_secs(60);

    /// Polls until the client has said that it is so.
    fn until(consumer: &BaseConsumer<Quiet>, is_alone: bool) {
        let noted = &consumer.context().alone.0;
        noted.store(!is_alone, Ordering::Release);
        let began = Instant::now();
        while noted.load(Ordering::Acquire) != is_alone {
            assert!(began.elapsed() < GUARD, "the client never says that: alone {is_alone}");
            // What it says of brokers that are away is not asked for here.
            drop(consumer.poll(Duration::from_millis(20)));
        }
    }

    #[test]
    fn a_client_without_brokers_is_seen_and_mended() {
        let mut settings = ClientConfig::new();
        settings.set("group.id", "nobody's").set("statistics.interval.ms", "50");
        let consumer = BaseConsumer::from_config_and_context(&settings, Quiet::default()).unwrap();
        until(&consumer, true);
        // Nobody listens there; it is somebody to ask.
        consumer.context().alone.mend(consumer.client(), &["127.0.0.1:1".to_owned()]);
        until(&consumer, false);
    }

    #[test]
    fn a_client_that_knows_many_partitions_says_seldom_how_it_is() {
        let interval = |partitions| {
            let mut settings = ClientConfig::new();
            watch(&mut settings, partitions);
            settings.get("statistics.interval.ms").and_then(|ms| ms.parse::<u32>().ok())
        };
        assert_eq!([0, 64, 1_024, 32_767].map(interval), [2_000, 2_512, 10_192, 30_000].map(Some));
    }

    #[test]
    fn a_coordinator_alone_is_nobody_to_ask() {
        let of = |source: &str| Broker { source: source.to_owned(), ..Broker::default() };
        let mut statistics = Statistics::default();
        assert!(!names_brokers(&statistics));
        statistics.brokers.insert("GroupCoordinator".to_owned(), of("logical"));
        assert!(!names_brokers(&statistics));
        statistics.brokers.insert("a:1/1".to_owned(), of("learned"));
        assert!(names_brokers(&statistics));
    }
}
