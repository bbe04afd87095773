//! What a client sends in one segment, and what no client sends: its records are made by hand.

use std::io::{Read as _, Write as _};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::ring::cipher_suite;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ConnectionTrafficSecrets};
use tokio::task::JoinHandle;

use super::*;

const HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

type Accepted = io::Result<Box<TlsStream<DuplexStream>>>;

/// A client whose bytes leave when a test wants that.
pub(super) struct ByHand {
    pub(super) tls: ClientConnection,
    pub(super) far: DuplexStream,
    pub(super) server: JoinHandle<Accepted>,
}

impl ByHand {
    /// A client that did its half of the handshake, of which the end did not leave under TLS 1.3.
    pub(super) async fn new(
        version: &'static SupportedProtocolVersion,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let suite = if version == &TLS13 {
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256
        } else {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        };
        let (config, connector) = configs(version, &[suite]);
        let mut config = ServerConfig::clone(&config);
        change(&mut config);
        let (near, mut far) = duplex(1 << 20);
        let server = tokio::spawn(TlsStream::accept(near, Arc::new(config)));
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(connector.config().clone(), name).unwrap();
        while tls.is_handshaking() {
            far.write_all(&leaving(&mut tls)).await.unwrap();
            hear(&mut tls, &mut far).await;
        }
        Self { tls, far, server }
    }

    /// Sends `segment`, with which the server's handshake is over.
    async fn accepted(&mut self, segment: &[u8]) -> Accepted {
        self.far.write_all(segment).await.unwrap();
        (&mut self.server).await.unwrap()
    }

    fn say(&mut self, text: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(text).unwrap();
        leaving(&mut self.tls)
    }

    async fn heard(&mut self, len: usize) -> Vec<u8> {
        let mut text = vec![0; len];
        let mut came = 0;
        while came < len {
            match self.tls.reader().read(&mut text[came..]) {
                Ok(read) => came += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => hear(&mut self.tls, &mut self.far).await,
                Err(error) => panic!("{error}"),
            }
        }
        text
    }
}

/// What leaves it now.
pub(super) fn leaving(tls: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

async fn hear(tls: &mut ClientConnection, far: &mut DuplexStream) {
    let mut room = [0; 4_096];
    let len = far.read(&mut room).await.unwrap();
    assert!(len > 0, "the server is there");
    let mut bytes = &room[..len];
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes).unwrap();
        tls.process_new_packets().unwrap();
    }
}

pub(super) struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
    thirteen: bool,
}

impl Sealer {
    /// Goes on where `tls` is, of which nothing is to leave any more.
    pub(super) fn new(tls: ClientConnection) -> Self {
        let thirteen = tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        #[expect(clippy::disallowed_methods, reason = "a test seals what no client would")]
        let (number, secrets) = tls.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else { panic!("another suite") };
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), number, thirteen }
    }

    pub(super) fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        let number = self.number.to_be_bytes();
        nonce[4..].iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        self.number += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let header = |kind, len: usize| {
            let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
            [kind, 3, 3, high, low]
        };
        let mut sealed = content.to_vec();
        let outer = if self.thirteen {
            sealed.push(kind);
            let outer = header(DATA, sealed.len() + 16);
            self.key.seal_in_place_append_tag(nonce, Aad::from(outer), &mut sealed).unwrap();
            outer
        } else {
            let with = [&number[..], &header(kind, content.len())].concat();
            self.key.seal_in_place_append_tag(nonce, Aad::from(with), &mut sealed).unwrap();
            header(kind, sealed.len())
        };
        [&outer[..], &sealed].concat()
    }
}

/// Nothing is to be had of it any more, and nothing panics.
async fn assert_broken(server: &mut TlsStream<DuplexStream>) {
    for _ in 0..2 {
        assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        server.flush().await.unwrap();
        server.shutdown().await.unwrap();
    }
    assert_eq!(server.buffered(), 0);
}

/// Without tickets the server has nothing to say where the handshake ends, so it does not stop there for that.
fn with_tickets(sent: usize) -> impl FnOnce(&mut ServerConfig) {
    move |config| config.send_tls13_tickets = sent
}

#[tokio::test]
async fn data_that_come_with_the_end_of_the_handshake_are_read_though_the_last_are_cut() {
    for tickets in 0..2 {
        let mut client = ByHand::new(&TLS13, with_tickets(tickets)).await;
        let (mut segment, second) = (client.say(b"first"), client.say(b"second"));
        let (now, later) = second.split_at(9);
        segment.extend_from_slice(now);
        let mut server = client.accepted(&segment).await.unwrap();
        assert!(matches!(server.tls.session, Session::Records(_)));
        let mut came = [0; 11];
        server.read_exact(&mut came[..5]).await.unwrap();
        client.far.write_all(later).await.unwrap();
        server.read_exact(&mut came[5..]).await.unwrap();
        assert_eq!(&came, b"firstsecond", "{tickets} tickets");
        server.write_all(b"answer").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!((client.heard(6).await, server.buffered()), (b"answer".to_vec(), 0), "{tickets} tickets");
    }
}

