//! What a driver does when the kernel has no room, when QUIC itself fails, and how much it does in a turn: none of it can
//! be brought about or seen from outside.

use std::future::poll_fn;
use std::net::UdpSocket;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::framing::frame_bytes;
use quinn::ConnectionError;
use quinn::crypto::rustls::QuicClientConfig;
use quinn_udp::UdpSocketState;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::*;
use crate::admission::AdmissionLimits;

struct Place {
    listener: QuicListener,
    client: quinn::Endpoint,
    gate: Gate,
    panics: Counter,
}

fn bind(folder: &tempfile::TempDir, panics: Counter) -> (QuicListener, QuicDriver) {
    let identity = Identity::development(folder.path()).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    QuicListener::bind(address, &identity, &FleetSecret::generate().unwrap(), panics).unwrap()
}

fn place() -> Place {
    let (folder, panics) = (tempfile::tempdir().unwrap(), Counter::default());
    let (listener, driver) = bind(&folder, panics.clone());
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
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
    Place { listener, client, gate: Gate::new(AdmissionLimits::default()), panics }
}

impl Place {
    fn connect(&self) -> quinn::Connecting {
        self.client.connect(self.listener.local_addr().unwrap(), "localhost").unwrap()
    }

    /// Somebody who wants to connect and was not looked at.
    async fn incoming(&self) -> Incoming {
        within(poll_fn(|cx| self.listener.endpoint.borrow_mut().poll_incoming(cx))).await.unwrap()
    }

    fn has_no_room(&self) {
        self.listener.endpoint.borrow().socket.full.set(true);
    }

