//! What a driver does when the kernel has no room, or QUIC itself fails: neither can be brought about from outside.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::framing::frame_bytes;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::*;
use crate::admission::AdmissionLimits;

struct Place {
    listener: QuicListener,
    client: quinn::Endpoint,
    gate: Gate,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let (listener, driver) = QuicListener::bind(address, &identity, &FleetSecret::generate().unwrap()).unwrap();
    spawn_local(driver);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"panda/1".to_vec()];
    let mut client = quinn::Endpoint::client(address).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
    Place { listener, client, gate: Gate::new(AdmissionLimits::default()) }
}

/// Longer than anything here takes.
async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.expect("this takes too long")
}

struct Talk {
    connection: quinn::Connection,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    transport: QuicTransport,
}

fn frame(len: usize) -> Bytes {
    frame_bytes(7, len, |out| out.raw(&vec![1; len]))
}

impl Talk {
    async fn begin(place: &Place) -> Self {
        let client = async {
            let address = place.listener.local_addr().unwrap();
            let connection = place.client.connect(address, "localhost").unwrap().await.unwrap();
            let (mut send, recv) = connection.open_bi().await.unwrap();
            send.write_all(&frame(1)).await.unwrap();
            (connection, send, recv)
        };
        let server = async { place.listener.accept(&place.gate).await.unwrap().establish().await.unwrap() };
        let ((connection, send, recv), (transport, _)) = within(async { tokio::join!(client, server) }).await;
        let mut talk = Self { connection, send, recv, transport };
        assert_eq!(talk.hear().await.unwrap(), 1);
        talk
    }

    /// The length of the next frame.
    async fn hear(&mut self) -> Result<usize, TransportError> {
        within(poll_fn(|cx| self.transport.poll_recv(cx, 65_536))).await.map(|frame| frame.body.len())
    }

    async fn say(&mut self, len: usize) {
        let mut queue = VecDeque::from([Outgoing::new(&frame(len))]);
        within(poll_fn(|cx| self.transport.poll_send(cx, &mut queue))).await.unwrap();
    }

    async fn listen(&mut self, len: usize) {
        let mut read = vec![0; frame(len).len()];
        within(self.recv.read_exact(&mut read)).await.unwrap();
        assert_eq!(read, frame(len));
    }
}

#[tokio::test(flavor = "local")]
async fn what_the_kernel_has_no_room_for_leaves_later_and_in_order() {
    let place = place();
    let (mut first, mut second) = (Talk::begin(&place).await, Talk::begin(&place).await);
    for full in [1, 2, 50] {
        place.listener.endpoint.borrow().socket.full.set(full);
        first.say(30_000).await;
        second.say(300).await;
        tokio::join!(first.listen(30_000), second.listen(300));
        assert_eq!(place.listener.endpoint.borrow().socket.full.get(), 0);
    }
}

#[tokio::test(flavor = "local")]
async fn a_panic_in_one_connection_ends_that_one_alone() {
    let place = place();
    let (mut breaks, mut lives) = (Talk::begin(&place).await, Talk::begin(&place).await);
    breaks.transport.connection.endpoint.borrow_mut().connection(breaks.transport.connection.place).unwrap().panics =
        true;
    breaks.send.write_all(&frame(2)).await.unwrap();
    assert!(matches!(breaks.hear().await, Err(TransportError::Closed)));
    assert!(poll_fn(|cx| Poll::Ready(breaks.transport.poll_pages(cx))).await.is_ready());
    lives.send.write_all(&frame(3)).await.unwrap();
    assert_eq!(lives.hear().await.unwrap(), 3);
    lives.say(4).await;
    lives.listen(4).await;
    // QUIC forgot it, so the client learns that it is gone from the next packet.
    drop(breaks.transport);
    // It may have learnt it already, when it sent the last frame again.
    drop(breaks.send.write_all(&frame(2)).await);
    within(breaks.connection.closed()).await;
    drop(lives.transport);
    within(place.listener.wait_idle()).await;
    Talk::begin(&place).await;
}
