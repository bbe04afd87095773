//! Topics as they must be, and as they must not.

use super::*;

async fn refusal(config: &KafkaLogConfig) -> String {
    match KafkaLog::connect(config, EPOCH).await {
        Err(StoreError::Misconfigured(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn many_processes_may_start_at_once_and_one_topic_is_made() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    let starts = (0..4).map(|_| KafkaLog::connect(&config, EPOCH));
    for started in futures_util::future::join_all(starts).await {
        let log = started.unwrap();
        log.append(ShardId(3), Bytes::from_static(b"x"), NONE).unwrap().await.unwrap();
    }
    server.end().await;
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_the_command() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    KafkaLog::connect(&config, EPOCH).await.unwrap();
    let why = refusal(&KafkaLogConfig { shards: 5, ..config.clone() }).await;
    assert!(why.contains("kafka-topics.sh") && why.contains("has 4 partitions") && why.contains("says 5"), "{why}");
    let why = refusal(&KafkaLogConfig { replication_factor: 9, ..config }).await;
    assert!(why.contains("kafka-reassign-partitions.sh"), "{why}");
    server.end().await;
}

#[tokio::test]
async fn every_setting_that_could_lose_commands_is_refused_with_the_command_that_mends_it() {
    let Some(server) = Server::find() else { return };
    let admin = server.admin();
    let wrong = [
        ("message.timestamp.type", "CreateTime"),
        ("cleanup.policy", "compact"),
        ("retention.ms", "1000"),
        ("retention.bytes", "100000"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1000"),
    ];
    for (key, value) in wrong {
        let config = server.config();
        KafkaLog::connect(&config, EPOCH).await.unwrap();
        let change = AlterConfig::new(ResourceSpecifier::Topic(&config.topic)).set(key, value);
        admin.get().unwrap().alter_configs([&change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let why = refusal(&config).await;
        assert!(why.contains("kafka-configs.sh") && why.contains(&format!("{key}={value}")), "{why}");
    }
    server.end().await;
}

#[tokio::test]
async fn brokers_that_are_away_are_unavailable_within_the_time_of_a_question() {
    // Nobody listens on the port of nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = KafkaLogConfig {
        request_timeout: Duration::from_secs(1),
        ..KafkaLogConfig::new(vec![address.to_string()], 4, 1)
    };
    let away = tokio::time::timeout(Duration::from_secs(10), KafkaLog::connect(&config, EPOCH)).await.unwrap();
    assert!(away.err().expect("nobody is there").is_retryable());
}

#[tokio::test]
async fn brokers_say_how_soon_they_notice_a_dead_router() {
    let Some(server) = Server::find() else { return };
    let admin = server.admin();
    let asked = Arc::clone(&admin);
    let timeout = Duration::from_secs(3);
    let first = tokio::task::spawn_blocking(move || {
        asked.get().unwrap().inner().fetch_metadata(None, timeout).unwrap().brokers().first().unwrap().id()
    });
    let shortest = topic::shortest_session(&admin, first.await.unwrap(), timeout).await.unwrap();
    assert!(shortest.is_some_and(|shortest| shortest <= 3_000), "{shortest:?}");
}