    /// The kernel says so with the next thing that it has to say.
    fn has_room(&self) {
        self.listener.endpoint.borrow().socket.full.set(false);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[], self.listener.local_addr().unwrap()).unwrap();
    }

    fn is_blocked(&self) -> bool {
        self.listener.endpoint.borrow().blocked.is_some()
    }

    fn leaving(&self) -> usize {
        self.listener.endpoint.borrow().leaving()
    }
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
            let connection = place.connect().await.unwrap();
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
async fn what_the_kernel_has_no_room_for_leaves_later_and_in_order_and_what_comes_meanwhile_is_heard() {
    let place = place();
    let (mut first, mut second) = (Talk::begin(&place).await, Talk::begin(&place).await);
    for _ in 0..3 {
        place.has_no_room();
        first.say(30_000).await;
        second.say(300).await;
        for len in [5, 6] {
            first.send.write_all(&frame(len)).await.unwrap();
            assert_eq!(first.hear().await.unwrap(), len);
            assert!(place.is_blocked(), "nothing leaves");
        }
        place.has_room();
        tokio::join!(first.listen(30_000), second.listen(300));
        assert!(!place.is_blocked());
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_is_noticed_though_the_kernel_has_no_room() {
    let place = place();
    let mut talk = Talk::begin(&place).await;
    place.has_no_room();
    talk.say(10).await;
    within(async {
        while !place.is_blocked() {
            yield_now().await;
        }
    })
    .await;
    talk.connection.close(0_u32.into(), b"");
    assert!(matches!(talk.hear().await, Err(TransportError::Closed)));
    assert!(place.is_blocked());
}

#[tokio::test(flavor = "local")]
async fn a_step_that_waits_may_have_something_to_send() {
    let place = place();
    let talk = Talk::begin(&place).await;
    sleep(Duration::from_millis(60)).await;
    let handle = &talk.transport.connection;
    for transmits in [false, true] {
        let step = |_: &mut quinn_proto::Connection| Step::<()> { done: None, transmits };
        assert!(poll_fn(|cx| Poll::Ready(handle.poll(cx, step))).await.is_pending());
        let is_queued = handle.endpoint.borrow_mut().connection(handle.place).unwrap().queued;
        assert_eq!(is_queued, transmits);
    }
}

/// Asks something of a connection in which QUIC panics.
type Trip = fn(&mut Talk, &mut Context<'_>) -> bool;

#[tokio::test(flavor = "local")]
async fn a_panic_in_one_connection_ends_that_one_alone_whatever_was_asked() {
    let place = place();
    let mut lives = Talk::begin(&place).await;
    let trips: [Trip; 4] = [
        |talk, cx| talk.transport.poll_recv(cx, 10).is_ready(),
        |talk, cx| talk.transport.poll_send(cx, &mut VecDeque::from([Outgoing::new(&frame(1))])).is_ready(),
        |talk, cx| talk.transport.poll_close(cx, ErrorCode::Going).is_ready(),
        |talk, _| {
            talk.transport.connection.close(ErrorCode::Going);
            true
        },
    ];
    for (number, trip) in (1..).zip(trips) {
        let mut breaks = Talk::begin(&place).await;
        breaks.trip();
        assert!(trip(&mut breaks, &mut Context::from_waker(Waker::noop())));
        assert_eq!(place.panics.get(), number);
        breaks.ends_alone(&place).await;
        lives.send.write_all(&frame(3)).await.unwrap();
        assert_eq!(lives.hear().await.unwrap(), 3);
    }
    // By a packet, and by nobody who waits for anything.
    let mut breaks = Talk::begin(&place).await;
    breaks.trip();
    breaks.send.write_all(&frame(2)).await.unwrap();
    assert!(matches!(breaks.hear().await, Err(TransportError::Closed)));
    breaks.ends_alone(&place).await;
    let breaks = Talk::begin(&place).await;
    breaks.trip();
    drop(breaks.transport);
    assert_eq!((place.panics.get(), place.leaving()), (6, 0));
    lives.say(4).await;
    lives.listen(4).await;
    drop(lives.transport);
    within(place.listener.wait_idle()).await;
    Talk::begin(&place).await;
}

impl Talk {
    /// Whatever is asked of the connection next makes QUIC panic.
    fn trip(&self) {
        let handle = &self.transport.connection;
        handle.endpoint.borrow_mut().connection(handle.place).unwrap().trips = true;
    }

    /// Nothing is asked of it any more, and the client learns that it is gone from the next packet.
    async fn ends_alone(mut self, place: &Place) {
        let panics = place.panics.get();
        assert!(matches!(self.hear().await, Err(TransportError::Closed)));
        assert!(poll_fn(|cx| Poll::Ready(self.transport.poll_pages(cx))).await.is_ready());
        self.transport.connection.close(ErrorCode::Going);
        drop(self.transport);
        assert_eq!((place.panics.get(), place.leaving()), (panics, 0));
        // It may have learnt it already, when it sent something again.
        drop(self.send.write_all(&frame(2)).await);
        within(self.connection.closed()).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_panic_over_who_is_no_connection_yet_ends_no_connection() {
    let place = place();
    let mut lives = Talk::begin(&place).await;
    let trip = || place.listener.endpoint.borrow().containment.trips.set(true);

    // A packet of which nothing came is one that was lost.
    trip();
    lives.send.write_all(&frame(3)).await.unwrap();
    assert_eq!(lives.hear().await.unwrap(), 3);
    assert_eq!(place.panics.get(), 1);

    let connecting = place.connect();
    let incoming = within(place.listener.accept(&place.gate)).await.unwrap();
    trip();
    assert!(incoming.establish().await.is_none());
    assert_eq!((place.panics.get(), place.gate.handshakes()), (2, 0));
    drop(connecting);

    for (number, ends) in [(3, Endpoint::refuse as fn(&mut Endpoint, Incoming)), (4, Endpoint::retry)] {
        let connecting = place.connect();
        let incoming = place.incoming().await;
        trip();
        ends(&mut place.listener.endpoint.borrow_mut(), incoming);
        assert_eq!(place.panics.get(), number);
        drop(connecting);
    }
    Talk::begin(&place).await;
    lives.say(4).await;
    lives.listen(4).await;
}

#[tokio::test(flavor = "local")]
async fn closed_connections_that_nobody_names_count_as_crowding() {
    let place = place();
    let gate = Gate::new(AdmissionLimits { handshakes_max: 4, ..AdmissionLimits::default() });
    let (first, second) = (Talk::begin(&place).await, Talk::begin(&place).await);
    let connecting = place.connect();
    let incoming = place.incoming().await;
    assert!(!incoming.remote_address_validated());
    drop((first.transport, second.transport));
    assert_eq!(place.leaving(), 2);
    assert!(place.listener.look_at(incoming, &gate).is_none(), "it is asked to prove its address");
    let again = within(place.listener.accept(&gate)).await.unwrap();
    assert!(again.incoming.incoming.as_ref().unwrap().remote_address_validated());
    drop(connecting);
}

#[tokio::test(flavor = "local")]
async fn of_too_many_closed_connections_some_are_forgotten_once_they_said_goodbye_and_nobody_comes_before() {
    let place = place();
    let mut talks = Vec::new();
    for _ in 0..5 {
        talks.push(Talk::begin(&place).await);
    }
    let connecting = place.connect();
    let incoming = place.incoming().await;
    place.listener.endpoint.borrow_mut().leaving_max = 2;
    place.has_no_room();
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for talk in talks {
        drop(talk.transport);
        clients.push(talk.connection);
        streams.push((talk.send, talk.recv));
    }
    for _ in 0..10 {
        yield_now().await;
    }
    assert_eq!(place.leaving(), 5, "none is forgotten before it said goodbye");
    assert!(place.listener.look_at(incoming, &place.gate).is_none());
    assert_eq!(place.gate.handshakes(), 0, "nobody is let in meanwhile");
    drop(connecting);
    place.has_room();
    for client in clients {
        // Not by a reset: each was told before it was forgotten.
        let told = within(client.closed()).await;
        assert!(matches!(told, ConnectionError::ApplicationClosed(_)), "{told:?}");
    }
    assert_eq!(place.leaving(), 2);
}

/// Turns of a driver that is called for what `send` sends to it, but for the last, which finds nothing.
async fn turns(send: impl Fn(&UdpSocket, SocketAddr)) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (listener, _driver) = bind(&folder, Counter::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    send(&socket, listener.local_addr().unwrap());
    // The reactor notes that there is something to read.
    sleep(Duration::from_millis(20)).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut turns = 0;
    while matches!(listener.endpoint.borrow_mut().turn(&mut cx), Next::Soon) {
        turns += 1;
    }
    turns
}

#[tokio::test(flavor = "local")]
async fn a_turn_takes_128_packets_however_many_the_kernel_joins_to_a_message() {
    let joined = turns(|socket, destination| {
        let state = UdpSocketState::new(socket.into()).unwrap();
        let segments = state.max_gso_segments().min(64);
        for _ in 0..384 / segments {
            let (contents, segment_size) = (&vec![0; 10 * segments][..], (segments > 1).then_some(10));
            let transmit = quinn_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            state.send(socket.into(), &transmit).unwrap();
        }
    });
    assert_eq!(joined.await, 3);
    // What has no bytes is a packet, too.
    let empty = turns(|socket, destination| {
        for _ in 0..256 {
            assert_eq!(socket.send_to(&[], destination).unwrap(), 0);
        }
    });
    assert_eq!(empty.await, 2);
}
