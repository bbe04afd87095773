//! What every board of owners keeps.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::task::Poll;

use panda_protocol::{Generation, ShardId};

use crate::error::StoreError;
use crate::ownership::{Ownership, OwnershipBoard, OwnershipWatch};

/// Runs every test on a new board.
pub(crate) async fn all<B: OwnershipBoard>(make: impl AsyncFn() -> B) {
    one_who_comes_later_sees_every_owner(make().await).await;
    a_change_is_seen_and_an_older_term_is_not(make().await).await;
    a_dropped_wait_loses_nothing(make().await).await;
    an_address_that_is_too_long_is_refused(make().await).await;
}

fn term(shard: u16, epoch: u32, generation: u64) -> Ownership {
    let address = format!("127.0.0.1:{}", 9_700 + u64::from(epoch) + generation);
    Ownership { shard: ShardId(shard), epoch, generation: Generation(generation), router: generation, address }
}

async fn one_who_comes_later_sees_every_owner(board: impl OwnershipBoard) {
    for shard in 0..5 {
        board.announce(term(shard, 1, 3)).await.unwrap();
        board.announce(term(shard, 1, u64::from(shard) + 10)).await.unwrap();
    }
    let mut watch = board.watch();
    let mut seen = BTreeMap::new();
    while seen.len() < 5 || seen.values().any(|owner: &Ownership| owner.generation.0 < 10) {
        let owner = watch.next().await.unwrap();
        seen.insert(owner.shard, owner);
    }
    for (shard, owner) in seen {
        assert_eq!(owner, term(shard.0, 1, u64::from(shard.0) + 10));
    }
}

async fn a_change_is_seen_and_an_older_term_is_not(board: impl OwnershipBoard) {
    let mut watch = board.watch();
    board.announce(term(1, 1, 9)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), term(1, 1, 9));
    board.announce(term(1, 1, 8)).await.unwrap();
    board.announce(term(1, 1, 9)).await.unwrap();
    // A new epoch's terms are later, whatever their offsets.
    board.announce(term(1, 2, 0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), term(1, 2, 0));
    board.announce(term(1, 1, 100)).await.unwrap();
    board.announce(term(2, 1, 0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), term(2, 1, 0));
}

async fn a_dropped_wait_loses_nothing(board: impl OwnershipBoard) {
    let mut watch = board.watch();
    {
        let mut next = std::pin::pin!(watch.next());
        assert!(std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await);
    }
    board.announce(term(3, 1, 1)).await.unwrap();
    drop(watch.next());
    assert_eq!(watch.next().await.unwrap(), term(3, 1, 1));
}

async fn an_address_that_is_too_long_is_refused(board: impl OwnershipBoard) {
    let address = "a".repeat(256);
    let refused = board.announce(Ownership { address, ..term(0, 1, 1) }).await;
    assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
}
