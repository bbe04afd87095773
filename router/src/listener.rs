//! Takes the connections of edges: opens each, attaches its link, and carries frames until one side ends it.
//!
//! Every connection is a task of its own: whatever one does, the others go on. What is not a link yet costs
//! an opening, and there are few of them, so strangers keep no edge out for longer than an opening takes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use panda_link_io::tls::{AnyStream, LinkTls};
use panda_link_io::{LinkEnd, OpenLink, accept};
use panda_protocol::ErrorCode;
use panda_protocol::link::{LinkId, LinkKey, Opening, Refused};
use panda_storage::Appender;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::Router;
use crate::attachments::Attachments;
use crate::metrics::RouterMetrics;

/// How long the links may take to end by themselves at a stop: what was sent down is written.
const ENDING_MAX: Duration = Duration::from_secs(1);
/// Before the next connection is taken after the system refused one.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a listener holds at most.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Connections, opened or not; beyond, an edge is told `overloaded`.
    pub connections_max: usize,
    /// Connections that are being opened, each for at most 5 s; beyond, an edge is told `overloaded`.
    pub openings_max: usize,
    /// Frames of one link that may wait before its shards; beyond, nothing more is read from it.
    pub up_queue: usize,
    /// Batches of at most 1,024 frames that may wait before one link's socket; beyond, events become heads.
    pub down_queue: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { connections_max: 4_096, openings_max: 256, up_queue: 1_024, down_queue: 64 }
    }
}

/// An address at which links are taken.
#[derive(Debug)]
pub struct LinkListener {
    socket: TcpListener,
    tls: Option<LinkTls>,
}

/// A listener that takes links. Dropping it closes all of them.
#[derive(Debug)]
pub struct Listening {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl LinkListener {
    /// Takes the address; connections wait from here on.
    ///
    /// # Errors
    /// Those of the system: the address is in use, or not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: None })
    }

    /// Takes only edges that come with TLS and a certificate of the same authority.
    #[must_use]
    pub fn with_tls(self, tls: LinkTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address, with the port that was given for port 0.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes links for `router` from edges that know one of `keys`, the current one first.
    pub fn listen(self, router: &Router, keys: Vec<LinkKey>, limits: ListenerLimits) -> Listening {
        let taking = Taking {
            router: router.id(),
            links: router.links.clone(),
            metrics: router.metrics().clone(),
            keys,
            tls: self.tls,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            openings: Arc::new(Semaphore::new(limits.openings_max)),
        };
        let (stop, stopped) = watch::channel(false);
        Listening { stop, task: tokio::spawn(Arc::new(taking).take_all(self.socket, stopped)) }
    }
}

impl Listening {
    /// Takes no more connections, and waits up to a second for the links to end. They do once their router
    /// has: stop that first. Those that are left then are closed.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the listener for links ended by a panic");
        }
    }
}

struct Taking {
    router: u64,
    links: Attachments,
    metrics: RouterMetrics,
    keys: Vec<LinkKey>,
    tls: Option<LinkTls>,
    limits: ListenerLimits,
    connections: Arc<Semaphore>,
    openings: Arc<Semaphore>,
}

/// What a connection holds while it lives.
struct Room {
    _connection: OwnedSemaphorePermit,
    opening: OwnedSemaphorePermit,
}

impl Taking {
    async fn take_all(self: Arc<Self>, socket: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut links = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                stopped = async { stop.wait_for(|stop| *stop).await.is_ok() } => {
                    if stopped {
                        break;
                    }
                    // The listener was dropped, and so are its links.
                    return;
                }
                Some(ended) = links.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a link's task broke");
                    }
                }
                taken = socket.accept() => match taken {
                    Ok((stream, peer)) => match self.room() {
                        Some(room) => drop(links.spawn(Arc::clone(&self).serve(stream, peer, room))),
                        None => self.refuse(&stream, peer),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "the system gave no connection of an edge; trying again");
                        sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(socket);
        let ended = timeout(ENDING_MAX, async { while links.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::debug!(links = links.len(), "links are closed");
        }
    }

    fn room(&self) -> Option<Room> {
        let opening = Arc::clone(&self.openings).try_acquire_owned().ok()?;
        let connection = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(Room { _connection: connection, opening })
    }

    /// Tells an edge that there is no room, if its socket takes that at once. Under TLS nothing can be said
    /// before a handshake, and none is spent on it.
    fn refuse(&self, stream: &TcpStream, peer: SocketAddr) {
        self.metrics.links_refused.inc();
        tracing::debug!(%peer, "no room for a connection");
        if self.tls.is_some() {
            return;
        }
        let code = ErrorCode::Overloaded;
        let refused = Opening::Refused(Refused { code: code as u16, text: code.text().into() });
        // A new socket has room for a hundred bytes; one that has not is closed without a word.
        let _told = stream.try_write(&refused.to_bytes());
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, room: Room) {
        let Room { _connection, opening } = room;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection was gone at once");
            return;
        }
        match self.open(stream).await {
            Ok((link, open)) => {
                drop(opening);
                self.carry(link, open, peer).await;
            }
            Err(end) => {
                self.metrics.links_refused.inc();
                match end {
                    LinkEnd::Stranger | LinkEnd::Version { .. } | LinkEnd::Tls(_) => {
                        tracing::warn!(%peer, %end, "a link was refused")
                    }
                    end => tracing::debug!(%peer, %end, "a link did not open"),
                }
            }
        }
    }

    async fn open(&self, stream: TcpStream) -> Result<(LinkId, OpenLink<AnyStream>), LinkEnd> {
        let stream = match &self.tls {
            Some(tls) => tls.accept(stream).await?,
            None => Box::new(stream),
        };
        accept(stream, &self.keys, self.router).await
    }

    async fn carry<S>(&self, link: LinkId, open: OpenLink<S>, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (mut up, ups) = mpsc::channel(self.limits.up_queue);
        let (down, mut downs) = mpsc::channel(self.limits.down_queue);
        // An older connection of the link has ended when this returns.
        self.links.attach(link, ups, down).await;
        let _counted = Counted::new(&self.metrics);
        tracing::info!(edge = %Appender::Edge(link), %peer, "link opened");
        let end = open.carry(&mut downs, &mut up).await;
        tracing::info!(edge = %Appender::Edge(link), %peer, %end, "link ended");
    }
}

/// A link that counts as open.
struct Counted<'a>(&'a RouterMetrics);

impl<'a> Counted<'a> {
    fn new(metrics: &'a RouterMetrics) -> Self {
        metrics.links.inc();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.links.dec();
    }
}
