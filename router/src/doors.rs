//! The ways into the shards that this router owns.
//!
//! A door is open from the moment at which the shard's term begins until it is to end. A frame that comes
//! to a closed door is dropped, and nobody is told: whether the shard is on its way here or belongs to
//! another router, the edge states and asks everything anew when it hears of the next owner, and gives up
//! what nobody answers by itself. A refusal would reach a person for a matter of milliseconds.

use std::sync::Arc;

use panda_protocol::ShardId;
use panda_protocol::link::{LinkId, Up};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// Frames that may wait before one shard.
const DOOR_QUEUE: usize = 4_096;

/// What reaches a shard from outside of the log.
#[derive(Debug)]
pub(crate) enum Outside {
    /// A frame of a link.
    Up(LinkId, Up),
    /// A link is gone.
    Closed(LinkId),
}

/// The doors of all shards; cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    doors: Arc<[Mutex<Option<mpsc::Sender<Outside>>>]>,
    unowned: Counter,
}

impl Doors {
    /// All closed. `unowned` counts the frames that come to a closed one.
    pub(crate) fn new(shards: u16, unowned: Counter) -> Self {
        Self { doors: (0..shards).map(|_| Mutex::new(None)).collect(), unowned }
    }

    /// How many shards there are.
    pub(crate) fn count(&self) -> u16 {
        // They were made of a u16.
        u16::try_from(self.doors.len()).unwrap_or(u16::MAX)
    }

    /// Opens the door of a shard whose term begins.
    pub(crate) fn open(&self, shard: ShardId) -> Door {
        let (sender, outside) = mpsc::channel(DOOR_QUEUE);
        if let Some(door) = self.doors.get(usize::from(shard.0)) {
            *door.lock() = Some(sender);
        }
        Door { doors: self.clone(), shard, outside: Some(outside) }
    }

    /// Hands a link's frame to its shard, and waits while the shard has no room.
    pub(crate) async fn enter(&self, shard: ShardId, link: LinkId, up: Up) {
        // An edge that names a shard that does not exist is told nothing of it either.
        let sender = self.doors.get(usize::from(shard.0)).and_then(|door| door.lock().clone());
        let entered = match sender {
            Some(sender) => sender.send(Outside::Up(link, up)).await.is_ok(),
            None => false,
        };
        if !entered {
            self.unowned.inc();
        }
    }

    /// Tells every shard behind an open door that a link is gone.
    pub(crate) async fn close_link(&self, link: LinkId) {
        for door in self.doors.iter() {
            let sender = door.lock().clone();
            if let Some(sender) = sender {
                // A shard whose term ends meanwhile forgets the link by that.
                drop(sender.send(Outside::Closed(link)).await);
            }
        }
    }
}

/// One shard's open door; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Door {
    doors: Doors,
    shard: ShardId,
    outside: Option<mpsc::Receiver<Outside>>,
}

impl Door {
    /// Takes what comes in, at most `max` at once; waits for the first, for ever once it is closed.
    /// Cancel safe.
    pub(crate) async fn next(&mut self, into: &mut Vec<Outside>, max: usize) {
        if let Some(outside) = &mut self.outside
            && outside.recv_many(into, max).await > 0
        {
            return;
        }
        std::future::pending().await
    }

    /// Nothing comes in any more; who waits to is let go.
    pub(crate) fn close(&mut self) {
        if self.outside.take().is_some()
            && let Some(door) = self.doors.doors.get(usize::from(self.shard.0))
        {
            *door.lock() = None;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::UserId;

    use super::*;

    const SHARD: ShardId = ShardId(1);
    const LINK: LinkId = LinkId(7);

    fn up() -> Up {
        Up::Forget { entity: UserId::from_random([1; 16]).into() }
    }

    #[tokio::test]
    async fn frames_of_a_shard_that_is_not_owned_are_dropped_and_counted() {
        let unowned = Counter::default();
        let doors = Doors::new(2, unowned.clone());
        doors.enter(SHARD, LINK, up()).await;
        doors.enter(ShardId(9), LINK, up()).await;
        assert_eq!(unowned.get(), 2);

        let mut door = doors.open(SHARD);
        doors.enter(SHARD, LINK, up()).await;
        let mut came = Vec::new();
        door.next(&mut came, 8).await;
        assert!(matches!(came[..], [Outside::Up(LINK, _)]), "{came:?}");
        drop(door);
        doors.enter(SHARD, LINK, up()).await;
        assert_eq!(unowned.get(), 3);
    }

    #[tokio::test]
    async fn who_waits_before_a_full_door_goes_on_when_it_is_closed() {
        let unowned = Counter::default();
        let doors = Doors::new(2, unowned.clone());
        let mut door = doors.open(SHARD);
        for _ in 0..DOOR_QUEUE {
            doors.enter(SHARD, LINK, up()).await;
        }
        let waits = tokio::spawn({
            let doors = doors.clone();
            async move { doors.enter(SHARD, LINK, up()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "there is no room");
        door.close();
        waits.await.expect("it does not panic");
        assert_eq!(unowned.get(), 1);
    }

    #[tokio::test]
    async fn a_later_term_has_a_door_of_its_own() {
        let doors = Doors::new(2, Counter::default());
        let first = doors.open(SHARD);
        doors.enter(SHARD, LINK, up()).await;
        drop(first);
        let mut second = doors.open(SHARD);
        doors.close_link(LINK).await;
        let mut came = Vec::new();
        second.next(&mut came, 8).await;
        assert!(matches!(came[..], [Outside::Closed(LINK)]), "nothing of the first term: {came:?}");
    }
}
