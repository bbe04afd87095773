//! A small server on a loopback port: one chat, in memory, over WebSocket and QUIC, that cuts
//! connections now and then after it applied commands and before it answered them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use panda_protocol::event::{Digest, Event, EventBody, MessageFormat, Role};
use panda_protocol::frame::{
    Ack, Admission, ChatInfoReply, CommandBody, ErrorDetails, ErrorReply, EventFrame, Frame, GoAway, InboxState,
    PageChunk, Refreshed, RequestId, Signal, Start, Subscribed, Synced, SyncedEntry, Unsubscribed, Welcome,
};
use panda_protocol::framing::{RawFrame, next_frame, split_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::session::server::{Close, Heard, Request, ServerLimits, ServerSession};
use panda_protocol::{ChatId, Counter, Cursor, DeviceId, ErrorCode, Incarnation, Seq, SessionId, Text, Time, UserId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as HttpRequest, Response};

pub(crate) const INCARNATION: Incarnation = Incarnation([9; 8]);

pub(crate) fn user() -> UserId {
    UserId::from_random([1; 16])
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) texts: Vec<Text>,
    applied: HashMap<(DeviceId, Counter), Seq>,
    highest: HashMap<DeviceId, (Counter, Seq)>,
    /// Connections that are cut after so many commands each; then none any more.
    pub(crate) cuts: Vec<usize>,
    pub(crate) connections: usize,
    /// What a QUIC connection that is cut is closed with.
    pub(crate) close_code: u32,
}

/// Whoever says this is asked to leave.
pub(crate) const LEAVE: &str = "may I leave?";

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) head: watch::Sender<u64>,
    pub(crate) websocket: SocketAddr,
    pub(crate) quic: SocketAddr,
    pub(crate) fingerprint: [u8; 32],
}

/// Frames to a client; `None` cuts the connection.
type Out = mpsc::Sender<Option<Bytes>>;

impl Server {
    pub(crate) async fn start(cuts: Vec<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (config, fingerprint) = identity();
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let server = Self {
            state: Arc::new(Mutex::new(State { cuts, ..State::default() })),
            head: watch::Sender::new(0),
            websocket: listener.local_addr().unwrap(),
            quic: endpoint.local_addr().unwrap(),
            fingerprint,
        };
        let of_websockets = server.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(of_websockets.clone().serve_websocket(tcp));
            }
        });
        let of_quic = server.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(of_quic.clone().serve_quic(incoming));
            }
        });
        server
    }

    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    async fn serve_websocket(self, tcp: TcpStream) {
        let check = |request: &HttpRequest, mut response: Response| {
            let name = "sec-websocket-protocol";
            assert_eq!(request.headers()[name], "panda.1");
            response.headers_mut().insert(name, "panda.1".parse().unwrap());
            Ok(response)
        };
        let mut stream = tokio_tungstenite::accept_hdr_async(tcp, check).await.unwrap();
        let (out, mut frames) = mpsc::channel(1024);
        let mut peer = Peer::new(&self, out);
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(Some(frame)) = frame else { return };
                    if stream.send(Message::Binary(frame)).await.is_err() { return }
                }
                message = stream.next() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Binary(mut message) = message else { continue };
                    while let Some(raw) = next_frame(&mut message, FRAME_BYTES_MAX).expect("whole frames only") {
                        if !peer.hear(raw).await { return }
                    }
                }
            }
        }
    }

    async fn serve_quic(self, incoming: quinn::Incoming) {
        let connection = incoming.await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let (out, mut frames) = mpsc::channel(1024);
        let mut peer = Peer::new(&self, out);
        let mut buffer = BytesMut::new();
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(Some(frame)) = frame else { return };
                    if send.write_all(&frame).await.is_err() { return }
                }
                datagram = connection.read_datagram() => {
                    let Ok(datagram) = datagram else { return };
                    connection.send_datagram(echo(datagram)).unwrap();
                }
                chunk = recv.read_chunk(4096, true) => {
                    let Ok(Some(chunk)) = chunk else { return };
                    buffer.extend_from_slice(&chunk.bytes);
                    while let Some(raw) = split_frame(&mut buffer, FRAME_BYTES_MAX).unwrap() {
                        if !peer.hear(raw).await {
                            let code = self.state.lock().unwrap().close_code;
                            return connection.close(code.into(), b"");
                        }
                    }
                }
            }
        }
    }
}

