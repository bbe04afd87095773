//! What is in a data folder that is kept as a sample: two chats and two inboxes, each kind of row, and users.

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, LoginId, Position, Seq, Time, UserId};
use panda_storage::UserStore;
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::event_store::{Checkpoint, EventBatch, EventRow, OwedEffect, RowKey, SettledEffect, StateRow};
use panda_storage::user_store::{
    AccountState, ApiKey, ApiKeyLabel, Credential, Email, LoginLabel, LoginLimits, NewLogin, PasswordHash, PictureUrl,
    Refresh, Refreshed, Scopes, SealedSigningKey, User, Username, WhichLogins,
};
use panda_storage::{EventStore as _, RecordMark};

pub(crate) const NOW: Time = Time(1_800_000_000_000_000);

/// The entities by number: two chats and two inboxes.
pub(crate) const ENTITIES: [u8; 4] = [0, 1, 2, 3];
/// Of which the last is first written in the second life.
const LATE: u8 = 3;
const EVENTS: u64 = 60;
/// The last events of each entity are written in the second life.
const LATE_EVENTS: u64 = 6;

/// By shard. What wrote the sample knew no last record.
pub(crate) fn checkpoints(last_is_known: bool) -> [(u16, Checkpoint); 2] {
    let last = RecordMark { position: Position { epoch: 1, offset: 76 }, time: time(1), digest: *b"a record" };
    let last = last_is_known.then_some(last);
    [
        (0, Checkpoint { position: Position { epoch: 1, offset: 77 }, rules: 1, last }),
        (15, Checkpoint { position: Position { epoch: 2, offset: 3 }, rules: 1, last: None }),
    ]
}

/// What is written of an entity.
pub(crate) struct Written {
    pub(crate) entity: EntityId,
    pub(crate) events: Vec<EventRow>,
    pub(crate) rows: Vec<StateRow>,
}

fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

pub(crate) fn entity(number: u8) -> EntityId {
    match number {
        0 => ChatId::group(user(1), DeviceId::NONE, Counter(1)).into(),
        1 => ChatId::direct(user(1), user(2)).into(),
        number => user(number).into(),
    }
}

fn time(seq: u64) -> Time {
    Time(1_700_000_000_000_000 + seq)
}

/// An event of a command that made two of them: 1 and 2, 3 and 4, and so on.
fn event(number: u8, seq: u64) -> EventRow {
    EventRow {
        seq: Seq(seq),
        position: Position { epoch: 1, offset: seq.div_ceil(2) * 7 },
        index: u8::from(seq.is_multiple_of(2)),
        count: 2,
        time: time(seq),
        event: format!("event {seq} of {number}: {}", "~".repeat(usize::try_from(seq % 40).unwrap())).into(),
    }
}

fn row(kind: u8, key: &'static str, value: Option<&'static str>, seq: u64) -> StateRow {
    let key = RowKey { kind, key: Bytes::from_static(key.as_bytes()) };
    StateRow { key, value: value.map(|value| Bytes::from_static(value.as_bytes())), time: time(seq) }
}

/// All of an entity, in the order of reads: rows by kind and key.
fn all(number: u8) -> Written {
    let rows = vec![
        row(1, "", Some("the head"), EVENTS),
        row(2, "ann", Some("a member"), 2),
        // Deleted, and it keeps its time.
        row(2, "ben", None, 4),
        row(3, "a window", Some(""), 6),
    ];
    Written { entity: entity(number), events: (1..=EVENTS).map(|seq| event(number, seq)).collect(), rows }
}

/// Everything that a store holds in the end.
pub(crate) fn whole() -> Vec<Written> {
    ENTITIES.map(all).into()
}

/// What is written in the first life, and in the second.
pub(crate) fn events() -> (Vec<Written>, Vec<Written>) {
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for (number, mut whole) in ENTITIES.into_iter().zip(whole()) {
        if number == LATE {
            late.push(whole);
            continue;
        }
        let behind = whole.events.split_off(usize::try_from(EVENTS - LATE_EVENTS).unwrap());
        let (entity, head) = (whole.entity, whole.rows[0].clone());
        // A head of the first life, that of the second replaces it; and a member who is removed then.
        let rows = vec![row(1, "", Some("an older head"), 9), row(2, "ben", Some("a member"), 3)];
        early.push(Written { entity, events: whole.events, rows: [rows, whole.rows.split_off(3)].concat() });
        late.push(Written { entity, events: behind, rows: [vec![head], whole.rows[1..].to_vec()].concat() });
    }
    (early, late)
}

/// The effects that are owed in the end, by the first chat to an inbox.
pub(crate) fn owed() -> Vec<OwedEffect> {
    let owed = |number: u8, seq: u64| {
        let event = event(number, seq);
        OwedEffect { source: entity(number), source_seq: event.seq, target: entity(2), event: event.event }
    };
    vec![owed(0, 1), owed(0, EVENTS)]
}

