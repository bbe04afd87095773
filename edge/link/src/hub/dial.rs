//! The connection to one address: opened, carried, and opened again for as long as it is needed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use panda_link_io::tls::{AnyStream, LinkTls};
use panda_link_io::{LinkEnd, OpenLink, Taker, open};
use panda_protocol::link::{Down, LinkId, LinkKey, Up};
use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::core::LinkNumber;

/// How long finding and reaching an address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The first wait after a link ended is anywhere up to this; it doubles with each that did not last.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A link that lasted this long was a good one: the next try is soon.
const LASTED: Duration = Duration::from_secs(5);
/// Frames that may wait to go up a link.
pub(super) const UP_QUEUE: usize = 65_536;

/// What becomes of links.
#[derive(Debug)]
pub(super) enum Event {
    /// A link is open; what it is to carry goes into `up`.
    Opened { link: LinkNumber, address: Arc<str>, router: u64, up: mpsc::Sender<Up> },
    /// Frames came down.
    Down { link: LinkNumber, frames: Vec<Down> },
    /// The link has ended. Nothing of it follows.
    Ended { link: LinkNumber, address: Arc<str>, end: LinkEnd },
    /// A link did not open.
    Failed { address: Arc<str>, end: LinkEnd },
}

/// What all links of a hub share.
#[derive(Clone)]
pub(super) struct Dialing {
    pub(super) link: LinkId,
    /// The first is used until a router does not know it.
    pub(super) keys: Arc<[LinkKey]>,
    /// Absent: links are not encrypted.
    pub(super) tls: Option<LinkTls>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) next_number: Arc<AtomicU64>,
}

/// What one address is told.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Try again now: a router announced itself there.
    pub(super) hurry: Notify,
    /// End the link that is open, and open another.
    pub(super) again: Notify,
}

/// Keeps a link to an address until the task is aborted.
pub(super) async fn dial(dialing: Dialing, address: Arc<str>, orders: Arc<Orders>) {
    let mut backoff = BACKOFF_MIN;
    let mut key = 0;
    loop {
        match connect(&dialing, &address, key).await {
            Ok(open) => {
                let since = Instant::now();
                if dialing.carry(open, &address, &orders).await.is_err() {
                    return;
                }
                if since.elapsed() >= LASTED {
                    backoff = BACKOFF_MIN;
                }
            }
            Err(end) => {
                if matches!(end, LinkEnd::Refused { .. } | LinkEnd::Stranger) {
                    key = (key + 1) % dialing.keys.len().max(1);
                }
                if dialing.events.send(Event::Failed { address: Arc::clone(&address), end }).await.is_err() {
                    return;
                }
            }
        }
        // Full jitter: edges whose links ended together come back apart.
        let wait = rand::rng().random_range(Duration::ZERO..=backoff);
        backoff = (backoff * 2).min(BACKOFF_MAX);
        tokio::select! {
            () = sleep(wait) => {}
            () = orders.hurry.notified() => backoff = BACKOFF_MIN,
        }
    }
}

async fn connect(dialing: &Dialing, address: &str, key: usize) -> Result<OpenLink<AnyStream>, LinkEnd> {
    let Some(key) = dialing.keys.get(key) else { return Err(LinkEnd::Stranger) };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| LinkEnd::Io(io::ErrorKind::TimedOut.into()))??;
    stream.set_nodelay(true)?;
    let stream = match &dialing.tls {
        Some(tls) => tls.connect(address, stream).await?,
        None => Box::new(stream),
    };
    open(stream, key, dialing.link).await
}

impl Dialing {
    /// Carries a link until it ends. An error says that the hub is gone.
    async fn carry<S>(&self, open: OpenLink<S>, address: &Arc<str>, orders: &Orders) -> Result<(), HubGone>
    where
        S: AsyncRead + AsyncWrite,
    {
        let link = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (up, mut ups) = mpsc::channel(UP_QUEUE);
        let address = || Arc::clone(address);
        self.tell(Event::Opened { link, address: address(), router: open.router(), up }).await?;
        let mut taker = ToHub { link, events: self.events.clone() };
        let end = tokio::select! {
            end = open.carry(&mut ups, &mut taker) => end,
            () = orders.again.notified() => LinkEnd::Done,
        };
        self.tell(Event::Ended { link, address: address(), end }).await
    }

    async fn tell(&self, event: Event) -> Result<(), HubGone> {
        self.events.send(event).await.map_err(|_| HubGone)
    }
}

/// Nobody takes events any more.
struct HubGone;

/// Hands the hub what came down. While the hub has no room, nothing is read.
struct ToHub {
    link: LinkNumber,
    events: mpsc::Sender<Event>,
}

impl Taker<Down> for ToHub {
    async fn take(&mut self, frames: Vec<Down>) -> bool {
        self.events.send(Event::Down { link: self.link, frames }).await.is_ok()
    }
}
