//! Which epoch is open, as the store says: one task asks it for all shards of a router.
//!
//! An answer holds for when the question was put, not for when it came: one that took long may be old when it is
//! there. So whoever needs one names a time, and gets the answer to a question that was put then or later. One
//! question is under way at a time; all who wait for a later one share it.
//!
//! Somebody may open an epoch who did not see that a router came to the group meanwhile. So the store is asked now
//! and then although nobody wants it.

mod guard;

use std::time::Duration;

use panda_storage::epoch_store::EPOCH_READ_EVERY;
use panda_storage::{EpochStore, StoreError};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

pub(crate) use self::guard::Guard;
use crate::moment::Moment;
use crate::persist::{RETRY_MIN, STORE, retry};
use crate::shard::SILENCE_US;

/// What was known of an epoch counts for so long: no epoch ends sooner after the log was heard, or after the store
/// was asked and said that it is open.
pub(crate) const EPOCH_LASTS: Duration = Duration::from_micros(SILENCE_US);
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);
/// The same, where the answer was too old when it came: the store has too much to do already.
const SLOW_PAUSE: Duration = Duration::from_secs(1);

/// What the store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// When it was asked.
    pub(crate) asked: Moment,
    /// The epoch that was open; the own one for a store that was told of none, which is one process's.
    pub(crate) open: u32,
}

/// What is known: none before the first answer; an error that no repetition mends ends the asking.
type Known = Result<Option<Said>, StoreError>;

/// Knows what the store said last, and has it asked. Clones share the task, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct OpenEpoch {
    own: u32,
    /// The time for which somebody wants an answer.
    wanted: watch::Sender<Option<Moment>>,
    known: watch::Receiver<Known>,
}

impl OpenEpoch {
    /// Has the store asked, on the runtime that this is called on. `own` is the epoch of the router's log; `slow`
    /// counts the answers that were too old when they came.
    pub(crate) fn of<S: EpochStore>(store: S, own: u32, slow: Counter) -> Self {
        let (wanted, wants) = watch::channel(None);
        let (tell, known) = watch::channel(Ok(None));
        tokio::spawn(async move {
            tokio::select! {
                () = tell.closed() => {}
                error = ask(&store, own, wants, &tell, &slow) => drop(tell.send_replace(Err(error))),
            }
        });
        Self { own, wanted, known }
    }

    /// The answer to a question that was put at `since` or later.
    ///
    /// # Errors
    /// What the store returned and no repetition mends. Cancel safe.
    pub(crate) async fn since(&self, since: Moment) -> Result<Said, StoreError> {
        self.wanted.send_if_modified(|wanted| {
            let later = wanted.is_none_or(|wanted| !wanted.is_from(since));
            if later {
                *wanted = Some(wanted.map_or(since, |wanted| wanted.latest(since)));
            }
            later
        });
        self.wait_for(|said| said.asked.is_from(since)).await
    }

    /// What the store said last, if it did.
    ///
    /// # Errors
    /// As [`Self::since`].
    pub(crate) fn last(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Resolves once a later epoch than the own one is open, with that.
    ///
    /// # Errors
    /// As [`Self::since`]. Cancel safe.
    pub(crate) async fn over(&self) -> Result<u32, StoreError> {
        Ok(self.wait_for(|said| said.open > self.own).await?.open)
    }

    async fn wait_for(&self, is_it: impl Fn(Said) -> bool) -> Result<Said, StoreError> {
        let mut known = self.known.clone();
        let found = known.wait_for(|known| known.as_ref().map_or(true, |said| said.is_some_and(&is_it))).await;
        match found.as_deref() {
            Ok(Ok(Some(said))) => Ok(*said),
            Ok(Err(error)) => Err(error.clone()),
            // The runtime on which it was asked has ended.
            Ok(Ok(None)) | Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Asks until the store returns an error that no repetition mends.
async fn ask<S: EpochStore>(
    store: &S,
    own: u32,
    mut wants: watch::Receiver<Option<Moment>>,
    tell: &watch::Sender<Known>,
    slow: &Counter,
) -> StoreError {
    let mut last: Option<Moment> = None;
    let mut is_slow = false;
    loop {
        if let Some(last) = last {
            tokio::select! {
                wanted = wants.wait_for(|wanted| wanted.is_some_and(|wanted| !last.is_from(wanted))) => if wanted.is_err() {
                    // Nobody is left.
                    return StoreError::Closed;
                },
                () = sleep_until(last.for_timers() + EPOCH_READ_EVERY) => {}
            }
        }
        let mut wait = RETRY_MIN;
        let said = loop {
            let asked = Moment::now();
            match store.log_epoch().await {
                Ok(open) => break Said { asked, open: open.map_or(own, |open| open.epoch) },
                Err(error) => match retry(STORE, None, error, wait).await {
                    Ok(longer) => wait = longer,
                    Err(error) => return error,
                },
            }
        };
        last = Some(said.asked);
        drop(tell.send_replace(Ok(Some(said))));
        let took = said.asked.elapsed();
        let was_slow = std::mem::replace(&mut is_slow, took >= EPOCH_LASTS);
        if is_slow {
            slow.inc();
        }
        if is_slow && !was_slow {
            tracing::warn!(
                took_ms = took.as_millis(),
                "the event store says too late which epoch is open: a shard that does not hear from its log stores \
                 nothing until it is faster"
            );
        } else if was_slow && !is_slow {
            tracing::info!("the event store says in time again which epoch is open");
        }
        sleep(if is_slow { SLOW_PAUSE } else { PAUSE }).await;
    }
}

#[cfg(test)]
mod tests;
