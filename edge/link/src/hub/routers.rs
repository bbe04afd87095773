//! Which addresses a hub keeps links to: those that own a shard, and for a while those that did.

use std::collections::HashMap;
use std::sync::Arc;

use panda_protocol::link::{LinkId, Up};
use panda_storage::ownership::Ownership;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::core::LinkNumber;
use super::dial::{Dialing, Orders, dial};

/// How long a link is kept that nothing needs, in milliseconds: shards that move come back often.
const IDLE_MS: u64 = 10_000;

/// One address.
struct Router {
    /// Shards whose latest announced owner is there.
    shards: usize,
    open: Option<(LinkNumber, mpsc::Sender<Up>)>,
    orders: Arc<Orders>,
    dialing: AbortHandle,
    idle_since_ms: Option<u64>,
    /// It was said that it cannot be reached.
    complained: bool,
}

/// All addresses.
pub(super) struct Routers {
    dialing: Dialing,
    tasks: JoinSet<()>,
    routers: HashMap<Arc<str>, Router>,
    /// The address of each shard's latest announced owner, and its term.
    announced: Vec<Option<Ownership>>,
    by_number: HashMap<LinkNumber, Arc<str>>,
}

impl Routers {
    pub(super) fn new(dialing: Dialing, shards: u16) -> Self {
        Self {
            dialing,
            tasks: JoinSet::new(),
            routers: HashMap::new(),
            announced: vec![None; usize::from(shards)],
            by_number: HashMap::new(),
        }
    }

    /// An owner announced itself. Returns whether it is a later one than known.
    pub(super) fn announced(&mut self, ownership: Ownership) -> bool {
        let Some(known) = self.announced.get_mut(usize::from(ownership.shard.0)) else { return false };
        if known.as_ref().is_some_and(|known| !ownership.is_after(known)) {
            return false;
        }
        let address: Arc<str> = ownership.address.as_str().into();
        if let Some(before) = known.replace(ownership)
            && let Some(router) = self.routers.get_mut(before.address.as_str())
        {
            router.shards -= 1;
        }
        let router = self.routers.entry(Arc::clone(&address)).or_insert_with(|| {
            let orders = Arc::new(Orders::default());
            let dialing = self.tasks.spawn(dial(self.dialing.clone(), address, Arc::clone(&orders)));
            Router { shards: 0, open: None, orders, dialing, idle_since_ms: None, complained: false }
        });
        router.shards += 1;
        if router.open.is_none() {
            router.orders.hurry.notify_one();
        }
        true
    }

    /// A link is open.
    pub(super) fn opened(&mut self, number: LinkNumber, address: &Arc<str>, up: mpsc::Sender<Up>) {
        if let Some(router) = self.routers.get_mut(address) {
            router.open = Some((number, up));
            router.complained = false;
            self.by_number.insert(number, Arc::clone(address));
        }
    }

    /// Whether the link was open until now.
    pub(super) fn ended(&mut self, number: LinkNumber) -> bool {
        let Some(address) = self.by_number.remove(&number) else { return false };
        if let Some(router) = self.routers.get_mut(&address) {
            router.open = None;
        }
        true
    }

    /// Whether the link is open.
    pub(super) fn is_open(&self, number: LinkNumber) -> bool {
        self.by_number.contains_key(&number)
    }

    /// The name of this end of every link.
    pub(super) const fn link(&self) -> LinkId {
        self.dialing.link
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.by_number.len()
    }

    /// Whether it is news that an address cannot be reached.
    pub(super) fn complain(&mut self, address: &Arc<str>) -> bool {
        self.routers.get_mut(address).is_some_and(|router| !std::mem::replace(&mut router.complained, true))
    }

    /// Where a link's frames go.
    pub(super) fn up(&self, number: LinkNumber) -> Option<&mpsc::Sender<Up>> {
        let router = self.routers.get(self.by_number.get(&number)?)?;
        router.open.as_ref().map(|(_, up)| up)
    }

    /// A link takes nothing more: it is to end and to be opened anew.
    pub(super) fn restart(&self, number: LinkNumber) {
        if let Some(router) = self.by_number.get(&number).and_then(|address| self.routers.get(address)) {
            router.orders.again.notify_one();
        }
    }

