//! QUIC over loopback, with quinn as the client.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use crate::support::{body_of, close, counted, frame, hasty_gate, patient_gate, recv, refused, send, within};
use panda_access::FleetSecret;
use panda_edge::admission::{AdmissionLimits, Counted, Gate, Handshake};
use panda_edge::transport::quic::{QuicListener, QuicTransport};
use panda_edge::transport::tls::Identity;
use panda_edge::transport::{Outgoing, Transport, TransportError};
use panda_protocol::ErrorCode;
use prometheus_client::metrics::counter::Counter;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::spawn_local;

pub(crate) struct Place {
    pub(crate) listener: Rc<QuicListener>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Endpoint,
}

pub(crate) fn place(alpn: &[u8]) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let fleet = FleetSecret::generate().unwrap();
    let (listener, driver) =
        QuicListener::bind("127.0.0.1:0".parse().unwrap(), &identity, &fleet, Counter::default()).unwrap();
    spawn_local(driver);
    let address = listener.local_addr().unwrap();
    Place { listener: Rc::new(listener), address, client: client(folder.path(), alpn) }
}

/// A client that believes the development certificate of a folder.
pub(crate) fn client(folder: &Path, alpn: &[u8]) -> Endpoint {
    client_that(verifier(folder), alpn)
}

pub(crate) fn verifier(folder: &Path) -> Arc<dyn ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

/// A client that believes whom this believes.
pub(crate) fn client_that(believes: Arc<dyn ServerCertVerifier>, alpn: &[u8]) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(believes)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
    client
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// A client that has sent its first frame.
pub(crate) async fn connected(client: &Endpoint, address: SocketAddr) -> Client {
    let connection = client.connect(address, "localhost").unwrap().await.unwrap();
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(&frame(5)).await.unwrap();
    Client { connection, send, recv }
}

/// A client whose first frame has arrived at the server.
pub(crate) async fn established(place: &Place, gate: &Gate) -> (Client, QuicTransport, Handshake) {
    established_with(&place.client, place.address, &place.listener, gate).await
}

pub(crate) async fn established_with(
    client: &Endpoint,
    address: SocketAddr,
    listener: &QuicListener,
    gate: &Gate,
) -> (Client, QuicTransport, Handshake) {
    let server = async { listener.accept(gate).await.unwrap().establish().await.unwrap() };
    let (client, (mut transport, handshake)) = within(async { tokio::join!(connected(client, address), server) }).await;
    assert_eq!(recv(&mut transport).await.unwrap().body.len(), 5);
    (client, transport, handshake)
}

#[tokio::test(flavor = "local")]
async fn frames_of_every_size_pass_both_ways() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let sizes = [0, 1, 62, 63, 300, 20_000, 65_535, 1];
    let sender = async {
        for size in sizes {
            client.send.write_all(&frame(size)).await.unwrap();
        }
    };
    let receiver = async {
        for size in sizes {
            let got = recv(&mut transport).await.unwrap();
            assert_eq!((got.kind, got.body), (7, body_of(&frame(size), size)));
        }
    };
    tokio::join!(sender, receiver);
    assert_eq!(transport.buffered(), 0, "an idle connection holds no buffer");

    let mut queue: VecDeque<_> = sizes.iter().map(|size| Outgoing::new(&frame(*size))).collect();
    let expected: Vec<u8> = sizes.iter().flat_map(|size| frame(*size)).collect();
    let mut read = vec![0; expected.len()];
    let (sent, ()) = tokio::join!(send(&mut transport, &mut queue), async {
        within(client.recv.read_exact(&mut read)).await.unwrap();
    });
    sent.unwrap();
    assert!(read == expected && queue.is_empty());
    assert_eq!(transport.buffered(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_byte_by_byte_client_is_understood() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let sender = async {
        for byte in frame(100) {
            client.send.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (got, ()) = tokio::join!(recv(&mut transport), sender);
    assert_eq!(got.unwrap().body, body_of(&frame(100), 100));
}

#[tokio::test(flavor = "local")]
async fn an_oversized_frame_is_refused_at_its_length() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    client.send.write_all(&[0x80, 1, 0, 1]).await.unwrap();
    assert_eq!(refused(&mut transport).await, Some(ErrorCode::FrameTooLarge));
}

#[tokio::test(flavor = "local")]
async fn garbage_is_malformed() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    client.send.write_all(&[0x40, 0x01]).await.unwrap();
    assert_eq!(refused(&mut transport).await, Some(ErrorCode::Malformed));
}

#[tokio::test(flavor = "local")]
async fn the_end_of_the_stream_is_the_end_of_the_session() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    client.send.finish().unwrap();
    assert!(matches!(recv(&mut transport).await, Err(TransportError::Closed)));
}

#[tokio::test(flavor = "local")]
async fn the_last_bytes_arrive_before_the_code() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let mut queue: VecDeque<_> = (0..3_000).map(|_| Outgoing::new(&frame(200))).collect();
    let server = async {
        send(&mut transport, &mut queue).await.unwrap();
        close(&mut transport, ErrorCode::Replaced).await;
    };
    let read = async { within(client.recv.read_to_end(1 << 20)).await.unwrap() };
    let ((), read) = tokio::join!(server, read);
    assert_eq!(read.len(), 3_000 * frame(200).len());
    let closed = within(client.connection.closed()).await;
    let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed}") };
    assert_eq!(closed.error_code, VarInt::from(ErrorCode::Replaced as u16));
    assert!(matches!(send(&mut transport, &mut queue).await, Err(TransportError::Closed)));
}

