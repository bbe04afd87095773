//! What a session says stays out of the log, whether it is taken or refused: tokens, tickets and everything that
//! people write. Passwords are never said over a session; over HTTP, `edge/api/tests/http/identity.rs` looks for them.

use std::io;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use panda_client::TransportKind;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{Command, CommandBody, Frame, Hello, Refresh, RequestId, Signal, SignalKind};
use panda_protocol::limits::TEXT_BYTES_MAX;
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, TraceContext};
use tokio::io::AsyncWriteExt as _;

use crate::raw::{Raw, hello, hello_with_ticket, read_out, tcp, upgrade_head};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::{Server, user};

/// What our crates said in this process, at every level, from the moment when a test asked for it.
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Each way in which a log may write these bytes.
fn written(secret: &[u8]) -> [String; 5] {
    [
        String::from_utf8_lossy(secret).into_owned(),
        secret.escape_ascii().to_string(),
        format!("{secret:?}").trim_matches(['[', ']']).to_owned(),
        secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        BASE64_STANDARD_NO_PAD.encode(secret),
    ]
}

/// What was said and must not be repeated.
#[derive(Default)]
struct Secrets {
    all: Vec<Bytes>,
}

impl Secrets {
    fn keep(&mut self, secret: impl Into<Bytes>) -> Bytes {
        let secret = secret.into();
        self.all.push(secret.clone());
        secret
    }

    /// The whole token and, alone, what only its owner has: the signature.
    fn token(&mut self, token: String) -> String {
        self.keep(token.clone());
        self.keep(token.rsplit('.').next().unwrap().to_owned());
        token
    }

    /// A text that nobody else says.
    fn text(&mut self, what: &str) -> String {
        let text = format!("{what} {:032x}", rand::random::<u128>());
        self.keep(text.clone());
        text
    }
}

/// The code with which a command is refused, if it is.
async fn outcome(raw: &mut Raw, entity: EntityId, counter: u64, body: CommandBody) -> Option<u16> {
    let (request, after) = (RequestId(counter), Counter(counter - 1));
    raw.say(Command {
        request,
        entity,
        counter: Counter(counter),
        after,
        body,
        trace: TraceContext::new([1; 16], [2; 8], 1),
    })
    .await;
    loop {
        match raw.next().await {
            Some(Frame::Ack(ack)) if ack.request == request => return None,
            Some(Frame::Error(error)) if error.request == request => return Some(error.code),
            Some(Frame::Event(_)) => {}
            other => panic!("no answer: {other:?}"),
        }
    }
}

fn say(text: impl Into<panda_protocol::Text>) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: text.into() }
}

