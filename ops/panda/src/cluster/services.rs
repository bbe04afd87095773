//! Opens the services that a cluster stands on. One that is away is waited for, and named in the log
//! meanwhile; one that is not what the configuration says ends the start.

use std::time::Duration;

use anyhow::Context as _;
use panda_storage::StoreError;
use panda_storage::kafka::{KafkaLog, KafkaLogConfig, KafkaOwnership};
use panda_storage::postgres::PostgresUsers;
use panda_storage::redis::{RedisCache, RedisConfig};
use panda_storage::scylla::{Replication, ScyllaConfig, ScyllaEvents};
use rand::Rng as _;
use tokio::time::{Instant, sleep};

use crate::config::{Config, ConfigError};
use crate::lifecycle::now;

/// Between two tries, at least half of it.
const PAUSE: Duration = Duration::from_secs(1);
/// The epoch of a log that was never replaced. What an edge appends is in no epoch until a router reads it; an
/// edge only names positions by it that it asks about.
const FIRST_EPOCH: u32 = 1;
/// How often the log names a service that is still away.
const REMIND: Duration = Duration::from_secs(10);

/// Opens a service as soon as it is there.
///
/// # Errors
/// What goes by no waiting.
pub(crate) async fn when_there<T>(
    what: &'static str,
    open: impl AsyncFnMut() -> Result<T, StoreError>,
) -> anyhow::Result<T> {
    patiently(what, open).await.with_context(|| format!("open {what}"))
}

/// Does something with a service, as often as it takes while that is away.
///
/// # Errors
/// What goes by no waiting.
pub(crate) async fn patiently<T>(
    what: &'static str,
    mut act: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut reminded: Option<Instant> = None;
    loop {
        match act().await {
            Ok(done) => {
                if reminded.is_some() {
                    tracing::info!(service = what, "the service is there");
                }
                return Ok(done);
            }
            Err(error) if error.is_retryable() => {
                if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                    tracing::warn!(service = what, %error, "waiting for a service");
                    reminded = Some(Instant::now());
                }
            }
            Err(error) => return Err(error),
        }
        sleep(PAUSE.mul_f64(rand::rng().random_range(0.5..1.0))).await;
    }
}

/// The users.
///
/// # Errors
/// As [`when_there`], or the configuration names none.
pub(crate) async fn users(config: &Config) -> anyhow::Result<PostgresUsers> {
    let config = &config.users;
    if config.url.is_empty() {
        return Err(ConfigError::missing("users.url").into());
    }
    let postgres = config.postgres()?;
    when_there("Postgres", async || PostgresUsers::open(&postgres, now()).await).await
}

/// The cache, which connects when it is first asked: nothing waits for it.
///
/// # Errors
/// The configuration names none, or no URL.
pub(crate) fn cache(config: &Config) -> anyhow::Result<RedisCache> {
    if config.cache.url.is_empty() {
        return Err(ConfigError::missing("cache.url").into());
    }
    RedisCache::new(&RedisConfig::new(config.cache.url.expose())).context("read `cache.url`")
}

/// The command log as an edge uses it: to append.
///
/// # Errors
/// As [`when_there`], or the configuration names none.
pub(crate) async fn commands(config: &Config) -> anyhow::Result<KafkaLog> {
    let kafka = kafka(config)?;
    when_there("Kafka", async || KafkaLog::connect(&kafka, FIRST_EPOCH).await).await
}

/// The command log as a router uses it: as the one whose positions the event store holds.
///
/// # Errors
/// As [`when_there`], or the configuration names none.
pub(crate) async fn known_commands(config: &Config, events: &ScyllaEvents) -> anyhow::Result<KafkaLog> {
    let kafka = kafka(config)?;
    when_there("Kafka", async || KafkaLog::open(&kafka, events).await).await
}

/// The board on which the shards' owners announce themselves, for a router.
///
/// # Errors
/// As [`when_there`], or the configuration names none.
pub(crate) async fn board(config: &Config) -> anyhow::Result<KafkaOwnership> {
    let kafka = kafka(config)?;
    when_there("Kafka", async || KafkaOwnership::connect(&kafka).await).await
}

/// The same for a process that only watches.
///
/// # Errors
/// As [`board`].
pub(crate) async fn watched_board(config: &Config) -> anyhow::Result<KafkaOwnership> {
    let kafka = kafka(config)?;
    when_there("Kafka", async || KafkaOwnership::connect_to_watch(&kafka).await).await
}

/// How the command log is reached.
///
/// # Errors
/// The configuration names none.
pub(crate) fn kafka(config: &Config) -> anyhow::Result<KafkaLogConfig> {
    let config = &config.commands;
    if config.brokers.is_empty() {
        return Err(ConfigError::missing("commands.brokers").into());
    }
    Ok(KafkaLogConfig::new(config.brokers.clone(), config.shards, config.replicas))
}

/// The events.
///
/// # Errors
/// As [`when_there`], or the configuration names none.
pub(crate) async fn events(config: &Config) -> anyhow::Result<ScyllaEvents> {
    let config = &config.events;
    if config.nodes.is_empty() {
        return Err(ConfigError::missing("events.nodes").into());
    }
    let (replication, datacenter) = if config.datacenter.is_empty() {
        (Replication::Simple { factor: config.replicas }, None)
    } else {
        let factors = [(config.datacenter.clone(), config.replicas)].into();
        (Replication::Datacenters(factors), Some(config.datacenter.clone()))
    };
    let credentials = if config.user.is_empty() {
        None
    } else {
        Some((config.user.clone(), config.password().context("read `events.password_file`")?))
    };
    let scylla = ScyllaConfig {
        datacenter,
        credentials,
        ..ScyllaConfig::new(config.nodes.clone(), config.keyspace.clone(), replication)
    };
    when_there("the event store", async || ScyllaEvents::open(&scylla).await).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_away_is_waited_for_and_a_wrong_one_is_not() {
        let mut tries = 0;
        let opened = when_there("it", async || {
            tries += 1;
            if tries < 5 { Err(StoreError::Unavailable("away".into())) } else { Ok(tries) }
        });
        assert_eq!(opened.await.unwrap(), 5);
        let refused = when_there::<()>("it", async || Err(StoreError::Misconfigured("another".into()))).await;
        assert_eq!(format!("{:#}", refused.unwrap_err()), "open it: another");
    }
}
