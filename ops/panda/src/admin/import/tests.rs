use std::path::PathBuf;

use bytes::Bytes;
use panda_protocol::event::{ChatKind, Digest, Event, EventBody, Role};
use panda_protocol::limits::{COMMAND_EVENTS_MAX, EVENT_BYTES_MAX, WRITE_BYTES_MAX};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Incarnation, Seq, Time, UserId, link};
use panda_router::fold::RULES_FIRST;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog, SqliteUsers};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::user_store::{
    AccountState, ApiKey, ApiKeyLabel, Credential, PasswordHash, Scopes, SealedSigningKey, USERS_MAX, User, Username,
};
use panda_storage::{
    CommandLog as _, Copies, EntityStore as _, EventBatch, EventRow, OwedEffect, ReadOrder, RowKey, ShardReader as _,
    StateRow,
};
use tempfile::TempDir;

use super::super::archive::Writing;
use super::*;

const HEADER: Header = Header { incarnation: Incarnation([7; 8]), epoch: 3, rules: RULES_FIRST, made: Time(9) };

fn secret(digit: char) -> FleetSecret {
    FleetSecret::parse(&digit.to_string().repeat(64)).unwrap()
}

fn user(number: u64) -> UserId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    UserId::from_random(bytes)
}

fn credential(number: u64) -> Credential {
    let username = Username::parse(&format!("user{number}")).unwrap();
    let (id, created) = (user(number), Time(number));
    let user = User {
        id,
        username,
        email: None,
        email_verified: false,
        state: AccountState::Active,
        picture: None,
        version: 2,
        created,
    };
    Credential { user, password: Some(PasswordHash("$argon2id$x".into())) }
}

fn event(seq: u64, bytes: usize) -> EventRow {
    let position = Position { epoch: 3, offset: seq };
    EventRow { seq: Seq(seq), position, index: 0, count: 1, time: Time(seq), event: vec![7; bytes].into() }
}

fn row(number: u16, live: bool) -> StateRow {
    let key = RowKey { kind: 1, key: Bytes::copy_from_slice(&number.to_be_bytes()) };
    StateRow { key, value: live.then(|| vec![1; 700].into()), time: Time(number.into()) }
}

fn sealed(key: &SigningKey, secret: &FleetSecret, created: u64) -> SealedSigningKey {
    let kid = key.verifying_key().kid().to_owned();
    SealedSigningKey::at_once(kid, key.seal(secret).unwrap(), Time(created))
}

/// What an archive holds.
struct Content {
    users: Vec<Credential>,
    api_key: ApiKey,
    entities: Vec<(EntityId, Vec<EventRow>, Vec<StateRow>)>,
}

/// Of each chat a reason why writes are cut: their events, their bytes, the end of a bucket, their rows.
fn content() -> Content {
    let chat = |number| EntityId::from(ChatId::group(user(1), DeviceId::NONE, Counter(number)));
    let events = |count, bytes| (1..=count).map(|seq| event(seq, bytes)).collect::<Vec<_>>();
    let many = u64::try_from(COMMAND_EVENTS_MAX).unwrap() + 1;
    let large = u64::try_from(WRITE_BYTES_MAX / EVENT_BYTES_MAX).unwrap() + 2;
    let mut entities = vec![
        (user(1).into(), events(1, 3), Vec::new()),
        (chat(1), events(many, 5), vec![row(1, true), row(2, false)]),
        (chat(2), events(large, EVENT_BYTES_MAX), (0..600).map(|number| row(number, number % 7 > 0)).collect()),
        (chat(3), events(BUCKET_EVENTS + 3, 1), vec![row(9, true)]),
    ];
    entities.sort_by_key(|(entity, ..)| *entity);
    let users = (0..=u64::try_from(USERS_MAX).unwrap()).map(credential).collect();
    let api_key = ApiKey::new([9; 32], ApiKeyLabel::parse("admin").unwrap(), Scopes::PROVISION, Time(2));
    Content { users, api_key, entities }
}

fn write(place: &TempDir, header: Header, keys: &[SealedSigningKey], content: &Content) -> PathBuf {
    let path = place.path().join("archive");
    let mut writing = Writing::begin(&path).unwrap();
    let mut add = |record| writing.add(&record).unwrap();
    add(Record::Header(header));
    keys.iter().cloned().map(Record::SigningKey).for_each(&mut add);
    add(Record::ApiKey(content.api_key.clone()));
    content.users.iter().cloned().map(Record::User).for_each(&mut add);
    for (entity, events, rows) in &content.entities {
        add(Record::Entity(*entity));
        events.iter().cloned().map(Record::Event).for_each(&mut add);
        rows.iter().cloned().map(Record::Row).for_each(&mut add);
    }
    writing.end().unwrap();
    path
}