/// Writes it as a router does: whole commands, what they owe, then rows.
pub(crate) async fn store(store: &EmbeddedEvents, written: &Written) {
    for rows in written.events.chunks(2) {
        let entity = written.entity;
        let is_one_of = |source_seq: Seq| rows.iter().any(|row| row.seq == source_seq);
        let mut owes: Vec<OwedEffect> =
            owed().into_iter().filter(|owed| owed.source == entity && is_one_of(owed.source_seq)).collect();
        // Owed and settled again.
        let settled = OwedEffect { source_seq: Seq(11), event: event(0, 11).event, ..owed().swap_remove(0) };
        let mut settles = Vec::new();
        if entity == settled.source && is_one_of(Seq(11)) {
            owes.push(settled);
        } else if entity == settled.target && is_one_of(Seq(1)) {
            settles.push(SettledEffect { source: settled.source, source_seq: Seq(11), target: settled.target });
        }
        let batch = EventBatch { entity, rows: rows.to_vec(), owes, settles };
        store.write_events(batch).await.unwrap();
    }
    store.write_state(written.entity, written.rows.clone()).await.unwrap();
    store.sync_state().await.unwrap();
}

/// In the order of their identifiers.
pub(crate) fn users() -> Vec<Credential> {
    let credential = |number: u8, bare: bool| {
        let (email, picture) =
            (Email::parse("a@example.org").unwrap(), PictureUrl::parse("https://example.org/a").unwrap());
        let (email, picture) = if bare { (None, None) } else { (Some(email), Some(picture)) };
        let username = Username::parse(&format!("User{number}")).unwrap();
        let (version, created) = (u64::from(number), time(1));
        let user = User {
            id: user(number),
            username,
            email,
            email_verified: false,
            state: AccountState::Active,
            picture,
            version,
            created,
        };
        Credential { user, password: (!bare).then(|| PasswordHash("$argon2id$v=19$of$nobody".into())) }
    };
    vec![credential(1, false), credential(2, true), credential(3, false)]
}

/// In the order of their digests.
pub(crate) fn api_keys() -> Vec<ApiKey> {
    let label = |number: u8| ApiKeyLabel::parse(&format!("key {number}")).unwrap();
    let key = |number: u8| ApiKey::new([number; 32], label(number), Scopes::PROVISION, time(u64::from(number)));
    vec![key(1), key(2)]
}

/// The newest first.
pub(crate) fn signing_keys() -> Vec<SealedSigningKey> {
    let key =
        |number: u8| SealedSigningKey::at_once(format!("kid-{number}"), vec![number; 60], time(u64::from(number)));
    vec![key(2), key(1)]
}

const LOGIN_LIMITS: LoginLimits = LoginLimits {
    access: Duration::from_secs(3_600),
    idle: Duration::from_secs(86_400),
    lifetime: Duration::from_secs(86_400),
    grace: Duration::from_secs(60),
};

fn refresh() -> Refresh {
    let of = (user(1), LoginId::from_random(1));
    Refresh { of, brought: [1; 32], next: [2; 32], next_sealed: vec![3; 81], now: NOW }
}

/// Three logins of a user, of which the first was refreshed once and the last was ended.
pub(crate) async fn store_logins(users: &impl UserStore) {
    for number in 1..=3 {
        let label = (number == 1).then(|| LoginLabel::parse("a laptop").unwrap());
        let refresh = [u8::try_from(number).unwrap(); 32];
        let new = NewLogin { user: user(1), id: LoginId::from_random(number), label, refresh, created: NOW };
        users.add_login(new, LOGIN_LIMITS).await.unwrap();
    }
    assert!(matches!(users.refresh_login(refresh(), LOGIN_LIMITS).await.unwrap(), Refreshed::Rotated { .. }));
    users.end_logins(user(1), WhichLogins::One(LoginId::from_random(3)), NOW).await.unwrap();
}

/// Looks for those logins; a folder from before there were any has none.
pub(crate) async fn has_logins(users: &impl UserStore, there_are: bool) {
    let logins = users.logins(user(1), LOGIN_LIMITS, NOW).await.unwrap();
    let ended = users.ended_logins(0, 10).await.unwrap();
    if !there_are {
        assert_eq!((logins, ended), (Vec::new(), Vec::new()));
        return;
    }
    let told: Vec<_> = logins.iter().map(|login| (login.id, login.label.as_ref().map(LoginLabel::as_str))).collect();
    assert_eq!(told, [(LoginId::from_random(1), Some("a laptop")), (LoginId::from_random(2), None)]);
    assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [LoginId::from_random(3)]);
    let again = users.refresh_login(refresh(), LOGIN_LIMITS).await.unwrap();
    assert!(matches!(&again, Refreshed::Repeated { next_sealed, .. } if *next_sealed == [3; 81]), "{again:?}");
}
