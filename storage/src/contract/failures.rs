//! The part of the suite of [`UserStore`] that is about failed logins. What a failure means is tested where it is reckoned
//! (`user_store/failures.rs`); here, that a store keeps it and loses none.

use std::time::Duration;

use panda_protocol::Time;

use crate::user_store::{FAILURE_KEYS_MAX, FailureKey, FailureRule, UserStore, UserStoreError};

const RULE: FailureRule =
    FailureRule { free: 2, forget_one: Duration::from_secs(60), wait_max: Duration::from_secs(100) };
const COUNTED: FailureRule = FailureRule { wait_max: Duration::ZERO, ..RULE };
const ONE: FailureKey = [1; 32];
const TWO: FailureKey = [2; 32];

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    failures_are_counted_under_each_key_by_its_rule(make().await).await;
    forgotten_ones_are_gone_and_others_stay(make().await).await;
    racing_failures_are_all_counted(make().await).await;
    failures_of_long_ago_leave_the_store(make().await).await;
    more_keys_than_a_call_takes_are_refused(make().await).await;
}

fn at(seconds: u64) -> Time {
    Time(1_700_000_000_000_000 + seconds * 1_000_000)
}

/// How many there are under some keys, and how long each has to wait.
async fn found(store: &impl UserStore, keys: &[FailureKey], seconds: u64) -> Vec<Option<(u64, u64)>> {
    let now = at(seconds);
    let told = store.login_failures(keys.to_vec()).await.unwrap();
    let shown = |failures: crate::user_store::Failures| {
        (failures.count(&RULE, now), failures.wait(now).unwrap_or_default().as_secs())
    };
    told.into_iter().map(|failures| failures.map(shown)).collect()
}

async fn failures_are_counted_under_each_key_by_its_rule(store: impl UserStore) {
    assert_eq!(found(&store, &[ONE], 0).await, [None]);
    for _ in 0..4 {
        store.note_login_failures(vec![(TWO, COUNTED), (ONE, RULE)], at(0)).await.unwrap();
    }
    store.note_login_failures(vec![(ONE, RULE)], at(0)).await.unwrap();
    assert_eq!(found(&store, &[TWO, [3; 32], ONE], 0).await, [Some((4, 0)), None, Some((5, 4))]);
    assert_eq!(found(&store, &[ONE], 61).await, [Some((4, 0))]);
}

async fn forgotten_ones_are_gone_and_others_stay(store: impl UserStore) {
    store.note_login_failures(vec![(ONE, RULE), (TWO, RULE), ([3; 32], RULE)], at(0)).await.unwrap();
    store.forget_login_failures(vec![ONE, [3; 32], [9; 32]]).await.unwrap();
    assert_eq!(found(&store, &[ONE, TWO, [3; 32]], 0).await, [None, Some((1, 0)), None]);
    store.note_login_failures(vec![(ONE, RULE)], at(0)).await.unwrap();
    assert_eq!(found(&store, &[ONE], 0).await, [Some((1, 0))]);
}

async fn racing_failures_are_all_counted(store: impl UserStore) {
    let noted = (0..20).map(|number| {
        let mut keys = vec![(ONE, COUNTED), (TWO, COUNTED)];
        // In whatever order they come, nobody waits for somebody who waits for it.
        if number % 2 == 0 {
            keys.reverse();
        }
        store.note_login_failures(keys, at(0))
    });
    for noted in futures_util::future::join_all(noted).await {
        noted.unwrap();
    }
    assert_eq!(found(&store, &[ONE, TWO], 0).await, [Some((20, 0)), Some((20, 0))]);
}

async fn failures_of_long_ago_leave_the_store(store: impl UserStore) {
    let day = 24 * 3_600;
    store.note_login_failures(vec![(ONE, RULE)], at(0)).await.unwrap();
    store.note_login_failures(vec![(TWO, RULE)], at(day)).await.unwrap();
    assert!(found(&store, &[ONE], day).await[0].is_some());
    store.note_login_failures(vec![(TWO, RULE)], at(day + 1)).await.unwrap();
    assert_eq!(found(&store, &[ONE, TWO], day + 1).await, [None, Some((2, 0))]);
}

async fn more_keys_than_a_call_takes_are_refused(store: impl UserStore) {
    let many: Vec<_> = (0..=FAILURE_KEYS_MAX).map(|number| [u8::try_from(number).unwrap(); 32]).collect();
    let refused = |refused: Result<(), UserStoreError>| {
        assert!(matches!(refused, Err(UserStoreError::TooMany(FAILURE_KEYS_MAX))), "{refused:?}");
    };
    refused(store.login_failures(many.clone()).await.map(drop));
    refused(store.forget_login_failures(many.clone()).await);
    refused(store.note_login_failures(many.into_iter().map(|key| (key, RULE)).collect(), at(0)).await);
}
