//! The suite of [`EntityStore`], for stores that are empty when they are made.

use std::collections::BTreeSet;

use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Seq, UserId};

use super::events::{batch, entity, fill, row, state_row};
use crate::entity_store::{Copies, ENTITIES_AT_ONCE_MAX, EntityStore};
use crate::event_store::{BUCKET_EVENTS, ReadOrder};

/// Runs every test on a new store.
pub(crate) async fn all<S: EntityStore>(make: impl AsyncFn() -> S) {
    every_entity_with_events_is_found_once(make().await).await;
    pages_go_on_where_the_last_one_ended(make().await).await;
    all_copies_answer_as_enough_do_where_nothing_is_amiss(make().await).await;
}

/// All entities, in pages of at most `limit`.
async fn paged(store: &impl EntityStore, copies: Copies, limit: usize) -> Vec<EntityId> {
    let mut found: Vec<EntityId> = Vec::new();
    loop {
        let page = store.entities(copies, found.last().copied(), limit).await.unwrap();
        assert!(page.len() <= limit.min(ENTITIES_AT_ONCE_MAX), "{} of {limit}", page.len());
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

async fn every_entity_with_events_is_found_once(store: impl EntityStore) {
    assert_eq!(store.entities(Copies::Enough, None, 9).await.unwrap(), []);
    let user = UserId::from_random([9; 16]);
    let group = ChatId::group(user, DeviceId::NONE, Counter(1)).into();
    let direct = ChatId::direct(user, UserId::from_random([8; 16])).into();
    for entity in [user.into(), group, direct] {
        store.write_events(batch(entity, vec![row(1, 1, "first")])).await.unwrap();
    }
    // One with events in several partitions, and one that has rows and no events.
    fill(&store, entity(1), 2 * BUCKET_EVENTS + 5).await;
    store.write_state(entity(2), vec![state_row()]).await.unwrap();
    let expected = BTreeSet::from([user.into(), group, direct, entity(1)]);
    for limit in [1, 2, 100] {
        let found = paged(&store, Copies::Enough, limit).await;
        assert_eq!(found.len(), expected.len(), "{limit}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{limit}");
    }
    assert_eq!(store.entities(Copies::Enough, None, 0).await.unwrap(), []);
}

async fn pages_go_on_where_the_last_one_ended(store: impl EntityStore) {
    let many: BTreeSet<EntityId> = (0..ENTITIES_AT_ONCE_MAX + 200)
        .map(|number| ChatId::group(UserId::from_random([1; 16]), DeviceId::NONE, Counter(number as u64)).into())
        .collect();
    for entities in many.iter().copied().collect::<Vec<_>>().chunks(64) {
        let writes = entities.iter().map(|entity| store.write_events(batch(*entity, vec![row(1, 1, "first")])));
        futures_util::future::try_join_all(writes).await.unwrap();
    }
    let found = paged(&store, Copies::Enough, usize::MAX).await;
    assert_eq!((found.len(), found.iter().copied().collect::<BTreeSet<_>>()), (many.len(), many));
    // The same order, however it is cut.
    assert_eq!(paged(&store, Copies::Enough, 77).await, found);
}

async fn all_copies_answer_as_enough_do_where_nothing_is_amiss(store: impl EntityStore) {
    fill(&store, entity(1), 700).await;
    store.write_events(batch(entity(2), vec![row(1, 1, "first")])).await.unwrap();
    let order = paged(&store, Copies::Enough, 9).await;
    assert_eq!(order.len(), 2);
    assert_eq!(paged(&store, Copies::All, 9).await, order);
    for order in [ReadOrder::Forward, ReadOrder::Backward] {
        let read =
            async |copies| store.read_events_of(copies, entity(1), Seq(300), order, 999, usize::MAX).await.unwrap();
        let rows = read(Copies::Enough).await;
        assert_eq!(rows, store.read_events(entity(1), Seq(300), order, 999, usize::MAX).await.unwrap());
        assert_eq!(rows, read(Copies::All).await);
        assert!(rows.len() > 200, "{order:?}");
    }
}
