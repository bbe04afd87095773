//! Autobahn's cases for WebSocket servers against this code: they want every message back as it came, so what is served here
//! is not Panda's frames but whole messages, text among them. `ops/journeys/websocket-cases` runs it.

use std::future::poll_fn;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::super::decoder::TEXT;
use super::super::head::{self, Head};
use super::super::upgrade::accepted;
use super::*;
use crate::transport::assembler::Mask;

/// The largest message of the cases.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long the peer may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// What `kosoku` calls cases that it does not count as failed.
const PASSED: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];
/// Those of its version that are not left out.
const CASES: usize = 156;
/// Left out: 6 is about text, which Panda refuses; 12 and 13 about compression, which it does not offer.
const LEFT_OUT: [&str; 3] = ["6.*", "12.*", "13.*"];

/// The message that is arriving.
#[derive(Default)]
struct Message {
    opcode: u8,
    bytes: Vec<u8>,
}

impl Payload for Message {
    type Whole = Self;

    fn begin(&mut self, opcode: u8) -> Result<(), TransportError> {
        self.opcode = opcode;
        Ok(())
    }

    fn feed(&mut self, input: &mut &[u8], mask: &mut Mask, bytes_max: usize) -> Result<Option<Self>, TransportError> {
        if self.bytes.len() + input.len() > bytes_max {
            return Err(TransportError::Protocol("the message is larger than those of the cases"));
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(std::mem::take(input));
        mask.apply(&mut self.bytes[at..]);
        Ok(None)
    }

    fn end(&mut self, _: bool) -> Result<Option<Self>, TransportError> {
        Ok(Some(std::mem::take(self)))
    }

    fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Upgrades without the subprotocol, which the cases do not ask for.
async fn upgraded(mut stream: TcpStream) -> io::Result<Upgraded<TcpStream, Message>> {
    let Head::Complete { bytes, len } = head::read(&mut stream).await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let head = String::from_utf8_lossy(&bytes[..len]).into_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    };
    let key = head.lines().find_map(field).ok_or(io::ErrorKind::InvalidData)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accepted(&key)
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(Upgraded::new(stream, bytes.slice(len..)))
}

/// Sends everything back, until either side ends it.
async fn echo(stream: TcpStream) -> Result<(), TransportError> {
    let mut socket = upgraded(stream).await?;
    loop {
        let message = match poll_fn(|cx| socket.poll_recv(cx, MESSAGE_BYTES_MAX)).await {
            Ok(message) => message,
            // A session says why in its Bye and then closes with 1000, whatever it was (SPEC.md); the cases would call
            // that a wrong code, and take an end without one.
            Err(error) if error.code().is_some() => return Err(error),
            Err(error) => {
                let close = poll_fn(|cx| socket.poll_close(cx));
                tokio::time::timeout(CLOSE_TIMEOUT, close).await.unwrap_or_default();
                return Err(error);
            }
        };
        let outgoing = Outgoing::new(&Bytes::from(message.bytes));
        let outgoing = if message.opcode == TEXT { outgoing.as_text() } else { outgoing };
        let mut queue = VecDeque::from([outgoing]);
        poll_fn(|cx| socket.poll_send(cx, &mut queue)).await?;
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("it is loopback");
        stream.set_nodelay(true).expect("it is TCP");
        // How a case ends is the cases' to judge.
        tokio::spawn(async move { drop(echo(stream).await) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ops/journeys/websocket-cases installs what it runs"]
async fn autobahns_cases_pass() {
    let kosoku = PathBuf::from(std::env::var_os("PANDA_KOSOKU").expect("PANDA_KOSOKU is the runner of the cases"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let server = tokio::spawn(serve(listener));
    let reports = tempfile::tempdir().expect("there is room");
    let mut runs = Command::new(kosoku);
    runs.args(["-m", "fuzzingclient", "-p", "2", "-o"]).arg(reports.path());
    for cases in LEFT_OUT {
        runs.args(["-x", cases]);
    }
    runs.arg(&address).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || runs.status()).await.expect("it does not panic");
    let ended = ended.expect("PANDA_KOSOKU can be run");
    server.abort();
    let index = std::fs::read(reports.path().join("index.json")).expect("it writes a report");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("the report is JSON");
    let cases = index.as_object().and_then(|agents| agents.values().next()).and_then(|cases| cases.as_object());
    let cases = cases.expect("the report lists cases");
    let judged = |case: &serde_json::Value, what: &str| case[what].as_str().unwrap_or_default().to_owned();
    let mut failed: Vec<String> = Vec::new();
    for (name, case) in cases {
        let (behavior, close) = (judged(case, "behavior"), judged(case, "behaviorClose"));
        if !PASSED.contains(&&*behavior) || !PASSED.contains(&&*close) {
            failed.push(format!("{name}: {behavior}, close {close}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    assert!(ended.success(), "the runner ends with {ended}");
    assert_eq!(cases.len(), CASES, "cases that were run");
}
