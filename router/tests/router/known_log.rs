//! Routers whose log is, or is not, the one up to whose checkpoint the store holds a shard.

use std::time::Duration;

use panda_protocol::Time;
use panda_protocol::link::Effect;
use panda_storage::{Checkpoint, LogRecord, OwnershipBoard as _, OwnershipWatch as _, RecordMark, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SHARD: ShardId = ShardId(0);

/// A router that makes a chat, or goes on in it, and stops: everything is stored then.
async fn talk(log: &MemoryLog, store: &MemoryStore, counter: u64) {
    let (router, mut edge) = start_over(log, store, 1).await;
    let ann = user(1);
    if counter == 1 {
        edge.create(ann, vec![]).await;
    } else {
        let chat = ChatId::group(ann, device(1), Counter(1));
        let token = edge.command(chat.into(), ann, counter, &say("hello"));
        assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(counter + 1)));
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// The sentence with which a router ends.
async fn refusal(log: &MemoryLog, store: &MemoryStore) -> String {
    let ended = match start(RouterConfig::new(1), log.clone(), store.clone(), MemoryBoard::default()).await {
        Ok(mut router) => tokio::time::timeout(PATIENCE, router.failed()).await.expect("it ends by itself"),
        Err(error) => error,
    };
    assert!(matches!(ended, RouterError::Store(StoreError::Misconfigured(_))), "{ended:?}");
    ended.to_string()
}

/// The record before the shard's checkpoint, as the store has it and as the log does.
fn last(log: &MemoryLog, store: &MemoryStore) -> (RecordMark, LogRecord) {
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let before = usize::try_from(stored.position.offset - 1).expect("a short log");
    (stored.last.expect("it names the record before"), log.records(SHARD).swap_remove(before))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_goes_on_behind_the_record_that_the_store_names() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    for counter in 1..4 {
        talk(&log, &store, counter).await;
        let (stored, record) = last(&log, &store);
        assert_eq!(stored, RecordMark::of(&record));
        assert!(record.position.offset >= counter, "what was answered is behind it: {record:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_another_record_there_or_ends_before_is_refused_with_the_command_that_helps() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let (mark, _) = last(&log, &store);
    let time = Time(mark.time.0 + 1);
    for other in [RecordMark { digest: [7; 8], ..mark }, RecordMark { time, ..mark }] {
        store.change(|replica| {
            replica.checkpoints.insert(SHARD, Checkpoint { last: Some(other), ..stored });
        });
        let events = store.all().events;
        let why = refusal(&log, &store).await;
        let record = format!("has another record at {}", mark.position);
        assert!(why.contains(&record) && why.contains("'panda admin open-epoch'"), "{why}");
        assert_eq!(store.all().events, events);
    }
    store.change(|replica| {
        replica.checkpoints.insert(SHARD, stored);
    });
    // The Takeover is its only record.
    let why = refusal(&MemoryLog::new(1), &store).await;
    assert!(why.contains("its log ends at 1:1") && why.contains("'panda admin open-epoch'"), "{why}");
    talk(&log, &store, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_a_last_record_is_begun_at_as_before() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    store.change(|replica| {
        replica.checkpoints.values_mut().for_each(|checkpoint| checkpoint.last = None);
    });
    talk(&log, &store, 2).await;
    assert_eq!(last(&log, &store).0, RecordMark::of(&last(&log, &store).1));
}

/// A router that says where it is reached.
fn announced() -> RouterConfig {
    RouterConfig { link_address: Some("router:9700".into()), ..RouterConfig::new(1) }
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it comes to that");
}

/// What the store is told of the shard.
fn store_checkpoint(store: &MemoryStore, checkpoint: Checkpoint) {
    store.change(|replica| {
        replica.checkpoints.insert(SHARD, checkpoint);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_announced_before_its_log_gave_a_record_and_decides_nothing_before_it_compared_that() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let (mark, _) = last(&log, &store);
    store_checkpoint(&store, Checkpoint { last: Some(RecordMark { digest: [7; 8], ..mark }), ..stored });
    let (events, board) = (store.all().events, MemoryBoard::default());
    log.hold_readers(true);
    let mut owners = board.watch();
    let mut router = start(announced(), log.clone(), store.clone(), board).await.expect("it starts");
    let announced = tokio::time::timeout(PATIENCE, owners.next()).await.expect("it is announced");
    assert_eq!(announced.expect("the board is in memory").shard, SHARD);
    let mut edge = attach(&router, &log).await;
    let ann = user(1);
    let chat = ChatId::group(ann, device(1), Counter(1));
    edge.command(chat.into(), ann, 2, &say("hello"));
    let admit = Admit { token: 1, user: ann, entity: chat.into(), cursor: None, member: None, opens: None };
    edge.up.send(Up::Admit(admit)).await.expect("the link is open");
    log.hold_readers(false);
    let ended = tokio::time::timeout(PATIENCE, router.failed()).await.expect("it ends by itself");
    assert!(ended.to_string().contains("has another record at"), "{ended}");
    assert_eq!(store.all().events, events);
    while let Ok(downs) = edge.down.try_recv() {
        let decided = |down: &&Down| matches!(down, Down::Answer(_) | Down::Admitted(_) | Down::Events(_));
        assert_eq!(downs.iter().find(decided), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_outrun_by_the_one_before_begins_again_behind_that() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    talk(&log, &store, 1).await;
    talk(&log, &store, 2).await;
    let newest = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let before = RecordMark::of(&log.records(SHARD)[0]);
    // The record before it may be gone.
    let older = Checkpoint { position: before.behind(), last: Some(RecordMark { digest: [7; 8], ..before }), ..newest };
    store_checkpoint(&store, older);
    log.hold_readers(true);
    let board = MemoryBoard::default();
    let mut owners = board.watch();
    let router = start(announced(), log.clone(), store.clone(), board).await.expect("it starts");
    let mut owner = async || {
        let owner = tokio::time::timeout(PATIENCE, owners.next()).await.expect("it is announced");
        owner.expect("the board is in memory").generation
    };
    let first = owner().await;
    store_checkpoint(&store, newest);
    log.hold_readers(false);
    assert!(owner().await > first, "a term of its own");
    let mut edge = attach(&router, &log).await;
    let ann = user(1);
    let chat = ChatId::group(ann, device(1), Counter(1));
    let token = edge.command(chat.into(), ann, 3, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    assert_eq!(router.metrics().given_up.get(), 0, "nobody has to look");
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_before_a_checkpoint_stays_where_the_log_leaves_offsets_out_behind_it() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, ben) = (user(1), user(2));
    let chat = edge.create(ann, vec![]).await;
    // The Takeover, the command, and its effect.
    until(|| log.records(SHARD).len() == 3).await;
    // What stands behind the gap is held, so no checkpoint passes it.
    store.damage(ben.into());
    let effect = Effect { source: chat.into(), source_seq: Seq(9), target: ben.into(), event: Default::default() };
    let effect = Record::Effect(effect);
    log.leave_out(5);
    log.append(SHARD, effect.to_bytes(), Default::default()).expect("there is room").await.expect("appended");
    let is_behind_gap = |of: Checkpoint| of.last.is_some_and(|last| last.behind() < of.position);
    until(|| store.read_checkpoint(SHARD).is_some_and(is_behind_gap)).await;
    let stored = store.read_checkpoint(SHARD).expect("there is a checkpoint");
    let last = stored.last.expect("it names the record before");
    assert_eq!((last.position.offset + 6, last.position.epoch), (stored.position.offset, stored.position.epoch));
    let token = edge.command(chat.into(), ann, 2, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(3)));
    until(|| log.released().contains(&last.behind())).await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    assert!(log.released().iter().all(|position| *position <= last.behind()), "{:?}", log.released());
    // The next owner finds it.
    let (router, mut edge) = start_over(&log, &store, 2).await;
    let token = edge.command(chat.into(), ann, 3, &say("hello"));
    assert_eq!(edge.answer(token).await, Outcome::Applied(Seq(4)));
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
