//! Who comes to an edge that drains, and who was there before.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use panda_access::FleetSecret;
use panda_edge::SessionLimits;
use panda_protocol::ErrorCode;
use panda_protocol::frame::{Bye, Frame};
use quinn::ConnectionError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsConnector;

use crate::raw::{Raw, quic_endpoint, tcp, tls_client};
use crate::scene::TRANSPORTS;
use crate::support::{PATIENCE, Server, user};

/// Longer than anything here is waited for.
const DRAIN: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_an_edge_drains_is_refused_at_once() {
    let server = Server::start(SessionLimits::default()).await;
    let (http, quic) = (server.edge.http_address(), server.edge.quic_address().unwrap());
    let endpoint = quic_endpoint(&server);
    let mut stay = Vec::new();
    for transport in TRANSPORTS {
        stay.push(Raw::open(&server, transport, user()).await);
    }
    let mut edge = server.edge;
    let draining = tokio::spawn(async move { edge.stop(DRAIN).await });
    for raw in &mut stay {
        assert!(matches!(raw.next().await, Some(Frame::GoAway(_))));
    }
    // The kernel connected whoever came before every worker let its socket go.
    let mut attempts = interval(Duration::from_millis(10));
    let refused = async {
        loop {
            attempts.tick().await;
            if let Err(error) = TcpStream::connect(http).await {
                return error.kind();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, refused).await.expect("nobody is kept waiting"), ErrorKind::ConnectionRefused);
    let refused = timeout(PATIENCE, endpoint.connect(quic, "localhost").unwrap()).await;
    let refused = refused.expect("nobody is kept waiting");
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    for raw in &mut stay {
        raw.say(Bye::new(ErrorCode::Going)).await;
        assert_eq!(raw.next().await, None);
    }
    timeout(PATIENCE, draining).await.expect("nobody is left").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_tls_that_was_begun_is_answered_although_its_worker_stopped() {
    let fleet = FleetSecret::generate().unwrap();
    let mut server = Server::with(|config| {
        config.rules.tls = config.quic_identity.as_ref().map(|identity| identity.https_config(&fleet).unwrap());
    })
    .await;
    let connector = TlsConnector::from(Arc::new(tls_client(&server)));
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = connector.connect(name, tcp(&server).await).await.unwrap();
    client.write_all(b"POST /login HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    let handed = timeout(PATIENCE, server.handed_over.recv()).await.unwrap().unwrap();
    let mut socket = handed.adopt().unwrap().socket;
    server.edge.stop(DRAIN).await.unwrap();

    let talking = async {
        client.write_all(b"hello").await.unwrap();
        let mut body = [0; 5];
        socket.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        socket.write_all(b"answer").await.unwrap();
        socket.flush().await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    };
    timeout(PATIENCE, talking).await.expect("the bytes move on");
    drop(socket);
    server.stop().await;
}
