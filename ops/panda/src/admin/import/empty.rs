//! Whether a cluster is empty. What is there already would be mixed with what is imported, and nobody could take
//! them apart again.

use anyhow::{bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_protocol::ShardId;
use panda_storage::kafka::{KafkaLogConfig, NextEpoch};
use panda_storage::scylla::ScyllaEvents;
use panda_storage::{CommandLog, Copies, EntityStore, StoreError, UserStore, UserStoreError};

use super::{EVENT_STORE, SHARDS_AT_ONCE};
use crate::cluster::services::{patiently, when_there};

/// Refuses a cluster that holds anything.
///
/// # Errors
/// It does, or a router runs.
pub(super) async fn check(kafka: &KafkaLogConfig, events: &ScyllaEvents, users: &impl UserStore) -> anyhow::Result<()> {
    check_users(users).await?;
    check_events(events, kafka.shards).await?;
    let next = when_there("Kafka", async || NextEpoch::prepare(kafka, events).await).await?;
    let log = next.log();
    let empty = patiently("Kafka", async || {
        stream::iter((0..log.shards()).map(ShardId))
            .map(|shard| log.end(shard))
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_fold(true, async |empty, end| Ok(empty && end.offset == 0))
            .await
    });
    ensure!(
        empty.await?,
        "topic {} holds records, so edges, APIs or routers have run here: an import needs an empty cluster. Delete the topic, \
         or name another Kafka",
        kafka.topic
    );
    Ok(())
}

/// Refuses a user store that holds anything.
pub(super) async fn check_users(users: &impl UserStore) -> anyhow::Result<()> {
    let (user, api_keys, signing_keys) = patiently("the user store", async || {
        let found = async || -> Result<_, UserStoreError> {
            Ok((users.scan_users(None, 1).await?, users.api_keys().await?, users.signing_keys().await?))
        };
        found().await.map_err(store_error)
    })
    .await?;
    let holds = match (user.is_empty(), api_keys.is_empty(), signing_keys.is_empty()) {
        (true, true, true) => return Ok(()),
        (false, ..) => "users",
        (_, false, _) => "API keys",
        _ => "signing keys",
    };
    bail!(
        "the user store holds {holds}: an import needs an empty cluster, on which no edge or API has run. Empty the database \
         (DROP SCHEMA panda CASCADE), or name another one"
    );
}

/// Refuses an event store that holds anything.
pub(super) async fn check_events(events: &impl EntityStore, shards: u16) -> anyhow::Result<()> {
    let found = patiently(EVENT_STORE, async || events.entities(Copies::All, None, 1).await).await?;
    let empty = patiently(EVENT_STORE, async || {
        stream::iter((0..shards).map(ShardId))
            .map(|shard| events.checkpoint(shard))
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_fold(true, async |empty, checkpoint| Ok(empty && checkpoint.is_none()))
            .await
    });
    ensure!(
        found.is_empty() && empty.await?,
        "the event store holds events: an import needs an empty cluster. Drop the keyspace, or name another one"
    );
    Ok(())
}

/// As an error that says whether the same call may work later.
pub(super) fn store_error(error: UserStoreError) -> StoreError {
    match error {
        UserStoreError::Store(error) => error,
        other => StoreError::Misconfigured(format!("the user store holds something else: {other}")),
    }
}
