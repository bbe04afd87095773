//! Topics: made where there are none, and refused where they are laid out otherwise.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::client::{BATCH_BYTES_MAX, Quiet, failure, settings};
use super::config::{KafkaLogConfig, SESSION_TIMEOUT};
use super::elsewhere::Elsewhere;
use crate::error::StoreError;

/// How often is looked whether a topic that was made is there.
const LOOK: Duration = Duration::from_millis(50);
/// A topic with many partitions takes the brokers a while, in times of what another question may take.
const CREATION: u32 = 10;

/// Asks brokers about topics and changes them.
pub(super) type Admin = Elsewhere<AdminClient<Quiet>>;

/// What a setting of a topic must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    Is(&'static str),
    AtLeast(u32),
}

impl Want {
    fn holds(self, found: &str) -> bool {
        match self {
            Self::Is(value) => found == value,
            Self::AtLeast(least) => found.parse::<i64>().is_ok_and(|found| found >= i64::from(least)),
        }
    }

    fn value(self) -> String {
        match self {
            Self::Is(value) => value.to_owned(),
            Self::AtLeast(least) => least.to_string(),
        }
    }
}

/// How a topic is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) topic: String,
    pub(super) partitions: u16,
    pub(super) replication_factor: u16,
    pub(super) settings: Vec<(&'static str, Want)>,
}

impl Layout {
    /// Commands: times are the brokers', nothing expires by itself, and what was confirmed stays.
    pub(super) fn commands(config: &KafkaLogConfig) -> Self {
        Self {
            topic: config.topic.clone(),
            partitions: config.shards,
            replication_factor: config.replication_factor,
            settings: vec![
                ("message.timestamp.type", Want::Is("LogAppendTime")),
                ("cleanup.policy", Want::Is("delete")),
                ("retention.ms", Want::Is("-1")),
                ("retention.bytes", Want::Is("-1")),
                ("unclean.leader.election.enable", Want::Is("false")),
                ("min.insync.replicas", Want::AtLeast(u32::from(config.in_sync()))),
                ("max.message.bytes", Want::AtLeast(BATCH_BYTES_MAX)),
            ],
        }
    }
}

/// A client for questions about topics.
pub(super) fn admin(config: &KafkaLogConfig) -> Result<Arc<Admin>, StoreError> {
    let made = settings(config, "admin").create_with_context::<_, AdminClient<_>>(Quiet::default());
    let made = made.map_err(|error| failure("a client for topics", &error))?;
    Ok(Arc::new(Elsewhere::new("admin", made)))
}

/// Makes the topic if it is absent, and refuses one that is laid out otherwise.
pub(super) async fn prepare(admin: &Arc<Admin>, config: &KafkaLogConfig, layout: &Layout) -> Result<(), StoreError> {
    let timeout = config.request_timeout;
    let mut seen = look(admin, layout, timeout).await?;
    if seen.partitions == 0 {
        create(admin, layout, timeout).await?;
        let deadline = Instant::now() + timeout * CREATION;
        while seen.partitions == 0 || seen.leaderless > 0 {
            if Instant::now() >= deadline {
                return Err(StoreError::Unavailable(format!(
                    "topic {} was made, and {} of its {} partitions have no leader yet",
                    layout.topic, seen.leaderless, layout.partitions
                )));
            }
            sleep(LOOK).await;
            seen = look(admin, layout, timeout).await?;
        }
    }
    check_partitions(&seen, config, layout)?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let topic = [ResourceSpecifier::Topic(&layout.topic)];
    let found = admin.get()?.describe_configs(&topic, &options).await.and_then(|mut found| match found.pop() {
        Some(found) => found.map_err(KafkaError::AdminOp),
        None => Err(KafkaError::Canceled),
    });
    let found = found.map_err(|error| failure("asking for the settings of its topic", &error))?;
    check_settings(&found, config, layout)
}

