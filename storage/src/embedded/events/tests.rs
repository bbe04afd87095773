use tokio::time::timeout;

use super::*;

/// Small enough that rows move into the index all the time.
const SMALL: Options = Options {
    memory_bytes: 2_000,
    retry: Duration::from_millis(5),
    rest: Duration::from_secs(2),
    resting_bytes: 1,
    spacing: Duration::ZERO,
};
/// So impatient that what is in memory moves between any two requests, too.
const RESTLESS: Options = Options { rest: Duration::ZERO, ..SMALL };

#[tokio::test]
async fn the_store_keeps_the_contract() {
    let place = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        DataFolder::open(&place.path().join(number.get().to_string())).unwrap()
    };
    for options in [Options::default(), SMALL, RESTLESS] {
        crate::contract::events::all(async || EmbeddedEvents::open_with(&make(), options).unwrap()).await;
        crate::contract::entities::all(async || EmbeddedEvents::open_with(&make(), options).unwrap()).await;
    }
}

#[tokio::test]
async fn an_epoch_is_above_the_last_and_the_incarnation_stays() {
    let place = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(place.path()).unwrap();
    let first = EmbeddedEvents::open(&folder).unwrap();
    let incarnation = first.incarnation();
    assert_eq!(first.epoch(), 1);
    drop(first);
    let second = EmbeddedEvents::open(&folder).unwrap();
    assert_eq!((second.epoch(), second.incarnation()), (2, incarnation));
}

#[tokio::test]
async fn owed_effects_outlive_a_restart() {
    for options in [Options::default(), SMALL, RESTLESS] {
        let place = tempfile::tempdir().unwrap();
        let open = || EmbeddedEvents::open_with(&DataFolder::open(place.path()).unwrap(), options).unwrap();
        let reopen = |store| {
            drop(store);
            open()
        };
        crate::contract::events::owed_effects_outlive_a_restart(open(), reopen).await;
    }
}

#[tokio::test]
async fn while_nobody_writes_what_is_in_memory_moves_into_the_index() {
    let place = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(place.path()).unwrap();
    let store = EmbeddedEvents::open_with(
        &folder,
        Options { rest: Duration::from_millis(1), resting_bytes: 1, ..Options::default() },
    )
    .unwrap();
    let entity = EntityId::from(panda_protocol::UserId::from_random([1; 16]));
    let key = RowKey { kind: 1, key: Bytes::from_static(b"key") };
    let row = StateRow { key: key.clone(), value: Some(Bytes::from_static(b"value")), time: panda_protocol::Time(1) };
    let files = || folder.events().unwrap().names().unwrap();
    let first = files().into_iter().find(|name| name.starts_with("journal")).expect("a journal file");
    store.write_state(entity, vec![row.clone()]).await.unwrap();
    // It goes once the index has what it held.
    let gone = async {
        while files().contains(&first) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), gone).await.expect("the journal's first file goes");
    assert_eq!(store.read_state(entity, vec![key]).await.unwrap(), [Some(row)]);
    assert_eq!(store.last_error(), None);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(place.path()).unwrap();
    let store = EmbeddedEvents::open(&folder).unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.sync_state().await, Err(StoreError::Closed)));
}
