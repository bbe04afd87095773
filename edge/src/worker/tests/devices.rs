//! One device, two workers and the real router: which of its sessions stays.

use panda_protocol::link::{Down, LinkId, Opens, Up};
use panda_protocol::{DeviceId, ErrorCode};
use panda_router::RouterConfig;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog, MemoryBoard};
use tokio::sync::mpsc;

use super::{Fixture, clock, user};
use crate::config::SessionLimits;
use crate::session::Ending;

/// A worker whose loop runs when the test says so.
struct Worker {
    fixture: Fixture,
    up: mpsc::Sender<Up>,
    down: mpsc::Receiver<Vec<Down>>,
}

impl Worker {
    async fn attach(router: &panda_router::Router, link: u64) -> Self {
        let (up, ups) = mpsc::channel(64);
        let (downs, down) = mpsc::channel(64);
        router.attach(LinkId(link), ups, downs).await;
        let mut worker = Self { fixture: Fixture::new(SessionLimits::default()), up, down };
        // Who asks before there is an owner asks twice.
        let batch = worker.until(|down| matches!(down, Down::Owner { .. })).await;
        worker.fixture.core.arrive(batch);
        worker
    }

    async fn send_up(&mut self) {
        for up in self.fixture.ups() {
            self.up.send(up).await.unwrap();
        }
    }

    async fn until(&mut self, is: impl Fn(&Down) -> bool) -> Vec<Down> {
        let mut batch = Vec::new();
        while !batch.iter().any(&is) {
            batch.extend(self.down.recv().await.unwrap());
        }
        batch
    }

    /// What comes down, up to the next answer to an admission.
    async fn answer(&mut self) -> Vec<Down> {
        self.until(|down| matches!(down, Down::Admitted(_))).await
    }

    /// Takes all that was sent to it before now.
    async fn settle(&mut self) {
        self.send_up().await;
        self.fixture.connect(user(9));
        self.send_up().await;
        let batch = self.answer().await;
        self.fixture.core.arrive(batch);
        self.send_up().await;
    }
}

#[tokio::test]
async fn the_session_whose_hello_came_later_stays_although_its_worker_was_the_faster() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::open(&folder.path().join("data")).unwrap();
    let events = EmbeddedEvents::open(&data).unwrap();
    let log = EmbeddedLog::new(1, events.epoch(), clock);
    let router = panda_router::start(RouterConfig::new(1), log, events.clone(), MemoryBoard::default()).await.unwrap();
    let (mut slow, mut fast) = (Worker::attach(&router, 1).await, Worker::attach(&router, 2).await);
    slow.settle().await;
    fast.settle().await;

    let device = DeviceId::from_random([7; 16]);
    let older = slow.fixture.connect_as(user(1), device);
    slow.send_up().await;
    let late = slow.answer().await;
    let newer = fast.fixture.connect_as(user(1), device);
    fast.send_up().await;
    let batch = fast.answer().await;
    fast.fixture.core.arrive(batch);
    fast.send_up().await;
    // Only now the older one is opened. Its peer is long gone, but nobody has read its socket.
    slow.fixture.core.arrive(late);
    slow.settle().await;
    fast.settle().await;
    slow.settle().await;
    assert_eq!(fast.fixture.core.ending(newer), None);
    assert_eq!(slow.fixture.core.ending(older), Some(Ending::Bye(ErrorCode::Replaced.into())));
    drop((slow, fast));
    router.stop().await.unwrap();
    events.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_is_asked_again_says_so() {
    let mut fixture = Fixture::new(SessionLimits::default());
    fixture.connect(user(1));
    let opens = |fixture: &mut Fixture| match &fixture.ups()[..] {
        [Up::Admit(admit)] => admit.opens.map(|Opens { again, .. }| again),
        ups => panic!("{ups:?} is no admission"),
    };
    assert_eq!(opens(&mut fixture), Some(false));
    let owner = Down::Owner { shard: panda_protocol::ShardId(0), generation: panda_protocol::Generation(2) };
    fixture.core.arrive(vec![owner]);
    assert_eq!(opens(&mut fixture), Some(true));
}
