//! A cache that holds invalidations until the test lets them through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use panda_protocol::{Time, UserId};
use panda_storage::cache::{Cache, CacheUnavailable, Left, Presence, Profile, RateLimit};
use panda_storage::embedded::MemoryCache;
use tokio::sync::Semaphore;

/// Clones share what is held.
#[derive(Clone)]
pub(crate) struct HeldCache {
    cache: MemoryCache,
    held: Arc<Held>,
}

struct Held {
    begun: Semaphore,
    through: Semaphore,
    done: AtomicUsize,
}

impl HeldCache {
    pub(crate) fn new(cache: MemoryCache) -> Self {
        let held = Held { begun: Semaphore::new(0), through: Semaphore::new(0), done: AtomicUsize::new(0) };
        Self { cache, held: Arc::new(held) }
    }

    /// Waits until an invalidation is held.
    pub(crate) async fn begun(&self) {
        self.held.begun.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_one_through(&self) {
        self.held.through.add_permits(1);
    }

    /// How many invalidations came through.
    pub(crate) fn done(&self) -> usize {
        self.held.done.load(Ordering::Acquire)
    }
}

impl Cache for HeldCache {
    async fn profile(&self, user: UserId, now: Time) -> Result<Option<Profile>, CacheUnavailable> {
        self.cache.profile(user, now).await
    }

    async fn fill_profile(&self, profile: Profile, now: Time) -> Result<(), CacheUnavailable> {
        self.cache.fill_profile(profile, now).await
    }

    async fn invalidate_profile(&self, user: UserId, version: u64, now: Time) -> Result<(), CacheUnavailable> {
        self.held.begun.add_permits(1);
        self.held.through.acquire().await.unwrap().forget();
        self.cache.invalidate_profile(user, version, now).await?;
        self.held.done.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    async fn state_sessions(&self, user: UserId, edge: u64, sessions: u32, now: Time) -> Result<(), CacheUnavailable> {
        self.cache.state_sessions(user, edge, sessions, now).await
    }

    async fn presence(&self, users: Vec<UserId>, now: Time) -> Result<Vec<Presence>, CacheUnavailable> {
        self.cache.presence(users, now).await
    }

    async fn take(&self, key: &[u8], limit: RateLimit, now: Time) -> Result<Result<Left, Duration>, CacheUnavailable> {
        self.cache.take(key, limit, now).await
    }
}
