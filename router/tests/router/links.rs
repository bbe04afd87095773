//! Edges that open links over real connections, and what else may knock.

use std::net::SocketAddr;
use std::time::Duration;

use panda_link_io::{LinkEnd, open};
use panda_protocol::ErrorCode;
use panda_protocol::link::LinkKey;
use panda_router::Router;
use panda_router::listener::{LinkListener, ListenerLimits, Listening};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::certificates::Authority;
use super::*;

const SHARDS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(20);

fn key(byte: u8) -> LinkKey {
    LinkKey([byte; 32])
}

struct Listened {
    log: MemoryLog,
    router: Router,
    listening: Listening,
    address: SocketAddr,
}

async fn listened(limits: ListenerLimits) -> Listened {
    listened_with(limits, |listener| listener).await
}

async fn listened_with(limits: ListenerLimits, change: impl FnOnce(LinkListener) -> LinkListener) -> Listened {
    let (log, store) = (MemoryLog::new(SHARDS), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, edge) = start_over(&log, &store, 1).await;
    drop(edge);
    let listener = LinkListener::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port is free");
    let address = listener.address().expect("it is bound");
    let listening = change(listener).listen(&router, vec![key(1), key(2)], limits);
    Listened { log, router, listening, address }
}

impl Listened {
    /// An edge whose link is open, and why it ended once it has.
    async fn edge(&self, link: LinkId) -> (Edge, JoinHandle<LinkEnd>) {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let open = open(stream, &key(1), link).await.expect("it opens");
        assert_eq!(open.router(), 1);
        let (up, mut ups) = mpsc::channel(64);
        let (mut downs, down) = mpsc::channel(64);
        let ended = tokio::spawn(async move { open.carry(&mut ups, &mut downs).await });
        let (log, headers) = (self.log.clone(), Default::default());
        let mut edge = Edge { log, up, down, waiting: Vec::new(), token: link.0 * 1_000, headers };
        // What was asked before an owner is heard of would have to be asked again.
        for _ in 0..SHARDS {
            let first = timeout(PATIENCE, edge.next_of_all()).await.expect("the router says what it owns");
            assert!(matches!(first, Down::Owner { .. }), "{first:?} came before the owners were told");
        }
        (edge, ended)
    }

    async fn refused(&self) -> LinkEnd {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        open(stream, &key(1), LINK).await.expect_err("there is no room")
    }

    async fn stop(self) {
        self.router.stop().await.expect("it stops cleanly");
        timeout(PATIENCE, self.listening.stop()).await.expect("it does not hang");
    }
}

/// Waits for what the router has seen only a moment later than the edge.
async fn until(mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, held).await.expect("it comes to hold");
}

