//! The suite of [`EventStore`], for stores that are empty when they are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Position, Seq, ShardId, Time, UserId};

use crate::command_log::RecordMark;
use crate::error::StoreError;
use crate::event_store::{
    BUCKET_EVENTS, Checkpoint, EventBatch, EventRow, EventStore, OwedEffect, ROW_KEY_BYTES_MAX, ReadOrder, RowKey,
    SettledEffect, StateRow,
};
use crate::send_while::SendWhile;

/// In the past: some stores refuse times far ahead of their clocks.
const TIME: u64 = 1_700_000_000_000_000;
const ALL: usize = usize::MAX;

/// Runs every test on a new store.
pub(crate) async fn all<S: EventStore>(make: impl AsyncFn() -> S) {
    events_are_read_in_both_directions(make().await).await;
    a_read_ends_at_its_limits_and_has_at_least_one(make().await).await;
    many_events_are_paged_across_buckets(make().await).await;
    what_is_beyond_a_limit_is_refused_whole(make().await).await;
    a_stale_event_changes_nothing(make().await).await;
    entities_are_apart(make().await).await;
    a_state_row_is_replaced_by_later_times_only(make().await).await;
    a_stale_write_does_not_bring_a_deleted_row_back(make().await).await;
    a_scan_finds_live_rows_of_one_kind_in_order(make().await).await;
    rows_of_a_group_are_scanned_in_the_order_of_keys(make().await).await;
    many_rows_are_read_in_the_order_asked_for(make().await).await;
    every_stale_write_replayed_after_everything_changes_nothing(make().await).await;
    a_checkpoint_only_rises(make().await).await;
    a_checkpoint_names_its_own_last_record_and_no_other(make().await).await;
    writes_of_many_tasks_are_all_there(make().await).await;
    a_read_sees_what_was_stored_before_it_began(make().await).await;
    what_must_not_be_sent_is_refused_and_not_there(make().await).await;
}

async fn what_must_not_be_sent_is_refused_and_not_there(store: impl EventStore) {
    let may = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&may);
    let guarded = store.sending_while(SendWhile::new(move || asked.load(Ordering::Relaxed)));
    let checkpoint = Checkpoint { position: Position { epoch: 1, offset: 7 }, rules: 1, last: None };
    let write = async || {
        let events = guarded.write_events(batch(entity(1), vec![row(1, 1, "one")])).await;
        let state = guarded.write_state(entity(1), vec![state_row()]).await;
        [events, state, guarded.write_checkpoint(ShardId(3), checkpoint).await]
    };
    for refused in write().await {
        assert!(refused.is_err_and(|error| error.is_retryable()));
    }
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await, []);
    assert_eq!(store.read_state(entity(1), vec![state_row().key]).await.unwrap(), [None]);
    assert_eq!(store.checkpoint(ShardId(3)).await.unwrap(), None);
    may.store(true, Ordering::Relaxed);
    for done in write().await {
        done.unwrap();
    }
    assert_eq!(seqs(&read(&guarded, entity(1), 1, ReadOrder::Forward).await), [1]);
    // The other clone was never told.
    may.store(false, Ordering::Relaxed);
    store.write_events(batch(entity(1), vec![row(2, 2, "two")])).await.unwrap();
}

pub(crate) fn entity(byte: u8) -> EntityId {
    UserId::from_random([byte; 16]).into()
}

pub(crate) fn row(seq: u64, time: u64, text: &str) -> EventRow {
    let position = Position { epoch: 1, offset: seq * 10 };
    EventRow {
        seq: Seq(seq),
        position,
        index: 0,
        count: 1,
        time: Time(TIME + time),
        event: Bytes::copy_from_slice(text.as_bytes()),
    }
}

pub(crate) fn batch(entity: EntityId, rows: Vec<EventRow>) -> EventBatch {
    EventBatch { entity, rows, owes: Vec::new(), settles: Vec::new() }
}

fn key(kind: u8, key: &str) -> RowKey {
    RowKey { kind, key: Bytes::copy_from_slice(key.as_bytes()) }
}

fn state(key: RowKey, value: Option<&str>, time: u64) -> StateRow {
    StateRow { key, value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())), time: Time(TIME + time) }
}

/// Some row of an entity.
pub(crate) fn state_row() -> StateRow {
    state(key(1, "k"), Some("value"), 1)
}