/// A signal of somebody else.
fn echo(mut datagram: Bytes) -> Bytes {
    let raw = next_frame(&mut datagram, FRAME_BYTES_MAX).unwrap().unwrap();
    let Some(Frame::Signal(signal)) = Frame::decode(raw).unwrap() else { panic!("datagrams carry signals only") };
    Frame::from(Signal { user: Some(UserId::from_random([5; 16])), ..signal }).to_bytes()
}

fn identity() -> (quinn::ServerConfig, [u8; 32]) {
    let made = rcgen::generate_simple_self_signed(["panda.invalid".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &certificate).as_ref());
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![panda_protocol::frame::QUIC_ALPN.to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    (quinn::ServerConfig::with_crypto(Arc::new(tls)), fingerprint)
}

struct Peer {
    server: Server,
    session: ServerSession,
    limits: ServerLimits,
    device: DeviceId,
    out: Out,
    cut_after: Option<usize>,
}

impl Peer {
    fn new(server: &Server, out: Out) -> Self {
        let limits = ServerLimits::default();
        let cut_after = {
            let mut state = server.state.lock().unwrap();
            state.connections += 1;
            state.cuts.pop()
        };
        let session = ServerSession::new(&limits, 0);
        Self { server: server.clone(), session, limits, device: DeviceId::NONE, out, cut_after }
    }

    async fn send(&self, frame: impl Into<Frame>) {
        if self.out.send(Some(frame.into().to_bytes())).await.is_err() {
            panic!("the connection's loop holds the receiver while it calls this");
        }
    }

    /// `false` ends the connection.
    async fn hear(&mut self, raw: RawFrame) -> bool {
        match self.session.hear(&self.limits, raw, 0) {
            Ok(Heard::Hello(hello)) => {
                self.device = hello.device;
                self.session.open(u64::MAX);
                self.send(welcome(hello.capabilities)).await;
            }
            Ok(Heard::Request(request, asked)) => {
                self.session.replied();
                return self.serve(request, asked).await;
            }
            Ok(Heard::Reply(frame)) => self.send(frame).await,
            Ok(Heard::Nothing | Heard::Refused(..) | Heard::Signal(_)) => {}
            Ok(Heard::Left) => return false,
            Err(Close { code, .. }) => panic!("the client made a mistake: {code}"),
        }
        true
    }

    async fn serve(&mut self, request: RequestId, asked: Request) -> bool {
        match asked {
            Request::Command(command) => {
                let leaves = matches!(&command.body, CommandBody::Send { text, .. } if text.as_str() == LEAVE);
                let reply = self.apply(request, command.counter, command.after, command.body);
                if let Some(left) = &mut self.cut_after {
                    if *left == 0 {
                        return false;
                    }
                    *left -= 1;
                }
                self.send(reply).await;
                if leaves {
                    let (code, address, ticket) = (1000, Text::default(), Bytes::from_static(b"there"));
                    self.send(GoAway { code, delay_ms: 0, closes_in_ms: 60_000, address, ticket }).await;
                }
            }
            Request::Sync(sync) => {
                let chats = sync.chats.iter();
                let chats = chats
                    .map(|entry| SyncedEntry { chat: entry.chat, outcome: Ok(self.admit(entry.chat, entry.cursor)) });
                let chats = chats.collect();
                self.send(Synced { request, last: true, chats }).await;
            }
            Request::Subscribe(subscribe) => {
                // The events come from a task of their own: the admission must be ahead of them.
                let (chat, cursor) = (subscribe.entry.chat, subscribe.entry.cursor);
                let admission = self.admission(cursor);
                self.send(Subscribed { request, admission }).await;
                self.admit(chat, cursor);
            }
            Request::Unsubscribe(_) => self.send(Unsubscribed { request }).await,
            Request::Refresh(_) => {
                let ticket = Bytes::from_static(b"newer");
                self.send(Frame::Refreshed(Refreshed { request, expires_in_ms: 3_600_000, ticket })).await;
            }
            Request::Page(page) => {
                let head = self.server.state.lock().unwrap().texts.len() as u64;
                let events: Vec<Bytes> = (page.from.0..=head.min(page.from.0 + page.limit - 1)).map(event).collect();
                let (first, second) = events.split_at(events.len() / 2);
                for (last, events) in [(false, first.to_vec()), (true, second.to_vec())] {
                    let (begins_at, head) = (Seq(1), Seq(head));
                    self.send(PageChunk { request, last, incarnation: INCARNATION, begins_at, head, events }).await;
                }
            }
            Request::ChatInfo(_) => {
                self.send(ChatInfoReply {
                    request,
                    kind: panda_protocol::event::ChatKind::Group,
                    name: Text::from("name"),
                    incarnation: INCARNATION,
                    head: Seq(0),
                    members: 2,
                    role: Role::Owner,
                    visible_from: Seq(1),
                })
                .await;
            }
            Request::Members(_) | Request::Chats(_) => {
                self.send(ErrorReply::new(request, ErrorCode::NotFound)).await;
            }
        }
        true
    }

    fn apply(&self, request: RequestId, counter: Counter, after: Counter, body: CommandBody) -> Frame {
        let mut state = self.server.state.lock().unwrap();
        let (highest, seq) = state.highest.get(&self.device).copied().unwrap_or_default();
        if let Some(seq) = state.applied.get(&(self.device, counter)) {
            return Ack { request, seq: *seq }.into();
        }
        if counter <= highest || after != highest {
            let details = Some(ErrorDetails { counter: highest, seq });
            return ErrorReply { details, ..ErrorReply::new(request, ErrorCode::OutOfOrder) }.into();
        }
        let CommandBody::Send { text, .. } = body else {
            let details = Some(ErrorDetails { counter: highest, seq: Seq(77) });
            return ErrorReply { details, ..ErrorReply::new(request, ErrorCode::NothingToDo) }.into();
        };
        state.texts.push(text);
        let seq = Seq(state.texts.len() as u64);
        state.applied.insert((self.device, counter), seq);
        state.highest.insert(self.device, (counter, seq));
        drop(state);
        self.server.head.send_replace(seq.0);
        Ack { request, seq }.into()
    }

    fn admission(&self, cursor: Option<Cursor>) -> Admission {
        let head = self.server.state.lock().unwrap().texts.len() as u64;
        let (start, from) = cursor.map_or((Start::Live, head + 1), |cursor| (Start::From, cursor.seq.0 + 1));
        Admission {
            start,
            incarnation: INCARNATION,
            from: Seq(from),
            head: Seq(head),
            role: Role::Member,
            visible_from: Seq(1),
            proof: Bytes::from_static(b"proof"),
        }
    }

    /// Events flow from the cursor on, in a task of their own.
    fn admit(&self, chat: ChatId, cursor: Option<Cursor>) -> Admission {
        let admission = self.admission(cursor);
        let (out, mut head, mut next) = (self.out.clone(), self.server.head.subscribe(), admission.from.0);
        tokio::spawn(async move {
            loop {
                let until = *head.borrow_and_update();
                while next <= until {
                    let frame = EventFrame { entity: chat.into(), event: event(next) };
                    if out.send(Some(Frame::from(frame).to_bytes())).await.is_err() {
                        return;
                    }
                    next += 1;
                }
                if head.changed().await.is_err() {
                    return;
                }
            }
        });
        admission
    }
}

fn welcome(capabilities: u64) -> Welcome {
    Welcome {
        version: 1,
        capabilities,
        session: SessionId::from_random([4; 16]),
        user: user(),
        heartbeat_ms: 25_000,
        expires_in_ms: 3_600_000,
        ticket: Bytes::from_static(b"ticket"),
        inbox: InboxState { incarnation: INCARNATION, head: Seq(0), from: Seq(1), reset: false },
        limits: vec![],
    }
}

fn event(seq: u64) -> Bytes {
    let event = Event {
        seq: Seq(seq),
        time: Time(seq),
        actor: user(),
        device: DeviceId::NONE,
        counter: Counter(0),
        digest: Digest::default(),
        target: None,
        body: EventBody::MessageSent { format: MessageFormat::Text, text: Text::from("x") },
    };
    event.to_bytes()
}
