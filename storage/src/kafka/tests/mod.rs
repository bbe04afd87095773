//! Tests on a real cluster, which `PANDA_TEST_KAFKA` names as host:port of its brokers, with commas
//! between. Each test has topics and groups of its own, and removes the topics.

mod epochs;
mod faults;
mod figures;
mod headers;
mod layout;
mod members;
mod ownership;
mod producer;

use std::cell::RefCell;

use rdkafka::admin::{AlterConfig, ResourceSpecifier};

use super::*;
use crate::contract::test_server;

/// The epoch of every log here.
const EPOCH: u32 = 7;
const NONE: RecordHeaders = RecordHeaders { from: None, trace: None };
/// Ends a test that hangs.
const GUARD: Duration = Duration::from_secs(120);

/// Brokers, and the topics that a test has made on them.
struct Server {
    brokers: Vec<String>,
    topics: RefCell<Vec<String>>,
}

impl Server {
    /// Absent without brokers.
    fn find() -> Option<Self> {
        let brokers = test_server("Kafka", "PANDA_TEST_KAFKA")?;
        Some(Self { brokers: brokers.split(',').map(str::to_owned).collect(), topics: RefCell::default() })
    }

    /// How to open a log in a topic that nobody has made yet.
    fn config(&self) -> KafkaLogConfig {
        let name = format!("panda-test-{:016x}", rand::random::<u64>());
        let ownership_topic = format!("{name}-owners");
        self.topics.borrow_mut().extend([name.clone(), ownership_topic.clone()]);
        let copies = u16::try_from(self.brokers.len()).unwrap().min(3);
        let config = KafkaLogConfig::new(self.brokers.clone(), 4, copies);
        KafkaLogConfig { topic: name.clone(), ownership_topic, group: name, ..config }
    }

    async fn log(&self) -> KafkaLog {
        KafkaLog::connect(&self.config(), EPOCH).await.unwrap()
    }

    fn admin(&self) -> Arc<Admin> {
        topic::admin(&KafkaLogConfig::new(self.brokers.clone(), 1, 1)).unwrap()
    }

    async fn end(self) {
        let topics = self.topics.take();
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        // Some were never made.
        self.admin().get().unwrap().delete_topics(&names, &AdminOptions::new()).await.unwrap();
    }
}

#[tokio::test]
async fn the_log_keeps_the_contract() {
    let Some(server) = Server::find() else { return };
    tokio::time::timeout(GUARD, async {
        crate::contract::command_log::all(async || server.log().await).await;
        crate::contract::command_log::shared(async || server.log().await).await;
    })
    .await
    .expect("the suite ends");
    server.end().await;
}
