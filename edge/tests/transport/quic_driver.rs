//! The driver of QUIC connections: many at once, loss, timers, wake-ups, restarts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::quic::{Client, client, client_that, connected, established, established_with, place, verifier};
use crate::relay::{Way, relay};
use crate::support::{body_of, close, counted, frame, hasty_gate, patient_gate, recv, send, within};
use panda_access::FleetSecret;
use panda_edge::admission::{AdmissionLimits, Counted, Gate};
use panda_edge::transport::quic::{QuicDriver, QuicListener, QuicTransport};
use panda_edge::transport::tls::Identity;
use panda_edge::transport::{Outgoing, TransportError};
use panda_protocol::ErrorCode;
use prometheus_client::metrics::counter::Counter;
use quinn::ConnectionError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::task::{spawn_local, yield_now};

/// One frame there and one back.
async fn talk(client: &mut Client, transport: &mut QuicTransport, len: usize) {
    let there = async {
        client.send.write_all(&frame(len)).await.unwrap();
        let mut back = vec![0; frame(len).len()];
        client.recv.read_exact(&mut back).await.unwrap();
        assert_eq!(back, frame(len));
    };
    let back = async {
        assert_eq!(recv(transport).await.unwrap().body, body_of(&frame(len), len));
        send(transport, &mut VecDeque::from([Outgoing::new(&frame(len))])).await.unwrap();
    };
    within(async { tokio::join!(there, back) }).await;
}

/// Sends back every frame until the client goes away.
fn echo(mut transport: QuicTransport) {
    spawn_local(async move {
        while let Ok(frame) = recv(&mut transport).await {
            let frame = crate::support::frame(frame.body.len());
            send(&mut transport, &mut VecDeque::from([Outgoing::new(&frame)])).await.unwrap();
        }
    });
}

