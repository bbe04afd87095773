//! The board of owners.

use panda_protocol::Generation;
use rdkafka::producer::{BaseRecord, Producer as _};

use super::*;
use crate::kafka::ownership_record::{key, to_record};
use crate::ownership::{Ownership, OwnershipBoard as _, OwnershipWatch as _};

#[tokio::test]
async fn the_board_keeps_the_contract() {
    let Some(server) = Server::find() else { return };
    let board = async || KafkaOwnership::connect(&server.config()).await.unwrap();
    tokio::time::timeout(GUARD, crate::contract::ownership::all(board)).await.expect("the suite ends");
    server.end().await;
}

fn term(generation: u64) -> Ownership {
    let address = format!("127.0.0.1:{generation}");
    Ownership { shard: ShardId(3), epoch: 1, generation: Generation(generation), router: 1, address }
}

#[tokio::test]
async fn the_latest_term_is_the_last_record_though_an_owner_that_hung_announces_itself_late() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    let test = async {
        let board = KafkaOwnership::connect(&config).await.unwrap();
        let mut watch = board.watch();
        board.announce(term(7)).await.unwrap();
        assert_eq!(watch.next().await.unwrap(), term(7));
        // Another process that looked before it hung.
        let raw = client::settings(&config, "test").create::<rdkafka::producer::BaseProducer>().unwrap();
        let (key, value) = (key(ShardId(3)), to_record(&term(5)));
        raw.send(BaseRecord::to(&config.ownership_topic).partition(0).key(&key).payload(&value)).unwrap();
        raw.flush(Duration::from_secs(10)).unwrap();
        // What compaction would keep: the third record is the latest term again.
        let client = client::reading(&config, "test")
            .set("group.id", &config.group)
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        let third = tokio::task::spawn_blocking(move || {
            use rdkafka::consumer::Consumer as _;
            use rdkafka::message::Message as _;
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(&config.ownership_topic, 0, Offset::Offset(2)).unwrap();
            client.assign(&place).unwrap();
            loop {
                if let Some(Ok(message)) = client.poll(Duration::from_millis(100)) {
                    return message.payload().unwrap().to_vec();
                }
            }
        });
        assert_eq!(third.await.unwrap(), to_record(&term(7)));
    };
    tokio::time::timeout(GUARD, test).await.expect("the owner announces itself again");
    server.end().await;
}