/// Refuses brokers that would not let a member be missed within the time that routers count on.
pub(super) async fn check_brokers(admin: &Arc<Admin>, config: &KafkaLogConfig) -> Result<(), StoreError> {
    let timeout = config.request_timeout;
    let metadata = ask_metadata(admin, &config.topic, timeout).await?;
    let metadata = metadata.map_err(|error| failure("asking who the brokers are", &error))?;
    let brokers = metadata.brokers().iter().map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port())));
    for (id, address) in brokers.collect::<Vec<_>>() {
        if let Some(least) = shortest_session(admin, id, timeout).await? {
            check_session(id, &address, least)?;
        }
    }
    Ok(())
}

/// The setting that says how soon a broker notices a dead member.
const SHORTEST_SESSION: &str = "group.min.session.timeout.ms";

/// How soon a broker lets a member be missed, in milliseconds; absent if it does not say.
pub(super) async fn shortest_session(admin: &Admin, broker: i32, timeout: Duration) -> Result<Option<u64>, StoreError> {
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let asked = admin.get()?.describe_configs(&[ResourceSpecifier::Broker(broker)], &options).await;
    let found = asked.and_then(|mut found| match found.pop() {
        Some(found) => found.map_err(KafkaError::AdminOp),
        None => Err(KafkaError::Canceled),
    });
    let found = found.map_err(|error| failure("asking a broker for its settings", &error))?;
    Ok(found.get(SHORTEST_SESSION).and_then(|entry| entry.value.as_ref()?.parse().ok()))
}

fn check_session(broker: i32, address: &str, least: u64) -> Result<(), StoreError> {
    let wanted = SESSION_TIMEOUT.as_millis();
    if u128::from(least) <= wanted {
        return Ok(());
    }
    Err(StoreError::Misconfigured(format!(
        "broker {broker} ({address}) notices a dead router after {least} ms at the earliest, and routers count on \
         {wanted}: set {SHORTEST_SESSION}={wanted} or less in its server.properties and restart it"
    )))
}

/// What the brokers say of a topic.
struct Seen {
    /// 0: there is none.
    partitions: usize,
    leaderless: usize,
    fewest_replicas: usize,
}

async fn ask_metadata(
    admin: &Arc<Admin>,
    topic: &str,
    timeout: Duration,
) -> Result<Result<Metadata, KafkaError>, StoreError> {
    let (client, topic) = (Arc::clone(admin), topic.to_owned());
    let asked = spawn_blocking(move || Ok(client.get()?.inner().fetch_metadata(Some(&topic), timeout))).await;
    asked.map_err(|error| StoreError::Unavailable(format!("asking the brokers: {error}")))?
}

async fn look(admin: &Arc<Admin>, layout: &Layout, timeout: Duration) -> Result<Seen, StoreError> {
    let metadata = ask_metadata(admin, &layout.topic, timeout).await?;
    let metadata = match metadata {
        Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
            return Ok(Seen { partitions: 0, leaderless: 0, fewest_replicas: 0 });
        }
        asked => asked.map_err(|error| failure("asking for its topic", &error))?,
    };
    let partitions =
        metadata.topics().iter().find(|found| found.name() == layout.topic).map(|found| found.partitions());
    let partitions = partitions.unwrap_or_default();
    Ok(Seen {
        partitions: partitions.len(),
        leaderless: partitions.iter().filter(|partition| partition.leader() < 0).count(),
        fewest_replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
    })
}

