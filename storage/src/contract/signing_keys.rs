//! The part of the suite of [`UserStore`] that is about signing keys. What a key is good for at a time is tested where it is
//! decided (`user_store/signing_keys.rs`).

use std::time::Duration;

use panda_protocol::Time;

use crate::user_store::{
    KeyStage, SIGNING_KEYS_MAX, SealedSigningKey, TOKEN_LIFETIME_MAX, UserStore, UserStoreError, key_stages,
};

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    signing_keys_are_read_newest_first(make().await).await;
    of_first_signing_keys_one_is_taken(make().await).await;
    a_turn_waits_until_the_one_before_has_happened(make().await).await;
    of_racing_turns_one_happens(make().await).await;
    a_key_is_forgotten_behind_the_longest_token_that_it_signed(make().await).await;
    no_turn_pushes_out_a_key_whose_tokens_live(make().await).await;
    a_key_is_sealed_anew_where_nobody_else_did(make().await).await;
}

const S: u64 = 1_000_000;

/// One that signs from this second on, with tokens of a minute.
fn key_from(second: u64) -> SealedSigningKey {
    let key = SealedSigningKey::at_once(format!("from{second}"), vec![1], Time(second * S));
    SealedSigningKey { created: Time(second * S / 2), longest_token: Duration::from_secs(60), ..key }
}

async fn a_turn_waits_until_the_one_before_has_happened(store: impl UserStore) {
    store.add_first_signing_key(key_from(100)).await.unwrap();
    store.turn_signing_keys(key_from(500), Time(200 * S)).await.unwrap();
    let early = store.turn_signing_keys(key_from(600), Time(500 * S - 1)).await;
    assert!(
        matches!(early, Err(UserStoreError::KeysTurning { signs_from }) if signs_from == Time(500 * S)),
        "{early:?}"
    );
    assert_eq!(store.signing_keys().await.unwrap(), [key_from(500), key_from(100)], "as they were given");
    store.turn_signing_keys(key_from(900), Time(500 * S)).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), [900, 500, 100].map(key_from));
}

async fn of_racing_turns_one_happens(store: impl UserStore) {
    store.add_first_signing_key(key_from(100)).await.unwrap();
    let turns = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.turn_signing_keys(key_from(500 + number), Time(200 * S)).await })
    });
    let mut happened = 0;
    for turn in turns.collect::<Vec<_>>() {
        match turn.await.unwrap() {
            Ok(()) => happened += 1,
            Err(error) => assert!(matches!(error, UserStoreError::KeysTurning { .. }), "{error}"),
        }
    }
    assert_eq!((happened, store.signing_keys().await.unwrap().len()), (1, 2));
}

async fn a_key_is_forgotten_behind_the_longest_token_that_it_signed(store: impl UserStore) {
    store.add_first_signing_key(key_from(100)).await.unwrap();
    store.turn_signing_keys(key_from(500), Time(200 * S)).await.unwrap();
    let kids = vec![key_from(100).kid, key_from(500).kid];
    store.lengthen_signing_keys(kids.clone(), Duration::from_secs(1_000)).await.unwrap();
    store.lengthen_signing_keys(kids, Duration::from_secs(10)).await.unwrap();
    let keys = store.signing_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.longest_token.as_secs()).collect::<Vec<_>>(), [1_000, 1_000]);
    let KeyStage::Verifying { until } = key_stages(&keys, Time(501 * S))[1] else { panic!("it verifies: {keys:?}") };
    assert!(until >= Time(1_500 * S), "{until:?}");
    assert_eq!(store.forget_signing_keys(Time(until.0 - 1)).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.forget_signing_keys(until).await.unwrap(), [key_from(100).kid]);
    assert_eq!(store.signing_keys().await.unwrap(), keys[..1]);
    assert_eq!(store.forget_signing_keys(Time(u64::MAX / 4)).await.unwrap(), Vec::<String>::new(), "it signs");
}

async fn a_key_is_sealed_anew_where_nobody_else_did(store: impl UserStore) {
    store.add_first_signing_key(key_from(100)).await.unwrap();
    let reseal = async |from: u8, to: u8| store.reseal_signing_key(key_from(100).kid, vec![from], vec![to]).await;
    assert!(!reseal(9, 2).await.unwrap());
    assert!(reseal(1, 2).await.unwrap() && !reseal(1, 3).await.unwrap());
    assert!(!store.reseal_signing_key("none".into(), vec![2], vec![4]).await.unwrap());
    assert_eq!(store.signing_keys().await.unwrap(), [SealedSigningKey { sealed: vec![2], ..key_from(100) }]);
}

async fn no_turn_pushes_out_a_key_whose_tokens_live(store: impl UserStore) {
    let long = |second| SealedSigningKey { longest_token: TOKEN_LIFETIME_MAX, ..key_from(second) };
    store.add_first_signing_key(long(1)).await.unwrap();
    let many = u64::try_from(SIGNING_KEYS_MAX).unwrap();
    for second in 2..=many {
        store.turn_signing_keys(long(second), Time((second - 1) * S)).await.unwrap();
    }
    let full = store.turn_signing_keys(long(99), Time(50 * S)).await;
    assert!(matches!(full, Err(UserStoreError::TooMany(SIGNING_KEYS_MAX))), "{full:?}");
    assert_eq!(store.signing_keys().await.unwrap().len(), SIGNING_KEYS_MAX);
    // Those that are over make room by themselves.
    let later = Time(800_000 * S);
    store.turn_signing_keys(long(900_000), later).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), [long(900_000), long(many)]);
}

async fn signing_keys_are_read_newest_first(store: impl UserStore) {
    assert_eq!(store.signing_keys().await.unwrap(), []);
    let count = u64::try_from(SIGNING_KEYS_MAX).unwrap() + 2;
    let key =
        |number: u64| SealedSigningKey::at_once(format!("kid{number}"), number.to_be_bytes().to_vec(), Time(number));
    for number in 0..count {
        store.add_signing_key(key(number)).await.unwrap();
    }
    store.add_signing_key(SealedSigningKey { sealed: vec![9], ..key(count - 1) }).await.unwrap();
    let expected: Vec<_> = (2..count).rev().map(key).collect();
    assert_eq!(store.signing_keys().await.unwrap(), expected);
}

async fn of_first_signing_keys_one_is_taken(store: impl UserStore) {
    let key = |number: u8| SealedSigningKey::at_once(format!("kid{number}"), vec![number], Time(number.into()));
    let (one, other) = tokio::join!(store.add_first_signing_key(key(1)), store.add_first_signing_key(key(2)));
    one.unwrap();
    other.unwrap();
    let taken = store.signing_keys().await.unwrap();
    assert!(taken == [key(1)] || taken == [key(2)], "{taken:?}");
    store.add_first_signing_key(key(3)).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), taken);
}