#[tokio::test]
async fn a_change_of_keys_that_comes_with_the_end_of_the_handshake_is_answered_under_the_keys_that_the_client_has() {
    for tickets in 0..2 {
        let mut client = ByHand::new(&TLS13, with_tickets(tickets)).await;
        let mut segment = leaving(&mut client.tls);
        client.tls.refresh_traffic_keys().unwrap();
        segment.extend_from_slice(&client.say(b"data"));
        let mut server = client.accepted(&segment).await.unwrap();
        let mut came = [0; 4];
        server.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"data");
        for answer in [b"one", b"two"] {
            server.write_all(answer).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(client.heard(3).await, answer, "{tickets} tickets");
        }
    }
}

#[tokio::test]
async fn without_secrets_to_extract_rustls_goes_on_and_answers_a_change_of_keys() {
    let mut client = ByHand::new(&TLS13, |config| config.enable_secret_extraction = false).await;
    let mut segment = leaving(&mut client.tls);
    client.tls.refresh_traffic_keys().unwrap();
    segment.extend_from_slice(&client.say(b"data"));
    let mut server = client.accepted(&segment).await.unwrap();
    assert!(matches!(server.tls.session, Session::Rustls(_)));
    let mut came = [0; 4];
    server.read_exact(&mut came).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    assert_eq!((&came, client.heard(6).await), (b"data", b"answer".to_vec()));
    assert_eq!(server.buffered(), 0);
}

/// A connection of TLS 1.2, and what its client is made of.
async fn twelve() -> (Box<TlsStream<DuplexStream>>, Sealer, DuplexStream) {
    let mut client = ByHand::new(&TLS12, |_| {}).await;
    let server = client.accepted(&[]).await.unwrap();
    (server, Sealer::new(client.tls), client.far)
}

