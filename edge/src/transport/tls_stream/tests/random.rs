//! Clients whose records, their segments and the reader's room are random. A seed makes the same client again.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::task::yield_now;

use super::segments::{ByHand, Sealer, leaving};
use super::*;

/// Clients of each kind.
const CLIENTS: u64 = 150;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const DATA: u8 = 23;

/// Lengths of all orders of magnitude.
fn some_len(rng: &mut StdRng, max: usize) -> usize {
    let bits = rng.random_range(0..=max.ilog2());
    rng.random_range(0..=max >> bits)
}

fn some_text(rng: &mut StdRng, max: usize) -> Vec<u8> {
    let mut text = vec![0; some_len(rng, max)];
    rng.fill(&mut text[..]);
    text
}

async fn in_segments(to: &mut (impl AsyncWrite + Unpin), rng: &mut StdRng, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (segment, rest) = bytes.split_at(bytes.len().min(1 + some_len(rng, 20_000)));
        // Who was found out may be gone.
        if to.write_all(segment).await.is_err() {
            return;
        }
        bytes = rest;
        if rng.random() {
            yield_now().await;
        }
    }
}

/// Reads until the end or a failure, with room that changes, and answers now and then.
async fn hear(server: &mut TlsStream<DuplexStream>, rng: &mut StdRng, said: &mut Vec<u8>) -> (Vec<u8>, io::Result<()>) {
    let mut came = Vec::new();
    let ended = loop {
        let mut room = vec![0; 1 + some_len(rng, 40_000)];
        match server.read(&mut room).await {
            Ok(0) => break Ok(()),
            Ok(len) => came.extend_from_slice(&room[..len]),
            Err(error) => break Err(error),
        }
        assert!(server.buffered() <= BUFFERED_BYTES_MAX);
        if rng.random_bool(0.3) {
            let answer = some_text(rng, 20_000);
            // What was read before a failure is still given out then, and the failure is told by a read.
            if server.write_all(&answer).await.is_ok() {
                said.extend_from_slice(&answer);
            }
        }
    };
    (came, ended)
}

/// A record that ends the connection: altered, of a kind that nobody sends now, too long, or no record.
fn wrong(sealer: &mut Sealer, rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..6) {
        0 => {
            let mut record = sealer.record(DATA, &some_text(rng, 2_000));
            let bit = rng.random_range(0..record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            record
        }
        1 => sealer.record(CHANGE_CIPHER_SPEC, &[1]),
        2 => sealer.record(ALERT, &[2, rng.random_range(1..=89)]),
        3 => sealer.record(rng.random_range(24..=u8::MAX), &some_text(rng, 100)),
        4 => sealer.record(DATA, &[0; PLAIN_BYTES_MAX + 1]),
        _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    }
}

#[tokio::test]
async fn what_is_wrong_ends_a_connection_behind_all_that_was_right_and_nothing_panics() {
    for seed in 0..CLIENTS * 2 {
        let mut rng = StdRng::seed_from_u64(seed);
        let thirteen = rng.random();
        let ByHand { mut tls, mut far, server } = ByHand::new(if thirteen { &TLS13 } else { &TLS12 }, |_| {}).await;
        let mut bytes = leaving(&mut tls);
        let mut sealer = Sealer::new(tls);
        let mut right = Vec::new();
        for _ in 0..rng.random_range(0..10) {
            let text = some_text(&mut rng, PLAIN_BYTES_MAX);
            right.extend_from_slice(&text);
            bytes.extend_from_slice(&sealer.record(DATA, &text));
        }
        bytes.extend_from_slice(&wrong(&mut sealer, &mut rng));
        bytes.extend_from_slice(&sealer.record(DATA, b"too late"));
        let mut segments = StdRng::seed_from_u64(seed);
        let client = async move {
            in_segments(&mut far, &mut segments, &bytes).await;
            // Its own side is shut; what it is told is read, so that the server never waits for it.
            far.shutdown().await.unwrap();
            let mut told = Vec::new();
            far.read_to_end(&mut told).await.unwrap();
        };
        let server = async {
            let mut server = server.await.unwrap().unwrap();
            let heard = hear(&mut server, &mut rng, &mut Vec::new()).await;
            // Whatever is wanted of it then. Who was only cut off may still be answered.
            if let Err(error) = server.write(b"more").await {
                assert_eq!(error.kind(), io::ErrorKind::NotConnected, "seed {seed}");
            }
            server.shutdown().await.unwrap();
            assert!(server.read(&mut [0; 10]).await.is_err(), "seed {seed}");
            heard
        };
        let ((), (came, ended)) = tokio::join!(client, server);
        assert!(came == right, "seed {seed}: {} of {} bytes", came.len(), right.len());
        let kind = ended.unwrap_err().kind();
        // A length that was altered is waited for.
        assert!(matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "seed {seed}: {kind}");
    }
}

/// Says something, changes its keys now and then, and says goodbye; returns what it said.
async fn say(mut far: WriteHalf<Client>, rng: &mut StdRng) -> (Vec<u8>, WriteHalf<Client>) {
    let mut said = Vec::new();
    for _ in 0..rng.random_range(0..12) {
        let text = some_text(rng, 40_000);
        far.write_all(&text).await.unwrap();
        said.extend_from_slice(&text);
        if rng.random() {
            far.flush().await.unwrap();
        }
    }
    far.shutdown().await.unwrap();
    (said, far)
}

#[tokio::test]
async fn whatever_the_pipe_and_the_room_all_of_it_is_read_both_ways_and_keys_are_changed() {
    for seed in 0..CLIENTS {
        let mut rng = StdRng::seed_from_u64(seed);
        let version = if rng.random() { &TLS13 } else { &TLS12 };
        let pipe_bytes = 1 + some_len(&mut rng, 1 << 16);
        let (mut server, mut client) = pair(version, pipe_bytes.max(6)).await;
        if version == &TLS13 && rng.random() {
            client.get_mut().1.refresh_traffic_keys().unwrap();
        }
        let mut choices = StdRng::seed_from_u64(seed);
        let client = async {
            let (mut from_server, to_server) = tokio::io::split(client);
            let mut heard = Vec::new();
            let ((said, _open), ended) =
                tokio::join!(say(to_server, &mut choices), from_server.read_to_end(&mut heard));
            ended.unwrap();
            (said, heard)
        };
        let server = async {
            let mut said = Vec::new();
            let (came, ended) = hear(&mut server, &mut rng, &mut said).await;
            ended.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(server.buffered(), 0, "seed {seed}");
            (came, said)
        };
        let ((said, heard), (came, answered)) = tokio::join!(client, server);
        assert!(came == said, "seed {seed}: {} of {} bytes", came.len(), said.len());
        assert!(heard == answered, "seed {seed}: {} of {} bytes", heard.len(), answered.len());
    }
}
