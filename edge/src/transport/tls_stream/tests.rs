use std::sync::Arc;

use panda_access::FleetSecret;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

use super::state::Session;
use super::*;
use crate::transport::tls::Identity;

mod random;
mod segments;
mod sockets;

type Client = client::TlsStream<DuplexStream>;

/// The configuration of a server, and what a client needs to believe it.
fn configs(
    version: &'static SupportedProtocolVersion,
    suites: &[SupportedCipherSuite],
) -> (Arc<ServerConfig>, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let server = identity.https_config(&FleetSecret::generate().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap()).unwrap();
    let provider = CryptoProvider { cipher_suites: suites.to_vec(), ..default_provider() };
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A test seals what no client would.
    client.enable_secret_extraction = true;
    (server, TlsConnector::from(Arc::new(client)))
}

/// Both ends of a connection over a pipe that holds so many bytes each way.
pub(super) async fn pair(
    version: &'static SupportedProtocolVersion,
    pipe_bytes: usize,
) -> (Box<TlsStream<DuplexStream>>, Client) {
    pair_of(version, &default_provider().cipher_suites, pipe_bytes).await
}

async fn pair_of(
    version: &'static SupportedProtocolVersion,
    suites: &[SupportedCipherSuite],
    pipe_bytes: usize,
) -> (Box<TlsStream<DuplexStream>>, Client) {
    let (config, connector) = configs(version, suites);
    let (near, far) = duplex(pipe_bytes);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(TlsStream::accept(near, config), connector.connect(name, far));
    (server.unwrap(), client.unwrap())
}

fn text(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(len).collect()
}

#[tokio::test]
async fn what_is_written_is_read_both_ways_whatever_the_pieces_and_nothing_stays_held() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        // A pipe of 61 bytes cuts every record, and a flush waits for the reader.
        for (pipe_bytes, len) in [(61, 5_000), (1_024, 40_000), (1 << 20, 300_000)] {
            let (mut server, client) = pair(version, pipe_bytes).await;
            let (mut from_server, mut to_server) = tokio::io::split(client);
            let (sent, mut heard) = (text(len), Vec::new());
            for _ in 0..2 {
                let mut echoed = vec![0; len];
                let client = async {
                    let say = async {
                        to_server.write_all(&sent).await.unwrap();
                        to_server.flush().await.unwrap();
                    };
                    tokio::join!(say, async { from_server.read_exact(&mut echoed).await.unwrap() });
                };
                let echo = async {
                    heard.clear();
                    // Each piece goes back at once, so parts of records have come when one is written.
                    while heard.len() < len {
                        let mut piece = [0; 7_001];
                        let read = server.read(&mut piece).await.unwrap();
                        heard.extend_from_slice(&piece[..read]);
                        server.write_all(&piece[..read]).await.unwrap();
                    }
                    server.flush().await.unwrap();
                };
                tokio::join!(client, echo);
                assert!(heard == sent && echoed == sent, "{version:?}, a pipe of {pipe_bytes} bytes");
            }
            assert_eq!(server.buffered(), 0, "{version:?}, a pipe of {pipe_bytes} bytes");
        }
    }
}

#[tokio::test]
async fn every_suite_of_tls_1_3_is_spoken() {
    for suite in default_provider().cipher_suites {
        if suite.version() != &rustls::version::TLS13 {
            continue;
        }
        let (mut server, mut client) = pair_of(&rustls::version::TLS13, &[suite], 1 << 16).await;
        assert!(matches!(server.tls.session, Session::Records(_)));
        let mut came = [0; 100];
        client.write_all(&[1; 100]).await.unwrap();
        client.flush().await.unwrap();
        server.read_exact(&mut came).await.unwrap();
        server.write_all(&[2; 100]).await.unwrap();
        server.shutdown().await.unwrap();
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).await.unwrap();
        assert_eq!((came, &echoed[..]), ([1; 100], &[2; 100][..]), "{suite:?}");
    }
}

#[tokio::test]
async fn the_suite_with_sha_256_is_taken_whatever_a_client_likes_most() {
    let (server, client) = pair(&rustls::version::TLS13, 1 << 16).await;
    drop(server);
    let suite = client.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_ne!(default_provider().cipher_suites[0].suite(), suite, "it likes another");
}