/// What came, if anything did, is taken, and is nothing for a reader.
async fn assert_waits(server: &mut TlsStream<DuplexStream>) {
    let mut room = [0; 10];
    tokio::select! {
        biased;
        read = server.read(&mut room) => panic!("{read:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn an_empty_handshake_record_after_the_handshake_ends_a_connection_of_tls_1_3() {
    for tickets in 0..2 {
        let ByHand { mut tls, mut far, server } = ByHand::new(&TLS13, with_tickets(tickets)).await;
        let finished = leaving(&mut tls);
        let mut sealer = Sealer::new(tls);
        let segment = [finished, sealer.record(HANDSHAKE, &[]), sealer.record(DATA, b"data")].concat();
        far.write_all(&segment).await.unwrap();
        assert_broken(&mut server.await.unwrap().unwrap()).await;
    }
}

#[tokio::test]
async fn an_empty_handshake_record_that_rustls_takes_ends_a_connection_of_tls_1_3_in_its_handshake() {
    let change = |config: &mut ServerConfig| config.enable_secret_extraction = false;
    let ByHand { mut tls, mut far, server } = ByHand::new(&TLS13, change).await;
    let finished = leaving(&mut tls);
    let mut sealer = Sealer::new(tls);
    let segment = [finished, sealer.record(HANDSHAKE, &[]), sealer.record(DATA, b"data")].concat();
    far.write_all(&segment).await.unwrap();
    // It looks for data before it says that the handshake is over.
    assert_eq!(server.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn an_empty_handshake_record_after_the_handshake_stands_before_no_data_of_tls_1_2() {
    let (mut server, mut sealer, mut far) = twelve().await;
    let segment = [sealer.record(DATA, b"one"), sealer.record(HANDSHAKE, &[]), sealer.record(DATA, b"two")].concat();
    far.write_all(&segment[..segment.len() - 1]).await.unwrap();
    let mut came = [0; 3];
    server.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"one");
    // Before and after rustls saw the empty record.
    server.write_all(b"answer").await.unwrap();
    assert_waits(&mut server).await;
    server.write_all(b"answer").await.unwrap();
    far.write_all(&segment[segment.len() - 1..]).await.unwrap();
    assert_broken(&mut server).await;
}

#[tokio::test]
async fn a_goodbye_after_an_empty_handshake_record_is_none() {
    let (mut server, mut sealer, mut far) = twelve().await;
    far.write_all(&[sealer.record(HANDSHAKE, &[]), sealer.record(21, &[1, 0])].concat()).await.unwrap();
    assert_broken(&mut server).await;
}

#[tokio::test]
async fn a_second_handshake_of_tls_1_2_that_never_ends_is_not_collected_and_breaks_no_write() {
    // A ClientHello of 60,000 bytes, announced and sent in records of 8,000.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_000, 0);
    let (mut server, mut sealer, mut far) = twelve().await;
    let mut pieces = hello.chunks(8_000);
    far.write_all(&sealer.record(HANDSHAKE, pieces.next().unwrap())).await.unwrap();
    assert_waits(&mut server).await;
    assert!(server.buffered() > 8_000, "it waits for the rest");
    server.write_all(b"data").await.unwrap();
    for piece in pieces {
        far.write_all(&sealer.record(HANDSHAKE, piece)).await.unwrap();
    }
    assert_broken(&mut server).await;

    // The same, and the first that is wanted then is a goodbye.
    let (mut server, mut sealer, mut far) = twelve().await;
    for piece in hello.chunks(8_000) {
        far.write_all(&sealer.record(HANDSHAKE, piece)).await.unwrap();
    }
    assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    server.shutdown().await.unwrap();
    assert_broken(&mut server).await;
}

#[tokio::test]
async fn what_came_before_a_record_that_was_altered_is_read_before_that_is_told() {
    let (mut server, mut sealer, mut far) = twelve().await;
    let mut segment = [sealer.record(DATA, b"one"), sealer.record(DATA, b"two")].concat();
    *segment.last_mut().unwrap() ^= 1;
    far.write_all(&segment).await.unwrap();
    let mut came = [0; 10];
    assert_eq!(server.read(&mut came).await.unwrap(), 3);
    assert_broken(&mut server).await;
}

#[tokio::test]
async fn a_ticket_that_did_not_leave_goes_before_data_and_with_a_reader_too() {
    // In fewer than six bytes the change_cipher_spec of the client has no room, which reads nothing before that left.
    let (mut server, mut client) = pair(&TLS13, 6).await;
    assert!(matches!(server.tls.session, Session::Records(_)));
    assert!(!server.tls.outgoing.is_empty(), "a ticket is longer than the pipe");
    let mut came = [0; 5];
    let (said, read) = tokio::join!(
        async {
            server.write_all(b"hello").await?;
            server.flush().await
        },
        client.read_exact(&mut came)
    );
    said.unwrap();
    read.unwrap();
    assert_eq!((&came, server.buffered()), (b"hello", 0));

    // Nobody writes here.
    let (mut server, client) = pair(&TLS13, 6).await;
    let (mut far, _) = client.into_inner();
    while !server.tls.outgoing.is_empty() {
        assert_waits(&mut server).await;
        tokio::select! {
            biased;
            read = far.read(&mut came) => assert!(read.unwrap() > 0),
            () = std::future::ready(()) => panic!("the rest of the ticket does not leave"),
        }
    }
}

#[tokio::test]
async fn nothing_is_written_after_a_goodbye_and_the_other_side_is_read_on() {
    for version in [&TLS13, &TLS12] {
        let (mut server, mut client) = pair(version, 1 << 16).await;
        server.shutdown().await.unwrap();
        assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        client.write_all(b"late").await.unwrap();
        client.flush().await.unwrap();
        let mut came = [0; 4];
        server.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"late", "{version:?}");
    }
}

#[tokio::test]
async fn no_alert_follows_a_goodbye() {
    let ByHand { mut tls, mut far, server } = ByHand::new(&TLS13, |_| {}).await;
    far.write_all(&leaving(&mut tls)).await.unwrap();
    let mut server = server.await.unwrap().unwrap();
    // With its ticket before it.
    server.shutdown().await.unwrap();
    far.write_all(&[DATA, 3, 3, 0, 20]).await.unwrap();
    far.write_all(&[9; 20]).await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(server.buffered(), 0);
    drop(server);
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    tls.read_tls(&mut &told[..]).unwrap();
    let state = tls.process_new_packets().unwrap();
    assert!(state.peer_has_closed());
    let goodbye = HEADER_BYTES + 2 + 1 + 16;
    let mut rest = &told[..];
    let mut last = 0;
    while !rest.is_empty() {
        last = HEADER_BYTES + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        rest = &rest[last..];
    }
    assert_eq!(last, goodbye, "the last record is the goodbye");
}

#[tokio::test]
async fn a_ticket_and_the_first_answer_leave_in_one_write() {
    let mut client = ByHand::new(&TLS13, |_| {}).await;
    let segment = client.say(b"question");
    let mut server = client.accepted(&segment).await.unwrap();
    let ticket = server.tls.outgoing.len();
    assert!(ticket > 0);
    let mut came = [0; 8];
    server.read_exact(&mut came).await.unwrap();
    assert_eq!(server.buffered(), ticket, "it waits for the answer");
    server.write_all(b"answer").await.unwrap();
    assert_eq!(server.buffered(), 0, "both left without a flush");
    assert_eq!(client.heard(6).await, b"answer");
}

#[tokio::test]
async fn a_ticket_opens_the_next_connection_without_a_certificate() {
    for version in [&TLS13, &TLS12] {
        let (config, connector) = configs(version, &default_provider().cipher_suites);
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let (near, far) = duplex(1 << 16);
            let name = ServerName::try_from("localhost").unwrap();
            let (server, client) =
                tokio::join!(TlsStream::accept(near, Arc::clone(&config)), connector.connect(name, far));
            let (mut server, mut client) = (server.unwrap(), client.unwrap());
            server.write_all(b"hello").await.unwrap();
            server.shutdown().await.unwrap();
            let mut came = Vec::new();
            client.read_to_end(&mut came).await.unwrap();
            assert_eq!((&came[..], client.get_ref().1.handshake_kind()), (&b"hello"[..], Some(kind)), "{version:?}");
        }
    }
}

#[tokio::test]
async fn who_goes_before_its_ticket_left_is_read_to_the_end() {
    let mut client = ByHand::new(&TLS13, |_| {}).await;
    let mut segment = client.say(b"last words");
    client.tls.send_close_notify();
    segment.extend_from_slice(&leaving(&mut client.tls));
    client.far.write_all(&segment[..segment.len() - 3]).await.unwrap();
    let mut server = (&mut client.server).await.unwrap().unwrap();
    assert!(!server.tls.outgoing.is_empty());
    client.far.write_all(&segment[segment.len() - 3..]).await.unwrap();
    drop(client.far);
    let mut came = Vec::new();
    server.read_to_end(&mut came).await.unwrap();
    assert_eq!(came, b"last words");
}

/// A ClientHello that also says that early data follow (RFC 8446, section 4.2.10).
fn with_early_data(mut hello: Vec<u8>) -> Vec<u8> {
    const EARLY_DATA: [u8; 4] = [0, 42, 0, 0];
    let grown = |hello: &mut Vec<u8>, at: usize| {
        let len = u16::from_be_bytes([hello[at], hello[at + 1]]) + 4;
        hello[at..at + 2].copy_from_slice(&len.to_be_bytes());
    };
    // Behind the header of the record, of the message, its version and random: the session's ID, suites, compressions.
    let mut extensions = HEADER_BYTES + 4 + 2 + 32;
    extensions += 1 + usize::from(hello[extensions]);
    extensions += 2 + usize::from(u16::from_be_bytes([hello[extensions], hello[extensions + 1]]));
    extensions += 1 + usize::from(hello[extensions]);
    for at in [HEADER_BYTES - 2, HEADER_BYTES + 2, extensions] {
        grown(&mut hello, at);
    }
    // First: the last place may be a pre-shared key's alone.
    hello.splice(extensions + 2..extensions + 2, EARLY_DATA);
    hello
}

#[tokio::test]
async fn empty_records_behind_early_data_are_refused_while_they_are_few() {
    let (config, connector) = configs(&TLS13, &default_provider().cipher_suites);
    let (near, mut far) = duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(connector.config().clone(), name).unwrap();
    far.write_all(&with_early_data(leaving(&mut tls))).await.unwrap();
    let server = tokio::spawn(TlsStream::accept(near, config));
    // Without them its half of the handshake comes.
    let mut first = [0];
    far.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [HANDSHAKE]);
    assert!(!server.is_finished());
    far.write_all(&[DATA, 3, 3, 0, 0].repeat(40)).await.unwrap();
    // Nothing more comes, and whoever is not refused would wait.
    let refused = tokio::time::timeout(std::time::Duration::from_secs(20), server).await.expect("it was not refused");
    assert_eq!(refused.unwrap().err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
}

#[tokio::test]
async fn who_speaks_another_protocol_is_told_so() {
    let (config, connector) = configs(&TLS13, &default_provider().cipher_suites);
    let mut client = ClientConfig::clone(connector.config());
    client.alpn_protocols = vec![b"h2".to_vec()];
    let (near, far) = duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (server, client) = tokio::join!(TlsStream::accept(near, config), connector.connect(name, far));
    assert!(server.is_err());
    let told = client.err().unwrap().to_string();
    assert!(told.contains("NoApplicationProtocol"), "{told}");
}
