//! `panda serve` with `log.traces`: what it says of requests and commands that their senders follow, and what it does not.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use panda_client::{ClientConfig, Connector, Target, TransportKind, Update};
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::CommandBody;
use panda_protocol::{DeviceId, TraceContext};
use serde_json::{Value, json};

/// A `panda serve` in a folder that goes with it.
struct Served {
    process: Child,
    /// Read no further; closed, it would be in the process's way.
    _panel: BufReader<ChildStdout>,
    /// Takes what it says, so that it never waits for a reader.
    said: Option<JoinHandle<String>>,
    url: String,
    token: String,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_panda"))
            .args(["serve", "--data", folder.path().join("data").to_str().unwrap()])
            .args(["--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--health", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = process.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            errors.read_to_string(&mut said).unwrap();
            said
        });
        let mut panel = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert_ne!(panel.read_line(&mut line).unwrap(), 0, "it starts");
            if let Some(page) = line.trim().strip_prefix("page") {
                break page.trim().to_owned();
            }
        };
        let (said, token) = (Some(said), String::new());
        let mut served = Self { process, _panel: panel, said, url, token, _folder: folder };
        let user = served.post("/register", None, &json!({ "username": "ada", "password": "correct horse" }));
        served.token = user["access_token"].as_str().unwrap().to_owned();
        served
    }

    fn post(&self, path: &str, trace: Option<&str>, body: &Value) -> Value {
        let mut request = ureq::post(format!("{}{path}", self.url));
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

    /// Kills it; returns what it said of traces until then. Whatever is said of a command is said before its answer.
    fn end(mut self) -> Vec<Value> {
        self.process.kill().unwrap();
        let said = self.said.take().unwrap().join().unwrap();
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"].as_str().unwrap().starts_with("panda.trace")).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
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
    let served = Served::start(&[("PANDA_LOG_TRACES", "true"), ("PANDA_LOG_LEVEL", "warn")]);
    let chat = served.chat();
    let ((over_http, http), (unsampled, quiet)) = (traceparent(1, 1), traceparent(2, 0));
    let said = |text: &str, trace: &str| {
        served.post(&format!("/chats/{chat}/messages"), Some(trace), &json!({ "text": text }))["seq"].clone()
    };
    let seq = said("a secret", &over_http);
    said("another", &unsampled);
    said("a third", "00-garbage");
    let (_, session) = traceparent(3, 1);
    let seq_of_session = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let discovery = ureq::get(format!("{}/.well-known/panda", served.url)).call().unwrap();
        let target = Target::from_discovery(&served.url, &discovery.into_body().read_to_vec().unwrap()).unwrap();
        let device = DeviceId::from_random(rand::random());
        let config = ClientConfig::new(TransportKind::Quic, device, served.token.as_str().into());
        let (client, mut updates) = panda_client::start(Connector::new(target).unwrap(), config);
        while !matches!(updates.next().await.unwrap(), Update::Connected { .. }) {}
        let body = CommandBody::Send { format: MessageFormat::Text, text: "a secret".into() };
        let trace = TraceContext::new([3; 16], [2; 8], 1).unwrap();
        let chat: panda_protocol::ChatId = chat.parse().unwrap();
        let seq = client.submit_traced(chat.into(), body, trace).await.unwrap().outcome().await.unwrap();
        client.close().await;
        seq.0
    });
    let lines = served.end();
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
    let served = Served::start(&[("PANDA_LOG_LEVEL", "trace")]);
    let (sampled, _) = traceparent(1, 1);
    served.post(&format!("/chats/{}/messages", served.chat()), Some(&sampled), &json!({ "text": "hi" }));
    assert_eq!(served.end(), Vec::<Value>::new());
}
