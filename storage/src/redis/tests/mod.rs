//! Tests on a real server, which `PANDA_TEST_REDIS` names. Each test has keys of its own.

mod faults;
mod server;

use std::sync::atomic::{AtomicU32, Ordering};

use server::raw;

use super::*;
use crate::contract::{self, test_server};

/// No clock of a machine shows this.
const LONG_AGO: Time = Time(1);
const FAR_AHEAD: Time = Time(9_000_000_000_000_000);

/// The server that the environment names, with keys of one test and limits that no busy machine reaches.
fn config() -> Option<RedisConfig> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let url = test_server("Redis", "PANDA_TEST_REDIS")?;
    let prefix = format!("panda-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let long = Duration::from_secs(60);
    Some(RedisConfig { url, prefix, limits: RedisLimits { connect: long, answer: long, rest: long } })
}

async fn connected(cache: RedisCache) -> RedisCache {
    cache.ping().await.unwrap();
    cache
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn profile(byte: u8, version: u64) -> Profile {
    let username = Username::parse(&format!("name-{byte}-{version}")).unwrap();
    let picture = Some(PictureUrl::parse("https://example.org/a.png").unwrap());
    Profile { id: user(byte), username, picture, version }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_in_redis_keeps_the_contract() {
    if config().is_none() {
        return;
    }
    let make = async || connected(RedisCache::going_by(&config().unwrap(), true).unwrap()).await;
    contract::cache::all(make).await;
}

#[tokio::test]
async fn callers_whose_clocks_differ_share_a_window_and_believe_what_is_filled() {
    let Some(config) = config() else { return };
    let cache = RedisCache::new(&config).unwrap();
    let limit = RateLimit { count: 2, window: Duration::from_secs(3_600) };
    assert!(cache.take(b"key", limit, FAR_AHEAD).await.unwrap().is_ok());
    assert!(cache.take(b"key", limit, LONG_AGO).await.unwrap().is_ok());
    for now in [LONG_AGO, FAR_AHEAD] {
        let wait = cache.take(b"key", limit, now).await.unwrap().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= limit.window, "{wait:?}");
    }
    for (filled, asked) in [(LONG_AGO, FAR_AHEAD), (FAR_AHEAD, LONG_AGO)] {
        cache.fill_profile(profile(1, 1), filled).await.unwrap();
        assert_eq!(cache.profile(user(1), asked).await.unwrap(), Some(profile(1, 1)));
        cache.state_sessions(user(1), 1, 1, filled).await.unwrap();
        let presence = cache.presence(vec![user(1)], asked).await.unwrap()[0];
        assert!(presence.sessions == 1 && presence.seen.is_some_and(|seen| seen > LONG_AGO && seen < FAR_AHEAD));
    }
}

#[tokio::test]
async fn a_window_of_a_clock_that_was_ahead_locks_nobody_out() {
    let Some(config) = config() else { return };
    let limit = RateLimit { count: 1, window: Duration::from_secs(60) };
    let ahead = RedisCache::going_by(&config, true).unwrap();
    ahead.take(b"key", limit, FAR_AHEAD).await.unwrap().unwrap();
    let cache = RedisCache::new(&config).unwrap();
    assert!(cache.take(b"key", limit, LONG_AGO).await.unwrap().is_ok());
    ahead.fill_profile(profile(1, 1), FAR_AHEAD).await.unwrap();
    assert_eq!(cache.profile(user(1), LONG_AGO).await.unwrap(), None);
}

#[tokio::test]
async fn every_key_ends_by_itself_and_names_its_form() {
    let Some(config) = config() else { return };
    let cache = RedisCache::new(&config).unwrap();
    cache.fill_profile(profile(1, 1), LONG_AGO).await.unwrap();
    cache.invalidate_profile(user(2), 1, LONG_AGO).await.unwrap();
    cache.state_sessions(user(1), 1, 1, LONG_AGO).await.unwrap();
    cache.state_sessions(user(2), 1, 0, LONG_AGO).await.unwrap();
    cache.take(b"key", RateLimit { count: 1, window: Duration::MAX }, LONG_AGO).await.unwrap().unwrap();
    let mut redis = raw(&config.url).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}:1:*", config.prefix)).query_async(&mut redis).await.unwrap();
    // A user without sessions who never had one leaves no key.
    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in keys {
        let ends: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!(ends > 0, "{key}: {ends}");
    }
}