fn stores(place: &TempDir) -> (EmbeddedEvents, SqliteUsers) {
    let folder = DataFolder::open(&place.path().join("target")).unwrap();
    let users = SqliteUsers::open(&folder.path().join("users"), Time(1)).unwrap();
    (EmbeddedEvents::open(&folder).unwrap(), users)
}

async fn check_content(events: &EmbeddedEvents, users: &SqliteUsers, content: &Content) {
    let mut found = users.scan_users(None, USERS_MAX).await.unwrap();
    let last = found.last().map(|last| last.user.id);
    found.extend(users.scan_users(last, USERS_MAX).await.unwrap());
    assert_eq!(found, content.users);
    assert_eq!(users.api_keys().await.unwrap(), std::slice::from_ref(&content.api_key));
    let entities = events.entities(Copies::All, None, 99).await.unwrap();
    assert_eq!(entities, content.entities.iter().map(|(entity, ..)| *entity).collect::<Vec<_>>());
    for (entity, expected, rows) in &content.entities {
        let found = events.read_events(*entity, Seq(1), ReadOrder::Forward, usize::MAX, usize::MAX).await.unwrap();
        assert!(found == *expected, "{entity}");
        assert!(events.state_rows(*entity, None, 9_999).await.unwrap() == *rows, "{entity}");
    }
}

#[tokio::test]
async fn an_archive_fills_the_stores_however_often_it_is_begun() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (secret('1'), secret('2').with_previous(&secret('1')));
    let keys: Vec<_> = (0..3).map(|_| SigningKey::generate().unwrap()).collect();
    let foreign = sealed(&keys[2], &secret('3'), 1);
    let path =
        write(&place, HEADER, &[sealed(&keys[0], &old, 3), sealed(&keys[1], &old, 2), foreign.clone()], &content());
    let checked = check(&path, &new).unwrap();
    let (events, users) = stores(&place);
    // Cut short a little later each time, wherever it is then.
    for polls in 1..60 {
        let mut filling = Box::pin(fill::fill(Reading::open(&path).unwrap(), &events, &users, &new));
        let mut polled = 0;
        std::future::poll_fn(|context| {
            polled += 1;
            if polled > polls || filling.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })
        .await;
    }
    for _ in 0..2 {
        let filled = fill::fill(Reading::open(&path).unwrap(), &events, &users, &new).await.unwrap();
        assert_eq!(filled, checked.digest);
        check_content(&events, &users, &content()).await;
    }
    // The keys open without the old secret now; the one that opened with neither stayed behind.
    let stored = users.signing_keys().await.unwrap();
    let kids = |keys: &[SealedSigningKey]| keys.iter().map(|key| key.kid.clone()).collect::<Vec<_>>();
    assert_eq!(kids(&stored), kids(&[sealed(&keys[0], &old, 3), sealed(&keys[1], &old, 2)]));
    assert!(stored.iter().all(|key| SigningKey::open(&secret('2'), &key.kid, &key.sealed).is_ok()));
    write_checkpoints(&checked.header, 100, &events).await.unwrap();
    let expected = Checkpoint { position: Position { epoch: 3, offset: 0 }, rules: RULES_FIRST, last: None };
    for shard in [0, 99] {
        assert_eq!(events.checkpoint(ShardId(shard)).await.unwrap(), Some(expected));
    }
}

#[test]
fn an_archive_of_another_secret_or_of_newer_rules_is_refused_with_what_to_do() {
    let key = SigningKey::generate().unwrap();
    let bare = Content { users: Vec::new(), entities: Vec::new(), ..content() };
    let place = tempfile::tempdir().unwrap();
    let path = write(&place, HEADER, &[sealed(&key, &secret('1'), 1)], &bare);
    let refusal = |path: &Path, secret: &FleetSecret| match check(path, secret) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was taken"),
    };
    assert!(refusal(&path, &secret('2')).contains("fleet_secret"));
    assert_eq!(check(&path, &secret('1')).unwrap().header, HEADER);
    assert!(check(&path, &secret('2').with_previous(&secret('1'))).is_ok());
    let place = tempfile::tempdir().unwrap();
    let path = write(&place, Header { rules: RULES_CURRENT + 1, ..HEADER }, &[], &bare);
    assert!(refusal(&path, &secret('1')).contains("take a newer panda"));
}