    /// Gives up the addresses that nothing needs any more; `owned_by` counts a link's shards. Returns the
    /// links that were open.
    ///
    /// # Panics
    /// A task that keeps a link did.
    pub(super) fn tidy(&mut self, now_ms: u64, owned_by: impl Fn(LinkNumber) -> usize) -> Vec<(LinkNumber, Arc<str>)> {
        let mut closed = Vec::new();
        self.routers.retain(|address, router| {
            let number = router.open.as_ref().map(|(number, _)| *number);
            if router.shards > 0 || number.is_some_and(|number| owned_by(number) > 0) {
                router.idle_since_ms = None;
                return true;
            }
            if now_ms.saturating_sub(*router.idle_since_ms.get_or_insert(now_ms)) < IDLE_MS {
                return true;
            }
            router.dialing.abort();
            closed.extend(number.map(|number| (number, Arc::clone(address))));
            false
        });
        for (number, _) in &closed {
            self.by_number.remove(number);
        }
        // Tasks that were aborted are let go. One that broke breaks the hub, which is noticed.
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use panda_protocol::link::{LinkId, LinkKey};
    use panda_protocol::{Generation, ShardId};

    use super::*;

    fn routers() -> (Routers, mpsc::Receiver<super::super::dial::Event>) {
        let (events, received) = mpsc::channel(8);
        let keys = vec![LinkKey([1; 32])].into();
        let dialing = Dialing { link: LinkId(1), keys, tls: None, events, next_number: Arc::new(AtomicU64::new(1)) };
        (Routers::new(dialing, 2), received)
    }

    /// Nobody listens on the discard port's neighbours.
    fn owner(shard: u16, generation: u64, port: u16) -> Ownership {
        let (shard, generation) = (ShardId(shard), Generation(generation));
        Ownership { shard, epoch: 1, generation, router: 1, address: format!("127.0.0.1:{port}") }
    }

    #[tokio::test]
    async fn an_address_is_let_go_once_nothing_of_it_was_needed_for_a_while() {
        let (mut routers, _events) = routers();
        assert!(routers.announced(owner(0, 5, 1)) && routers.announced(owner(1, 5, 1)));
        let (up, _ups) = mpsc::channel(1);
        routers.opened(7, &Arc::from("127.0.0.1:1"), up);
        assert!(routers.announced(owner(0, 6, 2)));
        assert!(!routers.announced(owner(0, 5, 1)), "an older term changes nothing");
        assert!(routers.tidy(100_000, |_| 0).is_empty(), "it has a shard");
        assert!(routers.announced(owner(1, 6, 2)));
        assert!(routers.tidy(200_000, |_| 1).is_empty(), "a link still has an owner on it");
        assert!(routers.tidy(300_000, |_| 0).is_empty(), "it may come back");
        assert!(routers.announced(owner(1, 7, 1)));
        assert!(routers.tidy(310_000, |_| 0).is_empty(), "it came back");
        assert!(routers.announced(owner(1, 8, 2)));
        assert!(routers.tidy(320_000, |_| 0).is_empty());
        assert!(routers.tidy(320_000 + IDLE_MS - 1, |_| 0).is_empty());
        assert_eq!(routers.tidy(320_000 + IDLE_MS, |_| 0), [(7, Arc::from("127.0.0.1:1"))]);
        assert!(!routers.is_open(7) && routers.up(7).is_none() && !routers.ended(7));
        assert_eq!(routers.routers.len(), 1);
    }

    #[tokio::test]
    #[should_panic(expected = "dialling broke")]
    async fn a_task_that_breaks_is_not_let_go_in_silence() {
        let (mut routers, _events) = routers();
        routers.tasks.spawn(async { panic!("dialling broke") });
        while !routers.tasks.is_empty() {
            assert!(routers.tidy(0, |_| 0).is_empty());
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn that_an_address_cannot_be_reached_is_news_once() {
        let (mut routers, mut events) = routers();
        routers.announced(owner(0, 5, 1));
        for news in [true, false] {
            let Some(super::super::dial::Event::Failed { address, .. }) = events.recv().await else {
                panic!("nobody listens there")
            };
            assert_eq!(routers.complain(&address), news);
        }
    }
}