#[tokio::test(flavor = "local")]
async fn many_connections_share_a_socket_and_one_that_takes_nothing_holds_up_nobody() {
    const CLIENTS: usize = 50;
    let place = place(b"panda/1");
    // All handshakes at once take their time on a busy machine.
    let limits = AdmissionLimits { handshake_timeout: Duration::from_secs(120), ..AdmissionLimits::default() };
    let gate = Gate::new(limits);
    let (idler, mut never_read, _handshake) = established(&place, &gate).await;
    let mut endless: VecDeque<_> = (0..1_000).map(|_| Outgoing::new(&frame(10_000))).collect();
    assert!(poll_fn(|cx| Poll::Ready(send_now(&mut never_read, cx, &mut endless))).await.is_pending());

    let listener = Rc::clone(&place.listener);
    let accepting = spawn_local({
        let gate = gate.clone();
        async move {
            while let Some(incoming) = listener.accept(&gate).await {
                spawn_local(async move {
                    let (transport, _handshake) = incoming.establish().await.unwrap();
                    echo(transport);
                });
            }
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (endpoint, address) = (place.client.clone(), place.address);
            spawn_local(async move {
                let mut client = connected(&endpoint, address).await;
                for len in [5, 6 + number, 3_000] {
                    if len != 5 {
                        client.send.write_all(&frame(len)).await.unwrap();
                    }
                    let mut back = vec![0; frame(len).len()];
                    client.recv.read_exact(&mut back).await.unwrap();
                    assert_eq!(back, frame(len));
                }
            })
        })
        .collect();
    for client in clients {
        within(client).await.unwrap();
    }
    assert_eq!(counted(&gate, Counted::Admitted), 1 + CLIENTS as u64);
    assert!(!endless.is_empty());
    accepting.abort();
    drop((idler, never_read));
    place.listener.refuse_all();
    // Every connection is given back, however it ended.
    within(place.listener.wait_idle()).await;
}

fn send_now(
    transport: &mut QuicTransport,
    cx: &mut Context<'_>,
    queue: &mut VecDeque<Outgoing>,
) -> Poll<Result<(), TransportError>> {
    panda_edge::transport::Transport::poll_send(transport, cx, queue)
}

#[tokio::test(flavor = "local")]
async fn what_is_lost_on_the_way_is_sent_again() {
    let place = place(b"panda/1");
    let lossy = relay(place.address, |way, number| match way {
        Way::ToServer => number % 5 == 3,
        Way::ToClient => number % 7 == 2,
    })
    .await;
    let (mut client, mut transport, _handshake) =
        established_with(&place.client, lossy, &place.listener, &patient_gate()).await;
    for len in [1, 20_000, 60_000, 3] {
        talk(&mut client, &mut transport, len).await;
    }
    // The end of the stream, too, which only a timer finds missing: nothing comes behind it.
    let ending = close(&mut transport, ErrorCode::Going);
    let ((), rest) = within(async { tokio::join!(ending, client.recv.read_to_end(1)) }).await;
    assert!(rest.unwrap().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_client_that_is_heard_no_more_times_out() {
    let place = place(b"panda/1");
    let (_client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    tokio::time::pause();
    // The shorter of both sides' idle times, the client's, is 30 s. Nothing is said meanwhile.
    let ended = poll_fn(|cx| panda_edge::transport::Transport::poll_recv(&mut transport, cx, 100));
    let ended = tokio::time::timeout(Duration::from_secs(40), ended).await.expect("it is noticed by a timer");
    assert!(matches!(ended, Err(TransportError::Closed)));
    drop(transport);
    tokio::time::timeout(Duration::from_secs(1), place.listener.wait_idle()).await.expect("nothing is left of it");
}

#[tokio::test(flavor = "local")]
async fn a_handshake_that_was_broken_off_is_forgotten_soon_however_long_the_way_seems() {
    let place = place(b"panda/1");
    let gate = hasty_gate();
    for _ in 0..5 {
        // Without an answer, QUIC takes the way there and back for a third of a second, and would wait for three.
        let deaf = relay(place.address, |way, _| way == Way::ToClient).await;
        let _connecting = place.client.connect(deaf, "localhost").unwrap();
        assert!(within(place.listener.accept(&gate)).await.unwrap().establish().await.is_none());
    }
    tokio::time::pause();
    tokio::time::timeout(Duration::from_millis(2_100), place.listener.wait_idle()).await.expect("they are forgotten");
}

#[tokio::test(flavor = "local")]
async fn a_client_goes_on_however_often_its_address_changes() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    // Each change takes another of the server's connection IDs, of which a client holds two.
    for _ in 0..5 {
        let before = format!("{transport:?}");
        place.client.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        talk(&mut client, &mut transport, 20_000).await;
        assert_ne!(format!("{transport:?}"), before, "the server knows the new address");
        talk(&mut client, &mut transport, 300).await;
    }
}

#[tokio::test(flavor = "local")]
async fn keys_change_as_often_as_the_client_wants_though_tls_is_gone() {
    let place = place(b"panda/1");
    let (mut client, mut transport, _handshake) = established(&place, &patient_gate()).await;
    for len in [1, 5_000, 0, 300] {
        talk(&mut client, &mut transport, len).await;
        client.connection.force_key_update();
        talk(&mut client, &mut transport, len).await;
    }
}

/// Counts the certificates that it is shown.
#[derive(Debug)]
struct Counting {
    believes: Arc<dyn ServerCertVerifier>,
    shown: AtomicUsize,
}

impl ServerCertVerifier for Counting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.shown.fetch_add(1, Ordering::Relaxed);
        self.believes.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.believes.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.believes.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.believes.supported_verify_schemes()
    }
}

#[tokio::test(flavor = "local")]
async fn who_comes_back_brings_a_ticket_and_is_not_shown_the_certificate_again() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, driver) = bind(&folder, "127.0.0.1:0", &FleetSecret::generate().unwrap());
    spawn_local(driver);
    let counting = Arc::new(Counting { believes: verifier(folder.path()), shown: AtomicUsize::new(0) });
    let endpoint = client_that(Arc::clone(&counting) as Arc<dyn ServerCertVerifier>, b"panda/1");
    let address = listener.local_addr().unwrap();
    for _ in 0..3 {
        let (mut client, mut transport, _handshake) =
            established_with(&endpoint, address, &listener, &patient_gate()).await;
        // The ticket, the handshake's last message, is there before what is sent behind it.
        talk(&mut client, &mut transport, 1).await;
    }
    assert_eq!(counting.shown.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "local")]
