//! How many requests are on their way, and how many wait for a place.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::StoreError;
use crate::send_while::SendWhile;

/// Lets so many through at once. Those who wait are served in order.
pub(super) struct Gate {
    places: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Gate {
    pub(super) fn new(places: usize, waiting_max: usize) -> Self {
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { places, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Waits for a place, which is free again when the permit is dropped; refuses when too many wait
    /// already. Cancel safe.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        if let Ok(permit) = self.places.try_acquire() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(self)?;
        self.places.acquire().await.map_err(|_| StoreError::Closed)
    }

    /// As [`Self::enter`], for what may not be sent any more when it has waited too long.
    pub(super) async fn enter_while(&self, may: &SendWhile) -> Result<SemaphorePermit<'_>, StoreError> {
        let place = self.enter().await?;
        may.check().map(|()| place)
    }
}

struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Result<Self, StoreError> {
        let before = gate.waiting.fetch_add(1, Ordering::Relaxed);
        let this = Self(gate);
        if before >= gate.waiting_max {
            return Err(StoreError::Unavailable("too many requests to the event store are waiting".into()));
        }
        Ok(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_must_not_be_sent_any_more_is_refused_when_its_place_is_free() {
        let gate = Gate::new(1, 1);
        let may = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&may);
        let may_send = SendWhile::new(move || asked.load(Ordering::Relaxed));
        let first = gate.enter_while(&may_send).await.unwrap();
        let mut second = Box::pin(gate.enter_while(&may_send));
        assert!(second.as_mut().now_or_never().is_none());
        may.store(false, Ordering::Relaxed);
        drop(first);
        assert!(second.await.unwrap_err().is_retryable());
        // Its place is free again.
        assert!(gate.enter_while(&SendWhile::default()).now_or_never().is_some_and(|place| place.is_ok()));
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_and_a_free_place_serves_the_first() {
        let gate = Gate::new(2, 1);
        let (first, second) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        let mut third = Box::pin(gate.enter());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(gate.enter().await.unwrap_err().is_retryable());
        drop(first);
        let third = third.await.unwrap();
        drop((second, third));
        let _both = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        // Whoever stops waiting makes room for another.
        let mut stops = Box::pin(gate.enter());
        assert!(stops.as_mut().now_or_never().is_none());
        drop(stops);
        assert!(Box::pin(gate.enter()).as_mut().now_or_never().is_none());
    }
}
