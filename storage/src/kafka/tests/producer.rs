//! A producer that breaks.

#![allow(unsafe_code, reason = "the client library has no safe way to break a producer on purpose")]

use rdkafka::bindings::rd_kafka_test_fatal_error;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;

use super::*;

#[tokio::test]
async fn a_producer_that_broke_is_replaced_and_what_it_had_is_unknown() {
    let Some(server) = Server::find() else { return };
    let log = server.log().await;
    let shard = ShardId(1);
    let test = async {
        log.append(shard, Bytes::from_static(b"before"), NONE).unwrap().await.unwrap();
        for _ in 0..3 {
            log.inner.appends.with_producer(|producer| {
                let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
                // SAFETY: the client lives as long as the producer, and the text is static.
                unsafe { rd_kafka_test_fatal_error(producer.client().native_ptr(), code, c"a test".as_ptr()) };
            });
            // Refused, or told that nobody knows, until another producer is there.
            loop {
                let appended = match log.append(shard, Bytes::from_static(b"after"), NONE) {
                    Ok(appending) => appending.await,
                    Err(refused) => {
                        assert_eq!(refused, AppendError::Unavailable);
                        Err(refused)
                    }
                };
                if appended.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("another producer takes its place");
    server.end().await;
}