async fn who_only_begins_handshakes_takes_half_of_the_places_and_others_prove_their_address() {
    const DEAF: usize = 24;
    let place = place(b"panda/1");
    let gate = Gate::new(AdmissionLimits { handshakes_max: 16, ..AdmissionLimits::default() });
    // They hear nothing, so they answer neither a handshake nor a retry.
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let address = relay(place.address, |way, _| way == Way::ToClient).await;
        deaf.push(place.client.connect(address, "localhost").unwrap());
    }
    let waiting = Rc::new(Cell::new(0));
    let accepting = spawn_local({
        let (listener, gate, waiting) = (Rc::clone(&place.listener), gate.clone(), Rc::clone(&waiting));
        async move {
            loop {
                let incoming = listener.accept(&gate).await.unwrap();
                waiting.set(waiting.get() + 1);
                spawn_local(async move {
                    let (transport, handshake) = incoming.establish().await.unwrap();
                    echo(transport);
                    // The place of a handshake is given back as a Hello gives it.
                    drop(handshake.authenticated().unwrap());
                });
            }
        }
    });
    within(async {
        while waiting.get() < 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for number in 1..=5 {
        let mut honest = within(connected(&place.client, place.address)).await;
        let mut back = vec![0; frame(5).len()];
        within(honest.recv.read_exact(&mut back)).await.unwrap();
        assert_eq!(waiting.get(), 8 + number, "the deaf take no place of those who prove their address");
        assert!(gate.handshakes() <= 9);
    }
    accepting.abort();
}

/// A driver that can be held up, and says whether it was woken meanwhile.
struct Held {
    driver: QuicDriver,
    state: Rc<HeldState>,
}

#[derive(Default)]
struct HeldState {
    is_held: Cell<bool>,
    woken: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Future for Held {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.state.waker.borrow_mut() = Some(cx.waker().clone());
        if self.state.is_held.get() {
            self.state.woken.set(self.state.woken.get() + 1);
            return Poll::Pending;
        }
        Pin::new(&mut self.driver).poll(cx)
    }
}

impl HeldState {
    /// Lets what is under way come to rest, and holds the driver up.
    async fn hold(&self) {
        tokio::time::sleep(Duration::from_millis(60)).await;
        self.woken.set(0);
        self.is_held.set(true);
    }

    fn release(&self) {
        self.is_held.set(false);
        self.waker.borrow().as_ref().unwrap().wake_by_ref();
    }

    async fn is_woken(&self) -> bool {
        for _ in 0..10 {
            yield_now().await;
        }
        self.woken.replace(0) > 0
    }
}

#[tokio::test(flavor = "local")]
async fn whatever_a_session_does_wakes_the_driver_and_what_it_missed_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, driver) = bind(&folder, "127.0.0.1:0", &FleetSecret::generate().unwrap());
    let state = Rc::new(HeldState::default());
    spawn_local(Held { driver, state: Rc::clone(&state) });
    let (endpoint, address) = (client(folder.path(), b"panda/1"), listener.local_addr().unwrap());
    let (mut client, mut transport, _handshake) =
        established_with(&endpoint, address, &listener, &patient_gate()).await;

    state.hold().await;
    for _ in 0..3 {
        send(&mut transport, &mut VecDeque::from([Outgoing::new(&frame(9))])).await.unwrap();
    }
    assert!(state.is_woken().await, "by frames that were written");
    // It slept through that wake-up; each later one is as good.
    client.send.write_all(&frame(2)).await.unwrap();
    state.release();
    let mut read = vec![0; 3 * frame(9).len()];
    within(client.recv.read_exact(&mut read)).await.unwrap();
    assert_eq!(recv(&mut transport).await.unwrap().body.len(), 2);

    // What is read makes room for more, which the client is to be told. It sends what it may, and waits.
    let writing = spawn_local(async move {
        client.send.write_all(&frame(60_000)).await.unwrap();
        client
    });
    state.hold().await;
    assert!(!writing.is_finished());
    let waits = poll_fn(|cx| Poll::Ready(panda_edge::transport::Transport::poll_recv(&mut transport, cx, 65_536)));
    assert!(waits.await.is_pending());
    assert!(state.is_woken().await, "by what was read");
    state.release();
    assert_eq!(recv(&mut transport).await.unwrap().body.len(), 60_000);
    let client = within(writing).await.unwrap();

    state.hold().await;
    drop(transport);
    assert!(state.is_woken().await, "by a connection that was closed");
    state.release();
    assert!(matches!(within(client.connection.closed()).await, ConnectionError::ApplicationClosed(_)));
    drop((client, listener));
}