async fn read(store: &impl EventStore, entity: EntityId, from: u64, order: ReadOrder) -> Vec<EventRow> {
    store.read_events(entity, Seq(from), order, ALL, ALL).await.unwrap()
}

fn seqs(rows: &[EventRow]) -> Vec<u64> {
    rows.iter().map(|row| row.seq.0).collect()
}

async fn events_are_read_in_both_directions(store: impl EventStore) {
    let rows: Vec<_> = (1..=700).map(|seq| row(seq, seq, &format!("event {seq}"))).collect();
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await, []);
    for rows in rows.chunks(64) {
        store.write_events(batch(entity(1), rows.to_vec())).await.unwrap();
    }
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await, rows);
    assert_eq!(read(&store, entity(1), 690, ReadOrder::Forward).await, rows[689..]);
    let mut backward = read(&store, entity(1), 400, ReadOrder::Backward).await;
    backward.reverse();
    assert_eq!(backward, rows[..400]);
    assert_eq!(read(&store, entity(1), u64::MAX, ReadOrder::Backward).await.len(), 700);
    assert_eq!(read(&store, entity(1), 701, ReadOrder::Forward).await, []);
}

async fn a_read_ends_at_its_limits_and_has_at_least_one(store: impl EventStore) {
    let rows = (1..=20).map(|seq| row(seq, seq, &"x".repeat(100))).collect();
    store.write_events(batch(entity(1), rows)).await.unwrap();
    let read =
        async |limit, bytes| store.read_events(entity(1), Seq(5), ReadOrder::Forward, limit, bytes).await.unwrap();
    assert_eq!(seqs(&read(3, ALL).await), [5, 6, 7]);
    assert_eq!(seqs(&read(ALL, 250).await), [5, 6]);
    assert_eq!(seqs(&read(ALL, 1).await), [5]);
    assert_eq!(seqs(&read(0, ALL).await), [0; 0]);
    let backward = store.read_events(entity(1), Seq(5), ReadOrder::Backward, 2, ALL).await.unwrap();
    assert_eq!(seqs(&backward), [5, 4]);
}

/// Writes events 1 to `count` in writes as large as may be.
pub(crate) async fn fill(store: &impl EventStore, entity: EntityId, count: u64) {
    let rows: Vec<_> = (1..=count).map(|seq| row(seq, seq, &format!("event {seq}"))).collect();
    for bucket in rows.chunk_by(|one, other| one.seq.0 / BUCKET_EVENTS == other.seq.0 / BUCKET_EVENTS) {
        for rows in bucket.chunks(COMMAND_EVENTS_MAX) {
            store.write_events(batch(entity, rows.to_vec())).await.unwrap();
        }
    }
}

async fn many_events_are_paged_across_buckets(store: impl EventStore) {
    const COUNT: u64 = 20_000;
    fill(&store, entity(1), COUNT).await;
    let page = async |from, order| store.read_events(entity(1), Seq(from), order, 700, 9_000).await.unwrap();
    let mut next = 1;
    while next <= COUNT {
        let rows = page(next, ReadOrder::Forward).await;
        for row in rows {
            assert_eq!((row.seq, row.event), (Seq(next), format!("event {next}").into()));
            next += 1;
        }
    }
    assert_eq!(page(next, ReadOrder::Forward).await, []);
    while next > 1 {
        let rows = page(next - 1, ReadOrder::Backward).await;
        assert!((1..=700).contains(&rows.len()));
        for row in rows {
            next -= 1;
            assert_eq!(row.seq, Seq(next));
        }
    }
    assert_eq!(page(0, ReadOrder::Backward).await, []);
    // From far behind the last one, and from both sides of a bucket's end.
    for from in [COUNT + 1, 3 * BUCKET_EVENTS, 4 * BUCKET_EVENTS, 100 * BUCKET_EVENTS, u64::MAX] {
        assert_eq!(page(from, ReadOrder::Backward).await[0].seq, Seq(COUNT));
    }
    for (from, order) in [(BUCKET_EVENTS - 1, ReadOrder::Forward), (BUCKET_EVENTS, ReadOrder::Backward)] {
        let rows = store.read_events(entity(1), Seq(from), order, 2, ALL).await.unwrap();
        let mut found = seqs(&rows);
        found.sort_unstable();
        assert_eq!(found, [BUCKET_EVENTS - 1, BUCKET_EVENTS]);
    }
    // An entity whose last bucket is exactly full.
    fill(&store, entity(2), BUCKET_EVENTS - 1).await;
    assert_eq!(read(&store, entity(2), 8_000, ReadOrder::Forward).await.len(), 192);
    let last = store.read_events(entity(2), Seq(u64::MAX), ReadOrder::Backward, 1, ALL).await.unwrap();
    assert_eq!(seqs(&last), [BUCKET_EVENTS - 1]);
}

