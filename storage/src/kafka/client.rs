//! What all clients of the brokers share: settings, logs, and what their errors mean.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use super::bootstrap::Alone;
use super::config::KafkaLogConfig;
use super::hearing::Answers;
use crate::error::StoreError;

/// Bytes of one batch of records; the topic must take them.
pub(super) const BATCH_BYTES_MAX: u32 = 1_000_000;

/// Settings of every client; `role` names it in the brokers' logs.
pub(super) fn settings(config: &KafkaLogConfig, role: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", format!("panda-{role}"))
        // A broker that hangs keeps its connections open: what is asked on one is asked again after this.
        .set("socket.timeout.ms", "4000")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.connection.setup.timeout.ms", "3000")
        // A broker that comes back is found within a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Notice);
    settings
}

/// Settings of a client that only reads.
pub(super) fn reading(config: &KafkaLogConfig, role: &str) -> ClientConfig {
    let mut settings = settings(config, role);
    settings
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        // Nobody writes transactions; one that was left open by mistake must not stop the readers.
        .set("isolation.level", "read_uncommitted");
    settings
}

/// What a client of the brokers says by itself goes to the log.
#[derive(Clone, Default)]
pub(super) struct Quiet {
    pub(super) alone: Alone,
    pub(super) answers: Answers,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.alone.look(&statistics);
        self.answers.look(&statistics);
    }
}

impl ConsumerContext for Quiet {}

/// A line of the client library. Brokers that come and go are no reason to wake anybody.
pub(super) fn log_line(level: RDKafkaLogLevel, fac: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(fac, "kafka client: {message}"),
        _ => tracing::debug!(fac, "kafka client: {message}"),
    }
}

pub(super) fn log_error(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, "kafka client: {reason}");
}

/// What the brokers said. The library does not tell it of what it asked about topics.
pub(super) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// An error of a client, as the caller of the log sees it.
pub(super) fn failure(doing: &str, error: &KafkaError) -> StoreError {
    use RDKafkaErrorCode as Code;
    let why = format!("{doing}: {error}");
    match code(error) {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidReplicationFactor
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::UnsupportedVersion,
        ) => StoreError::Misconfigured(format!("the command log's brokers refuse: {why}")),
        _ if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
            StoreError::Misconfigured(format!("the command log's client cannot be made: {why}"))
        }
        _ => StoreError::Unavailable(format!("the command log: {why}")),
    }
}
