//! Headers that others write, or an older release did not.

use panda_protocol::TraceContext;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::command_log::ShardReader as _;
use crate::record_headers::Appender;

const SHARD: ShardId = ShardId(1);

/// A header's name and value.
type Written = (&'static str, Option<Vec<u8>>);

#[tokio::test]
async fn headers_that_are_missing_unknown_or_garbage_do_no_harm() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    let log = KafkaLog::connect(&config, EPOCH).await.unwrap();
    let (trace, from) = (TraceContext::new([1; 16], [2; 8], 1), Appender::Router(7));
    let good = [("panda-from", from.to_string()), ("traceparent", trace.unwrap().to_string())];
    let good = good.map(|(key, value)| (key, Some(value.into_bytes())));
    let many = vec![("panda-from", Some(vec![0; 1_000])); 500];
    let of_others = [("tracestate", Some(b"a=b".to_vec())), ("", None)];
    let records: [(Vec<Written>, RecordHeaders); 7] = [
        (Vec::new(), NONE),
        (of_others.to_vec(), NONE),
        (vec![("panda-from", None), ("traceparent", Some(vec![0xff; 55]))], NONE),
        (vec![("panda-from", Some(b"somebody".to_vec())), good[1].clone()], NONE.traced(trace)),
        ([&of_others[..], &good[..]].concat(), RecordHeaders::from(from).traced(trace)),
        ([&good[..], &good[1..]].concat(), RecordHeaders::from(from)),
        (many, NONE),
    ];
    let brokers = config.brokers.join(",");
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for (headers, _) in &records {
        let owned = headers
            .iter()
            .fold(OwnedHeaders::new(), |owned, (key, value)| owned.insert(Header { key, value: value.as_ref() }));
        let record =
            BaseRecord::<(), [u8]>::to(&config.topic).partition(i32::from(SHARD.0)).payload(b"x").headers(owned);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(GUARD).unwrap();
    }
    let mut reader = log.read(SHARD, None).await.unwrap();
    let mut read = Vec::new();
    while read.len() < records.len() {
        read.extend(reader.next(10).await.unwrap());
    }
    assert!(read.iter().map(|record| record.headers).eq(records.map(|(_, headers)| headers)));
    assert!(read.iter().all(|record| record.record == "x"), "the records are whole");
    server.end().await;
}