async fn what_is_beyond_a_limit_is_refused_whole(store: impl EventStore) {
    let rows = |seqs: std::ops::Range<u64>| seqs.map(|seq| row(seq, seq, "")).collect::<Vec<_>>();
    let many = u64::try_from(COMMAND_EVENTS_MAX).unwrap();
    let large = "x".repeat(WRITE_BYTES_MAX / 2 + 1);
    let refused = [
        rows(1..many + 2),
        vec![row(1, 1, &large), row(2, 2, &large)],
        vec![row(1, 1, ""), row(3, 3, "")],
        vec![row(2, 1, ""), row(1, 2, "")],
        rows(BUCKET_EVENTS - 1..BUCKET_EVENTS + 1),
    ];
    for rows in refused {
        let first = rows[0].seq;
        let error = store.write_events(batch(entity(1), rows)).await.unwrap_err();
        assert!(matches!(error, StoreError::Limit(_)), "{error}");
        assert_eq!(read(&store, entity(1), first.0, ReadOrder::Forward).await, []);
    }
    store.write_events(batch(entity(1), rows(1..many + 1))).await.unwrap();
    let largest = "x".repeat(WRITE_BYTES_MAX);
    store.write_events(batch(entity(1), vec![row(many + 1, 999, &largest)])).await.unwrap();
    store.write_events(batch(entity(1), Vec::new())).await.unwrap();
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await.len(), COMMAND_EVENTS_MAX + 1);
    let long = state(key(1, &"k".repeat(ROW_KEY_BYTES_MAX + 1)), Some("value"), 1);
    let short = state(key(1, &"k".repeat(ROW_KEY_BYTES_MAX)), Some("value"), 1);
    let error = store.write_state(entity(1), vec![short.clone(), long]).await.unwrap_err();
    assert!(matches!(error, StoreError::Limit(_)), "{error}");
    assert_eq!(store.scan_state(entity(1), 1, None, 9).await.unwrap(), []);
    store.write_state(entity(1), vec![short.clone()]).await.unwrap();
    assert_eq!(store.scan_state(entity(1), 1, None, 9).await.unwrap(), [short]);
}

async fn a_stale_event_changes_nothing(store: impl EventStore) {
    store.write_events(batch(entity(1), vec![row(1, 10, "first"), row(2, 11, "second")])).await.unwrap();
    store.write_events(batch(entity(1), vec![row(1, 9, "stale"), row(2, 11, "second")])).await.unwrap();
    let expected = [row(1, 10, "first"), row(2, 11, "second")];
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await, expected);
    store.write_events(batch(entity(1), vec![row(1, 12, "")])).await.unwrap();
    store.write_events(batch(entity(1), vec![row(1, 10, "first")])).await.unwrap();
    assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await[0], row(1, 12, ""));
}

async fn entities_are_apart(store: impl EventStore) {
    for byte in [1, 2, 3] {
        store.write_events(batch(entity(byte), vec![row(1, 1, &byte.to_string())])).await.unwrap();
        store.write_state(entity(byte), vec![state(key(1, "k"), Some(&byte.to_string()), 1)]).await.unwrap();
    }
    assert_eq!(read(&store, entity(2), 1, ReadOrder::Forward).await, [row(1, 1, "2")]);
    assert_eq!(read(&store, entity(2), 9, ReadOrder::Backward).await, [row(1, 1, "2")]);
    assert_eq!(store.scan_state(entity(2), 1, None, 9).await.unwrap(), [state(key(1, "k"), Some("2"), 1)]);
}

