//! A command that its sender follows, from the client through the edge, the log and the router and back: what stands in
//! the log's records, and what the processes say of it.
#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test that needs it")]

#[path = "../support/mod.rs"]
mod support;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use panda_client::TransportKind;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::Record;
use panda_protocol::{ChatId, ErrorCode, Position, ShardId, TraceContext};
use panda_storage::embedded::EmbeddedLog;
use panda_storage::{AppendError, Appender, CommandLog, RecordHeaders, StoreError, TRACE_TARGET};
use serde_json::Value;
use support::{Server, user};

/// What this process said of traces, a JSON object a line.
static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a trace: what edges and what routers said.
fn lines(trace: TraceContext) -> (Vec<Value>, Vec<Value>) {
    let said = String::from_utf8(SAID.lock().unwrap().clone()).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_trace = lines.filter(|line| line["trace_id"] == trace.trace_id().to_string());
    of_trace.partition(|line| line.get("router").is_none())
}

type Appended = Arc<Mutex<Vec<(Record, RecordHeaders)>>>;

/// A log that remembers what was appended to it.
#[derive(Clone)]
struct Remembering {
    log: EmbeddedLog,
    appended: Appended,
}

impl CommandLog for Remembering {
    type Appending = <EmbeddedLog as CommandLog>::Appending;
    type Group = <EmbeddedLog as CommandLog>::Group;
    type Reader = <EmbeddedLog as CommandLog>::Reader;

    fn shards(&self) -> u16 {
        self.log.shards()
    }

    fn epoch(&self) -> u32 {
        self.log.epoch()
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError> {
        self.appended.lock().unwrap().push((Record::from_bytes(record.clone()).unwrap(), headers));
        self.log.append(shard, record, headers)
    }

    fn join(&self, router: u64) -> Self::Group {
        self.log.join(router)
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Self::Reader, StoreError> {
        self.log.read(shard, from).await
    }

    async fn end(&self, shard: ShardId) -> Result<Position, StoreError> {
        self.log.end(shard).await
    }

    fn held_back(&self) -> Duration {
        self.log.held_back()
    }

    async fn release(&self, shard: ShardId, position: Position) -> Result<(), StoreError> {
        self.log.release(shard, position).await
    }
}

fn context(number: u8, flags: u8) -> TraceContext {
    TraceContext::new([number; 16], [0xb2; 8], flags).unwrap()
}

fn say(text: &str) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: text.into() }
}

/// The headers of the commands and of the effects that are in a trace.
fn in_trace(appended: &Appended, trace: TraceContext) -> (Vec<RecordHeaders>, Vec<RecordHeaders>) {
    let appended = appended.lock().unwrap();
    let all = appended.iter().filter(|(_, headers)| headers.trace == Some(trace));
    let (commands, effects): (Vec<_>, Vec<_>) = all.partition(|(record, _)| matches!(record, Record::Command(_)));
    let headers = |of: Vec<&(Record, RecordHeaders)>| of.into_iter().map(|(_, headers)| *headers).collect();
    (headers(commands), headers(effects))
}

fn has_number(line: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| line[name].is_u64())
}

