//! The suite of [`Cache`]. Time is passed in, so nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use panda_protocol::{Time, UserId};

use crate::cache::{
    Cache, Left, PRESENCE_USERS_MAX, PROFILE_TTL, Presence, Profile, RATE_KEY_BYTES_MAX, RateLimit, SESSIONS_TTL,
};
use crate::user_store::Username;

const NOW: Time = Time(1_800_000_000_000_000);

/// Runs every test on a new cache.
pub(crate) async fn all<C: Cache>(make: impl AsyncFn() -> C) {
    a_fill_never_replaces_a_newer_profile(make().await).await;
    a_profile_is_believed_for_its_time_only(make().await).await;
    an_older_fill_loses_though_nothing_newer_is_believed(make().await).await;
    an_invalidation_forgets_what_is_older_and_keeps_it_out(make().await).await;
    every_read_after_a_change_sees_it(make().await).await;
    sessions_add_up_over_edges_and_lapse(make().await).await;
    a_user_who_left_was_seen_then(make().await).await;
    a_limit_holds_in_every_window(make().await).await;
    limits_of_two_keys_are_apart(make().await).await;
    racing_users_of_a_limit_share_it(make().await).await;
    answers_are_in_the_order_asked_for_and_within_their_limit(make().await).await;
}

fn later(wait: Duration) -> Time {
    Time(NOW.0 + u64::try_from(wait.as_micros()).unwrap())
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn profile(byte: u8, version: u64) -> Profile {
    let username = Username::parse(&format!("name-{byte}-{version}")).unwrap();
    Profile { id: user(byte), username, picture: None, version }
}

async fn a_fill_never_replaces_a_newer_profile(cache: impl Cache) {
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), None);
    cache.fill_profile(profile(1, 2), NOW).await.unwrap();
    cache.fill_profile(profile(1, 1), NOW).await.unwrap();
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), Some(profile(1, 2)));
    cache.fill_profile(profile(1, 3), NOW).await.unwrap();
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), Some(profile(1, 3)));
    assert_eq!(cache.profile(user(2), NOW).await.unwrap(), None);
}

async fn a_profile_is_believed_for_its_time_only(cache: impl Cache) {
    cache.fill_profile(profile(1, 1), NOW).await.unwrap();
    assert!(cache.profile(user(1), later(PROFILE_TTL - Duration::from_micros(1))).await.unwrap().is_some());
    assert_eq!(cache.profile(user(1), later(PROFILE_TTL)).await.unwrap(), None);
    cache.fill_profile(profile(1, 1), later(PROFILE_TTL)).await.unwrap();
    assert!(cache.profile(user(1), later(PROFILE_TTL)).await.unwrap().is_some());
}

async fn an_older_fill_loses_though_nothing_newer_is_believed(cache: impl Cache) {
    cache.fill_profile(profile(1, 2), NOW).await.unwrap();
    cache.fill_profile(profile(1, 1), later(PROFILE_TTL)).await.unwrap();
    assert_eq!(cache.profile(user(1), later(PROFILE_TTL)).await.unwrap(), None);
    cache.fill_profile(profile(1, 2), later(PROFILE_TTL)).await.unwrap();
    assert_eq!(cache.profile(user(1), later(PROFILE_TTL)).await.unwrap(), Some(profile(1, 2)));
}

async fn an_invalidation_forgets_what_is_older_and_keeps_it_out(cache: impl Cache) {
    cache.fill_profile(profile(1, 1), NOW).await.unwrap();
    cache.invalidate_profile(user(1), 2, NOW).await.unwrap();
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), None);
    cache.fill_profile(profile(1, 1), NOW).await.unwrap();
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), None);
    cache.fill_profile(profile(1, 2), NOW).await.unwrap();
    // A late one, and one said twice.
    cache.invalidate_profile(user(1), 1, NOW).await.unwrap();
    cache.invalidate_profile(user(1), 2, NOW).await.unwrap();
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), Some(profile(1, 2)));
    // One about a profile that nobody filled.
    cache.invalidate_profile(user(2), 5, NOW).await.unwrap();
    cache.fill_profile(profile(2, 4), NOW).await.unwrap();
    assert_eq!(cache.profile(user(2), NOW).await.unwrap(), None);
    // After a change that may have happened, nothing is cached.
    cache.invalidate_profile(user(3), u64::MAX, NOW).await.unwrap();
    cache.fill_profile(profile(3, 7), NOW).await.unwrap();
    assert_eq!(cache.profile(user(3), NOW).await.unwrap(), None);
}