/// Says something in a chat of its own, to whom it does not listen and at too great a length, and renews its right.
/// Returns what opens the device's next session.
async fn talk(scene: &Scene, transport: TransportKind, secrets: &mut Secrets) -> (DeviceId, Bytes) {
    let who = user();
    let hello = hello(secrets.token(scene.server.token(who)));
    let device = hello.device;
    let (mut raw, welcome) = Raw::open_with(&scene.server, transport, hello).await;
    let ticket = secrets.keep(welcome.ticket);
    let chat = ChatId::group(who, device, Counter(1));
    let create = CommandBody::CreateGroup { name: secrets.text("a name").into(), members: Vec::new() };
    assert_eq!(outcome(&mut raw, chat.into(), 1, create).await, None);
    raw.subscribe(chat, None).await;
    assert_eq!(outcome(&mut raw, chat.into(), 2, say(secrets.text("a message"))).await, None);
    let payload = secrets.text("a signal").into();
    raw.say(Signal { chat, user: None, kind: SignalKind::TYPING, payload }).await;
    let elsewhere = ChatId::group(user(), device, Counter(1)).into();
    let refused = outcome(&mut raw, elsewhere, 1, say(secrets.text("a message to nobody"))).await;
    assert_eq!(refused, Some(ErrorCode::NotFound as u16));
    let long = secrets.text("a message without end").repeat(TEXT_BYTES_MAX / 32);
    assert_eq!(outcome(&mut raw, chat.into(), 3, say(long)).await, Some(ErrorCode::TooLarge as u16));
    let (good, wrong) = (scene.server.token(who), scene.server.token(user()));
    for (request, token, is_good) in [(8, secrets.token(good), true), (9, secrets.token(wrong), false)] {
        raw.say(Refresh { request: RequestId(request), token: token.into() }).await;
        loop {
            match raw.next().await {
                Some(Frame::Refreshed(refreshed)) if is_good => break drop(secrets.keep(refreshed.ticket)),
                Some(Frame::Error(error)) if !is_good => {
                    break assert_eq!(error.code, ErrorCode::TokenInvalid as u16);
                }
                Some(Frame::Event(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    (device, ticket)
}

/// A frame of a command whose text is no text.
fn malformed(secrets: &mut Secrets) -> Bytes {
    let text = secrets.text("a broken message");
    let command = Command {
        request: RequestId(1),
        entity: user().into(),
        counter: Counter(1),
        after: Counter(0),
        body: say(text.clone()),
        trace: None,
    };
    let whole = Frame::from(command).to_bytes();
    let at = whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut broken = BytesMut::from(&whole[..]);
    broken[at] = 0xff;
    secrets.keep(broken.clone().freeze().slice(at + 1..));
    broken.freeze()
}

/// Heads of requests that are no sessions, with what people put where it does not belong.
async fn upgrades_that_are_refused(server: &Server, secrets: &mut Secrets) {
    let origin = "Origin: https://elsewhere.example\r\n";
    let token = secrets.token(server.token(user()));
    let key = secrets.text("a key").replace(' ', "-");
    secrets.keep(key.clone());
    let in_path = upgrade_head(origin).replace("/ws ", &format!("/ws?token={token} "));
    let in_fields = upgrade_head(&format!("{origin}Authorization: Bearer {token}\r\nCookie: session={key}\r\n"));
    for head in [in_path, in_fields, format!("GARBAGE {key} {token}\r\n\r\n")] {
        let mut stream = tcp(server).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(read_out(&mut stream).await.starts_with("HTTP/1.1 4"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_holds_a_token_a_ticket_or_anything_that_was_written() {
    let ours = tracing_subscriber::fmt().with_env_filter("panda=trace").with_ansi(false).with_writer(|| Log);
    ours.try_init().expect("no other test of this process takes the log");
    tracing::trace!(target: "panda_test", "everything is heard");
    let scene = Scene::new().await;
    let elsewhere = Server::start(Default::default()).await;
    let mut secrets = Secrets::default();
    for transport in TRANSPORTS {
        let (device, ticket) = talk(&scene, transport, &mut secrets).await;
        let mut changed = BytesMut::from(&ticket[..]);
        changed[20] ^= 1;
        let (mut back, welcome) =
            Raw::open_with(&scene.server, transport, hello_with_ticket(device, ticket.clone())).await;
        secrets.keep(welcome.ticket);
        back.send(&malformed(&mut secrets)).await;
        assert_eq!(back.code().await, ErrorCode::Malformed);
        let foreign = hello(secrets.token(elsewhere.token(user())));
        let expired = hello(secrets.token(scene.server.expired_token(user())));
        let changed = hello_with_ticket(device, secrets.keep(changed.freeze()));
        let stolen = Hello { device: DeviceId::from_random(rand::random()), ..hello_with_ticket(device, ticket) };
        for refused in [foreign, expired, changed, stolen] {
            let mut raw = Raw::connect(&scene.server, transport).await;
            raw.say(refused).await;
            raw.bye().await;
        }
    }
    upgrades_that_are_refused(&scene.server, &mut secrets).await;
    // Until the bystanders are alone, and what the others made was logged.
    scene.until(|metrics, _| metrics.connections.get() == 2).await;
    elsewhere.stop().await;
    scene.end().await;
    let logs = String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned();
    for heard in ["everything is heard", "session opened", "session ended"] {
        assert!(logs.contains(heard), "{heard:?} is in the log");
    }
    for secret in &secrets.all {
        for written in written(secret) {
            assert_eq!(logs.lines().find(|line| line.contains(&written)), None, "it holds {written:?}");
        }
    }
}
