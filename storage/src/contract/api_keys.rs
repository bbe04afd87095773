//! The part of the suite of [`UserStore`] that is about API keys.

use panda_protocol::Time;

use crate::user_store::{API_KEYS_MAX, ApiKey, ApiKeyId, ApiKeyLabel, Scopes, UserStore, UserStoreError};

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    api_keys_are_found_by_digest(make().await).await;
    all_api_keys_are_read_as_they_were_added(make().await).await;
    racing_api_keys_stay_within_their_limit(make().await).await;
    a_key_is_revoked_once_and_for_good(make().await).await;
    uses_are_noted_and_never_go_back(make().await).await;
    keys_that_open_nothing_make_room(make().await).await;
}

fn label(text: &str) -> ApiKeyLabel {
    ApiKeyLabel::parse(text).unwrap()
}

fn key(byte: u8) -> ApiKey {
    ApiKey::new([byte; 32], label(&format!("key {byte}")), Scopes(byte.into()), Time(byte.into()))
}

async fn all_api_keys_are_read_as_they_were_added(store: impl UserStore) {
    assert_eq!(store.api_keys().await.unwrap(), []);
    let ending = ApiKey { ends: Some(Time(1_000)), ..key(200) };
    for key in [ending.clone(), key(3)] {
        store.add_api_key(key).await.unwrap();
    }
    assert_eq!(store.api_keys().await.unwrap(), [key(3), ending]);
}

async fn a_key_is_revoked_once_and_for_good(store: impl UserStore) {
    for byte in [3, 4] {
        store.add_api_key(key(byte)).await.unwrap();
    }
    assert_eq!(store.revoke_api_key(ApiKeyId([9; 8]), Time(50)).await.unwrap(), None);
    let revoked = ApiKey { revoked: Some(Time(50)), ..key(3) };
    for now in [50, 60] {
        assert_eq!(store.revoke_api_key(key(3).id(), Time(now)).await.unwrap(), Some(revoked.clone()));
    }
    // Whoever brings it again, such as an import or the file of the first start, does not bring it back.
    store.add_api_key(key(3)).await.unwrap();
    assert_eq!(store.api_key(key(3).digest).await.unwrap(), Some(revoked));
    assert_eq!(store.api_key(key(4).digest).await.unwrap(), Some(key(4)));
    assert_eq!(store.api_key_count().await.unwrap(), 2);
}

async fn uses_are_noted_and_never_go_back(store: impl UserStore) {
    store.add_api_key(key(3)).await.unwrap();
    for (hour, noted) in [(70, 70), (60, 70), (80, 80)] {
        store.note_api_key_use(key(3).digest, Time(hour)).await.unwrap();
        assert_eq!(store.api_key(key(3).digest).await.unwrap().unwrap().used, Some(Time(noted)));
    }
    store.note_api_key_use([9; 32], Time(1)).await.unwrap();
    assert_eq!(store.api_key([9; 32]).await.unwrap(), None);
}

async fn keys_that_open_nothing_make_room(store: impl UserStore) {
    let numbered = |number: usize, created: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        ApiKey::new(digest, label("one of many"), Scopes::PROVISION, Time(created))
    };
    for number in 0..API_KEYS_MAX {
        let ends = (number == 7).then_some(Time(100));
        store.add_api_key(ApiKey { ends, ..numbered(number, 1) }).await.unwrap();
    }
    store.revoke_api_key(numbered(5, 1).id(), Time(50)).await.unwrap();
    store.revoke_api_key(numbered(6, 1).id(), Time(40)).await.unwrap();
    // The one that was revoked first leaves first, then the other, then the one that is over.
    for (number, gone) in [(2_000, 6), (2_001, 5), (2_002, 7)] {
        store.add_api_key(numbered(number, 100)).await.unwrap();
        assert_eq!(store.api_key(numbered(gone, 1).digest).await.unwrap(), None);
        assert_eq!(store.api_key_count().await.unwrap(), u64::try_from(API_KEYS_MAX).unwrap());
    }
    let full = store.add_api_key(numbered(2_003, 100)).await;
    assert!(matches!(full, Err(UserStoreError::TooMany(API_KEYS_MAX))), "{full:?}");
}

async fn racing_api_keys_stay_within_their_limit(store: impl UserStore) {
    let key = |number: usize| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        ApiKey::new(digest, label("one of many"), Scopes::PROVISION, Time(1))
    };
    for number in 0..API_KEYS_MAX - 4 {
        store.add_api_key(key(number)).await.unwrap();
    }
    let tasks: Vec<_> = (API_KEYS_MAX - 4..API_KEYS_MAX + 4)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.add_api_key(key(number)).await })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => {}
            Err(UserStoreError::TooMany(API_KEYS_MAX)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 4);
    assert_eq!(store.api_key_count().await.unwrap(), u64::try_from(API_KEYS_MAX).unwrap());
    // One that is there needs no room.
    store.add_api_key(key(0)).await.unwrap();
}

async fn api_keys_are_found_by_digest(store: impl UserStore) {
    let key = ApiKey::new([7; 32], label("admin"), Scopes::PROVISION, Time(1));
    assert_eq!(store.api_key_count().await.unwrap(), 0);
    store.add_api_key(key.clone()).await.unwrap();
    store.add_api_key(ApiKey { label: label("again"), ..key.clone() }).await.unwrap();
    assert_eq!(store.api_key_count().await.unwrap(), 1);
    assert_eq!(store.api_key([7; 32]).await.unwrap(), Some(key));
    assert_eq!(store.api_key([8; 32]).await.unwrap(), None);
}
