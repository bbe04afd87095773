//! Both ends of a link over a stream in memory, with time that only moves when all wait.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use panda_link_io::{LinkEnd, accept, open};
use panda_protocol::link::{Challenge, Down, Events, LinkEvent, LinkId, LinkKey, Open, Opening, Up};
use panda_protocol::{DecodeError, EntityId, Generation, Seq, ShardId, UserId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const LINK: LinkId = LinkId(7);
const ROUTER: u64 = 9;

fn key(byte: u8) -> LinkKey {
    LinkKey([byte; 32])
}

fn entity(n: u8) -> EntityId {
    UserId::from_random([n; 16]).into()
}

fn events(from: u64, count: u64, bytes: usize) -> Down {
    let event = Bytes::from(vec![b'e'; bytes]);
    let events =
        (from..from + count).map(|seq| LinkEvent { seq: Seq(seq), ends: None, event: event.clone() }).collect();
    Down::Events(Events { generation: Generation(1), entity: entity(1), events })
}

/// An edge and a router that opened a link; what each receives comes out of a channel.
struct Pair {
    up: mpsc::Sender<Up>,
    ups: mpsc::Receiver<Up>,
    down: mpsc::Sender<Vec<Down>>,
    downs: mpsc::Receiver<Vec<Down>>,
    edge: tokio::task::JoinHandle<LinkEnd>,
    router: tokio::task::JoinHandle<LinkEnd>,
}

async fn pair() -> Pair {
    let (edge, router) = duplex(4_096);
    let (keys, edge_key) = ([key(1)], key(1));
    let (edge, router) = tokio::join!(open(edge, &edge_key, LINK), accept(router, &keys, ROUTER));
    let (link, router) = router.expect("the router accepts");
    let edge = edge.expect("the edge opens");
    assert_eq!((link, edge.router()), (LINK, ROUTER));
    let (up, mut up_queue) = mpsc::channel::<Up>(8);
    let (mut ups_sender, ups) = mpsc::channel(8);
    let (down, mut down_queue) = mpsc::channel::<Vec<Down>>(8);
    let (mut downs_sender, downs) = mpsc::channel(8);
    let edge = tokio::spawn(async move { edge.carry(&mut up_queue, &mut downs_sender).await });
    let router = tokio::spawn(async move { router.carry(&mut down_queue, &mut ups_sender).await });
    Pair { up, ups, down, downs, edge, router }
}

#[tokio::test(start_paused = true)]
async fn frames_go_both_ways_in_order() {
    let mut pair = pair().await;
    let sent: Vec<Up> = (0..100).map(|n| Up::Forget { entity: entity(n) }).collect();
    let sending = sent.clone();
    let up = pair.up.clone();
    let sender = tokio::spawn(async move {
        for frame in sending {
            up.send(frame).await.expect("the link is open");
        }
    });
    for frame in &sent {
        assert_eq!(pair.ups.recv().await.as_ref(), Some(frame));
    }
    sender.await.expect("the sender ends");

    let batch = vec![events(1, 128, 2_000), Down::Backlog { shard: ShardId(1), age_ms: 3 }];
    pair.down.send(batch.clone()).await.expect("the link is open");
    let mut came = Vec::new();
    while came.len() < batch.len() {
        came.extend(pair.downs.recv().await.expect("the link is open"));
    }
    assert_eq!(came, batch);
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_nothing_is_said_stays_open() {
    let mut pair = pair().await;
    sleep(Duration::from_secs(600)).await;
    assert!(!pair.edge.is_finished() && !pair.router.is_finished());
    pair.up.send(Up::Forget { entity: entity(1) }).await.expect("the link is open");
    assert_eq!(pair.ups.recv().await, Some(Up::Forget { entity: entity(1) }));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_closes_ends_the_other() {
    let pair = pair().await;
    drop(pair.up);
    assert!(matches!(pair.edge.await, Ok(LinkEnd::Done)));
    assert!(matches!(pair.router.await, Ok(LinkEnd::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_taker_slows_the_sender_down() {
    let mut pair = pair().await;
    let mut sent = 0;
    let mut next = 1;
    while tokio::time::timeout(Duration::from_millis(1), pair.down.send(vec![events(next, 1, 16_000)])).await.is_ok() {
        sent += 1;
        next += 1;
        assert!(sent < 100, "what nobody takes must not pile up");
    }
    for seq in 1..next {
        let batch = pair.downs.recv().await.expect("the link is open");
        assert_eq!(batch, vec![events(seq, 1, 16_000)]);
    }
    assert!(!pair.edge.is_finished() && !pair.router.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_edge_with_another_secret_is_refused() {
    let (edge, router) = duplex(4_096);
    let keys = [key(1), key(2)];
    let edge_key = key(3);
    let (edge, router) = tokio::join!(open(edge, &edge_key, LINK), accept(router, &keys, ROUTER));
    assert!(matches!(edge, Err(LinkEnd::Refused { code: 2209, .. })), "{edge:?}");
    assert!(matches!(router, Err(LinkEnd::Stranger)), "{router:?}");
}

#[tokio::test(start_paused = true)]
async fn an_edge_may_know_the_previous_secret() {
    let (edge, router) = duplex(4_096);
    let keys = [key(1), key(2)];
    let edge_key = key(2);
    let (edge, router) = tokio::join!(open(edge, &edge_key, LINK), accept(router, &keys, ROUTER));
    assert!(edge.is_ok() && router.is_ok());
}

/// Reads a whole frame of the opening.
async fn frame(stream: &mut DuplexStream) -> Opening {
    let mut read = BytesMut::new();
    loop {
        if let Some(raw) = panda_protocol::framing::split_frame(&mut read, 512).expect("a frame") {
            return Opening::decode(raw).expect("a frame of the opening");
        }
        assert_ne!(stream.read_buf(&mut read).await.expect("it can be read"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_cannot_prove_itself_is_left() {
    let (edge, mut router) = duplex(4_096);
    let stranger = async {
        let challenge = Challenge { version_min: 1, version_max: 1, router: ROUTER, nonce: [1; 16] };
        router.write_all(&Opening::Challenge(challenge).to_bytes()).await.expect("it can be written");
        let Opening::Open(Open { proof, .. }) = frame(&mut router).await else { panic!("no Open") };
        // It has nothing better than what it heard.
        let opened = Opening::Opened(panda_protocol::link::Opened { proof });
        router.write_all(&opened.to_bytes()).await.expect("it can be written");
    };
    let edge_key = key(1);
    let (edge, ()) = tokio::join!(open(edge, &edge_key, LINK), stranger);
    assert!(matches!(edge, Err(LinkEnd::Stranger)), "{edge:?}");
}

#[tokio::test(start_paused = true)]
async fn a_recorded_opening_opens_nothing() {
    let (mut edge, router) = duplex(4_096);
    let keys = [key(1)];
    let recorded = {
        let challenge = Challenge { version_min: 1, version_max: 1, router: ROUTER, nonce: [1; 16] };
        let (link, nonce) = (LINK, [2; 16]);
        Open { version: 1, link, nonce, proof: key(1).edge_proof(&challenge, 1, link, &nonce) }
    };
    let replay = async {
        let Opening::Challenge(_) = frame(&mut edge).await else { panic!("no Challenge") };
        edge.write_all(&Opening::Open(recorded).to_bytes()).await.expect("it can be written");
        assert!(matches!(frame(&mut edge).await, Opening::Refused(_)));
    };
    let (router, ()) = tokio::join!(accept(router, &keys, ROUTER), replay);
    assert!(matches!(router, Err(LinkEnd::Stranger)), "{router:?}");
}

#[tokio::test(start_paused = true)]
async fn versions_without_an_overlap_are_told_apart() {
    let (edge, mut router) = duplex(4_096);
    let challenge = Challenge { version_min: 2, version_max: 3, router: ROUTER, nonce: [1; 16] };
    router.write_all(&Opening::Challenge(challenge).to_bytes()).await.expect("it can be written");
    assert!(matches!(open(edge, &key(1), LINK).await, Err(LinkEnd::Version { min: 2, max: 3 })));
}

#[tokio::test(start_paused = true)]
async fn who_connects_and_says_nothing_is_closed_after_five_seconds() {
    let (_silent, router) = duplex(4_096);
    let started = Instant::now();
    assert!(matches!(accept(router, &[key(1)], ROUTER).await, Err(LinkEnd::Slow)));
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_opening_are_refused() {
    for (bytes, error) in [
        (&[0u8][..], DecodeError::Invalid),
        (&[0x80, 0, 0x40, 0, 1], DecodeError::TooLarge),
        (&[0x01, 0x10], DecodeError::UnknownFrame),
        (b"GET / HTTP/1.1\r\n\r\n", DecodeError::TooLarge),
    ] {
        let (mut stranger, router) = duplex(4_096);
        stranger.write_all(bytes).await.expect("it can be written");
        let accepted = accept(router, &[key(1)], ROUTER).await;
        assert!(matches!(accepted, Err(LinkEnd::Malformed(found)) if found == error), "{accepted:?}");
    }
}

/// Opens an edge's end by hand and returns the router's task.
async fn by_hand() -> (DuplexStream, tokio::task::JoinHandle<LinkEnd>) {
    let (mut edge, router) = duplex(4_096);
    let router = tokio::spawn(async move {
        let (_, router) = accept(router, &[key(1)], ROUTER).await.expect("the router accepts");
        let (_down, mut queue) = mpsc::channel::<Vec<Down>>(1);
        let (mut ups, _kept) = mpsc::channel::<Up>(64);
        router.carry(&mut queue, &mut ups).await
    });
    let Opening::Challenge(challenge) = frame(&mut edge).await else { panic!("no Challenge") };
    let proof = key(1).edge_proof(&challenge, 1, LINK, &[3; 16]);
    let open = Open { version: 1, link: LINK, nonce: [3; 16], proof };
    edge.write_all(&Opening::Open(open).to_bytes()).await.expect("it can be written");
    assert!(matches!(frame(&mut edge).await, Opening::Opened(_)));
    (edge, router)
}

#[tokio::test(start_paused = true)]
async fn an_end_that_falls_silent_is_left_after_three_seconds() {
    let (edge, router) = by_hand().await;
    let started = Instant::now();
    assert!(matches!(router.await, Ok(LinkEnd::Silent)));
    assert_eq!(started.elapsed().as_secs(), 3);
    drop(edge);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frame_end_the_link() {
    for bytes in [&[0x01u8, 0x20][..], &[0x01, 0x7f], &[0xbf, 0xff, 0xff, 0xff, 0x10], &[0x02, 0x11, 0x00]] {
        let (mut edge, router) = by_hand().await;
        edge.write_all(bytes).await.expect("it can be written");
        let end = router.await;
        assert!(matches!(end, Ok(LinkEnd::Malformed(_))), "{end:?}");
    }
}
