//! The client against a small server over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

mod server;

use std::time::Duration;

use bytes::Bytes;
use panda_client::{Client, ClientConfig, Connector, QuicTarget, RequestError, Target, TransportKind, Update, Updates};
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{CommandBody, Direction, SignalKind};
use panda_protocol::{ChatId, Cursor, DeviceId, ErrorCode, Seq, Text, UserId};
use server::{INCARNATION, LEAVE, Server, user};

const MESSAGES: u64 = 300;

fn chat() -> ChatId {
    ChatId::direct(user(), UserId::from_random([3; 16]))
}

fn client_with(
    server: &Server,
    transport: TransportKind,
    fingerprint: [u8; 32],
    updates_max: usize,
) -> (Client, Updates) {
    let quic = QuicTarget { host: "127.0.0.1".into(), port: server.quic.port(), certificate_sha256: Some(fingerprint) };
    let target = Target { websocket: Some(format!("ws://{}/ws", server.websocket)), quic: Some(quic) };
    let mut config = ClientConfig::new(transport, DeviceId::from_random(rand::random()), Text::from("token"));
    config.backoff_max = Duration::from_millis(20);
    config.updates_max = updates_max;
    panda_client::start(Connector::new(target).unwrap(), config)
}

fn client(server: &Server, transport: TransportKind) -> (Client, Updates) {
    client_with(server, transport, server.fingerprint, 1024)
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it comes to an end")
}

