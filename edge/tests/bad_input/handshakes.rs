//! Connections that are no sessions yet: too many, too slow, given up, or of somebody who may not come in.

use std::time::Duration;

use panda_access::FleetSecret;
use panda_client::TransportKind;
use panda_edge::EdgeConfig;
use panda_edge::transport::tls::Identity;
use panda_protocol::ErrorCode;
use panda_protocol::frame::{Bye, Frame};
use quinn::ConnectionError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::{interval, timeout};

use crate::raw::{Raw, hello, quic_endpoint, read_out, tcp, tls_client, upgrade_head};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::{PATIENCE, Server, user};

/// From the connection to a good Hello. Long enough for the bystanders of a busy machine.
const TIME: Duration = Duration::from_secs(4);
const HANDSHAKES_MAX: usize = 6;
/// QUIC handshakes that are begun at once, far more than there may be.
const INITIALS: usize = 100;

fn impatient(config: &mut EdgeConfig) {
    config.admission.handshakes_max = HANDSHAKES_MAX;
    config.admission.handshake_timeout = TIME;
    config.session.hello_timeout_ms = u64::try_from(TIME.as_millis()).unwrap();
}

/// What an HTTP answer says: its status and the code in its body.
fn refusal(answer: &str) -> (&str, &str) {
    let (_, code) = answer.split_once(r#""code":"#).unwrap_or_else(|| panic!("no code: {answer}"));
    (&answer["HTTP/1.1 ".len()..][..3], &code[..4])
}

/// A TCP connection is turned away with this status, code and wait, a QUIC one without a word.
async fn turned_away(scene: &Scene, status: &str, code: ErrorCode, retry_after_s: u64) {
    let mut stream = tcp(&scene.server).await;
    stream.write_all(upgrade_head("").as_bytes()).await.unwrap();
    let answer = read_out(&mut stream).await;
    assert_eq!(refusal(&answer), (status, &*(code as u16).to_string()));
    assert!(answer.contains(&format!("\r\nRetry-After: {retry_after_s}\r\n")), "{answer}");
    let connecting = quic_endpoint(&scene.server).connect(scene.server.edge.quic_address().unwrap(), "localhost");
    let refused = timeout(PATIENCE, connecting.unwrap()).await.unwrap();
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
}

/// A new session opens over both transports, at the latest when the places that were given back have
/// arrived: the one before it gives its own back, too.
async fn opens_again(scene: &Scene) {
    for transport in TRANSPORTS {
        let mut attempts = interval(Duration::from_millis(10));
        let opening = async {
            loop {
                attempts.tick().await;
                if let Ok(raw) = Raw::try_open(&scene.server, transport, user()).await {
                    return raw;
                }
            }
        };
        let mut raw = timeout(PATIENCE, opening).await.expect("a place is free again");
        raw.say(Bye::new(ErrorCode::Going)).await;
        assert_eq!(raw.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_given_up_are_limited_and_give_their_places_back() {
    let mut scene = Scene::with(impatient).await;
    let bystanders = 2;
    let mut silent = [tcp(&scene.server).await, tcp(&scene.server).await];
    let mut without_hello = Vec::new();
    for transport in [TransportKind::WebSocket, TransportKind::Quic, TransportKind::WebSocket, TransportKind::Quic] {
        without_hello.push(Raw::connect(&scene.server, transport).await);
    }
    scene.until(|_, gate| gate("admitted") == bystanders + HANDSHAKES_MAX as u64).await;
    turned_away(&scene, "503", ErrorCode::Overloaded, 2).await;
    scene.nobody_notices().await;

    for stream in &mut silent {
        assert_eq!(read_out(stream).await, "", "nothing is said to who said nothing");
    }
    for raw in &mut without_hello {
        raw.ends_with_handshake_timeout().await;
    }
    scene.until(|_, gate| gate("timed_out") == HANDSHAKES_MAX as u64).await;
    opens_again(&scene).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_in_a_handshake_gives_the_place_back_at_once() {
    // The time is never over: only going away frees a place.
    let scene = Scene::with(|config| config.admission.handshakes_max = HANDSHAKES_MAX).await;
    for _ in 0..3 * HANDSHAKES_MAX {
        let (silent, upgraded) = (tcp(&scene.server).await, Raw::connect(&scene.server, TRANSPORTS[0]).await);
        drop((silent, upgraded));
        opens_again(&scene).await;
    }
    scene.until(|metrics, gate| gate("abandoned") >= 6 * HANDSHAKES_MAX as u64 && metrics.connections.get() == 2).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_hello_and_nothing_more_is_closed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let tls = identity.https_config(&FleetSecret::generate().unwrap()).unwrap();
    let server = Server::with(|config| {
        impatient(config);
        config.rules.tls = Some(tls);
    })
    .await;
    let mut scene = Scene::over(server, [TransportKind::Quic; 2]).await;
    let mut begun = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        let config = tls_client(&scene.server);
        let mut client =
            rustls::ClientConnection::new(config.into(), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut stream = tcp(&scene.server).await;
        stream.write_all(&hello).await.unwrap();
        begun.push(stream);
    }
    scene.until(|_, gate| gate("admitted") == 2 + HANDSHAKES_MAX as u64).await;
    // Without a handshake nothing can be said under TLS.
    assert_eq!(read_out(&mut tcp(&scene.server).await).await, "");
    scene.nobody_notices().await;
    scene.until(|_, gate| gate("timed_out") == HANDSHAKES_MAX as u64).await;
    let _opened = scene.open(TransportKind::Quic).await;
    drop(begun);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_initials_and_nothing_more_take_half_of_the_places_and_only_for_a_while() {
    let mut scene = Scene::with(impatient).await;
    let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..INITIALS {
        from.send_to(&quic_initial(&scene.server).await, scene.server.edge.quic_address().unwrap()).await.unwrap();
    }
    // Half of the places are for who has shown that an answer reaches him.
    let _opened = scene.open(TransportKind::Quic).await;
    scene.nobody_notices().await;
    // All but the three sessions time out.
    scene.until(|_, gate| gate("timed_out") > 0 && gate("timed_out") == gate("admitted") - 3).await;
    opens_again(&scene).await;
    scene.end().await;
}

/// The first packet of a client's connection.
async fn quic_initial(server: &Server) -> Vec<u8> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = quic_endpoint(server);
    let connecting = endpoint.connect(nobody.local_addr().unwrap(), "localhost").unwrap();
    let mut packet = vec![0; 2_048];
    let (len, _) = timeout(PATIENCE, nobody.recv_from(&mut packet)).await.unwrap().unwrap();
    drop(connecting);
    packet.truncate(len);
    packet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_a_second_before_the_hello_is_over_when_its_time_is() {
    let mut scene = Scene::with(impatient).await;
    tokio::join!(
        drip_a_hello(&scene, TransportKind::WebSocket),
        drip_a_hello(&scene, TransportKind::Quic),
        drip_a_request(&scene)
    );
    scene.until(|_, gate| gate("timed_out") == 3).await;
    scene.nobody_notices().await;
    scene.end().await;
}

/// A Hello, a byte at a time, until the server says goodbye.
async fn drip_a_hello(scene: &Scene, transport: TransportKind) {
    let hello = Frame::from(hello(scene.server.token(user()))).to_bytes();
    let mut raw = Raw::connect(&scene.server, transport).await;
    let bytes = raw.bare_bytes(&hello);
    let frames = raw.drip(&bytes).await;
    let [Frame::Bye(bye)] = &frames[..] else { panic!("{transport:?}: {frames:?}") };
    assert_eq!(bye.code, ErrorCode::HandshakeTimeout as u16, "{transport:?}");
}

/// The head of a request, a byte at a time, until nobody listens any more.
async fn drip_a_request(scene: &Scene) {
    let mut stream = tcp(&scene.server).await;
    let mut pace = interval(Duration::from_millis(50));
    let dripping = async {
        for byte in upgrade_head("").bytes() {
            pace.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        panic!("a request came in whole, a byte at a time");
    };
    timeout(PATIENCE, dripping).await.expect("it is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_is_origin_refused() {
    let mut scene = Scene::with(|config| config.rules.origins = vec!["https://listed.example".into()]).await;
    let asked = async |origin: &str| {
        let mut stream = tcp(&scene.server).await;
        stream.write_all(upgrade_head(&format!("Origin: {origin}\r\n")).as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        let head = String::from_utf8(head.to_vec()).unwrap();
        if head.ends_with("101") { head } else { head + &read_out(&mut stream).await }
    };
    for origin in ["https://evil.example", "https://listed.example.evil.example", "null", ""] {
        assert_eq!(refusal(&asked(origin).await), ("403", "1307"), "{origin}");
    }
    assert_eq!(asked("https://listed.example").await, "HTTP/1.1 101");
    scene.nobody_notices().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_above_its_addresss_limit_is_too_many_connections() {
    // The bystanders come from the same address.
    let mut scene = Scene::with(|config| config.admission.connections_per_address_max = 3).await;
    let third = scene.open(TransportKind::Quic).await;
    turned_away(&scene, "429", ErrorCode::TooManyConnections, 30).await;
    scene.nobody_notices().await;
    drop(third);
    opens_again(&scene).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_above_the_limit_is_overloaded() {
    let mut scene = Scene::with(|config| config.admission.sessions_max = 3).await;
    let mut connected = Vec::new();
    for transport in [TRANSPORTS[0], TRANSPORTS[1], TRANSPORTS[0]] {
        connected.push(Raw::connect(&scene.server, transport).await);
    }
    let [first, second, third] = &mut connected[..] else { panic!("three connected") };
    first.say(hello(scene.server.token(user()))).await;
    assert!(matches!(first.next().await, Some(Frame::Welcome(_))));
    // Let in while there was room, and there is none any more.
    for late in [second, third] {
        late.say(hello(scene.server.token(user()))).await;
        let bye = late.bye().await;
        assert_eq!((bye.code, bye.retry_after_ms), (ErrorCode::Overloaded as u16, 10_000));
    }
    turned_away(&scene, "503", ErrorCode::Overloaded, 10).await;
    scene.nobody_notices().await;
    drop(connected);
    opens_again(&scene).await;
    scene.end().await;
}
