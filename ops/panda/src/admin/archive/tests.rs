use std::fs;
use std::path::Path;

use bytes::Bytes;
use panda_protocol::{ChatId, Counter, DeviceId, Position, Seq, UserId};
use panda_storage::RowKey;
use panda_storage::user_store::{AccountState, ApiKeyLabel, Email, PasswordHash, PictureUrl, Scopes, User, Username};

use super::read::ArchiveError;
use super::*;

const HEADER: Header = Header { incarnation: Incarnation([7; 8]), epoch: 3, rules: 1, made: Time(9) };

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn credential(byte: u8, bare: bool) -> Record {
    let id = user(byte);
    let username = Username::parse(&format!("user{byte}")).unwrap();
    let (email, picture) = (Email::parse("a@b.org").unwrap(), PictureUrl::parse("https://example.org/a").unwrap());
    let (email, picture) = if bare { (None, None) } else { (Some(email), Some(picture)) };
    let password = (!bare).then(|| PasswordHash("$argon2id$x".into()));
    let (version, created) = (300, Time(1));
    let user =
        User { id, username, email, email_verified: false, state: AccountState::Active, picture, version, created };
    Record::User(Credential { user, password })
}

fn event(seq: u64) -> Record {
    let position = Position { epoch: 3, offset: seq * 1_000 };
    let event = Bytes::from(format!("event {seq}"));
    Record::Event(EventRow { seq: Seq(seq), position, index: 0, count: 1, time: Time(seq), event })
}

fn row(kind: u8, value: Option<&'static [u8]>) -> Record {
    let key = RowKey { kind, key: Bytes::from_static(b"key") };
    Record::Row(StateRow { key, value: value.map(Bytes::from_static), time: Time(5) })
}

/// One of each kind, and what is special among them.
fn samples() -> Vec<Record> {
    let key = SealedSigningKey::at_once("kid".into(), vec![1, 2, 3], Time(4));
    let api_key = ApiKey::new([9; 32], ApiKeyLabel::parse("admin").unwrap(), Scopes::PROVISION, Time(2));
    let group = ChatId::group(user(1), DeviceId::NONE, Counter(1));
    vec![
        Record::Header(HEADER),
        Record::SigningKey(key),
        Record::ApiKey(api_key),
        credential(1, false),
        credential(2, true),
        Record::Entity(user(1).into()),
        event(1),
        Record::Entity(group.into()),
        event(1),
        event(2),
        row(1, Some(b"value")),
        row(2, None),
        row(6, Some(b"")),
    ]
}

fn write(path: &Path, records: &[Record]) -> (Counts, ArchiveDigest) {
    let mut writing = Writing::begin(path).unwrap();
    for record in records {
        writing.add(record).unwrap();
    }
    writing.end().unwrap()
}

fn read(path: &Path) -> Result<Vec<Record>, ArchiveError> {
    let mut reading = Reading::open(path)?;
    let mut records = Vec::new();
    while let Some(record) = reading.next()? {
        records.push(record);
    }
    Ok(records)
}

fn refusal(path: &Path) -> ArchiveError {
    match read(path) {
        Err(error) => error,
        Ok(records) => panic!("{} records were read", records.len()),
    }
}

#[test]
fn what_was_written_is_read_and_only_its_owner_may() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let written = write(&path, &samples());
    assert_eq!(read(&path).unwrap(), samples());
    let mut reading = Reading::open(&path).unwrap();
    let (header, counts, digest) = reading.finish().unwrap();
    // From the beginning, although another file has the name.
    fs::rename(&path, place.path().join("other")).unwrap();
    fs::write(&path, "another").unwrap();
    assert_eq!(reading.again().unwrap().finish().unwrap(), (header, counts, digest));
    fs::rename(place.path().join("other"), &path).unwrap();
    assert_eq!((header, (counts, digest)), (HEADER, written));
    let expected = Counts { signing_keys: 1, api_keys: 1, users: 2, entities: 2, events: 3, rows: 3 };
    assert_eq!(counts, expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "no partial file is left");
    // The same records are the same archive.
    assert_eq!(write(&place.path().join("again"), &samples()).1, digest);
}

/// Whoever changes the form raises the version, and keeps reading this one.
#[test]
fn an_archive_of_version_1_is_read_and_written_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let (path, sample) = (place.path().join("file"), include_bytes!("samples/version-1.export"));
    write(&path, &samples());
    assert!(fs::read(&path).unwrap() == sample, "the bytes are others");
    fs::write(&path, sample).unwrap();
    assert_eq!(read(&path).unwrap(), samples());
}