/// Connections are cut behind applied commands: all come through once, in order, and so do the events.
async fn commands_and_events_survive_cuts(transport: TransportKind) {
    let server = Server::start(vec![40, 100, 3, 0]).await;
    let (client, mut updates) = client(&server, transport);
    let listener = tokio::spawn(async move {
        let (mut next, mut cuts) = (1, 0);
        while next <= MESSAGES {
            match updates.next().await.expect("the client lives") {
                Update::Event { seq, .. } => {
                    assert_eq!(seq, Seq(next));
                    next += 1;
                }
                Update::Disconnected { .. } => cuts += 1,
                _ => {}
            }
        }
        cuts
    });
    let from_the_first = Cursor { incarnation: INCARNATION, seq: Seq(0) };
    within(client.subscribe(chat(), Some(from_the_first))).await.unwrap();
    let mut submitted = Vec::new();
    for n in 0..MESSAGES {
        let body = CommandBody::Send { format: MessageFormat::Text, text: Text::from(n.to_string()) };
        submitted.push(within(client.submit(chat().into(), body)).await.unwrap());
    }
    for (n, submitted) in (1..).zip(submitted) {
        assert_eq!(within(submitted.outcome()).await, Ok(Seq(n)));
    }
    assert_eq!(within(listener).await.unwrap(), 4, "each cut was one disconnection");
    let texts: Vec<String> = server.state.lock().unwrap().texts.iter().map(ToString::to_string).collect();
    assert_eq!(texts, (0..MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());
    within(client.close()).await;
    assert_eq!(client.send(chat(), Text::from("late")).await, Err(RequestError::Ended));
}

#[tokio::test]
async fn commands_and_events_survive_cuts_of_a_websocket() {
    commands_and_events_survive_cuts(TransportKind::WebSocket).await;
}

#[tokio::test]
async fn commands_and_events_survive_cuts_of_a_quic_connection() {
    commands_and_events_survive_cuts(TransportKind::Quic).await;
}

async fn a_lost_server_is_left_for_the_next(transport: TransportKind) {
    let first = Server::start(vec![0]).await;
    let second = Server::start(vec![]).await;
    let connector = |server: &Server| {
        let quic = Some(QuicTarget {
            host: "127.0.0.1".into(),
            port: server.quic.port(),
            certificate_sha256: Some(server.fingerprint),
        });
        Connector::new(Target { websocket: Some(format!("ws://{}/ws", server.websocket)), quic }).unwrap()
    };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = Target { websocket: Some(format!("ws://{nobody}/ws")), quic: None };
    let mut config = ClientConfig::new(transport, DeviceId::from_random(rand::random()), Text::from("token"));
    config.backoff_max = Duration::from_millis(20);
    config.others = vec![Connector::new(absent).unwrap(), connector(&second)];
    let (client, mut updates) = panda_client::start(connector(&first), config);
    // The first one cuts the connection behind this; behind the one that is not there comes the second.
    assert_eq!(within(client.send(chat(), Text::from("x"))).await, Ok(Seq(1)));
    let connections = |server: &Server| server.state.lock().unwrap().connections;
    assert_eq!((connections(&first), connections(&second)), (1, 1));
    within(client.close()).await;
    let mut connected = Vec::new();
    while let Some(update) = within(updates.next()).await {
        if let Update::Connected { server, .. } = update {
            connected.push(server);
        }
    }
    assert_eq!(connected, [Some(0), Some(2)], "it is told which server it has");
}

#[tokio::test]
async fn a_lost_server_is_left_for_the_next_over_a_websocket() {
    a_lost_server_is_left_for_the_next(TransportKind::WebSocket).await;
}

#[tokio::test]
async fn a_lost_server_is_left_for_the_next_over_quic() {
    a_lost_server_is_left_for_the_next(TransportKind::Quic).await;
}

async fn questions_are_answered(transport: TransportKind) {
    let server = Server::start(vec![]).await;
    let (client, _updates) = client(&server, transport);
    for n in 1..=9 {
        assert_eq!(within(client.send(chat(), Text::from("x"))).await, Ok(Seq(n)));
    }
    assert_eq!(client.user(), Some(user()));
    let page = within(client.page(chat().into(), Direction::Forward, Seq(2), 5)).await.unwrap();
    assert_eq!((page.events.len(), page.head), (5, Seq(9)), "both chunks");
    assert_eq!(within(client.chat_info(chat())).await.unwrap().members, 2);
    let refused = within(client.members(chat(), None, 10)).await.unwrap_err();
    assert!(matches!(refused, RequestError::Refused { code, .. } if code == ErrorCode::NotFound as u16));
    let peer = UserId::from_random([3; 16]);
    assert_eq!(within(client.create_direct(peer)).await, Ok((chat(), Seq(77))), "it is there already");
    within(client.refresh(Text::from("newer"))).await.unwrap();
    within(client.subscribe(chat(), None)).await.unwrap();
    within(client.unsubscribe(chat())).await.unwrap();
    within(client.close()).await;
}

#[tokio::test]
async fn questions_are_answered_over_a_websocket() {
    questions_are_answered(TransportKind::WebSocket).await;
}

#[tokio::test]
async fn questions_are_answered_over_quic() {
    questions_are_answered(TransportKind::Quic).await;
}

#[tokio::test]
async fn signals_travel_as_datagrams() {
    let server = Server::start(vec![]).await;
    let (client, mut updates) = client(&server, TransportKind::Quic);
    within(client.subscribe(chat(), None)).await.unwrap();
    client.signal(chat(), SignalKind::TYPING, Bytes::new());
    loop {
        // The server knows signals in datagrams only.
        if let Update::Signal(signal) = within(updates.next()).await.unwrap() {
            assert_eq!((signal.chat, signal.kind), (chat(), SignalKind::TYPING));
            break;
        }
    }
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_not_accepted() {
    let server = Server::start(vec![]).await;
    let (_client, mut updates) = client_with(&server, TransportKind::Quic, [0; 32], 1024);
    loop {
        match within(updates.next()).await.unwrap() {
            Update::Disconnected { reason, .. } => {
                let reason = reason.unwrap();
                let why = "the server's certificate is refused: it is not the one that the server's address names";
                assert_eq!((reason.is_certificate, &*reason.text), (true, why));
                break;
            }
            Update::Connected { .. } => panic!("connected to a stranger"),
            _ => {}
        }
    }
    assert_eq!(server.state.lock().unwrap().connections, 0);
}

#[tokio::test]
async fn a_refused_certificate_of_quic_is_left_for_a_websocket_by_whoever_wants_that() {
    let server = Server::start(vec![]).await;
    let quic = QuicTarget { host: "127.0.0.1".into(), port: server.quic.port(), certificate_sha256: Some([0; 32]) };
    let target = Target { websocket: Some(format!("ws://{}/ws", server.websocket)), quic: Some(quic) };
    let device = DeviceId::from_random(rand::random());
    let mut config = ClientConfig::new(TransportKind::Quic, device, Text::from("token"));
    config.or_websocket = true;
    config.backoff_max = Duration::from_millis(20);
    let (client, mut updates) = panda_client::start(Connector::new(target).unwrap(), config);
    let mut ways = Vec::new();
    loop {
        match within(updates.next()).await.unwrap() {
            Update::Connecting { transport, .. } => ways.push(transport),
            Update::Connected { .. } => break,
            _ => {}
        }
    }
    assert_eq!(ways, [TransportKind::Quic, TransportKind::WebSocket]);
    assert_eq!(within(client.send(chat(), Text::from("x"))).await, Ok(Seq(1)));
}

#[tokio::test(start_paused = true)]
async fn why_nobody_can_be_reached_is_told() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let quic = QuicTarget { host: "127.0.0.1".into(), port, certificate_sha256: None };
    let target = Target { websocket: None, quic: Some(quic) };
    let told = async |transport| {
        let config = ClientConfig::new(transport, DeviceId::from_random(rand::random()), Text::from("token"));
        let (_client, mut updates) = panda_client::start(Connector::new(target.clone()).unwrap(), config);
        loop {
            if let Update::Disconnected { reason, .. } = updates.next().await.unwrap() {
                return reason.map(|reason| (reason.is_certificate, reason.text.to_string()));
            }
        }
    };
    assert_eq!(told(TransportKind::Quic).await, Some((false, "nobody answers there".to_owned())));
    let websocket = told(TransportKind::WebSocket).await;
    assert_eq!(websocket, Some((false, "the server does not say where it serves WebSocket".to_owned())));
}

/// The next connection is there before the first is left: the server sees two, the client no wait.
async fn a_goaway_is_followed(transport: TransportKind) {
    let server = Server::start(vec![]).await;
    let (client, mut updates) = client(&server, transport);
    let from_the_first = Cursor { incarnation: INCARNATION, seq: Seq(0) };
    within(client.subscribe(chat(), Some(from_the_first))).await.unwrap();
    assert_eq!(within(client.send(chat(), Text::from(LEAVE))).await, Ok(Seq(1)));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match within(updates.next()).await.unwrap() {
            Update::Connecting { .. } => seen.push("connecting"),
            Update::Connected { .. } => seen.push("connected"),
            Update::Disconnected { code, .. } => {
                assert_eq!(code, Some(ErrorCode::Going as u16));
                seen.push("disconnected");
            }
            _ => {}
        }
    }
    assert_eq!(seen, ["connecting", "connected", "disconnected", "connected"], "nobody was without a connection");
    assert_eq!(within(client.send(chat(), Text::from("there"))).await, Ok(Seq(2)));
    assert_eq!(server.state.lock().unwrap().connections, 2);
}

