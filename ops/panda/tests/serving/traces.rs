//! `panda serve` with `log.traces`: what it says of requests and commands that their senders follow, and what it does not.

use panda_client::{ClientConfig, Connector, Target, TransportKind, Update};
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::CommandBody;
use panda_protocol::{DeviceId, TraceContext};
use serde_json::{Value, json};

use crate::support::Served;

/// A server, and somebody who talks there.
struct Talk {
    served: Served,
    token: String,
}

impl Talk {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut talk = Self { served: Served::start(variables), token: String::new() };
        let user = talk.post("/register", None, &json!({ "username": "ada", "password": "correct horse" }));
        talk.token = user["access_token"].as_str().unwrap().to_owned();
        talk
    }

    fn post(&self, path: &str, trace: Option<&str>, body: &Value) -> Value {
        let mut request = ureq::post(format!("{}{path}", self.served.url));
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        if let Some(trace) = trace {
            request = request.header("traceparent", trace);
        }
        let answer = request.send_json(body).unwrap().into_body().read_to_vec().unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    /// Makes a chat of one.
    fn chat(&self) -> String {
        self.post("/chats", None, &json!({ "name": "tea" }))["id"].as_str().unwrap().to_owned()
    }

    /// Ends it; returns what it said of traces until then. Whatever is said of a command is said before its answer.
    fn end(self) -> Vec<Value> {
        let said = self.served.end();
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"].as_str().unwrap().starts_with("panda.trace")).collect()
    }
}

fn traceparent(number: u8, flags: u8) -> (String, String) {
    let trace = TraceContext::new([number; 16], [2; 8], flags).unwrap();
    (trace.to_string(), trace.trace_id().to_string())
}

/// The only lines of an edge and of a router about a trace.
fn pair<'a>(lines: &'a [Value], trace: &str) -> (&'a Value, &'a Value) {
    let of_trace: Vec<_> = lines.iter().filter(|line| line["trace_id"] == trace).collect();
    let (routers, edges): (Vec<&Value>, Vec<&Value>) = of_trace.into_iter().partition(|line| !line["router"].is_null());
    let ([edge], [router]) = (&edges[..], &routers[..]) else { panic!("one line each of {trace}: {lines:?}") };
    (edge, router)
}

#[test]
fn a_traceparent_and_a_clients_context_come_out_in_the_lines_of_edge_and_router() {
    let talk = Talk::start(&[("PANDA_LOG_TRACES", "true"), ("PANDA_LOG_LEVEL", "warn")]);
    let chat = talk.chat();
    let ((over_http, http), (unsampled, quiet)) = (traceparent(1, 1), traceparent(2, 0));
    let said = |text: &str, trace: &str| {
        talk.post(&format!("/chats/{chat}/messages"), Some(trace), &json!({ "text": text }))["seq"].clone()
    };
    let seq = said("a secret", &over_http);
    said("another", &unsampled);
    said("a third", "00-garbage");
    let (_, session) = traceparent(3, 1);
    let seq_of_session = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let discovery = ureq::get(format!("{}/.well-known/panda", talk.served.url)).call().unwrap();
        let target = Target::from_discovery(&talk.served.url, &discovery.into_body().read_to_vec().unwrap()).unwrap();
        let device = DeviceId::from_random(rand::random());
        let config = ClientConfig::new(TransportKind::Quic, device, talk.token.as_str().into());
        let (client, mut updates) = panda_client::start(Connector::new(target).unwrap(), config);
        while !matches!(updates.next().await.unwrap(), Update::Connected { .. }) {}
        let body = CommandBody::Send { format: MessageFormat::Text, text: "a secret".into() };
        let trace = TraceContext::new([3; 16], [2; 8], 1).unwrap();
        let chat: panda_protocol::ChatId = chat.parse().unwrap();
        let seq = client.submit_traced(chat.into(), body, trace).await.unwrap().outcome().await.unwrap();
        client.close().await;
        seq.0
    });
    let lines = talk.end();
    for (trace, seq) in [(&http, seq), (&session, seq_of_session.into())] {
        let (edge, router) = pair(&lines, trace);
        assert_eq!((&edge["seq"], &router["seq"], &edge["entity"]), (&seq, &seq, &router["entity"]));
        // The answer may have overtaken the log's word of the append; then the edge knows no position.
        let appended = edge["append_us"].is_u64();
        assert_eq!(
            edge["position"],
            if appended { router["position"].clone() } else { Value::Null },
            "{edge} {router}"
        );
        assert_eq!(edge["edge"], router["from"]);
        assert!(edge["total_us"].is_u64() && router["decided_to_stored_us"].is_u64(), "{edge} {router}");
    }
    assert_eq!(lines.len(), 4, "not of what is not sampled ({quiet}), or in no context: {lines:?}");
    assert!(!lines.iter().any(|line| line.to_string().contains("secret")), "{lines:?}");
}

#[test]
fn nothing_is_said_of_traces_where_nobody_asked_for_it() {
    let talk = Talk::start(&[("PANDA_LOG_LEVEL", "trace")]);
    let (sampled, _) = traceparent(1, 1);
    talk.post(&format!("/chats/{}/messages", talk.chat()), Some(&sampled), &json!({ "text": "hi" }));
    assert_eq!(talk.end(), Vec::<Value>::new());
}
