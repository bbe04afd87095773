//! A router of which a test says every word, over TCP.

use std::time::Duration;

use panda_link_io::tls::{AnyStream, LinkTls};
use panda_link_io::{LinkEnd, accept};
use panda_protocol::link::{Down, LinkKey, Up};
use panda_protocol::{EntityId, Generation, ShardId, UserId};
use panda_storage::embedded::MemoryBoard;
use panda_storage::{Ownership, OwnershipBoard as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A listening router.
pub(crate) struct FakeRouter {
    listener: TcpListener,
    pub(crate) number: u64,
    keys: Vec<LinkKey>,
    tls: Option<LinkTls>,
}

/// One accepted link.
pub(crate) struct Accepted {
    pub(crate) up: mpsc::Receiver<Up>,
    pub(crate) down: mpsc::Sender<Vec<Down>>,
    carried: JoinHandle<LinkEnd>,
}

pub(crate) fn key(byte: u8) -> LinkKey {
    LinkKey([byte; 32])
}

pub(crate) fn user(n: u8) -> UserId {
    UserId::from_random([n; 16])
}

pub(crate) fn entity(n: u8) -> EntityId {
    user(n).into()
}

/// An inbox of the shard.
pub(crate) fn entity_in(shard: ShardId, shards: u16) -> (u8, EntityId) {
    (0..=u8::MAX).map(|n| (n, entity(n))).find(|(_, entity)| entity.shard(shards) == shard).expect("some are in each")
}

impl FakeRouter {
    pub(crate) async fn listen(number: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        Self { listener, number, keys: vec![key(1)], tls: None }
    }

    pub(crate) fn with_keys(self, keys: Vec<LinkKey>) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn with_tls(self, tls: LinkTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    pub(crate) async fn announce(&self, board: &MemoryBoard, shard: u16, generation: u64) {
        let (shard, generation) = (ShardId(shard), Generation(generation));
        let ownership = Ownership { shard, epoch: 1, generation, router: self.number, address: self.address() };
        board.announce(ownership).await.expect("a board in memory takes it");
    }

    /// The next link that opens; one that is refused is not it.
    pub(crate) async fn accept(&self) -> Accepted {
        let (up, ups) = mpsc::channel(1_024);
        let (down, mut downs) = mpsc::channel(64);
        let carried = async {
            loop {
                let (stream, _) = self.listener.accept().await.expect("it listens");
                let stream: AnyStream = match &self.tls {
                    None => Box::new(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => stream,
                        Err(_) => continue,
                    },
                };
                if let Ok((_, link)) = accept(stream, &self.keys, self.number).await {
                    return link;
                }
            }
        };
        let link = timeout(PATIENCE, carried).await.expect("a link opens");
        let carried = tokio::spawn(async move { link.carry(&mut downs, &mut { up }).await });
        Accepted { up: ups, down, carried }
    }

    /// Accepts a connection and says nothing.
    pub(crate) async fn accept_silently(&self) -> tokio::net::TcpStream {
        timeout(PATIENCE, self.listener.accept()).await.expect("somebody connects").expect("it listens").0
    }

    /// Opens a link and then says nothing, takes nothing, and keeps the connection.
    pub(crate) async fn accept_and_hang(&self) -> impl Sized + use<> {
        let (stream, _) =
            timeout(PATIENCE, self.listener.accept()).await.expect("somebody connects").expect("it listens");
        accept(stream, &self.keys, self.number).await.expect("the link opens")
    }
}

impl Accepted {
    pub(crate) async fn send(&self, downs: Vec<Down>) {
        timeout(PATIENCE, self.down.send(downs)).await.expect("the edge reads").expect("the link is open");
    }

    pub(crate) async fn own(&self, shard: u16, generation: u64) {
        self.send(vec![Down::Owner { shard: ShardId(shard), generation: Generation(generation) }]).await;
    }

    pub(crate) async fn next(&mut self) -> Up {
        timeout(PATIENCE, self.up.recv()).await.expect("the edge sends").expect("the link is open")
    }

    /// Breaks the connection.
    pub(crate) async fn end(self) {
        self.carried.abort();
        drop(self.carried.await);
    }

    /// Waits until the edge has closed it.
    pub(crate) async fn closed(self) -> LinkEnd {
        timeout(PATIENCE, self.carried).await.expect("the edge closes it").expect("it does not panic")
    }
}