/// Readers fill in rows that they read before the change, all the time.
async fn every_read_after_a_change_sees_it(cache: impl Cache) {
    const READERS: usize = 8;
    const CHANGES: u64 = 100;
    let row = Arc::new(AtomicU64::new(1));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (cache, row) = (cache.clone(), Arc::clone(&row));
            tokio::spawn(async move {
                loop {
                    let version = row.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    cache.fill_profile(profile(1, version), NOW).await.unwrap();
                    if version > CHANGES {
                        return;
                    }
                }
            })
        })
        .collect();
    for version in 2..=CHANGES + 1 {
        row.store(version, Ordering::SeqCst);
        cache.invalidate_profile(user(1), version, NOW).await.unwrap();
        if let Some(seen) = cache.profile(user(1), NOW).await.unwrap() {
            assert_eq!(seen.version, version);
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(cache.profile(user(1), NOW).await.unwrap(), Some(profile(1, CHANGES + 1)));
}

async fn sessions_add_up_over_edges_and_lapse(cache: impl Cache) {
    cache.state_sessions(user(1), 10, 2, NOW).await.unwrap();
    cache.state_sessions(user(1), 11, 1, NOW).await.unwrap();
    cache.state_sessions(user(1), 10, 3, NOW).await.unwrap();
    let seen = Some(NOW);
    let asked = vec![user(2), user(1)];
    assert_eq!(cache.presence(asked, NOW).await.unwrap(), [Presence::default(), Presence { sessions: 4, seen }]);
    // The second edge was killed and says nothing more.
    cache.state_sessions(user(1), 10, 3, later(SESSIONS_TTL / 2)).await.unwrap();
    let presence = cache.presence(vec![user(1)], later(SESSIONS_TTL)).await.unwrap();
    assert_eq!(presence, [Presence { sessions: 3, seen: Some(later(SESSIONS_TTL / 2)) }]);
}

async fn a_user_who_left_was_seen_then(cache: impl Cache) {
    let left = later(Duration::from_secs(5));
    cache.state_sessions(user(1), 10, 1, NOW).await.unwrap();
    cache.state_sessions(user(1), 10, 0, left).await.unwrap();
    let presence = cache.presence(vec![user(1)], later(Duration::from_secs(9))).await.unwrap();
    assert_eq!(presence, [Presence { sessions: 0, seen: Some(left) }]);
}

async fn a_limit_holds_in_every_window(cache: impl Cache) {
    let limit = RateLimit { count: 3, window: Duration::from_secs(60) };
    for uses in [2, 1] {
        let left = Left { uses, renewed_in: limit.window };
        assert_eq!(cache.take(b"login ada", limit, NOW).await.unwrap(), Ok(left));
    }
    let new = Left { uses: 2, renewed_in: limit.window };
    let half = later(Duration::from_secs(30));
    let left = Left { uses: 0, renewed_in: Duration::from_secs(30) };
    assert_eq!(cache.take(b"login ada", limit, half).await.unwrap(), Ok(left));
    assert_eq!(cache.take(b"login ada", limit, half).await.unwrap(), Err(Duration::from_secs(30)));
    assert_eq!(cache.take(b"login ada", limit, later(Duration::from_secs(60))).await.unwrap(), Ok(new));
    let nothing = RateLimit { count: 0, ..limit };
    assert!(cache.take(b"nothing", nothing, NOW).await.unwrap().is_err());
}

async fn limits_of_two_keys_are_apart(cache: impl Cache) {
    let limit = RateLimit { count: 1, window: Duration::from_secs(60) };
    assert!(cache.take(b"one", limit, NOW).await.unwrap().is_ok());
    assert!(cache.take(b"other", limit, NOW).await.unwrap().is_ok());
    assert!(cache.take(b"one", limit, NOW).await.unwrap().is_err());
    let long = [7; RATE_KEY_BYTES_MAX + 1];
    assert!(cache.take(&long, limit, NOW).await.unwrap().is_ok());
    assert!(cache.take(&long, limit, NOW).await.unwrap().is_err());
}

async fn racing_users_of_a_limit_share_it(cache: impl Cache) {
    let limit = RateLimit { count: 10, window: Duration::from_secs(60) };
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.take(b"shared", limit, NOW).await.unwrap().is_ok() })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(task.await.unwrap());
    }
    assert_eq!(taken, limit.count);
}

async fn answers_are_in_the_order_asked_for_and_within_their_limit(cache: impl Cache) {
    let numbered = |number: usize| {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        UserId::from_random(bytes)
    };
    for number in [0, 500, 999, 1_000] {
        let sessions = u32::try_from(number).unwrap() + 1;
        cache.state_sessions(numbered(number), 1, sessions, NOW).await.unwrap();
    }
    let all = (0..=PRESENCE_USERS_MAX).map(numbered).collect();
    let presence = cache.presence(all, NOW).await.unwrap();
    assert_eq!(presence.len(), PRESENCE_USERS_MAX);
    let there = presence.iter().enumerate().filter(|(_, presence)| presence.sessions > 0);
    assert_eq!(
        there.map(|(place, presence)| (place, presence.sessions)).collect::<Vec<_>>(),
        [(0, 1), (500, 501), (999, 1_000)]
    );
    assert_eq!(cache.presence(vec![], NOW).await.unwrap(), []);
}
