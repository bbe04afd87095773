use std::fs;

use bytes::Bytes;
use panda_protocol::{ChatId, Counter, DeviceId, Position, Time, UserId};
use panda_storage::user_store::{ApiKey, ApiKeyLabel, NewUser, Scopes, SealedSigningKey, Username};
use panda_storage::{Checkpoint, EventBatch, EventRow, RowKey, StateRow};

use super::*;

/// A data folder with something of everything. Returns what an archive of it is to hold behind its header.
async fn filled(data: &Path) -> Vec<Record> {
    let folder = DataFolder::open(data).unwrap();
    let users = SqliteUsers::open(&data.join(USERS_FILE), Time(1)).unwrap();
    let events = EmbeddedEvents::open(&folder).unwrap();
    let key = SealedSigningKey::at_once("kid".into(), vec![1, 2, 3], Time(4));
    users.add_signing_key(key.clone()).await.unwrap();
    let api_key = ApiKey::new([9; 32], ApiKeyLabel::parse("admin").unwrap(), Scopes::PROVISION, Time(2));
    users.add_api_key(api_key.clone()).await.unwrap();
    // One that opens nothing any more stays behind.
    let revoked = ApiKey { digest: [8; 32], ..api_key.clone() };
    users.add_api_key(revoked.clone()).await.unwrap();
    users.revoke_api_key(revoked.id(), Time(3)).await.unwrap();
    let mut expected = vec![Record::SigningKey(key), Record::ApiKey(api_key)];
    let user = |number: u64| {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        UserId::from_random(bytes)
    };
    // More than one page of them.
    let count = u64::try_from(USERS_MAX).unwrap() + 1;
    let new = |number: u64| NewUser {
        id: user(number),
        username: Username::parse(&format!("user{number}")).unwrap(),
        email: None,
        password: None,
        created: Time(number),
    };
    users.ensure_users((0..count - 1).map(new).collect()).await.unwrap();
    users.create_user(new(count - 1)).await.unwrap();
    for page in [users.scan_users(None, 500).await.unwrap(), users.scan_users(Some(user(499)), 501).await.unwrap()] {
        expected.extend(page.into_iter().map(Record::User));
    }
    let chat: EntityId = ChatId::group(user(1), DeviceId::NONE, Counter(1)).into();
    let mut entities: Vec<EntityId> = vec![user(1).into(), chat];
    entities.sort_unstable();
    for entity in entities {
        let rows: Vec<_> = (1..=700).map(event).collect();
        for rows in rows.chunks(100) {
            let batch = EventBatch { entity, rows: rows.to_vec(), owes: Vec::new(), settles: Vec::new() };
            events.write_events(batch).await.unwrap();
        }
        let state: Vec<_> = (0..=255).flat_map(|kind| [row(kind, b"a", true), row(kind, b"b", false)]).collect();
        events.write_state(entity, state.clone()).await.unwrap();
        expected.push(Record::Entity(entity));
        expected.extend(rows.into_iter().map(Record::Event));
        expected.extend(state.into_iter().map(Record::Row));
    }
    let checkpoint = Checkpoint { position: Position { epoch: 1, offset: 700 }, rules: 5, last: None };
    events.write_checkpoint(ShardId(SHARDS - 1), checkpoint).await.unwrap();
    events.close().await.unwrap();
    expected
}

fn event(seq: u64) -> EventRow {
    let position = Position { epoch: 1, offset: seq };
    EventRow {
        seq: Seq(seq),
        position,
        index: 0,
        count: 1,
        time: Time(seq),
        event: Bytes::from(format!("event {seq}")),
    }
}

fn row(kind: u8, key: &'static [u8], live: bool) -> StateRow {
    let key = RowKey { kind, key: Bytes::from_static(key) };
    StateRow { key, value: live.then(|| Bytes::from(format!("value {kind}"))), time: Time(kind.into()) }
}

#[tokio::test]
async fn everything_that_a_folder_holds_is_in_the_file() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("file"));
    let expected = filled(&data).await;
    export(&data, &file).await.unwrap();
    let mut reading = Reading::open(&file).unwrap();
    let Some(Record::Header(header)) = reading.next().unwrap() else { panic!("there is no header") };
    assert_eq!((header.epoch, header.rules), (2, 5));
    let folder = DataFolder::open(&data).unwrap();
    assert_eq!(EmbeddedEvents::open(&folder).unwrap().incarnation(), header.incarnation);
    for (number, expected) in expected.into_iter().enumerate() {
        assert_eq!(reading.next().unwrap(), Some(expected), "record {number}");
    }
    assert_eq!(reading.next().unwrap(), None);
}

#[tokio::test]
async fn a_folder_without_data_is_refused_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    for data in [place.path().to_owned(), place.path().join("nowhere")] {
        let refused = export(&data, &file).await.unwrap_err().to_string();
        assert!(refused.contains("holds no data of Panda"), "{refused}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    // Events without users.
    drop(EmbeddedEvents::open(&DataFolder::open(&place.path().join("data")).unwrap()).unwrap());
    let refused = export(&place.path().join("data"), &file).await.unwrap_err().to_string();
    assert!(refused.contains("users.db is missing"), "{refused}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_folder_that_a_server_uses_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("file"));
    filled(&data).await;
    let serving = DataFolder::open(&data).unwrap();
    let refused = export(&data, &file).await.unwrap_err().to_string();
    assert!(refused.contains("is in use by another process"), "{refused}");
    drop(serving);
    export(&data, &file).await.unwrap();
    // The same name again.
    let refused = export(&data, &file).await.unwrap_err().to_string();
    assert!(refused.contains("is there already"), "{refused}");
}
