//! A hub that cannot do its work any more says so.

use panda_link::hub::HubError;
use panda_storage::{Ownership, OwnershipWatch, StoreError};
use tokio::sync::oneshot;

use super::*;

/// A board that shows what another one does until it is told to end or to break.
struct Ending {
    _shown: MemoryBoard,
    board: <MemoryBoard as panda_storage::OwnershipBoard>::Watch,
    end: oneshot::Receiver<()>,
}

impl OwnershipWatch for Ending {
    async fn next(&mut self) -> Result<Ownership, StoreError> {
        tokio::select! {
            owner = self.board.next() => owner,
            end = &mut self.end => match end {
                Ok(()) => Err(StoreError::Corrupt("nobody can read the board".into())),
                Err(_) => panic!("the board broke"),
            },
        }
    }
}

/// An edge whose one shard has an owner, and what ends its board when it is sent, or breaks it when it is dropped.
async fn edge() -> (Edge, Accepted, oneshot::Sender<()>) {
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await);
    router.announce(&board, 0, 5).await;
    let (end, ended) = oneshot::channel();
    let config = HubConfig { link: LinkId(7), keys: vec![key(1)], tls: None, shards: SHARDS, lanes: 2 };
    let watch = Ending { board: board.watch(), _shown: board, end: ended };
    let (hub, lanes) = Hub::start(config, watch).expect("it starts");
    let came = lanes.iter().map(|_| VecDeque::new()).collect();
    let mut edge = Edge { hub, lanes, came };
    let mut link = router.accept().await;
    link.own(0, 5).await;
    resumed(&mut link).await;
    edge.owner(5).await;
    (edge, link, end)
}

#[tokio::test]
async fn the_end_of_the_board_is_told_once_and_links_stay_for_who_hands_over() {
    let (mut edge, mut link, end) = edge().await;
    end.send(()).expect("the hub watches the board");
    let failed = timeout(PATIENCE, edge.hub.failed()).await.expect("it is told");
    let HubError::Board(why) = &failed else { panic!("{failed}") };
    assert!(why.to_string().contains("nobody can read the board"), "{why}");
    let entity = entity_in(ShardId(0), SHARDS).1;
    listen(&mut edge, 0, &mut link, entity, 5, 0).await;
    assert!(futures_util::FutureExt::now_or_never(edge.hub.failed()).is_none(), "it is told once");
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_panics_is_told_of_and_its_lanes_end() {
    let (mut edge, _link, end) = edge().await;
    drop(end);
    let failed = timeout(PATIENCE, edge.hub.failed()).await.expect("it is told");
    assert!(matches!(failed, HubError::Panic), "{failed}");
    let ended = timeout(PATIENCE, edge.lanes[0].down.recv()).await.expect("its lanes end");
    assert!(ended.is_none(), "{ended:?}");
    edge.hub.stop().await;
}