async fn a_state_row_is_replaced_by_later_times_only(store: impl EventStore) {
    let write = async |value, time| store.write_state(entity(1), vec![state(key(1, "k"), value, time)]).await.unwrap();
    let read = async || store.read_state(entity(1), vec![key(1, "k"), key(1, "other")]).await.unwrap();
    assert_eq!(read().await, [None, None]);
    write(Some("one"), 5).await;
    write(Some("stale"), 4).await;
    write(Some("one"), 5).await;
    assert_eq!(read().await, [Some(state(key(1, "k"), Some("one"), 5)), None]);
    write(Some("two"), 6).await;
    assert_eq!(read().await[0], Some(state(key(1, "k"), Some("two"), 6)));
    // Within one write as well.
    let rows = vec![state(key(1, "k"), Some("new"), 9), state(key(1, "k"), Some("old"), 8)];
    store.write_state(entity(1), rows).await.unwrap();
    assert_eq!(read().await[0], Some(state(key(1, "k"), Some("new"), 9)));
    store.sync_state().await.unwrap();
}

async fn a_stale_write_does_not_bring_a_deleted_row_back(store: impl EventStore) {
    store.write_state(entity(1), vec![state(key(1, "k"), Some("one"), 5)]).await.unwrap();
    store.write_state(entity(1), vec![state(key(1, "k"), None, 7)]).await.unwrap();
    for time in [5, 6, 7] {
        store.write_state(entity(1), vec![state(key(1, "k"), Some("zombie"), time)]).await.unwrap();
        let found = store.read_state(entity(1), vec![key(1, "k")]).await.unwrap();
        assert_eq!(found, [Some(state(key(1, "k"), None, 7))]);
        assert_eq!(store.scan_state(entity(1), 1, None, 9).await.unwrap(), []);
    }
    // A row that was deleted before it was ever written.
    store.write_state(entity(1), vec![state(key(1, "late"), None, 7)]).await.unwrap();
    store.write_state(entity(1), vec![state(key(1, "late"), Some("late"), 6)]).await.unwrap();
    assert_eq!(store.scan_state(entity(1), 1, None, 9).await.unwrap(), []);
}

async fn a_scan_finds_live_rows_of_one_kind_in_order(store: impl EventStore) {
    let name = |number: u64| format!("{number:04}");
    for number in (0..600).rev() {
        store.write_state(entity(1), vec![state(key(2, &name(number)), Some("value"), 1)]).await.unwrap();
    }
    for number in (0..600).filter(|number| number % 3 != 0) {
        store.write_state(entity(1), vec![state(key(2, &name(number)), None, 2)]).await.unwrap();
    }
    let others = vec![state(key(1, "a"), Some("other"), 1), state(key(3, ""), Some("other"), 1)];
    store.write_state(entity(1), others).await.unwrap();
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|row: &StateRow| row.key.key.clone());
        let page = store.scan_state(entity(1), 2, after, 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let expected: Vec<_> = (0..600).step_by(3).map(|number| state(key(2, &name(number)), Some("value"), 1)).collect();
    assert_eq!(found, expected);
    assert_eq!(store.scan_state(entity(1), 3, None, 7).await.unwrap().len(), 1);
    assert_eq!(store.scan_state(entity(1), 3, Some(Bytes::new()), 7).await.unwrap(), []);
}

/// A group may have a million members, so a store may keep its rows in several places.
async fn rows_of_a_group_are_scanned_in_the_order_of_keys(store: impl EventStore) {
    let creator = UserId::from_random([1; 16]);
    let group: EntityId = ChatId::group(creator, DeviceId::NONE, Counter(1)).into();
    let member = |byte: u8| {
        let mut bytes = [byte.wrapping_mul(37); 16];
        bytes[1] = byte;
        Bytes::copy_from_slice(UserId::from_random(bytes).as_bytes())
    };
    let others = ["", "a", "zebra", "\u{10}", "\u{11}", "\u{12}"].map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let keys = (0..=255).step_by(3).map(member).chain(others);
    let mut rows: Vec<_> = keys
        .map(|bytes| StateRow { key: RowKey { kind: 2, key: bytes }, ..state(key(2, ""), Some("value"), 1) })
        .collect();
    store.write_state(group, rows.clone()).await.unwrap();
    let foreign = vec![state(key(1, "b"), Some("other"), 1), state(key(3, "b"), Some("other"), 1)];
    store.write_state(group, foreign).await.unwrap();
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    for limit in [1, 7, 50, 1_000] {
        let mut found: Vec<StateRow> = Vec::new();
        loop {
            let after = found.last().map(|row| row.key.key.clone());
            let page = store.scan_state(group, 2, after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, rows);
    }
    assert_eq!(store.scan_state(group, 2, Some(Bytes::copy_from_slice(&[0x11; 9])), 1).await.unwrap().len(), 1);
    let named: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    let found = store.read_state(group, named).await.unwrap();
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), rows);
    // A small group.
    let small: EntityId = ChatId::group(creator, DeviceId::NONE, Counter(2)).into();
    store.write_state(small, vec![rows[9].clone(), rows[40].clone(), rows[80].clone()]).await.unwrap();
    assert_eq!(store.scan_state(small, 2, None, 512).await.unwrap(), [9, 40, 80].map(|index| rows[index].clone()));
}

