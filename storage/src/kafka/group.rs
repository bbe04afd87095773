//! Membership among the routers: a consumer group, in which this process is a consumer that reads nothing.
//!
//! Its thread does nothing but hear the group, so it is never late for it; the brokers miss it after the
//! session timeout if the process hangs or is gone, and so does it miss them: then all its shards are
//! revoked. A member that is dropped says that it leaves, and its shards move at once. (One that owns no
//! shard yet leaves without a word, because the client library says nothing then: a rebalance that waits
//! for it goes on when its session ends.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panda_protocol::ShardId;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::bootstrap::{Alone, watch};
use super::client::{failure, log_error, log_line, reading};
use super::config::{HEARTBEAT, KafkaLogConfig, SESSION_TIMEOUT};
use super::ending::Ending;
use super::thread;
use crate::command_log::{ShardChange, ShardGroup};
use crate::error::StoreError;

/// How long the thread listens before it looks whether the member is to leave.
const LOOK: Duration = Duration::from_millis(50);
/// A member whose thread does not listen for so long is out, and a rebalance waits for it no longer.
const LISTENING: Duration = Duration::from_secs(30);

/// How the client library's log calls it that a member did not hear the group for a session timeout.
const SESSION_ENDED: &str = "SESSTMOUT";

/// Membership; dropping it leaves the group, on a thread of its own.
pub struct KafkaGroup {
    member: Arc<Member>,
}

impl KafkaGroup {
    pub(super) fn join(config: &KafkaLogConfig, router: u64, ending: Ending) -> Self {
        let config = config.clone();
        Self::hear(move |member| listen(&config, router, member), ending)
    }

    /// Runs what hears the group on a thread of its own. However that ends, the member is told.
    fn hear(listen: impl FnOnce(&Arc<Member>) -> Result<(), StoreError> + Send + 'static, ending: Ending) -> Self {
        let member = Arc::new(Member::default());
        let group = Self { member: Arc::clone(&member) };
        let (ran, told) = (Arc::clone(&member), Arc::clone(&member));
        let listen = move || {
            let _ending = ending;
            if let Err(error) = listen(&ran) {
                ran.fail(error);
            }
        };
        if let Err(error) = thread::start("kafka-group", listen, move |broken| told.fail(broken)) {
            member.fail(error);
        }
        group
    }
}

impl ShardGroup for KafkaGroup {
    async fn next(&mut self) -> Result<ShardChange, StoreError> {
        loop {
            let mut told = std::pin::pin!(self.member.told.notified());
            // Before the look, so that a change after it is not missed.
            told.as_mut().enable();
            if let Some(next) = self.member.changes.lock().take() {
                return next;
            }
            told.await;
        }
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.member.leave.store(true, Ordering::Release);
    }
}

/// What the thread and the member share.
#[derive(Default)]
struct Member {
    changes: Mutex<Changes>,
    told: Notify,
    leave: AtomicBool,
}

impl Member {
    fn tell(&self, change: ShardChange) {
        self.changes.lock().add(change);
        self.told.notify_waiters();
    }

    fn fail(&self, error: StoreError) {
        self.changes.lock().failed = Some(error);
        self.told.notify_waiters();
    }
}

/// What the member was not told yet: at most two changes a shard, however often it moves, and the last of what
/// became of its membership.
#[derive(Default)]
struct Changes {
    order: VecDeque<ShardChange>,
    failed: Option<StoreError>,
}

impl Changes {
    fn add(&mut self, change: ShardChange) {
        let of_membership = |change: &ShardChange| matches!(change, ShardChange::Joined | ShardChange::Left);
        if of_membership(&change) {
            self.order.retain(|untold| !of_membership(untold));
        }
        // Revoked behind an assignment that the member was not told of: it never had the shard.
        if let ShardChange::Revoked(shard) = change
            && let Some(index) = self.order.iter().position(|untold| *untold == ShardChange::Assigned(shard))
        {
            self.order.remove(index);
        } else {
            self.order.push_back(change);
        }
    }

    fn take(&mut self) -> Option<Result<ShardChange, StoreError>> {
        if let Some(change) = self.order.pop_front() {
            return Some(Ok(change));
        }
        self.failed.clone().map(Err)
    }
}

/// Hears of rebalances, on the thread that listens.
struct Rebalancing {
    member: Arc<Member>,
    alone: Alone,
}

impl ClientContext for Rebalancing {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        // Of a member without shards nothing else says it.
        if fac == SESSION_ENDED {
            self.member.tell(ShardChange::Left);
        }
        log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.alone.look(&statistics);
    }
}