#[tokio::test]
async fn statements_about_one_user_stay_within_their_limit() {
    let Some(config) = config() else { return };
    let cache = RedisCache::new(&config).unwrap();
    for edge in 0..100 {
        cache.state_sessions(user(1), edge, 1, LONG_AGO).await.unwrap();
    }
    let presence = cache.presence(vec![user(1)], LONG_AGO).await.unwrap()[0];
    assert_eq!(usize::try_from(presence.sessions).unwrap(), EDGES_MAX);
}

#[tokio::test]
async fn what_somebody_else_wrote_harms_one_answer_and_no_other() {
    let Some(config) = config() else { return };
    let cache = RedisCache::new(&config).unwrap();
    let mut redis = raw(&config.url).await;
    let key = |kind: &str, byte| format!("{}:1:{kind}:{}", config.prefix, user(byte));
    let ask = async |redis: &mut redis::aio::MultiplexedConnection, words: &[&str]| {
        redis::cmd(words[0]).arg(&words[1..]).exec_async(redis).await.unwrap();
    };
    ask(&mut redis, &["SET", &key("profile", 1), "text"]).await;
    ask(&mut redis, &["HSET", &key("profile", 2), "version", "1", "at", "x", "name", "no good"]).await;
    ask(&mut redis, &["SET", &key("presence", 1), "text"]).await;
    ask(&mut redis, &["HSET", &key("presence", 2), "7", "x", "8", "3 x", "seen", "x"]).await;
    ask(&mut redis, &["SET", &format!("{}:1:rate:key", config.prefix), "text"]).await;
    let limit = RateLimit { count: 1, window: Duration::from_secs(60) };
    assert!(cache.profile(user(1), LONG_AGO).await.is_err());
    assert!(cache.profile(user(2), LONG_AGO).await.is_err());
    assert!(cache.presence(vec![user(1)], LONG_AGO).await.is_err());
    assert!(cache.take(b"key", limit, LONG_AGO).await.is_err());
    // The server is not away for that.
    assert_eq!(cache.presence(vec![user(2)], LONG_AGO).await.unwrap(), [Presence::default()]);
    assert!(cache.take(b"other", limit, LONG_AGO).await.unwrap().is_ok());
    cache.fill_profile(profile(3, 1), LONG_AGO).await.unwrap();
    assert_eq!(cache.profile(user(3), LONG_AGO).await.unwrap(), Some(profile(3, 1)));
    // A profile that breaks the rule of a field is none.
    ask(&mut redis, &["HSET", &key("profile", 3), "name", "no good"]).await;
    assert_eq!(cache.profile(user(3), LONG_AGO).await.unwrap(), None);
}

/// Each reader is a process of its own, with a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_by_the_next_read_of_every_process() {
    const CHANGES: u64 = 100;
    let Some(config) = config() else { return };
    let writer = connected(RedisCache::new(&config).unwrap()).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(connected(RedisCache::new(&config).unwrap()).await);
    }
    let row = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let load: Vec<_> = readers
        .iter()
        .cloned()
        .map(|cache| {
            let row = Arc::clone(&row);
            tokio::spawn(async move {
                loop {
                    let version = row.load(Ordering::SeqCst);
                    cache.profile(user(1), LONG_AGO).await.unwrap();
                    // By now there may be a newer one.
                    cache.fill_profile(profile(1, version), LONG_AGO).await.unwrap();
                    if version > CHANGES {
                        return;
                    }
                }
            })
        })
        .collect();
    for version in 2..=CHANGES + 1 {
        row.store(version, Ordering::SeqCst);
        writer.invalidate_profile(user(1), version, LONG_AGO).await.unwrap();
        for reader in &readers {
            if let Some(seen) = reader.profile(user(1), LONG_AGO).await.unwrap() {
                assert_eq!(seen.version, version);
            }
        }
    }
    for task in load {
        task.await.unwrap();
    }
}

#[test]
fn a_password_is_never_shown() {
    let config = RedisConfig::new("redis://:sesame@host/0");
    assert!(!format!("{config:?}").contains("sesame"));
    for url in ["http://:sesame@host", "redis://:sesame@host:port", "redis://:sesame@host/x", "sesame"] {
        let refused = RedisCache::new(&RedisConfig::new(url)).map(drop).unwrap_err().to_string();
        assert!(!refused.contains("sesame") && refused.contains("cannot be read"), "{refused}");
    }
}
