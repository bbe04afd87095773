use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures_util::future::join_all;
use panda_storage::{LogEpoch, LogIdentity};
use tokio::time::{Instant, timeout};

use super::*;

const OWN: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(3600);

/// A store that answers after a while with the epoch that was open when it was asked.
#[derive(Clone, Default)]
struct Slow(Arc<Inner>);

#[derive(Default)]
struct Inner {
    takes_ms: AtomicU64,
    open: AtomicU32,
    reads: AtomicU32,
    at_once: AtomicU32,
}

impl Slow {
    fn new(takes_ms: u64) -> Self {
        let store = Self::default();
        store.take(takes_ms);
        store.0.open.store(OWN, Ordering::Relaxed);
        store
    }

    fn take(&self, takes_ms: u64) {
        self.0.takes_ms.store(takes_ms, Ordering::Relaxed);
    }

    fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::Relaxed)
    }
}

impl EpochStore for Slow {
    async fn log_epoch(&self) -> Result<Option<LogEpoch>, StoreError> {
        let epoch = self.0.open.load(Ordering::Relaxed);
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.0.at_once.fetch_add(1, Ordering::Relaxed), 0, "one question at a time");
        sleep(Duration::from_millis(self.0.takes_ms.load(Ordering::Relaxed))).await;
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
        if epoch == 0 {
            return Err(StoreError::Misconfigured("another store".into()));
        }
        Ok(Some(LogEpoch { epoch, log: LogIdentity { cluster: "c".into(), topic: "t".into() } }))
    }

    async fn open_log_epoch(&self, _after: Option<u32>, next: LogEpoch) -> Result<LogEpoch, StoreError> {
        Ok(next)
    }
}

fn of(store: &Slow) -> (OpenEpoch, Counter) {
    let slow = Counter::default();
    (OpenEpoch::of(store.clone(), OWN, slow.clone()), slow)
}

#[tokio::test(start_paused = true)]
async fn many_shards_share_one_question_and_none_gets_an_answer_to_an_earlier_one() {
    let store = Slow::new(300);
    let (epoch, _) = of(&store);
    let first = epoch.since(Moment::now());
    let later = async {
        sleep(Duration::from_millis(100)).await;
        let since = Moment::now();
        (since, join_all((0..100).map(|_| epoch.since(since))).await)
    };
    let (first, (since, later)) = tokio::join!(first, later);
    assert!(!first.unwrap().asked.is_from(since));
    assert!(later.into_iter().all(|said| said.unwrap().asked.is_from(since)));
    assert_eq!(store.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_too_late_are_asked_for_with_a_pause_and_nothing_is_begun_until_one_is_in_time() {
    let store = Slow::new(2_500);
    let (epoch, slow) = of(&store);
    let guard = Guard::new(epoch, watch::channel(None).1);
    let mut begun = Box::pin(guard.sure());
    let began = Instant::now();
    assert!(timeout(Duration::from_secs(70), &mut begun).await.is_err(), "what is known is too old");
    assert!((18..=21).contains(&store.reads()), "{} in 70 s: each takes 2.5 s, and a pause of one", store.reads());
    assert!(slow.get() >= u64::from(store.reads()) - 1);
    store.take(1_900);
    assert_eq!(timeout(Duration::from_secs(10), begun).await.expect("it goes on").unwrap(), Ok(()));
    assert!(began.elapsed() < Duration::from_secs(80));
}

#[tokio::test(start_paused = true)]
async fn what_was_known_before_the_machine_was_suspended_is_too_old_and_the_store_is_asked_again() {
    const SUSPENDED: Duration = Duration::from_secs(3);
    let store = Slow::new(1);
    let (epoch, _) = of(&store);
    let (heard, hears) = watch::channel(Some(Moment::now()));
    let log = Guard::new(epoch.clone(), hears);
    assert!(log.is_sure(), "the log was heard");
    heard.send_replace(Some(Moment::now().before_a_suspension_of(SUSPENDED)));
    assert!(!log.is_sure(), "the runtime's clock stood still");
    assert_eq!(timeout(PATIENCE, log.sure()).await.expect("it is told").unwrap(), Ok(()));
    assert_eq!(store.reads(), 1);

    // The same of what the store said.
    let asked = epoch.last().unwrap().expect("it was asked").asked.before_a_suspension_of(SUSPENDED);
    let (tell, known) = watch::channel(Ok(Some(Said { asked, open: OWN })));
    let (wanted, wants) = watch::channel(None);
    let guard = Guard::new(OpenEpoch { own: OWN, wanted, known }, watch::channel(None).1);
    assert!(!guard.is_sure());
    let answer = async {
        let mut wants = wants;
        let wanted = wants.wait_for(Option::is_some).await.expect("the guard asks").expect("a moment");
        assert!(!asked.is_from(wanted), "what is known does not do");
        drop(tell.send_replace(Ok(Some(Said { asked: Moment::now(), open: OWN + 1 }))));
    };
    let (sure, ()) = tokio::join!(guard.sure(), answer);
    assert_eq!(sure.unwrap(), Err(OWN + 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_still_says_that_the_epoch_is_over() {
    let store = Slow::new(30_000);
    store.0.open.store(OWN + 1, Ordering::Relaxed);
    let (epoch, _) = of(&store);
    let guard = Guard::new(epoch, watch::channel(None).1);
    assert_eq!(timeout(PATIENCE, guard.sure()).await.expect("it ends").unwrap(), Err(OWN + 1));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_was_opened_unseen_is_noticed_although_nobody_asks() {
    let store = Slow::new(1);
    let (epoch, _) = of(&store);
    epoch.since(Moment::now()).await.unwrap();
    assert!(timeout(PATIENCE, epoch.over()).await.is_err(), "its own is open");
    store.0.open.store(OWN + 3, Ordering::Relaxed);
    let before = Instant::now();
    assert_eq!(timeout(PATIENCE, epoch.over()).await.expect("it is noticed").unwrap(), OWN + 3);
    assert!(before.elapsed() <= EPOCH_READ_EVERY + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nothing_mends_is_everybodys() {
    let store = Slow::new(1);
    store.0.open.store(0, Ordering::Relaxed);
    let (epoch, _) = of(&store);
    for _ in 0..2 {
        let error = timeout(PATIENCE, epoch.since(Moment::now())).await.expect("it is told").unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    }
    assert!(matches!(timeout(PATIENCE, epoch.over()).await, Ok(Err(StoreError::Misconfigured(_)))));
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_once_the_last_shard_is_gone() {
    let store = Slow::new(1);
    let (epoch, _) = of(&store);
    epoch.since(Moment::now()).await.unwrap();
    drop(epoch);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(Arc::strong_count(&store.0), 1);
}
