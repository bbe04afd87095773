//! Which edges are connected: each link's frames find their shard, and its end reaches every shard.

use std::collections::HashMap;
use std::sync::Arc;

use panda_protocol::link::{Down, LinkId, Up};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::doors::Doors;
use crate::thread::Control;

/// The links of a router; cloning shares them.
#[derive(Clone)]
pub(crate) struct Attachments {
    inner: Arc<Inner>,
}

struct Inner {
    threads: Vec<mpsc::Sender<Control>>,
    doors: Doors,
    attached: Mutex<HashMap<LinkId, Attached>>,
}

/// An attachment that was not seen to end.
struct Attached {
    /// Dropped: it is to end.
    end: oneshot::Sender<()>,
    /// Closed: it has ended.
    ended: oneshot::Receiver<()>,
}

impl Attachments {
    pub(crate) fn new(threads: Vec<mpsc::Sender<Control>>, doors: Doors) -> Self {
        Self { inner: Arc::new(Inner { threads, doors, attached: Mutex::default() }) }
    }

    /// See [`crate::Router::attach`].
    pub(crate) async fn attach(&self, link: LinkId, up: mpsc::Receiver<Up>, down: mpsc::Sender<Vec<Down>>) {
        let (end, to_end) = oneshot::channel();
        let (has_ended, ended) = oneshot::channel();
        let older = self.inner.attached.lock().insert(link, Attached { end, ended });
        if let Some(Attached { end, ended }) = older {
            drop(end);
            // An error says the same: its task is gone.
            let _ended = ended.await;
        }
        let inner = Arc::clone(&self.inner);
        let (is_known, known) = oneshot::channel();
        // A task of its own: a caller who stops waiting leaves no link behind that nobody ends.
        tokio::spawn(async move {
            inner.make_known(link, down).await;
            // Who attached may have gone meanwhile; the link ends by itself then.
            let _gone = is_known.send(());
            inner.carry(link, up, to_end).await;
            inner.detach(link).await;
            drop(has_ended);
        });
        drop(known.await);
    }
}

impl Inner {
    /// Nothing may be sent to the link before every thread knows it.
    async fn make_known(&self, link: LinkId, down: mpsc::Sender<Vec<Down>>) {
        for thread in &self.threads {
            let (done, attached) = oneshot::channel();
            // A thread that is gone has ended the router; its end is reported elsewhere.
            drop(thread.send(Control::Attach(link, down.clone(), done)).await);
            drop(attached.await);
        }
    }

    async fn carry(&self, link: LinkId, mut up: mpsc::Receiver<Up>, mut to_end: oneshot::Receiver<()>) {
        let shards = self.doors.count();
        loop {
            let up = tokio::select! {
                up = up.recv() => up,
                _ = &mut to_end => None,
            };
            let Some(up) = up else { return };
            self.doors.enter(up.shard(shards), link, up).await;
        }
    }

    /// Nothing of the link stays anywhere.
    async fn detach(&self, link: LinkId) {
        self.doors.close_link(link).await;
        for thread in &self.threads {
            drop(thread.send(Control::Detach(link)).await);
        }
        // A newer attachment that waits for this end has its own entry by now.
        self.attached.lock().retain(|of, attached| *of != link || !attached.end.is_closed());
    }
}
