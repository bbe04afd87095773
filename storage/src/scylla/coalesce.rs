//! Equal reads that are asked for at the same time become one.
//!
//! A read must see every write that was confirmed before it was asked for. So nobody joins a read
//! that is already on its way: it may have passed the place where that write went. Whoever comes
//! then shares the next one, which begins when the one on its way ends. However many ask, two
//! requests are under way or waiting for each distinct read.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use parking_lot::Mutex;

use crate::error::StoreError;

type Answer<V> = Result<Arc<V>, StoreError>;
type Flight<V> = Pin<Box<dyn Future<Output = Answer<V>> + Send>>;

/// Joins equal reads. Whoever still waits drives them; when nobody does, they end.
pub(super) struct Coalescer<K, V> {
    flights: Arc<Mutex<HashMap<K, Entry<V>>>>,
}

/// The newest read of a key.
struct Entry<V> {
    begun: Arc<AtomicBool>,
    flight: WeakShared<Flight<V>>,
}

impl<K, V> Coalescer<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self { flights: Arc::default() }
    }

    /// Answers with `read`, or with the read of another who asked for the same and whose read has not
    /// begun.
    pub(super) async fn join<F>(&self, key: K, read: impl FnOnce() -> F) -> Answer<V>
    where
        F: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let flight = {
            let mut flights = self.flights.lock();
            let newest = flights.get(&key).and_then(|entry| Some((&entry.begun, entry.flight.upgrade()?)));
            match newest {
                Some((begun, flight)) if !begun.load(Ordering::Acquire) => flight,
                newest => {
                    let before = newest.map(|(_, flight)| flight);
                    let begun = Arc::new(AtomicBool::new(before.is_none()));
                    let leave =
                        Leave { flights: Arc::clone(&self.flights), key: key.clone(), begun: Arc::clone(&begun) };
                    let flight = fly(before, read(), leave).boxed().shared();
                    let weak = flight.downgrade().expect("it was not polled yet");
                    flights.insert(key, Entry { begun, flight: weak });
                    flight
                }
            }
        };
        flight.await
    }
}

/// One read, behind the one that was on its way when it was asked for.
async fn fly<K: Eq + Hash, V>(
    before: Option<Shared<Flight<V>>>,
    read: impl Future<Output = Result<V, StoreError>>,
    leave: Leave<K, V>,
) -> Answer<V> {
    if let Some(before) = before {
        // Its answer is for those who asked earlier.
        drop(before.await);
    }
    leave.begun.store(true, Ordering::Release);
    let answer = read.await.map(Arc::new);
    drop(leave);
    answer
}

/// Takes a read off the list when it ends or nobody waits for it.
struct Leave<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, Entry<V>>>>,
    key: K,
    begun: Arc<AtomicBool>,
}

impl<K: Eq + Hash, V> Drop for Leave<K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // A later read of the same key stays.
        if flights.get(&self.key).is_some_and(|entry| Arc::ptr_eq(&entry.begun, &self.begun)) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    /// Reads a counter, when it is let.
    struct Source {
        coalescer: Coalescer<&'static str, u32>,
        value: Arc<AtomicU32>,
        reads: Arc<AtomicU32>,
        go: Arc<Notify>,
    }

    impl Source {
        fn new() -> Self {
            Self { coalescer: Coalescer::new(), value: Arc::default(), reads: Arc::default(), go: Arc::default() }
        }

        async fn read(&self, key: &'static str) -> Result<u32, StoreError> {
            let (value, reads, go) = (Arc::clone(&self.value), Arc::clone(&self.reads), Arc::clone(&self.go));
            let read = move || async move {
                reads.fetch_add(1, Ordering::SeqCst);
                let found = value.load(Ordering::SeqCst);
                go.notified().await;
                if found == 99 { Err(StoreError::Unavailable("99".into())) } else { Ok(found) }
            };
            self.coalescer.join(key, read).await.map(|answer| *answer)
        }
    }

    #[tokio::test]
    async fn a_read_sees_what_was_written_before_it_was_asked_for_and_many_share_one() {
        let source = Source::new();
        let mut first = Box::pin(source.read("a"));
        assert!(first.as_mut().now_or_never().is_none());
        source.value.store(7, Ordering::SeqCst);
        let mut later: Vec<_> = (0..100).map(|_| Box::pin(source.read("a"))).collect();
        for read in &mut later {
            assert!(read.as_mut().now_or_never().is_none());
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 1, "the next read waits for the one on its way");
        source.go.notify_one();
        assert_eq!(first.await.unwrap(), 0);
        source.go.notify_one();
        for read in later {
            assert_eq!(read.await.unwrap(), 7);
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 2);
        assert!(source.coalescer.flights.lock().is_empty());
    }

    #[tokio::test]
    async fn other_keys_are_read_apart() {
        let source = Source::new();
        let (mut one, mut other) = (Box::pin(source.read("a")), Box::pin(source.read("b")));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        assert_eq!(source.reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_first_may_stop_waiting_and_the_others_still_get_their_answer() {
        let source = Source::new();
        let mut first = Box::pin(source.read("a"));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(source.read("a"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        source.go.notify_one();
        assert!(second.as_mut().now_or_never().is_none());
        source.go.notify_one();
        assert_eq!(second.await.unwrap(), 0);
        assert!(source.coalescer.flights.lock().is_empty());
        let mut dropped = Box::pin(source.read("a"));
        assert!(dropped.as_mut().now_or_never().is_none());
        drop(dropped);
        assert!(source.coalescer.flights.lock().is_empty(), "a read for which nobody waits is forgotten");
    }

    #[tokio::test]
    async fn an_error_is_everybodys() {
        let source = Source::new();
        source.value.store(99, Ordering::SeqCst);
        let mut first = Box::pin(source.read("a"));
        assert!(first.as_mut().now_or_never().is_none());
        let (mut second, mut third) = (Box::pin(source.read("a")), Box::pin(source.read("a")));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        source.go.notify_one();
        assert!(first.await.unwrap_err().is_retryable());
        source.go.notify_one();
        assert!(second.await.unwrap_err().is_retryable() && third.await.unwrap_err().is_retryable());
    }
}
