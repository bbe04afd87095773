//! The cache of one process: three bounded maps, the least recently used goes first.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use panda_protocol::{Time, UserId};
use parking_lot::Mutex;

use crate::cache::{
    Cache, CacheUnavailable, EDGES_MAX, Left, PRESENCE_USERS_MAX, PROFILE_TTL, Presence, Profile, RATE_KEY_BYTES_MAX,
    RateLimit, SESSIONS_TTL,
};

/// A cache in memory; clones share it.
#[derive(Clone)]
pub struct MemoryCache {
    maps: Arc<Maps>,
}

/// No lock is held while another is taken.
struct Maps {
    profiles: Mutex<LruCache<UserId, Known>>,
    presence: Mutex<LruCache<UserId, Sessions>>,
    rates: Mutex<LruCache<Box<[u8]>, Window>>,
}

/// The newest version that is known of a profile, and the profile until it is believed no longer.
struct Known {
    version: u64,
    filled: Option<(Profile, Time)>,
}

#[derive(Default)]
struct Sessions {
    /// Edge, its sessions, and until when that holds.
    edges: Vec<(u64, u32, Time)>,
    seen: Option<Time>,
}

struct Window {
    used: u32,
    ends: Time,
}

impl MemoryCache {
    /// A cache that keeps at most `entries` of each kind.
    pub fn new(entries: NonZeroUsize) -> Self {
        let maps = Maps {
            profiles: Mutex::new(LruCache::new(entries)),
            presence: Mutex::new(LruCache::new(entries)),
            rates: Mutex::new(LruCache::new(entries)),
        };
        Self { maps: Arc::new(maps) }
    }
}

impl Cache for MemoryCache {
    async fn profile(&self, user: UserId, now: Time) -> Result<Option<Profile>, CacheUnavailable> {
        let mut profiles = self.maps.profiles.lock();
        let filled = profiles.get(&user).and_then(|known| known.filled.as_ref());
        Ok(filled.filter(|(_, until)| now < *until).map(|(profile, _)| profile.clone()))
    }

    async fn fill_profile(&self, profile: Profile, now: Time) -> Result<(), CacheUnavailable> {
        let mut profiles = self.maps.profiles.lock();
        // The version decides even when the newer one is no longer believed: what is read next then
        // comes from the store and not from a slower reader's older row.
        if profiles.peek(&profile.id).is_none_or(|known| known.version <= profile.version) {
            let version = profile.version;
            profiles.put(profile.id, Known { version, filled: Some((profile, after(now, PROFILE_TTL))) });
        }
        Ok(())
    }

    async fn invalidate_profile(&self, user: UserId, version: u64, _now: Time) -> Result<(), CacheUnavailable> {
        let mut profiles = self.maps.profiles.lock();
        if profiles.get(&user).is_none_or(|known| known.version < version) {
            profiles.put(user, Known { version, filled: None });
        }
        Ok(())
    }

    async fn state_sessions(&self, user: UserId, edge: u64, sessions: u32, now: Time) -> Result<(), CacheUnavailable> {
        let mut presence = self.maps.presence.lock();
        let entry = presence.get_or_insert_mut(user, Sessions::default);
        let was_there = entry.edges.iter().any(|(known, ..)| *known == edge);
        entry.edges.retain(|(known, _, until)| *known != edge && now < *until);
        if sessions > 0 {
            if entry.edges.len() == EDGES_MAX {
                entry.edges.remove(0);
            }
            entry.edges.push((edge, sessions, after(now, SESSIONS_TTL)));
        }
        if sessions > 0 || was_there {
            entry.seen = entry.seen.max(Some(now));
        }
        Ok(())
    }

    async fn presence(&self, users: Vec<UserId>, now: Time) -> Result<Vec<Presence>, CacheUnavailable> {
        let mut presence = self.maps.presence.lock();
        let one = |user: &UserId| {
            presence.get(user).map_or_else(Presence::default, |entry| {
                let live = entry.edges.iter().filter(|(.., until)| now < *until);
                Presence {
                    sessions: live.fold(0, |sum, (_, sessions, _)| sum.saturating_add(*sessions)),
                    seen: entry.seen,
                }
            })
        };
        Ok(users.iter().take(PRESENCE_USERS_MAX).map(one).collect())
    }

    async fn take(&self, key: &[u8], limit: RateLimit, now: Time) -> Result<Result<Left, Duration>, CacheUnavailable> {
        let key = if key.len() > RATE_KEY_BYTES_MAX { &[] } else { key };
        let mut rates = self.maps.rates.lock();
        if let Some(window) = rates.get_mut(key).filter(|window| now < window.ends) {
            let renewed_in = Duration::from_micros(window.ends.0 - now.0);
            if window.used >= limit.count {
                return Ok(Err(renewed_in));
            }
            window.used += 1;
            return Ok(Ok(Left { uses: limit.count - window.used, renewed_in }));
        }
        if limit.count == 0 {
            return Ok(Err(limit.window));
        }
        rates.put(key.into(), Window { used: 1, ends: after(now, limit.window) });
        Ok(Ok(Left { uses: limit.count - 1, renewed_in: limit.window }))
    }
}

fn after(now: Time, wait: Duration) -> Time {
    Time(now.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;
    use crate::user_store::Username;

    fn cache(entries: usize) -> MemoryCache {
        MemoryCache::new(NonZeroUsize::new(entries).unwrap())
    }

    #[tokio::test]
    async fn the_memory_cache_keeps_the_contract() {
        contract::cache::all(async || cache(1_000)).await;
    }

    #[tokio::test]
    async fn each_map_stays_within_its_entries() {
        let cache = cache(2);
        let limit = RateLimit { count: 1, window: Duration::from_secs(1) };
        for byte in 0..10 {
            let user = UserId::from_random([byte; 16]);
            let profile = Profile { id: user, username: Username::parse("ada").unwrap(), picture: None, version: 1 };
            cache.fill_profile(profile, Time(1)).await.unwrap();
            cache.state_sessions(user, 1, 1, Time(1)).await.unwrap();
            cache.take(&[byte], limit, Time(1)).await.unwrap().unwrap();
        }
        assert_eq!(cache.maps.profiles.lock().len(), 2);
        assert_eq!(cache.maps.presence.lock().len(), 2);
        assert_eq!(cache.maps.rates.lock().len(), 2);
    }

    #[tokio::test]
    async fn statements_about_one_user_stay_within_their_limit() {
        let cache = cache(2);
        let user = UserId::from_random([1; 16]);
        for edge in 0..100 {
            cache.state_sessions(user, edge, 1, Time(edge + 1)).await.unwrap();
        }
        assert_eq!(cache.maps.presence.lock().get(&user).unwrap().edges.len(), EDGES_MAX);
    }
}
