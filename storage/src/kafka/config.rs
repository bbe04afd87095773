//! What is configured of the command log in Kafka.

use std::time::Duration;

use crate::error::StoreError;

/// Characters of a topic's or group's name, as Kafka has it.
const NAME_CHARACTERS_MAX: usize = 249;
/// Copies of each record.
const REPLICATION_FACTOR_MAX: u16 = 9;
/// Brokers must let a member ask for a session timeout as short as this.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a member says that it lives. The answer tells it that another one left, so this is how
/// long the shards of a router that stops in order wait.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(250);

/// How to reach the brokers, and what to expect of the topic.
#[derive(Clone, Debug)]
pub struct KafkaLogConfig {
    /// `host:port` of some brokers; the others are learnt from them. Connections are not encrypted.
    pub brokers: Vec<String>,
    /// The topic of the commands.
    pub topic: String,
    /// The topic in which owners of shards announce themselves.
    pub ownership_topic: String,
    /// The consumer group in which routers share the shards among each other.
    pub group: String,
    /// Shards, one partition each, 1 to 32,767. Makes the topic if there is none, and must be what it has.
    pub shards: u16,
    /// Copies of each record, 1 to 9, likewise. From 3 on, two of them confirm a record.
    pub replication_factor: u16,
    /// Records of this process that may wait for their confirmation; one more is refused as full.
    pub queue_records_max: usize,
    /// Bytes of those records, 1 MiB to 2,047 MiB.
    pub queue_bytes_max: usize,
    /// Records of one shard that may wait, so that one that hangs leaves room for the others.
    pub shard_records_max: usize,
    /// How long a record waits for others that go with it; whole milliseconds. One lets the records of
    /// a moment share a request.
    pub linger: Duration,
    /// A record that is not confirmed after so long is given up: nobody knows what became of it.
    /// At least a second.
    pub append_timeout: Duration,
    /// A shard that confirmed nothing for so long while records wait is taken for away: more are refused.
    pub patience: Duration,
    /// After so long a question to the brokers is given up.
    pub request_timeout: Duration,
    /// Bytes of one shard that are read ahead of its reader, 64 KiB to 1 GiB.
    pub read_ahead_bytes: usize,
}

impl KafkaLogConfig {
    /// The usual settings.
    pub fn new(brokers: Vec<String>, shards: u16, replication_factor: u16) -> Self {
        Self {
            brokers,
            topic: "panda.commands".into(),
            ownership_topic: "panda.ownership".into(),
            group: "panda.routers".into(),
            shards,
            replication_factor,
            queue_records_max: 65_536,
            queue_bytes_max: 64 << 20,
            shard_records_max: 8_192,
            linger: Duration::from_millis(1),
            append_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(1),
            request_timeout: Duration::from_secs(3),
            read_ahead_bytes: 1 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |why: String| Err(StoreError::Misconfigured(why));
        if self.brokers.is_empty() || self.brokers.iter().any(|broker| broker.is_empty() || broker.contains(',')) {
            return refuse("the command log needs its brokers, each as host:port".into());
        }
        for (what, name) in [("topic", &self.topic), ("topic", &self.ownership_topic), ("group", &self.group)] {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.bytes().all(word) {
                return refuse(format!(
                    "{name:?} cannot be the {what} of the command log: use letters, digits, ., _ and -, \
                     {NAME_CHARACTERS_MAX} in all"
                ));
            }
        }
        if !(1..=i16::MAX.unsigned_abs()).contains(&self.shards) {
            return refuse(format!("the command log has 1 to {} shards, not {}", i16::MAX, self.shards));
        }
        if !(1..=REPLICATION_FACTOR_MAX).contains(&self.replication_factor) {
            return refuse(format!("a replication factor is 1 to {REPLICATION_FACTOR_MAX}"));
        }
        if self.queue_records_max == 0 || self.shard_records_max == 0 {
            return refuse("records on their way to the command log need a place".into());
        }
        if !(1 << 20..2_048 << 20).contains(&self.queue_bytes_max) {
            return refuse("records on their way to the command log need 1 MiB to 2,047 MiB".into());
        }
        if !(64 << 10..=1 << 30).contains(&self.read_ahead_bytes) {
            return refuse("what is read ahead of the command log needs 64 KiB to 1 GiB a shard".into());
        }
        let second = Duration::from_secs(1);
        if self.append_timeout < second || self.request_timeout < second || self.patience.is_zero() {
            return refuse("appends and questions to the command log need at least a second, and patience".into());
        }
        if self.linger >= self.append_timeout {
            return refuse("a record lingers for less time than it has to be confirmed".into());
        }
        Ok(())
    }

    /// Copies that confirm a record before it counts as appended.
    pub(super) fn in_sync(&self) -> u16 {
        if self.replication_factor >= 3 { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KafkaLogConfig {
        KafkaLogConfig::new(vec!["127.0.0.1:9092".into()], 64, 3)
    }

    #[test]
    fn what_cannot_be_right_is_refused_before_anything_is_asked() {
        config().check().unwrap();
        let wrong = [
            KafkaLogConfig { brokers: Vec::new(), ..config() },
            KafkaLogConfig { brokers: vec!["a:1,b:2".into()], ..config() },
            KafkaLogConfig { topic: String::new(), ..config() },
            KafkaLogConfig { topic: "panda commands".into(), ..config() },
            KafkaLogConfig { group: "p".repeat(250), ..config() },
            KafkaLogConfig { shards: 0, ..config() },
            KafkaLogConfig { shards: 32_768, ..config() },
            KafkaLogConfig { replication_factor: 0, ..config() },
            KafkaLogConfig { replication_factor: 10, ..config() },
            KafkaLogConfig { queue_records_max: 0, ..config() },
            KafkaLogConfig { queue_bytes_max: 1, ..config() },
            KafkaLogConfig { shard_records_max: 0, ..config() },
            KafkaLogConfig { linger: Duration::from_secs(10), ..config() },
            KafkaLogConfig { append_timeout: Duration::from_millis(999), ..config() },
            KafkaLogConfig { patience: Duration::ZERO, ..config() },
            KafkaLogConfig { request_timeout: Duration::ZERO, ..config() },
            KafkaLogConfig { read_ahead_bytes: 1, ..config() },
        ];
        for config in wrong {
            assert!(matches!(config.check(), Err(StoreError::Misconfigured(_))), "{config:?}");
        }
    }

    #[test]
    fn two_copies_confirm_where_there_are_three() {
        let in_sync = |replication_factor| KafkaLogConfig { replication_factor, ..config() }.in_sync();
        assert_eq!([1, 2, 3, 5].map(in_sync), [1, 1, 2, 2]);
    }
}