fn is_overloaded(end: &LinkEnd) -> bool {
    matches!(end, LinkEnd::Refused { code, .. } if *code == ErrorCode::Overloaded as u16)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_sends_and_hears_over_a_connection_and_a_stop_ends_it() {
    let listened = listened(ListenerLimits::default()).await;
    let (mut edge, ended) = listened.edge(LINK).await;
    let chat = edge.create(user(1), vec![]).await;
    assert_eq!(edge.admit(user(1), chat.into()).await, Ok(Seq(2)));
    assert_eq!(listened.router.metrics().links.get(), 1);
    listened.stop().await;
    while edge.down.recv().await.is_some() {}
    let end = timeout(PATIENCE, ended).await.expect("the link ends").expect("it does not panic");
    assert!(matches!(end, LinkEnd::Io(_)), "closed by the router: {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_so_and_an_edge_with_the_earlier_key_is_not_one() {
    let listened = listened(ListenerLimits::default()).await;
    let stream = TcpStream::connect(listened.address).await.expect("it listens");
    let end = open(stream, &key(9), LINK).await.expect_err("another fleet secret");
    assert!(matches!(end, LinkEnd::Refused { code, .. } if code == ErrorCode::Unauthenticated as u16), "{end}");
    let stream = TcpStream::connect(listened.address).await.expect("it listens");
    drop(open(stream, &key(2), LINK).await.expect("the previous key opens"));
    until(|| listened.router.metrics().links_refused.get() == 1).await;
    listened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_hold_an_opening_for_five_seconds_and_others_are_told_so() {
    let limits = ListenerLimits { openings_max: 2, ..ListenerLimits::default() };
    let listened = listened(limits).await;
    let (mut edge, _ended) = listened.edge(LINK).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(listened.address).await.expect("it listens");
        // Behind its challenge the opening has begun.
        stream.read_u8().await.expect("it challenges");
        silent.push(stream);
    }
    let end = listened.refused().await;
    assert!(is_overloaded(&end), "{end}");
    assert_eq!(edge.admit(user(1), user(1).into()).await, Ok(Seq(0)), "an open link does not notice");
    for mut stream in silent {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed").expect("in order");
    }
    until(|| listened.router.metrics().links_refused.get() == 3).await;
    drop(listened.edge(LinkId(8)).await);
    listened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_until_one_ends() {
    let limits = ListenerLimits { connections_max: 2, ..ListenerLimits::default() };
    let listened = listened(limits).await;
    let (first, second) = (listened.edge(LinkId(1)).await, listened.edge(LinkId(2)).await);
    let end = listened.refused().await;
    assert!(is_overloaded(&end), "{end}");
    drop(first);
    let opened = async {
        loop {
            let stream = TcpStream::connect(listened.address).await.expect("it listens");
            match open(stream, &key(1), LinkId(3)).await {
                Ok(open) => return open,
                Err(end) => assert!(is_overloaded(&end), "{end}"),
            }
        }
    };
    drop(timeout(PATIENCE, opened).await.expect("the first one's room is free again"));
    drop(second);
    listened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_own_connection_alone() {
    let listened = listened(ListenerLimits::default()).await;
    let (mut edge, _ended) = listened.edge(LINK).await;
    // Instead of an opening: a web client, a frame longer than any opening's, an early frame.
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x7f\xff\x02", b"\x01\x05"] {
        let mut stream = TcpStream::connect(listened.address).await.expect("it listens");
        stream.write_all(garbage).await.expect("it is sent");
        let mut rest = Vec::new();
        // A reset is an end, too.
        drop(timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed"));
    }
    // And behind an opening: what only a router sends.
    let stream = TcpStream::connect(listened.address).await.expect("it listens");
    let open_link = open(stream, &key(1), LinkId(8)).await.expect("it opens");
    let (up, mut ups) = mpsc::channel::<Vec<Down>>(1);
    let (mut downs, mut down) = mpsc::channel::<Vec<Down>>(64);
    let carried = tokio::spawn(async move { open_link.carry(&mut ups, &mut downs).await });
    up.send(vec![Down::Backlog { shard: ShardId(0), age_ms: 1 }]).await.expect("it is sent");
    while timeout(PATIENCE, down.recv()).await.expect("the link ends").is_some() {}
    drop(carried.await.expect("it does not panic"));
    assert_eq!(edge.admit(user(1), user(1).into()).await, Ok(Seq(0)), "the other link goes on");
    until(|| listened.router.metrics().links.get() == 1).await;
    listened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_falls_silent_ends_and_one_attached_anew_replaces_the_older() {
    let listened = listened(ListenerLimits::default()).await;
    // Opened, and then nobody carries it: neither frames nor Alive.
    let stream = TcpStream::connect(listened.address).await.expect("it listens");
    let silent = open(stream, &key(1), LinkId(8)).await.expect("it opens");
    let (mut older, older_ended) = listened.edge(LINK).await;
    assert_eq!(older.admit(user(1), user(1).into()).await, Ok(Seq(0)));
    let (mut newer, _ended) = listened.edge(LINK).await;
    let end = timeout(PATIENCE, older_ended).await.expect("the older one ends").expect("it does not panic");
    assert!(matches!(end, LinkEnd::Io(_)), "closed by the router: {end}");
    assert_eq!(newer.admit(user(1), user(1).into()).await, Ok(Seq(0)), "the newer one is there");
    until(|| listened.router.metrics().links.get() == 1).await;
    drop(silent);
    listened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_only_edges_of_the_authority_open_links_and_others_are_counted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let router_tls = ours.tls("127.0.0.1");
    let listened = listened_with(ListenerLimits::default(), |listener| listener.with_tls(router_tls)).await;
    let address = listened.address.to_string();
    let stream = async || TcpStream::connect(listened.address).await.expect("it listens");
    let (edge, stranger) = (ours.tls("edge-1"), other.tls_that_believes(&ours, "edge-1"));

    let secure = edge.connect(&address, stream().await).await.expect("the router is known");
    let link = open(secure, &key(1), LINK).await.expect("it opens");
    until(|| listened.router.metrics().links.get() == 1).await;
    assert_eq!(listened.router.metrics().links_refused.get(), 0);

    let end = match stranger.connect(&address, stream().await).await {
        Ok(secure) => open(secure, &key(1), LinkId(8)).await.expect_err("it is a stranger"),
        Err(end) => end,
    };
    assert!(matches!(end, LinkEnd::Tls(_)), "{end}");
    until(|| listened.router.metrics().links_refused.get() == 1).await;

    // Whoever knows the fleet secret and speaks in the open.
    let mut bare = stream().await;
    bare.write_all(&[0; 64]).await.expect("it listens");
    until(|| listened.router.metrics().links_refused.get() == 2).await;

    // With the right certificate and another fleet secret.
    let secure = edge.connect(&address, stream().await).await.expect("the router is known");
    let end = open(secure, &key(9), LinkId(8)).await.expect_err("another fleet secret");
    assert!(matches!(end, LinkEnd::Refused { code, .. } if code == ErrorCode::Unauthenticated as u16), "{end}");
    drop(link);
    listened.stop().await;
}