async fn many_rows_are_read_in_the_order_asked_for(store: impl EventStore) {
    let rows: Vec<_> = (0..500).map(|number| state(key(2, &number.to_string()), Some("value"), number)).collect();
    store.write_state(entity(1), rows.clone()).await.unwrap();
    let asked: Vec<_> = (0..600).rev().chain([7, 7, 3]).collect();
    let keys = asked.iter().map(|number| key(2, &number.to_string())).collect();
    let found = store.read_state(entity(1), keys).await.unwrap();
    let expected: Vec<_> = asked.iter().map(|number| rows.get(*number).cloned()).collect();
    assert_eq!(found, expected);
    assert_eq!(store.read_state(entity(1), Vec::new()).await.unwrap(), []);
    store.write_state(entity(1), Vec::new()).await.unwrap();
}

/// The late writes of a process that lost its shard, in any order.
async fn every_stale_write_replayed_after_everything_changes_nothing(store: impl EventStore) {
    let mut events = Vec::new();
    let mut states = Vec::new();
    for step in 1..=60_u64 {
        let seq = step % 20 + 1;
        events.push(batch(entity(1), vec![row(seq, step, &format!("{seq} at {step}"))]));
        let value = format!("at {step}");
        let value = (step % 4 != 0).then_some(value.as_str());
        states.push(state(key(1, &(step % 7).to_string()), value, step));
    }
    for (event, state) in events.iter().zip(&states) {
        store.write_events(event.clone()).await.unwrap();
        store.write_state(entity(1), vec![state.clone()]).await.unwrap();
    }
    let keys: Vec<_> = (0..7).map(|number| key(1, &number.to_string())).collect();
    let picture = async || {
        let events = read(&store, entity(1), 1, ReadOrder::Forward).await;
        let rows = store.read_state(entity(1), keys.clone()).await.unwrap();
        (events, rows, store.scan_state(entity(1), 1, None, 99).await.unwrap())
    };
    let before = picture().await;
    assert_eq!(before.0.len(), 20);
    for turn in [1, 7, 23, 59] {
        for index in (0..60).map(|index| index * turn % 60) {
            store.write_events(events[index].clone()).await.unwrap();
            store.write_state(entity(1), vec![states[index].clone()]).await.unwrap();
            assert_eq!(picture().await, before);
        }
    }
}

async fn a_checkpoint_only_rises(store: impl EventStore) {
    let shard = ShardId(3);
    let checkpoint = |epoch, offset, rules| Checkpoint { position: Position { epoch, offset }, rules, last: None };
    assert_eq!(store.checkpoint(shard).await.unwrap(), None);
    store.write_checkpoint(shard, checkpoint(1, 50, 1)).await.unwrap();
    store.write_checkpoint(shard, checkpoint(1, 40, 9)).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint(1, 50, 1)));
    store.write_checkpoint(shard, checkpoint(2, 0, 2)).await.unwrap();
    store.write_checkpoint(shard, checkpoint(1, 99, 9)).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint(2, 0, 2)));
    assert_eq!(store.checkpoint(ShardId(4)).await.unwrap(), None);
}