#[tokio::test]
async fn a_goaway_is_followed_over_a_websocket() {
    a_goaway_is_followed(TransportKind::WebSocket).await;
}

#[tokio::test]
async fn a_goaway_is_followed_over_quic() {
    a_goaway_is_followed(TransportKind::Quic).await;
}

#[tokio::test]
async fn a_quic_connection_closed_with_a_code_and_no_bye_ends_as_the_code_says() {
    let server = Server::start(vec![0]).await;
    server.state.lock().unwrap().close_code = u32::from(ErrorCode::Replaced as u16);
    let (client, mut updates) = client(&server, TransportKind::Quic);
    assert_eq!(within(client.send(chat(), Text::from("x"))).await, Err(RequestError::Ended));
    loop {
        match within(updates.next()).await.unwrap() {
            Update::Ended { code, .. } => break assert_eq!(code, ErrorCode::Replaced as u16),
            Update::Disconnected { .. } => panic!("it came back, and would end the session that replaced it"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_application_that_does_not_read_stops_the_socket_and_loses_nothing() {
    let server = Server::start(vec![]).await;
    let (reader, mut updates) = client_with(&server, TransportKind::WebSocket, server.fingerprint, 4);
    let from_the_first = Cursor { incarnation: INCARNATION, seq: Seq(0) };
    within(reader.subscribe(chat(), Some(from_the_first))).await.unwrap();
    let (writer, _its_updates) = client(&server, TransportKind::WebSocket);
    for n in 1..=MESSAGES {
        assert_eq!(within(writer.send(chat(), Text::from("x"))).await, Ok(Seq(n)));
    }
    let mut next = 1;
    while next <= MESSAGES {
        if let Update::Event { seq, .. } = within(updates.next()).await.unwrap() {
            assert_eq!(seq, Seq(next));
            next += 1;
        }
    }
}

#[tokio::test]
async fn a_client_ends_when_its_handles_are_gone() {
    let server = Server::start(vec![]).await;
    let (client, mut updates) = client(&server, TransportKind::WebSocket);
    within(client.subscribe(chat(), None)).await.unwrap();
    drop(client);
    while within(updates.next()).await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_updates_nobody_takes_rests_between_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { websocket: Some(format!("ws://{}/ws", listener.local_addr().unwrap())), quic: None };
    let device = DeviceId::from_random(rand::random());
    let mut config = ClientConfig::new(TransportKind::WebSocket, device, Text::from("token"));
    config.backoff_max = Duration::from_millis(20);
    config.updates_max = 1;
    let (_client, _updates) = panda_client::start(Connector::new(target).unwrap(), config);
    let mut attempts = 0;
    // Every connection is dropped at once. The paused clock jumps over the waits between them.
    while tokio::time::timeout(Duration::from_secs(60), listener.accept()).await.is_ok() {
        attempts += 1;
        assert!(attempts < 5, "it goes on for nobody");
    }
    assert!(attempts > 0);
}