#[tokio::test]
async fn keys_are_changed_and_changed_back_when_the_peer_wants_that() {
    let (mut server, mut client) = pair(&rustls::version::TLS13, 200).await;
    for round in 0..3 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        let mut came = [0; 100];
        let (sent, read) = tokio::join!(
            async {
                client.write_all(&[round; 100]).await?;
                client.flush().await
            },
            server.read_exact(&mut came)
        );
        sent.unwrap();
        read.unwrap();
        assert_eq!(came, [round; 100]);
        let echo = async {
            server.write_all(&came).await?;
            server.flush().await
        };
        let mut echoed = [0; 100];
        let (sent, read) = tokio::join!(echo, client.read_exact(&mut echoed));
        sent.unwrap();
        read.unwrap();
        assert_eq!(echoed, came);
    }
    assert_eq!(server.buffered(), 0);
}

#[tokio::test]
async fn several_slices_leave_as_one_record_of_at_most_16_kib() {
    let (mut server, mut client) = pair(&rustls::version::TLS13, 1 << 20).await;
    let (first, second) = (text(100), text(20_000));
    let slices = [IoSlice::new(&first), IoSlice::new(&second)];
    assert_eq!(server.write_vectored(&slices).await.unwrap(), PLAIN_BYTES_MAX);
    server.flush().await.unwrap();
    let mut came = vec![0; PLAIN_BYTES_MAX];
    client.read_exact(&mut came).await.unwrap();
    assert_eq!(came, [&first[..], &second[..PLAIN_BYTES_MAX - 100]].concat());
}

#[tokio::test]
async fn a_reader_with_little_room_gets_everything_and_a_goodbye_is_an_end() {
    let (mut server, mut client) = pair(&rustls::version::TLS13, 1 << 20).await;
    // Two records in one read, each larger than the room.
    client.write_all(&text(3_000)).await.unwrap();
    client.write_all(&text(2_000)).await.unwrap();
    client.shutdown().await.unwrap();
    let (mut came, mut room) = (Vec::new(), [0; 7]);
    loop {
        match server.read(&mut room).await.unwrap() {
            0 => break,
            len => came.extend_from_slice(&room[..len]),
        }
    }
    assert_eq!(came, [text(3_000), text(2_000)].concat());
    assert_eq!(server.read(&mut room).await.unwrap(), 0, "it stays ended");
    // Its own side is still open.
    server.write_all(b"bye").await.unwrap();
    server.shutdown().await.unwrap();
    client.read_to_end(&mut came).await.unwrap();
    assert!(came.ends_with(b"bye"));
}

#[tokio::test]
async fn a_connection_that_ends_without_a_goodbye_is_cut() {
    let (mut server, client) = pair(&rustls::version::TLS13, 1_024).await;
    drop(client.into_inner().0);
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so_by_an_alert() {
    let (config, _) = configs(&rustls::version::TLS13, &default_provider().cipher_suites);
    let (near, mut far) = duplex(1_024);
    far.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let error = TlsStream::accept(near, config).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    assert_eq!(told.first(), Some(&21), "a record of the type for alerts");
}

#[tokio::test]
async fn a_handshake_has_failed_though_its_alert_leaves_only_later() {
    let (config, _) = configs(&rustls::version::TLS13, &default_provider().cipher_suites);
    let (near, mut far) = duplex(1);
    let (accepted, told) = tokio::join!(TlsStream::accept(near, config), async {
        far.write_all(b"G").await?;
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.map(|_| told)
    });
    assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(told.unwrap().len(), 7, "the whole alert");
}

#[tokio::test]
async fn a_record_that_was_altered_ends_the_connection() {
    let (mut server, client) = pair(&rustls::version::TLS13, 1_024).await;
    let (mut far, _) = client.into_inner();
    far.write_all(&[&[0x17, 3, 3, 0, 40][..], &[9; 40]].concat()).await.unwrap();
    for _ in 0..2 {
        let error = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    let mut told = Vec::new();
    drop(server);
    far.read_to_end(&mut told).await.unwrap();
    assert!(!told.is_empty(), "an alert, encrypted as everything is");
}

#[tokio::test]
async fn a_handshake_message_that_never_ends_is_not_collected() {
    let (config, _) = configs(&rustls::version::TLS13, &default_provider().cipher_suites);
    let (near, mut far) = duplex(1 << 20);
    // A ClientHello of 60,000 bytes, announced and sent in records of 8,000.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_000, 0);
    for piece in hello.chunks(8_000) {
        let len = u16::try_from(piece.len()).unwrap().to_be_bytes();
        far.write_all(&[&[22, 3, 1, len[0], len[1]][..], piece].concat()).await.unwrap();
    }
    let error = TlsStream::accept(near, config).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