async fn create(admin: &Admin, layout: &Layout, timeout: Duration) -> Result<(), StoreError> {
    let values: Vec<_> = layout.settings.iter().map(|(key, want)| (*key, want.value())).collect();
    let mut topic = NewTopic::new(
        &layout.topic,
        i32::from(layout.partitions),
        TopicReplication::Fixed(i32::from(layout.replication_factor)),
    );
    for (key, value) in &values {
        topic = topic.set(key, value);
    }
    let patience = timeout * CREATION;
    let options = AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience));
    let doing = format!("making topic {}", layout.topic);
    for made in admin.get()?.create_topics(&[topic], &options).await.map_err(|error| failure(&doing, &error))? {
        match made {
            // Another process was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failure(&doing, &KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

fn check_partitions(seen: &Seen, config: &KafkaLogConfig, layout: &Layout) -> Result<(), StoreError> {
    let Layout { topic, partitions, replication_factor, .. } = layout;
    let server = config.brokers.join(",");
    if seen.partitions != usize::from(*partitions) {
        return Err(StoreError::Misconfigured(format!(
            "topic {topic} has {} partitions and the configuration says {partitions}: configure what it has, or, if \
             nothing in it is needed any more, remove it, and it is made anew: kafka-topics.sh --bootstrap-server \
             {server} --delete --topic {topic}",
            seen.partitions
        )));
    }
    if seen.fewest_replicas < usize::from(*replication_factor) {
        return Err(StoreError::Misconfigured(format!(
            "topic {topic} has {} copies of a partition and the configuration says {replication_factor}: configure \
             what it has, or add copies: kafka-reassign-partitions.sh --bootstrap-server {server} --execute \
             --reassignment-json-file FILE",
            seen.fewest_replicas
        )));
    }
    Ok(())
}

fn check_settings(found: &ConfigResource, config: &KafkaLogConfig, layout: &Layout) -> Result<(), StoreError> {
    let (topic, server) = (&layout.topic, config.brokers.join(","));
    let value = |key: &str| found.get(key).and_then(|entry| entry.value.as_deref()).filter(|value| !value.is_empty());
    if layout.settings.iter().all(|(key, _)| value(key).is_none()) {
        // Of several brokers, one may not have heard yet of a topic that another one just made.
        return Err(StoreError::Unavailable(format!("a broker does not say yet how topic {topic} is set")));
    }
    for (key, want) in &layout.settings {
        // A broker that tells of some and not of this one never will.
        let value = value(key).unwrap_or("nothing");
        if !want.holds(value) {
            let wanted = want.value();
            return Err(StoreError::Misconfigured(format!(
                "topic {topic} has {key}={value} and needs {wanted}: kafka-configs.sh --bootstrap-server {server} \
                 --alter --entity-type topics --entity-name {topic} --add-config {key}={wanted}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    #[test]
    fn a_broker_that_does_not_know_a_topic_yet_is_asked_again_and_a_wrong_setting_is_refused() {
        let config = KafkaLogConfig::new(vec!["a:1".to_owned()], 1, 1);
        let settings = vec![("cleanup.policy", Want::Is("compact")), ("min.insync.replicas", Want::AtLeast(1))];
        let layout = Layout { topic: "t".to_owned(), partitions: 1, replication_factor: 1, settings };
        let entry = |name: &str, value: Option<&str>| ConfigEntry {
            name: name.to_owned(),
            value: value.map(Into::into),
            source: ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        let judged = |policy: Option<&str>, in_sync: Option<&str>| {
            let entries = vec![entry("cleanup.policy", policy), entry("min.insync.replicas", in_sync)];
            let specifier = OwnedResourceSpecifier::Topic("t".to_owned());
            check_settings(&ConfigResource { specifier, entries }, &config, &layout)
        };
        judged(Some("compact"), Some("1")).unwrap();
        assert!(matches!(judged(Some("delete"), Some("1")), Err(StoreError::Misconfigured(_))));
        for unknown in [None, Some("")] {
            assert!(matches!(judged(unknown, unknown), Err(StoreError::Unavailable(_))));
            let Err(StoreError::Misconfigured(why)) = judged(Some("compact"), unknown) else { panic!("{unknown:?}") };
            assert!(why.contains("min.insync.replicas=nothing"), "{why}");
        }
        let nothing = ConfigResource { specifier: OwnedResourceSpecifier::Topic("t".to_owned()), entries: Vec::new() };
        assert!(matches!(check_settings(&nothing, &config, &layout), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn a_broker_that_notices_a_dead_router_too_late_is_refused_with_what_mends_it() {
        check_session(1, "kafka-1:9092", 3_000).unwrap();
        let Err(StoreError::Misconfigured(why)) = check_session(1, "kafka-1:9092", 6_000) else { panic!() };
        assert!(why.contains("kafka-1:9092") && why.contains("group.min.session.timeout.ms=3000"), "{why}");
    }
}