#[test]
fn the_end_of_an_api_key_comes_along() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let key = ApiKey::new([9; 32], ApiKeyLabel::parse("admin").unwrap(), Scopes::PROVISION, Time(2));
    let records = vec![Record::Header(HEADER), Record::ApiKey(ApiKey { ends: Some(Time(9)), ..key })];
    write(&path, &records);
    assert_eq!(read(&path).unwrap(), records);
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    write(&path, &samples());
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refusal(&path);
        let expected = if length < 16 {
            matches!(error, ArchiveError::Other(_))
        } else {
            matches!(error, ArchiveError::Damaged { why: "it ends here", .. })
        };
        assert!(expected, "{length}: {error}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(refusal(&path).to_string().contains("something follows the trailer"));
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    write(&path, &samples());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, changed).unwrap();
        refusal(&path);
    }
}

#[test]
fn a_record_that_is_left_out_with_its_checksum_is_missed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    write(&path, &samples());
    let whole = fs::read(&path).unwrap();
    let body = samples()[6].to_bytes().1;
    let at = whole.windows(body.len()).position(|window| window == &body[..]).unwrap() - RECORD_HEAD;
    let without = [&whole[..at], &whole[at + RECORD_HEAD + body.len() + 4..]].concat();
    fs::write(&path, without).unwrap();
    assert!(matches!(refusal(&path), ArchiveError::Damaged { .. }));
}

#[test]
fn another_version_and_another_file_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    write(&path, &samples());
    let mut newer = fs::read(&path).unwrap();
    newer[15] = 2;
    fs::write(&path, &newer).unwrap();
    assert!(matches!(refusal(&path), ArchiveError::Newer { found: 2, .. }));
    newer[15] = 0;
    fs::write(&path, &newer).unwrap();
    assert!(matches!(refusal(&path), ArchiveError::Other(_)));
    fs::write(&path, "a longer text that is no archive at all").unwrap();
    assert!(matches!(refusal(&path), ArchiveError::Other(_)));
    assert!(matches!(refusal(place.path()), ArchiveError::File { .. }));
    assert!(matches!(refusal(&place.path().join("nowhere")), ArchiveError::File { .. }));
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "precious").unwrap();
    assert!(Writing::begin(&path).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn what_was_cut_short_is_no_archive_and_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let mut writing = Writing::begin(&path).unwrap();
    writing.add(&Record::Header(HEADER)).unwrap();
    drop(writing);
    assert!(!path.exists());
    write(&path, &samples());
    assert_eq!(read(&path).unwrap(), samples());
}

#[test]
fn records_stand_in_their_order() {
    let place = tempfile::tempdir().unwrap();
    let (header, entity) = (Record::Header(HEADER), Record::Entity(user(1).into()));
    let later = match event(1) {
        Record::Event(row) => Record::Event(EventRow { position: Position { epoch: 4, offset: 0 }, ..row }),
        other => other,
    };
    let wrong = [
        vec![],
        vec![entity.clone(), event(1)],
        vec![header.clone(), header.clone()],
        vec![header.clone(), credential(1, true), samples()[2].clone()],
        vec![header.clone(), entity.clone()],
        vec![header.clone(), entity.clone(), entity.clone()],
        vec![header.clone(), entity.clone(), event(2)],
        vec![header.clone(), entity.clone(), event(1), event(1)],
        vec![header.clone(), entity.clone(), row(1, None)],
        vec![header.clone(), entity.clone(), event(1), row(1, None), event(2)],
        vec![header.clone(), entity.clone(), event(1), credential(1, true)],
        vec![header.clone(), entity, later],
    ];
    for (number, records) in wrong.iter().enumerate() {
        let path = place.path().join(number.to_string());
        write(&path, records);
        assert!(matches!(refusal(&path), ArchiveError::Damaged { .. }), "{number}");
    }
    let path = place.path().join("least");
    write(&path, &[header]);
    assert_eq!(read(&path).unwrap().len(), 1);
}

#[test]
fn a_record_that_is_too_large_is_not_written() {
    let place = tempfile::tempdir().unwrap();
    let mut writing = Writing::begin(&place.path().join("file")).unwrap();
    let key = RowKey { kind: 1, key: Bytes::new() };
    let large = |bytes| Record::Row(StateRow { key: key.clone(), value: Some(vec![0; bytes].into()), time: Time(1) });
    assert!(writing.add(&large(RECORD_BYTES_MAX)).is_err());
    assert!(writing.add(&large(RECORD_BYTES_MAX - 100)).is_ok());
}
