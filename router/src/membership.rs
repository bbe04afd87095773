//! Follows the group that shares the shards: which of them come to this router, and which go.
//!
//! It lives as long as the router. When the router stops, or a shard fails for good, every shard is finished
//! first and the group is left then, so that the others take over what is whole.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use panda_protocol::ShardId;
use panda_storage::{ShardChange, ShardGroup, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::driver::Ended;
use crate::readiness::Readiness;
use crate::router::RouterError;
use crate::tenure::{Tenure, TenureHolder};
use crate::thread::Control;

/// Before the group is asked again after an error that may mend itself.
const RETRY: Duration = Duration::from_millis(500);
/// A thread that does not end its shards this long after they should have ended is left behind.
const HANG_MAX: Duration = Duration::from_secs(1);

/// How a shard's last term ended; none: its task broke.
type End = Pin<Box<dyn Future<Output = (ShardId, Option<Result<Ended, StoreError>>)> + Send>>;

/// The shards that run here.
pub(crate) struct Held {
    threads: Vec<mpsc::Sender<Control>>,
    readiness: Readiness,
    /// How many shards there are.
    count: u16,
    /// How long a shard may take to finish.
    finish_max: Duration,
    shards: BTreeMap<ShardId, Holding>,
    ends: FuturesUnordered<End>,
}

struct Holding {
    tenure: TenureHolder,
    revoked: bool,
    /// It came back while it was being finished.
    again: bool,
}

/// Follows the group until the router stops, is dropped or fails: `stop` becomes true or is closed.
///
/// # Errors
/// Why it failed.
pub(crate) async fn follow<G: ShardGroup>(
    mut group: G,
    mut held: Held,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RouterError> {
    let ended = tokio::select! {
        biased;
        stopped = stop.wait_for(|stop| *stop) => match stopped {
            Ok(_) => Ok(()),
            // Dropped: nothing is finished, and whoever takes over finds it as after a crash.
            Err(_) => return Ok(()),
        },
        error = held.follow(&mut group) => Err(error),
    };
    if let Err(error) = &ended {
        tracing::error!(%error, "the router leaves its group");
    }
    let finished = held.finish().await;
    // The others take over from here on.
    drop(group);
    ended.and(finished)
}

impl Held {
    pub(crate) fn new(
        threads: Vec<mpsc::Sender<Control>>,
        readiness: Readiness,
        count: u16,
        finish_max: Duration,
    ) -> Self {
        Self { threads, readiness, count, finish_max, shards: BTreeMap::new(), ends: FuturesUnordered::new() }
    }

    /// Ends only by a failure.
    async fn follow(&mut self, group: &mut impl ShardGroup) -> RouterError {
        loop {
            let followed = tokio::select! {
                biased;
                Some((shard, end)) = self.ends.next() => self.ended(shard, end).await,
                change = group.next() => match change {
                    Ok(change) => self.change(change).await,
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%error, "the group did not answer; asking again");
                        sleep(RETRY).await;
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                },
            };
            if let Err(error) = followed {
                return error;
            }
        }
    }

    async fn change(&mut self, change: ShardChange) -> Result<(), RouterError> {
        match change {
            ShardChange::Assigned(shard) if shard.0 >= self.count => {
                let why = format!("the group assigns shard {shard}, and the log has {} of them", self.count);
                Err(StoreError::Misconfigured(why).into())
            }
            ShardChange::Assigned(shard) => {
                self.readiness.assign(shard);
                match self.shards.get_mut(&shard) {
                    Some(holding) => holding.again = holding.revoked,
                    None => self.own(shard).await?,
                }
                Ok(())
            }
            ShardChange::Revoked(shard) => {
                self.readiness.revoke(shard);
                if let Some(holding) = self.shards.get_mut(&shard) {
                    (holding.revoked, holding.again) = (true, false);
                    holding.tenure.end();
                }
                Ok(())
            }
            ShardChange::Joined => {
                self.readiness.set_joined(true);
                Ok(())
            }
            ShardChange::Left => {
                tracing::warn!("this router is out of its group, and joins again");
                self.readiness.set_joined(false);
                Ok(())
            }
        }
    }

    async fn own(&mut self, shard: ShardId) -> Result<(), RouterError> {
        let (holder, tenure) = Tenure::begin();
        let (end, ended) = oneshot::channel();
        let thread = &self.threads[usize::from(shard.0) % self.threads.len()];
        thread.send(Control::Own(shard, tenure, end)).await.map_err(|_| RouterError::Panic)?;
        self.shards.insert(shard, Holding { tenure: holder, revoked: false, again: false });
        self.ends.push(Box::pin(async move { (shard, ended.await.ok()) }));
        Ok(())
    }

    async fn ended(&mut self, shard: ShardId, end: Option<Result<Ended, StoreError>>) -> Result<(), RouterError> {
        let holding = self.shards.remove(&shard);
        outcome(shard, end)?;
        if holding.is_some_and(|holding| holding.again) {
            self.own(shard).await?;
        }
        Ok(())
    }

    /// Ends every tenure and waits until all is stored.
    ///
    /// # Errors
    /// The first failure.
    async fn finish(mut self) -> Result<(), RouterError> {
        for holding in self.shards.values() {
            holding.tenure.end();
        }
        let mut finished = Ok(());
        let all = async {
            while let Some((shard, end)) = self.ends.next().await {
                self.shards.remove(&shard);
                if let Err(error) = outcome(shard, end) {
                    finished = std::mem::replace(&mut finished, Ok(())).and(Err(error));
                }
            }
        };
        if timeout(self.finish_max + HANG_MAX, all).await.is_err() {
            let shards: Vec<u16> = self.shards.keys().map(|shard| shard.0).collect();
            tracing::error!(
                ?shards,
                "a thread of the router hangs; its shards are left to the next owner as after a crash"
            );
        }
        finished
    }
}

fn outcome(shard: ShardId, end: Option<Result<Ended, StoreError>>) -> Result<(), RouterError> {
    match end {
        Some(Ok(Ended::Stopped)) => Ok(()),
        Some(Ok(Ended::GivenUp(why))) => Err(RouterError::GivenUp { shard, why }),
        Some(Err(error)) => Err(error.into()),
        None => Err(RouterError::Panic),
    }
}
