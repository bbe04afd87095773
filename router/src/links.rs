//! The router's ends of the links, as one thread sees them. A slow one holds nobody up: see [`DownQueue`].

use std::collections::{BTreeMap, HashMap};

use panda_link_io::DownQueue;
use panda_protocol::link::{Down, LinkId};
use panda_protocol::{Generation, ShardId};
use tokio::sync::mpsc;

/// All links, as one thread sees them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: HashMap<LinkId, DownQueue>,
    /// Links with something to send.
    touched: Vec<LinkId>,
    /// The shards that this thread owns, and its terms.
    owned: BTreeMap<ShardId, Generation>,
}

impl Links {
    pub(crate) fn attach(&mut self, id: LinkId, down: mpsc::Sender<Vec<Down>>) {
        self.links.insert(id, DownQueue::new(down));
        for (shard, generation) in self.owned.clone() {
            self.send(id, Down::Owner { shard, generation });
        }
        self.flush();
    }

    /// From here on the shard is this router's: every link is told before anything else of the term.
    pub(crate) fn own(&mut self, shard: ShardId, generation: Generation) {
        self.owned.insert(shard, generation);
        self.broadcast(&Down::Owner { shard, generation });
        self.flush();
    }

    /// The shard is another's, or nobody's.
    pub(crate) fn disown(&mut self, shard: ShardId) {
        self.owned.remove(&shard);
    }

    pub(crate) fn detach(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    /// How many times events were replaced by a head since the last call.
    pub(crate) fn take_overflows(&mut self) -> u64 {
        self.links.values_mut().map(DownQueue::take_overflows).sum()
    }

    /// Puts a frame behind what goes down a link. A link that is gone takes nothing.
    pub(crate) fn send(&mut self, id: LinkId, down: Down) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.is_empty() {
            self.touched.push(id);
        }
        link.push(down);
    }

    /// Puts a frame behind what goes down every link.
    pub(crate) fn broadcast(&mut self, down: &Down) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.send(id, down.clone());
        }
    }

    /// Hands over what the channels take. Returns whether something still waits.
    pub(crate) fn flush(&mut self) -> bool {
        let mut waiting = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            if let Some(link) = self.links.get_mut(&id)
                && !link.flush()
            {
                waiting.push(id);
            }
        }
        self.touched = waiting;
        !self.touched.is_empty()
    }
}
