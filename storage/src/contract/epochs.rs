//! The suite of [`EpochStore`], for stores that are empty when they are made.

use crate::epoch_store::{EpochStore, LOG_IDENTITY_BYTES_MAX, LogEpoch, LogIdentity};
use crate::error::StoreError;

/// Runs every test on a new store.
pub(crate) async fn all<S: EpochStore>(make: impl AsyncFn() -> S) {
    an_epoch_follows_on_the_one_that_was_thought_and_none_goes_back(make().await).await;
    of_many_who_open_one_wins_and_all_learn_it(make().await).await;
    what_is_no_identity_is_refused(make().await).await;
}

fn epoch(epoch: u32, topic: &str) -> LogEpoch {
    LogEpoch { epoch, log: LogIdentity { cluster: "cluster-1".into(), topic: topic.into() } }
}

async fn an_epoch_follows_on_the_one_that_was_thought_and_none_goes_back(store: impl EpochStore) {
    assert_eq!(store.log_epoch().await.unwrap(), None);
    // Nothing to follow on.
    let first = epoch(3, "one");
    assert_eq!(store.open_log_epoch(None, first.clone()).await.unwrap(), first);
    assert_eq!(store.log_epoch().await.unwrap(), Some(first.clone()));
    // Opened again, late, from what is not in force, and lower.
    for (after, next) in [(None, 3), (None, 4), (Some(2), 4), (Some(4), 5), (Some(3), 3), (Some(3), 2), (Some(3), 0)] {
        assert_eq!(store.open_log_epoch(after, epoch(next, "other")).await.unwrap(), first, "{after:?} {next}");
    }
    let second = epoch(9, "two");
    assert_eq!(store.open_log_epoch(Some(3), second.clone()).await.unwrap(), second);
    // An answer that was lost: the same call again.
    assert_eq!(store.open_log_epoch(Some(3), second.clone()).await.unwrap(), second);
    assert_eq!(store.log_epoch().await.unwrap(), Some(second));
}

async fn of_many_who_open_one_wins_and_all_learn_it(store: impl EpochStore) {
    let opening = (0..8).map(|number| store.open_log_epoch(None, epoch(1, &format!("topic-{number}"))));
    let opened = futures_util::future::join_all(opening).await;
    let mut winners = Vec::new();
    for answer in opened {
        match answer {
            Ok(winner) => winners.push(winner),
            // A store that decides by rounds may have no time for one that comes late.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    let winner = store.log_epoch().await.unwrap().expect("one was opened");
    assert!(winners.iter().all(|told| *told == winner), "{winners:?}");
}

async fn what_is_no_identity_is_refused(store: impl EpochStore) {
    for topic in ["", "two words", &"x".repeat(LOG_IDENTITY_BYTES_MAX + 1), "Ü"] {
        let refused = store.open_log_epoch(None, epoch(1, topic)).await;
        assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
    }
    let longest = epoch(1, &"x".repeat(LOG_IDENTITY_BYTES_MAX));
    assert_eq!(store.open_log_epoch(None, longest.clone()).await.unwrap(), longest);
}
