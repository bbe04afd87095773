//! An event that is stored and cannot be read: who comes to it is refused, and the session goes on.

use std::path::Path;

use panda_protocol::Cursor;
use panda_storage::embedded::{DataFolder, EmbeddedEvents};
use panda_storage::{EventBatch, EventStore, ReadOrder};

use super::*;

async fn garble(data: &Path, entity: EntityId, seq: Seq) {
    let store = EmbeddedEvents::open(&DataFolder::open(data).unwrap()).unwrap();
    let mut rows = store.read_events(entity, seq, ReadOrder::Forward, 1, usize::MAX).await.unwrap();
    let row = rows.first_mut().unwrap();
    (row.time.0, row.event) = (row.time.0 + 1, Default::default());
    store.write_events(EventBatch { entity, rows, owes: Vec::new(), settles: Vec::new() }).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_event_ends_the_subscription_that_comes_to_it_and_no_session() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::on(tempfile::tempdir().unwrap(), &data, |_| {}).await;
    let ada = server.join(user(), TransportKind::WebSocket).await;
    let (chat, _) = ada.client.create_group("tea".into(), Vec::new()).await.unwrap();
    let (other, _) = ada.client.create_group("milk".into(), Vec::new()).await.unwrap();
    for number in 3..7 {
        assert_eq!(ada.client.send(chat, format!("{number}").as_str().into()).await.unwrap(), Seq(number));
    }
    let cursor = Cursor { incarnation: server.events.incarnation(), seq: Seq(3) };
    server.stop().await;
    garble(&data, chat.into(), Seq(5)).await;

    let server = Server::on(tempfile::tempdir().unwrap(), &data, |_| {}).await;
    let mut ada = server.join(ada.user, TransportKind::WebSocket).await;
    ada.client.subscribe(other, None).await.unwrap();
    ada.client.subscribe(chat, Some(cursor)).await.unwrap();
    let ended = async {
        // A client says nothing of it before it has asked again for a while.
        while server.edge.metrics().subscriptions.get() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("only the other chat is listened to");
    let page = ada.client.page(chat.into(), Direction::Backward, Seq(4), 256).await.unwrap();
    assert_eq!(page.events.len(), 4);
    let said = ada.client.send(other, "here I am".into()).await.unwrap();
    ada.until(|update| match update {
        Update::Event { entity, seq, .. } => (*entity, *seq) == (other.into(), said),
        Update::Disconnected { .. } => panic!("the session ends: {update:?}"),
        _ => false,
    })
    .await;
    assert_eq!(server.edge.metrics().sessions.get(), 1);
    server.stop().await;
}
