//! What a server and a network do at the worst moment.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::Instant;

use super::server::{GUARD, LOOK, OwnServer, raw};
use super::*;
use crate::contract::proxy::Proxy;

const LIMIT: RateLimit = RateLimit { count: 1, window: Duration::from_secs(3_600) };

/// How long is waited for a server that is known to be silent, and for one that is there.
const BRIEFLY: Duration = Duration::from_millis(100);
const PATIENTLY: Duration = GUARD;
/// A rest that is over soon, and one that outlasts the test.
const SHORT_REST: Duration = Duration::from_millis(20);
const LONG_REST: Duration = Duration::from_secs(3_600);

fn cache_at(url: &str, prefix: &str, answer: Duration, rest: Duration) -> RedisCache {
    let limits = RedisLimits { connect: answer, answer, rest };
    RedisCache::new(&RedisConfig { url: url.into(), prefix: prefix.into(), limits }).unwrap()
}

/// Waits until the cache answers.
async fn healed(cache: &RedisCache) {
    let healed = async {
        while cache.ping().await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(GUARD, healed).await.expect("the cache heals by itself");
}

#[tokio::test]
async fn a_stopped_server_costs_one_call_its_time_and_the_others_none() {
    let Some(server) = OwnServer::start().await else { return };
    let cache = cache_at(&server.url(), "panda", BRIEFLY, LONG_REST);
    healed(&cache).await;
    server.stop();
    let began = Instant::now();
    for _ in 0..1_000 {
        cache.take(b"key", LIMIT, LONG_AGO).await.unwrap_err();
        cache.profile(user(1), LONG_AGO).await.unwrap_err();
    }
    // One answer's time each would be more than three minutes.
    assert!(began.elapsed() < GUARD, "{:?}", began.elapsed());
    server.go_on();
}

#[tokio::test]
async fn many_calls_that_meet_a_stopped_server_wait_together() {
    let Some(server) = OwnServer::start().await else { return };
    let cache = cache_at(&server.url(), "panda", BRIEFLY, SHORT_REST);
    healed(&cache).await;
    server.stop();
    let began = Instant::now();
    let calls: Vec<_> = (0..2_000_u32)
        .map(|number| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.take(&number.to_be_bytes(), LIMIT, LONG_AGO).await.is_err() })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert!(began.elapsed() < GUARD, "{:?}", began.elapsed());
    server.go_on();
    healed(&cache).await;
}