#[tokio::test(flavor = "local")]
async fn a_slow_reader_gets_a_whole_stream_though_the_queue_is_cut() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let whole = frame(10_000);
    let mut queue: VecDeque<_> = (0..1_000).map(|_| Outgoing::new(&whole)).collect();
    // Nobody reads yet: what the connection takes is limited.
    let left = poll_fn(|cx| {
        let sent = transport.poll_send(cx, &mut queue);
        assert!(sent.is_pending());
        Poll::Ready(queue.len())
    })
    .await;
    assert!(left > 980, "{left} of 1,000 frames are left");
    queue.clear();
    queue.push_back(Outgoing::new(&frame(3)));
    let server = async {
        send(&mut transport, &mut queue).await.unwrap();
        close(&mut transport, ErrorCode::Going).await;
    };
    let read = async { within(client.recv.read_to_end(1 << 20)).await.unwrap() };
    let ((), read) = tokio::join!(server, read);
    let (frames, last) = read.split_at(read.len() - frame(3).len());
    assert_eq!(last, frame(3));
    assert!(frames.len() >= whole.len() && frames.chunks(whole.len()).all(|chunk| chunk == whole));
}

#[tokio::test(flavor = "local")]
async fn pages_have_a_stream_of_their_own_and_a_third_is_not_opened() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let (mut pages_send, mut pages_recv) = client.connection.open_bi().await.unwrap();
    pages_send.write_all(&frame(9)).await.unwrap();
    let mut pages = within(poll_fn(|cx| transport.poll_pages(cx))).await.unwrap();
    assert_eq!(recv(&mut pages).await.unwrap().body.len(), 9);
    let third = poll_fn(|cx| Poll::Ready(std::pin::pin!(client.connection.open_bi()).poll(cx).is_pending())).await;
    assert!(third, "a third stream was allowed");
    assert!(poll_fn(|cx| Poll::Ready(std::pin::pin!(client.connection.open_uni()).poll(cx).is_pending())).await);

    send(&mut pages, &mut VecDeque::from([Outgoing::new(&frame(4))])).await.unwrap();
    let read = async { within(pages_recv.read_to_end(100)).await.unwrap() };
    let ((), read) = tokio::join!(close(&mut pages, ErrorCode::Going), read);
    assert_eq!(read, frame(4));
    // The session goes on.
    client.send.write_all(&frame(6)).await.unwrap();
    assert_eq!(recv(&mut transport).await.unwrap().body.len(), 6);
    send(&mut transport, &mut VecDeque::from([Outgoing::new(&frame(1))])).await.unwrap();
    let mut read = vec![0; frame(1).len()];
    within(client.recv.read_exact(&mut read)).await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn a_client_without_a_stream_times_out() {
    let place = place(b"panda/1");
    let gate = hasty_gate();
    let connecting = place.client.connect(place.address, "localhost").unwrap();
    let server = async { place.listener.accept(&gate).await.unwrap().establish().await };
    let (client, server) = within(async { tokio::join!(connecting, server) }).await;
    assert!(server.is_none());
    assert_eq!((counted(&gate, Counted::TimedOut), gate.handshakes()), (1, 0));
    let closed = within(client.unwrap().closed()).await;
    let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed}") };
    assert_eq!(closed.error_code, VarInt::from(ErrorCode::HandshakeTimeout as u16));
}

#[tokio::test(flavor = "local")]
async fn another_protocol_is_refused() {
    let place = place(b"h3");
    let gate = patient_gate();
    let connecting = place.client.connect(place.address, "localhost").unwrap();
    let server = async { place.listener.accept(&gate).await.unwrap().establish().await.is_none() };
    let (client, refused) = within(async { tokio::join!(connecting, server) }).await;
    assert!(client.is_err() && refused);
    assert_eq!((counted(&gate, Counted::Abandoned), gate.handshakes()), (1, 0));
}

#[tokio::test(flavor = "local")]
async fn the_gate_refuses_before_the_handshake() {
    let place = place(b"panda/1");
    let gate = Gate::new(AdmissionLimits { connections_per_address_max: 1, ..AdmissionLimits::default() });
    let (_client, _transport, _handshake) = established(&place, &gate).await;
    let listener = place.listener.clone();
    let accepting = spawn_local({
        let gate = gate.clone();
        async move { listener.accept(&gate).await.is_none() }
    });
    let refused = within(place.client.connect(place.address, "localhost").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    assert_eq!(counted(&gate, Counted::RefusedAddress), 1);
    accepting.abort();
}

#[tokio::test(flavor = "local")]
async fn under_load_an_address_is_proven_first() {
    let place = place(b"panda/1");
    let gate = Gate::new(AdmissionLimits { handshakes_max: 2, ..AdmissionLimits::default() });
    let (_client, _transport, handshake) = established(&place, &gate).await;
    assert_eq!(gate.handshakes(), 1);
    // The client comes back with the token of the retry and is let in.
    let (_client, _transport, _handshake) = established(&place, &gate).await;
    assert_eq!(counted(&gate, Counted::Admitted), 2);
    drop(handshake);
}

#[tokio::test(flavor = "local")]
async fn a_dropped_session_closes_its_connection() {
    let place = place(b"panda/1");
    let (client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    let (mut pages_send, _pages_recv) = client.connection.open_bi().await.unwrap();
    pages_send.write_all(&frame(9)).await.unwrap();
    let _pages = within(poll_fn(|cx| transport.poll_pages(cx))).await.unwrap();
    drop(transport);
    assert!(matches!(within(client.connection.closed()).await, ConnectionError::ApplicationClosed(_)));
    drop(client);
    place.listener.refuse_all();
    within(place.listener.wait_idle()).await;
}