fn bind(folder: &tempfile::TempDir, address: &str, fleet: &FleetSecret) -> (QuicListener, QuicDriver) {
    let identity = Identity::development(folder.path()).unwrap();
    QuicListener::bind(address.parse().unwrap(), &identity, fleet, Counter::default()).unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_client_learns_of_a_restart_from_the_next_processs_first_answer() {
    let (folder, fleet) = (tempfile::tempdir().unwrap(), FleetSecret::generate().unwrap());
    let (listener, driver) = bind(&folder, "127.0.0.1:0", &fleet);
    let driver = spawn_local(driver);
    let (endpoint, address) = (client(folder.path(), b"panda/1"), listener.local_addr().unwrap());
    let gate = patient_gate();
    let (mut client, mut transport, _handshake) = established_with(&endpoint, address, &listener, &gate).await;
    talk(&mut client, &mut transport, 10).await;
    driver.abort();
    assert!(driver.await.unwrap_err().is_cancelled());
    // Who still holds something of it is told, and can do no harm.
    assert!(matches!(recv(&mut transport).await, Err(TransportError::Closed)));
    assert!(matches!(
        send(&mut transport, &mut VecDeque::from([Outgoing::new(&frame(1))])).await,
        Err(TransportError::Closed)
    ));
    assert!(listener.accept(&gate).await.is_none());
    within(listener.wait_idle()).await;
    drop((transport, listener));

    let (listener, driver) = bind(&folder, &address.to_string(), &fleet);
    spawn_local(driver);
    client.send.write_all(&frame(100)).await.unwrap();
    assert!(matches!(within(client.connection.closed()).await, ConnectionError::Reset));
    let (mut client, mut transport, _handshake) = established_with(&endpoint, address, &listener, &gate).await;
    talk(&mut client, &mut transport, 10).await;
}

#[tokio::test(flavor = "local")]
async fn a_driver_ends_with_its_listener_and_the_last_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, driver) = bind(&folder, "127.0.0.1:0", &FleetSecret::generate().unwrap());
    let driver = spawn_local(driver);
    let (endpoint, address) = (client(folder.path(), b"panda/1"), listener.local_addr().unwrap());
    let (mut client, mut transport, _handshake) =
        established_with(&endpoint, address, &listener, &patient_gate()).await;
    drop(listener);
    talk(&mut client, &mut transport, 10).await;
    let refused = within(endpoint.connect(address, "localhost").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    assert!(!driver.is_finished());
    drop(transport);
    within(driver).await.unwrap();
}