#[tokio::test]
async fn a_store_that_holds_anything_is_not_filled() {
    let place = tempfile::tempdir().unwrap();
    let (events, users) = stores(&place);
    empty::check_events(&events, 16).await.unwrap();
    empty::check_users(&users).await.unwrap();
    let key = sealed(&SigningKey::generate().unwrap(), &secret('1'), 1);
    users.add_signing_key(key).await.unwrap();
    assert!(empty::check_users(&users).await.unwrap_err().to_string().contains("holds signing keys"));
    users.add_api_key(content().api_key).await.unwrap();
    assert!(empty::check_users(&users).await.unwrap_err().to_string().contains("holds API keys"));
    users.import_users(vec![credential(1)]).await.unwrap();
    assert!(empty::check_users(&users).await.unwrap_err().to_string().contains("holds users"));
    let checkpoint = Checkpoint { position: Position { epoch: 1, offset: 0 }, rules: 1, last: None };
    events.write_checkpoint(ShardId(15), checkpoint).await.unwrap();
    assert!(empty::check_events(&events, 16).await.is_err());
    let place = tempfile::tempdir().unwrap();
    let (events, _) = stores(&place);
    let path = write(&place, HEADER, &[], &content());
    fill::fill(Reading::open(&path).unwrap(), &events, &users, &secret('1')).await.unwrap();
    assert!(empty::check_events(&events, 16).await.is_err());
}

#[tokio::test]
async fn an_epoch_is_not_opened_by_hand_before_an_import_has_ended() {
    let place = tempfile::tempdir().unwrap();
    let (events, _) = stores(&place);
    refuse_unfinished(&events).await.unwrap();
    let mark = LogEpoch { epoch: 3, log: LogIdentity::of_archive("5a".repeat(32)) };
    events.open_log_epoch(None, mark).await.unwrap();
    let refused = refuse_unfinished(&events).await.unwrap_err().to_string();
    assert!(refused.contains("panda admin import"), "{refused}");
    let log = LogIdentity { cluster: "cluster".into(), topic: "topic".into() };
    events.open_log_epoch(Some(3), LogEpoch { epoch: 4, log }).await.unwrap();
    refuse_unfinished(&events).await.unwrap();
}

#[tokio::test]
async fn what_a_chat_owed_to_an_inbox_when_it_was_exported_is_in_the_new_log() {
    let ann = user(1);
    let chat = ChatId::group(ann, DeviceId::NONE, Counter(1));
    let made = |seq: u64, target, body| {
        let (device, digest) = (DeviceId::from_random([3; 16]), Digest::default());
        let event =
            Event { seq: Seq(seq), time: Time(seq), actor: ann, device, counter: Counter(1), digest, target, body };
        let (position, index) = (Position { epoch: 1, offset: 0 }, u8::try_from(seq).unwrap() - 1);
        EventRow { seq: Seq(seq), position, index, count: 2, time: Time(seq), event: event.to_bytes() }
    };
    let rows = vec![
        made(1, None, EventBody::ChatCreated { kind: ChatKind::Group, name: "tea".into() }),
        made(2, Some(ann), EventBody::MemberAdded { role: Role::Owner, visible_from: Seq(1) }),
    ];
    let owed = OwedEffect { source: chat.into(), source_seq: Seq(2), target: ann.into(), event: rows[1].event.clone() };
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("file"));
    {
        let folder = DataFolder::open(&data).unwrap();
        drop(SqliteUsers::open(&data.join(crate::serve::USERS_FILE), Time(1)).unwrap());
        let events = EmbeddedEvents::open(&folder).unwrap();
        let batch = EventBatch { entity: chat.into(), rows, owes: vec![owed.clone()], settles: Vec::new() };
        events.write_events(batch).await.unwrap();
        events.close().await.unwrap();
    }
    super::super::export::run(&data, &file).await.unwrap();
    let (events, users) = stores(&place);
    fill::fill(Reading::open(&file).unwrap(), &events, &users, &secret('1')).await.unwrap();
    let log = EmbeddedLog::new(16, 9, || Time(1));
    assert_eq!(make_whole(&events, &log).await.unwrap().effects, 1);
    let mut reader = log.read(owed.target.shard(16), None).await.unwrap();
    let appended = reader.next(9).await.unwrap().pop().unwrap().record;
    let OwedEffect { source, source_seq, target, event } = owed;
    let expected = link::Record::Effect(link::Effect { source, source_seq, target, event });
    assert_eq!(link::Record::from_bytes(appended).unwrap(), expected);
}