const EDGES_STEPS: [&str; 2] = ["append_us", "total_us"];
const ROUTERS_STEPS: [&str; 3] = ["log_to_decided_us", "decided_to_stored_us", "stored_to_released_us"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_context_comes_out_in_the_logs_records_and_in_the_lines_of_edge_and_router() {
    let filter = format!("off,{TRACE_TARGET}=info");
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(|| Log);
    log.try_init().expect("no other test of this process takes the log");
    let (folder, appended) = (tempfile::tempdir().unwrap(), Appended::default());
    let (data, remembered) = (folder.path().join("data"), Arc::clone(&appended));
    let server = Server::over(folder, &data, |log| Remembering { log, appended: remembered }, |_| {}).await;
    for (number, transport) in [(1, TransportKind::Quic), (11, TransportKind::WebSocket)] {
        let mut ada = server.join(user(), transport).await;
        let (chat, _) = ada.client.create_group("tea".into(), Vec::new()).await.unwrap();
        let [sampled, unsampled, refused] = [context(number, 1), context(number + 1, 0), context(number + 2, 1)];
        let submit = async |chat: ChatId, body, trace| {
            ada.client.submit_traced(chat.into(), body, trace).await.unwrap().outcome().await
        };
        let said = submit(chat, say("followed"), sampled).await.unwrap();
        submit(chat, say("not sampled"), unsampled).await.unwrap();
        ada.client.send(chat, "not followed".into()).await.unwrap();
        let elsewhere = ChatId::direct(user(), user());
        submit(elsewhere, say("to nobody"), refused).await.unwrap_err();

        let (edges, routers) = lines(sampled);
        let ([edge], [router]) = (&edges[..], &routers[..]) else { panic!("{edges:?} {routers:?}") };
        assert_eq!((&edge["seq"], &router["seq"]), (&said.0.into(), &said.0.into()));
        assert_eq!((&edge["entity"], &router["entity"]), (&chat.to_string().into(), &chat.to_string().into()));
        assert_eq!((&edge["parent_span"], &router["parent_span"]), (&"b2".repeat(8).into(), &"b2".repeat(8).into()));
        assert!(edge["position"].is_string() && edge["position"] == router["position"], "{edge} {router}");
        assert_eq!(edge["edge"], router["from"], "the router's line names the edge");
        assert_eq!(router["router"], "router-0000000000000001");
        assert!(has_number(edge, &EDGES_STEPS) && has_number(router, &ROUTERS_STEPS), "{edge} {router}");
        assert!(edge["append_us"].as_u64() <= edge["total_us"].as_u64(), "{edge}");

        let (edges, routers) = lines(refused);
        let ([edge], [router]) = (&edges[..], &routers[..]) else { panic!("{edges:?} {routers:?}") };
        let not_found: Value = ErrorCode::NotFound.label().into();
        assert_eq!((&edge["code"], &router["code"], edge.get("seq")), (&not_found, &not_found, None));
        assert_eq!(lines(unsampled), (Vec::new(), Vec::new()), "what is not sampled has no line");

        for trace in [sampled, unsampled, refused] {
            let (commands, effects) = in_trace(&appended, trace);
            let [RecordHeaders { from: Some(from @ Appender::Edge(_)), .. }] = commands[..] else {
                panic!("{commands:?}")
            };
            assert!(trace == unsampled || edge["edge"] == from.to_string());
            assert!(effects.is_empty());
        }
        // Effects are in the context of what made them.
        let adding = context(number + 3, 1);
        let add = CommandBody::AddMembers {
            role: panda_protocol::event::Role::Member,
            with_history: false,
            members: vec![user(), user()],
        };
        let added = submit(chat, add, adding).await.unwrap();
        assert!(added > said);
        ada.until_lines(adding, 3).await;
        let (_, effects) = in_trace(&appended, adding);
        assert_eq!(effects, [RecordHeaders::from(Appender::Router(1)).traced(Some(adding)); 2]);
        let (_, routers) = lines(adding);
        let inboxes = routers.iter().filter(|line| line["from"] == "router-0000000000000001");
        assert!(inboxes.clone().count() == 2 && inboxes.into_iter().all(|line| line["seq"] == 1), "{routers:?}");
    }
    server.stop().await;
    let said = String::from_utf8(SAID.lock().unwrap().clone()).unwrap();
    for text in ["followed", "not sampled", "to nobody", "tea"] {
        assert!(!said.contains(&format!("\"{text}\"")), "nothing that was written is in a line: {text}");
    }
}

impl support::Person {
    /// Until routers have said so much of a trace.
    async fn until_lines(&mut self, trace: TraceContext, count: usize) {
        let wait = async {
            while lines(trace).1.len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(support::PATIENCE, wait).await.expect("the inboxes hear of it");
    }
}
