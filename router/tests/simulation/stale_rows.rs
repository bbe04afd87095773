//! Rows that an owner of an older epoch left behind the head. No seed makes them: they need a write that
//! was on its way while the next epoch opened and went on in the same chat.

use panda_protocol::event::{ChatKind, Digest, Event, EventBody};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Position, Seq, Time, UserId};
use panda_router::rows::RowId;
use panda_router::shard::load::{Wanted, load};
use panda_storage::{EventBatch, EventRow, EventStore};

use super::support::store::MemoryStore;

fn row(seq: u64, position: Position) -> EventRow {
    let user = UserId::from_random([1; 16]);
    let body = match seq {
        1 => EventBody::ChatCreated { kind: ChatKind::Group, name: "tea".into() },
        _ => EventBody::ChatRenamed { name: "milk".into() },
    };
    let (seq, time, device) = (Seq(seq), Time(seq), DeviceId::from_random([1; 16]));
    let (counter, digest) = (Counter(seq.0), Digest::default());
    let event = Event { seq, time, actor: user, device, counter, digest, target: None, body };
    EventRow { seq, position, index: 0, count: 1, time, event: event.to_bytes() }
}

async fn head_of(rows: [EventRow; 2]) -> Seq {
    let store = MemoryStore::new(1, true, 8);
    let entity =
        EntityId::from(ChatId::group(UserId::from_random([1; 16]), DeviceId::from_random([1; 16]), Counter(1)));
    let batch = EventBatch { entity, rows: rows.to_vec(), owes: vec![], settles: vec![] };
    store.write_events(batch).await.expect("nothing breaks this store");
    let wanted = Wanted {
        ids: vec![RowId::Head],
        base: None,
        owing_from: Position { epoch: u32::MAX, offset: 0 },
        bucket_events: 8,
    };
    let loaded = load(&store, entity, wanted).await.expect("nothing breaks this store");
    let head = loaded.rows.into_iter().find(|(id, _)| *id == RowId::Head).and_then(|(_, row)| row);
    head.map_or(Seq(0), |row| row.seq)
}

#[tokio::test]
async fn a_row_whose_position_is_not_after_its_predecessors_is_no_history() {
    let at = |epoch, offset| Position { epoch, offset };
    assert_eq!(head_of([row(1, at(1, 5)), row(2, at(2, 3))]).await, Seq(2));
    assert_eq!(head_of([row(1, at(2, 5)), row(2, at(1, 9))]).await, Seq(1));
    assert_eq!(head_of([row(1, at(2, 5)), row(2, at(2, 5))]).await, Seq(1));
}
