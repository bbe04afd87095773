//! Links of a hub under TLS.

use super::certificates::Authority;
use super::*;

fn hub(board: &MemoryBoard, tls: panda_link_io::tls::LinkTls) -> Edge {
    let config = HubConfig { link: LinkId(7), keys: vec![key(1)], tls: Some(tls), shards: SHARDS, lanes: 2 };
    let (hub, lanes) = Hub::start(config, board.watch()).expect("it starts");
    let came = lanes.iter().map(|_| VecDeque::new()).collect();
    Edge { hub, lanes, came }
}

#[tokio::test]
async fn a_router_of_the_authority_is_linked() {
    let authority = Authority::new();
    let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await.with_tls(authority.tls("127.0.0.1")));
    router.announce(&board, 0, 5).await;
    let mut edge = hub(&board, authority.tls("edge-1"));
    let mut link = router.accept().await;
    link.own(0, 5).await;
    resumed(&mut link).await;
    edge.owner(5).await;
    let entity = entity_in(ShardId(0), SHARDS).1;
    listen(&mut edge, 0, &mut link, entity, 5, 0).await;
    edge.hub.stop().await;
}

#[tokio::test]
async fn a_router_of_another_authority_or_host_is_told_nothing_and_counted() {
    let (ours, other) = (Authority::new(), Authority::new());
    for router_tls in [other.tls_that_believes(&ours, "127.0.0.1"), ours.tls("router-2.example")] {
        let (board, router) = (MemoryBoard::default(), FakeRouter::listen(1).await.with_tls(router_tls));
        router.announce(&board, 0, 5).await;
        let edge = hub(&board, ours.tls("edge-1"));
        let failed = async {
            while edge.hub.metrics().failed.get() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = router.accept() => panic!("the edge opened a link"),
            failed = timeout(PATIENCE, failed) => failed.expect("its tries are counted"),
        }
        assert_eq!(edge.hub.metrics().opened.get(), 0);
        edge.hub.stop().await;
    }
}