async fn a_checkpoint_names_its_own_last_record_and_no_other(store: impl EventStore) {
    let shard = ShardId(3);
    let at = |offset| Position { epoch: 2, offset };
    let mark = |position| RecordMark { position, time: Time(TIME), digest: [0, 1, 2, 3, 252, 253, 254, 255] };
    let checkpoint = |offset, last: Option<u64>| Checkpoint {
        position: at(offset),
        rules: 1,
        last: last.map(|last| mark(at(last))),
    };
    // The first, one behind offsets that the log left out, and one whose last record is not known.
    for (stale, next) in [(0, checkpoint(1, Some(0))), (1, checkpoint(9, Some(4))), (8, checkpoint(20, None))] {
        store.write_checkpoint(shard, next).await.unwrap();
        assert_eq!(store.checkpoint(shard).await.unwrap(), Some(next));
        store.write_checkpoint(shard, checkpoint(stale, None)).await.unwrap();
        assert_eq!(store.checkpoint(shard).await.unwrap(), Some(next), "a late write changes nothing");
    }
    store.write_checkpoint(shard, checkpoint(19, Some(18))).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint(20, None)));
    for elsewhere in [at(30), at(31), Position { epoch: 1, offset: 29 }, Position { epoch: 3, offset: 29 }] {
        let beyond = Checkpoint { last: Some(mark(elsewhere)), ..checkpoint(30, None) };
        let refused = store.write_checkpoint(shard, beyond).await;
        assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
    }
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint(20, None)));
    let next = Checkpoint { position: Position { epoch: 3, offset: 1 }, ..checkpoint(1, None) };
    let next = Checkpoint { last: Some(mark(Position { epoch: 3, offset: 0 })), ..next };
    store.write_checkpoint(shard, next).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(next));
}

async fn writes_of_many_tasks_are_all_there(store: impl EventStore) {
    let tasks: Vec<_> = (0..32)
        .map(|byte| {
            let store = store.clone();
            tokio::spawn(async move {
                for seq in 1..=20 {
                    store.write_events(batch(entity(byte), vec![row(seq, seq, "text")])).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for byte in 0..32 {
        assert_eq!(read(&store, entity(byte), 1, ReadOrder::Forward).await.len(), 20);
    }
}

/// Equal reads may share an answer, but none that is older than the question.
async fn a_read_sees_what_was_stored_before_it_began(store: impl EventStore) {
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                while read(&store, entity(1), 1, ReadOrder::Forward).await.len() < 100 {}
                while store.scan_state(entity(1), 1, None, ALL).await.unwrap().len() < 100 {}
            })
        })
        .collect();
    for seq in 1..=100 {
        store.write_events(batch(entity(1), vec![row(seq, seq, "text")])).await.unwrap();
        assert_eq!(read(&store, entity(1), 1, ReadOrder::Forward).await.last().map(|row| row.seq), Some(Seq(seq)));
        let name = format!("{seq:04}");
        store.write_state(entity(1), vec![state(key(1, &name), Some("value"), seq)]).await.unwrap();
        let rows = store.scan_state(entity(1), 1, None, ALL).await.unwrap();
        assert_eq!(rows.last().map(|row| row.key.clone()), Some(key(1, &name)));
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

/// For a store that keeps owed effects over a restart. `reopen` closes the store and opens it again.
pub(crate) async fn owed_effects_outlive_a_restart<S: EventStore>(store: S, reopen: impl Fn(S) -> S) {
    let owe = |seq| OwedEffect {
        source: entity(1),
        source_seq: Seq(seq),
        target: entity(2),
        event: Bytes::from(format!("event {seq}")),
    };
    let settle = |seq| SettledEffect { source: entity(1), source_seq: Seq(seq), target: entity(2) };
    let first = EventBatch { owes: vec![owe(1), owe(2)], ..batch(entity(1), vec![row(1, 1, ""), row(2, 2, "")]) };
    store.write_events(first.clone()).await.unwrap();
    assert_eq!(store.owed_effects().await.unwrap(), []);
    let store = reopen(store);
    assert_eq!(store.owed_effects().await.unwrap(), [owe(1), owe(2)]);
    let settling = EventBatch { settles: vec![settle(1)], ..batch(entity(2), vec![row(1, 1, "")]) };
    store.write_events(settling).await.unwrap();
    assert_eq!(store.owed_effects().await.unwrap(), [owe(2)]);
    // The source's write is repeated: what was settled is not owed again.
    store.write_events(first).await.unwrap();
    let store = reopen(store);
    assert_eq!(store.owed_effects().await.unwrap(), [owe(2)]);
    assert_eq!(read(&store, entity(2), 1, ReadOrder::Forward).await.len(), 1);
}