impl ConsumerContext for Rebalancing {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, shards: &mut TopicPartitionList) {
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let changed = if assigned { hold(consumer, shards) } else { consumer.incremental_unassign(shards) };
        if let Err(error) = changed {
            tracing::warn!(%error, "the client of the group did not follow a rebalance");
        }
        if !assigned && consumer.assignment_lost() {
            self.member.tell(ShardChange::Left);
        }
        for shard in shards.elements() {
            let Ok(shard) = u16::try_from(shard.partition()).map(ShardId) else { continue };
            self.member.tell(if assigned { ShardChange::Assigned(shard) } else { ShardChange::Revoked(shard) });
        }
        // Each rebalance ends with what is assigned, which may be nothing.
        if assigned {
            self.member.tell(ShardChange::Joined);
        }
    }
}

/// Takes shards without reading them: others read, from where they know.
fn hold(consumer: &BaseConsumer<Rebalancing>, shards: &TopicPartitionList) -> Result<(), KafkaError> {
    let mut held = TopicPartitionList::with_capacity(shards.count());
    for shard in shards.elements() {
        // Any offset does, and saves asking for the one that nobody committed.
        held.add_partition_offset(shard.topic(), shard.partition(), Offset::Offset(0))?;
    }
    consumer.incremental_assign(&held)?;
    consumer.pause(&held)
}

fn listen(config: &KafkaLogConfig, router: u64, member: &Arc<Member>) -> Result<(), StoreError> {
    let mut settings = reading(config, &format!("router-{router:016x}"));
    watch(&mut settings, config.shards);
    let hears = Rebalancing { member: Arc::clone(member), alone: Alone::default() };
    let consumer = settings
        .set("group.id", &config.group)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
        .set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string())
        .set("max.poll.interval.ms", LISTENING.as_millis().to_string())
        .create_with_context::<_, BaseConsumer<Rebalancing>>(hears)
        .map_err(|error| failure("a client for the group", &error))?;
    consumer.subscribe(&[&config.topic]).map_err(|error| failure("joining the group", &error))?;
    while !member.leave.load(Ordering::Acquire) {
        let heard = consumer.poll(LOOK);
        consumer.context().alone.mend(consumer.client(), &config.brokers);
        let Some(Err(error)) = heard else { continue };
        match (error.rdkafka_error_code(), failure("membership of the group", &error)) {
            (_, failed) if matches!(error, KafkaError::MessageConsumptionFatal(_)) => return Err(failed),
            (_, failed @ StoreError::Misconfigured(_)) => return Err(failed),
            // It was not heard for too long, and joins again by itself.
            (Some(RDKafkaErrorCode::PollExceeded), _) => {
                tracing::warn!("this process hung and lost its shards; it joins again");
            }
            _ => tracing::debug!(%error, "membership goes on"),
        }
    }
    // Says that it leaves; this may take as long as a broker that hangs, and nobody waits for it.
    drop(consumer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_yet_is_at_most_two_changes_a_shard() {
        let (one, other) = (ShardId(1), ShardId(2));
        let mut changes = Changes::default();
        changes.add(ShardChange::Assigned(one));
        changes.add(ShardChange::Assigned(other));
        changes.add(ShardChange::Revoked(one));
        assert_eq!(changes.order, [ShardChange::Assigned(other)]);
        assert_eq!(changes.take().unwrap().unwrap(), ShardChange::Assigned(other));
        for _ in 0..3 {
            changes.add(ShardChange::Left);
            changes.add(ShardChange::Joined);
        }
        assert_eq!(changes.order, [ShardChange::Joined]);
        assert_eq!(changes.take().unwrap().unwrap(), ShardChange::Joined);
        for _ in 0..3 {
            changes.add(ShardChange::Revoked(other));
            changes.add(ShardChange::Assigned(other));
        }
        assert_eq!(changes.order, [ShardChange::Revoked(other), ShardChange::Assigned(other)]);
    }

    #[tokio::test]
    async fn a_thread_that_breaks_is_told_of_behind_what_it_heard() {
        let endings = super::super::ending::Endings::new();
        let broken = |member: &Arc<Member>| {
            member.tell(ShardChange::Assigned(ShardId(1)));
            panic!("a rebalance of no kind")
        };
        let mut group = KafkaGroup::hear(broken, endings.thread());
        assert_eq!(group.next().await.unwrap(), ShardChange::Assigned(ShardId(1)));
        let error = group.next().await.unwrap_err();
        assert!(!error.is_retryable(), "waiting helps nobody");
        assert!(error.to_string().contains("kafka-group") && error.to_string().contains("of no kind"), "{error}");
        assert!(endings.wait(Duration::from_secs(20)).await);
    }

    #[test]
    fn a_failure_is_told_behind_the_changes_and_again() {
        let mut changes = Changes { failed: Some(StoreError::Closed), ..Changes::default() };
        changes.add(ShardChange::Assigned(ShardId(1)));
        assert!(changes.take().unwrap().is_ok());
        assert!(changes.take().unwrap().is_err());
        assert!(changes.take().unwrap().is_err());
    }
}