#[tokio::test]
async fn a_server_that_was_killed_is_back_when_it_is_back() {
    let Some(mut server) = OwnServer::start().await else { return };
    let cache = cache_at(&server.url(), "panda", PATIENTLY, SHORT_REST);
    healed(&cache).await;
    cache.fill_profile(profile(1, 1), LONG_AGO).await.unwrap();
    server.kill();
    for _ in 0..10 {
        cache.profile(user(1), LONG_AGO).await.unwrap_err();
        cache.take(b"key", LIMIT, LONG_AGO).await.unwrap_err();
        cache.presence(vec![user(1)], LONG_AGO).await.unwrap_err();
        cache.state_sessions(user(1), 1, 1, LONG_AGO).await.unwrap_err();
        cache.fill_profile(profile(1, 1), LONG_AGO).await.unwrap_err();
    }
    server.restart().await;
    healed(&cache).await;
    assert_eq!(cache.profile(user(1), LONG_AGO).await.unwrap(), None);
    cache.fill_profile(profile(1, 2), LONG_AGO).await.unwrap();
    assert_eq!(cache.profile(user(1), LONG_AGO).await.unwrap(), Some(profile(1, 2)));
    cache.take(b"key", LIMIT, LONG_AGO).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_was_emptied_is_filled_again() {
    let Some(server) = OwnServer::start().await else { return };
    let cache = cache_at(&server.url(), "panda", PATIENTLY, SHORT_REST);
    healed(&cache).await;
    cache.fill_profile(profile(1, 2), LONG_AGO).await.unwrap();
    cache.state_sessions(user(1), 1, 1, LONG_AGO).await.unwrap();
    cache.take(b"key", LIMIT, LONG_AGO).await.unwrap().unwrap();
    let mut redis = raw(&server.url()).await;
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.unwrap();
    assert_eq!(cache.profile(user(1), LONG_AGO).await.unwrap(), None);
    assert_eq!(cache.presence(vec![user(1)], LONG_AGO).await.unwrap(), [Presence::default()]);
    cache.take(b"key", LIMIT, LONG_AGO).await.unwrap().unwrap();
    cache.fill_profile(profile(1, 2), LONG_AGO).await.unwrap();
    assert_eq!(cache.profile(user(1), LONG_AGO).await.unwrap(), Some(profile(1, 2)));
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_and_taken_back() {
    let Some(server) = OwnServer::start().await else { return };
    let cache = cache_at(&server.url(), "panda", PATIENTLY, SHORT_REST);
    healed(&cache).await;
    let mut redis = raw(&server.url()).await;
    // Of a server that is nowhere.
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut redis).await.unwrap();
    cache.take(b"key", LIMIT, LONG_AGO).await.unwrap_err();
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut redis).await.unwrap();
    healed(&cache).await;
    cache.take(b"key", LIMIT, LONG_AGO).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_network_that_loses_everything_is_left_and_taken_back() {
    let Some(config) = config() else { return };
    let proxy = Proxy::to(server_of(&config.url)).await;
    let cache = cache_at(&format!("redis://{}", proxy.address), &config.prefix, BRIEFLY, SHORT_REST);
    healed(&cache).await;
    proxy.freeze();
    for _ in 0..3 {
        cache.take(b"key", LIMIT, LONG_AGO).await.unwrap_err();
    }
    proxy.open();
    healed(&cache).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_connects_blocks_the_others_for_a_connections_time_only() {
    let Some(config) = config() else { return };
    let proxy = Proxy::to(server_of(&config.url)).await;
    proxy.freeze();
    let cache = cache_at(&format!("redis://{}", proxy.address), &config.prefix, BRIEFLY, LONG_REST);
    {
        let mut call = Box::pin(cache.ping());
        assert!(!poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await);
        cache.ping().await.unwrap_err();
    }
    proxy.open();
    healed(&cache).await;
}

#[tokio::test]
async fn a_change_that_the_server_did_not_hear_of_is_said_again() {
    let Some(config) = config() else { return };
    let proxy = Proxy::to(server_of(&config.url)).await;
    let writer = cache_at(&format!("redis://{}", proxy.address), &config.prefix, PATIENTLY, SHORT_REST);
    let reader = RedisCache::new(&config).unwrap();
    healed(&writer).await;
    reader.fill_profile(profile(1, 1), LONG_AGO).await.unwrap();
    proxy.cut();
    writer.invalidate_profile(user(1), 2, LONG_AGO).await.unwrap_err();
    // The others cannot know. Who made the change does, and believes and fills in nothing.
    assert_eq!(reader.profile(user(1), LONG_AGO).await.unwrap(), Some(profile(1, 1)));
    assert_eq!(writer.profile(user(1), LONG_AGO).await.unwrap(), None);
    writer.fill_profile(profile(1, 1), LONG_AGO).await.unwrap();
    proxy.open();
    let heard = async {
        while reader.profile(user(1), LONG_AGO).await.unwrap().is_some() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(GUARD, heard).await.expect("the change is said again");
    reader.fill_profile(profile(1, 1), LONG_AGO).await.unwrap();
    assert_eq!(reader.profile(user(1), LONG_AGO).await.unwrap(), None);
    reader.fill_profile(profile(1, 2), LONG_AGO).await.unwrap();
    let believed = async {
        while writer.profile(user(1), LONG_AGO).await.unwrap_or(None) != Some(profile(1, 2)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(GUARD, believed).await.expect("nothing is owed any longer");
}

#[tokio::test]
async fn a_start_without_a_server_goes_on_without_a_cache() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let cache = cache_at(&format!("redis://:sesame@{nobody}"), "panda", PATIENTLY, SHORT_REST);
    for _ in 0..3 {
        let refused = cache.profile(user(1), LONG_AGO).await.unwrap_err();
        assert!(!refused.to_string().contains("sesame"), "{refused}");
    }
}

/// Where the server of a URL listens.
fn server_of(url: &str) -> std::net::SocketAddr {
    use redis::IntoConnectionInfo as _;
    let info = url.into_connection_info().unwrap();
    let redis::ConnectionAddr::Tcp(host, port) = info.addr() else { panic!("PANDA_TEST_REDIS names a host") };
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    std::net::SocketAddr::new(host.parse().expect("PANDA_TEST_REDIS names an address"), *port)
}
