//! The suite of [`Cache`]. Time is passed in, so nothing waits.

use std::time::Duration;

use panda_protocol::{Time, UserId};

use crate::cache::{Cache, PROFILE_TTL, Presence, Profile, RATE_KEY_BYTES_MAX, RateLimit, SESSIONS_TTL};
use crate::user_store::Username;

const NOW: Time = Time(1_800_000_000_000_000);

/// Runs every test on a new cache.
pub(crate) async fn all<C: Cache>(make: impl Fn() -> C) {
    a_fill_never_replaces_a_newer_profile(make()).await;
    a_profile_is_believed_for_its_time_only(make()).await;
    sessions_add_up_over_edges_and_lapse(make()).await;
    a_user_who_left_was_seen_then(make()).await;
    a_limit_holds_in_every_window(make()).await;
    limits_of_two_keys_are_apart(make()).await;
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
    for _ in 0..3 {
        assert_eq!(cache.take(b"login ada", limit, NOW).await.unwrap(), Ok(()));
    }
    let half = later(Duration::from_secs(30));
    assert_eq!(cache.take(b"login ada", limit, half).await.unwrap(), Err(Duration::from_secs(30)));
    assert_eq!(cache.take(b"login ada", limit, later(Duration::from_secs(60))).await.unwrap(), Ok(()));
    let nothing = RateLimit { count: 0, ..limit };
    assert!(cache.take(b"nothing", nothing, NOW).await.unwrap().is_err());
}

async fn limits_of_two_keys_are_apart(cache: impl Cache) {
    let limit = RateLimit { count: 1, window: Duration::from_secs(60) };
    assert_eq!(cache.take(b"one", limit, NOW).await.unwrap(), Ok(()));
    assert_eq!(cache.take(b"other", limit, NOW).await.unwrap(), Ok(()));
    assert!(cache.take(b"one", limit, NOW).await.unwrap().is_err());
    let long = [7; RATE_KEY_BYTES_MAX + 1];
    assert_eq!(cache.take(&long, limit, NOW).await.unwrap(), Ok(()));
    assert!(cache.take(&long, limit, NOW).await.unwrap().is_err());
}
