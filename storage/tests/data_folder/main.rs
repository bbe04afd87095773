//! A data folder of each version that there was is in `samples/`, as that version wrote it: whoever comes later opens a
//! copy of it and finds everything.
//!
//! `PANDA_SAMPLE_WRITE=FOLDER cargo test -p panda-storage --test data_folder` writes the present version's. A sample that is
//! there is never written again: a new version of the folder, the journal, the index or the users' file is a new sample.
#![expect(clippy::unwrap_used, reason = "a sample that cannot be read fails the test that reads it")]

mod content;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use content::{ENTITIES, NOW};
use panda_protocol::{Seq, ShardId};
use panda_storage::embedded::events::Options;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, SqliteUsers};
use panda_storage::event_store::ReadOrder;
use panda_storage::{Copies, EntityStore as _, EventStore as _, UserStore as _};

const ALL: usize = 1_000;
/// The newest version.
const NEWEST: u32 = 4;

fn sample(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data_folder/samples/version-{version}"))
}

/// The files of a folder and of those in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(looked_in) = folders.pop() {
        for entry in fs::read_dir(looked_in).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// By their names only: the store may be removing one.
fn journals(folder: &Path) -> usize {
    let names = fs::read_dir(folder.join("events")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("journal-")).count()
}

/// Writes a folder of the present version in two lives: most is in the index then, and the rest in the journal.
async fn write(folder: &Path) {
    let (early, late) = content::events();
    let small = Options { memory_bytes: 2_000, ..Options::default() };
    let data = DataFolder::open(folder).unwrap();
    let store = EmbeddedEvents::open_with(&data, small).unwrap();
    for entity in &early {
        content::store(&store, entity).await;
    }
    // Behind the last write no file is begun, and those before it go once their rows are in the index.
    while journals(folder) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.close().await.unwrap();
    drop(store);
    let store = EmbeddedEvents::open(&data).unwrap();
    for entity in &late {
        content::store(&store, entity).await;
    }
    for (shard, checkpoint) in content::checkpoints(true) {
        store.write_checkpoint(ShardId(shard), checkpoint).await.unwrap();
    }
    store.close().await.unwrap();
    let users = SqliteUsers::open(&folder.join("users.db"), NOW).unwrap();
    users.import_users(content::users()).await.unwrap();
    for key in content::api_keys() {
        users.add_api_key(key).await.unwrap();
    }
    for key in content::signing_keys() {
        users.add_signing_key(key).await.unwrap();
    }
    content::store_logins(&users).await;
    drop(users);
    // Which of its connections closes last is left to chance: one that only reads leaves the log beside the file.
    let file = rusqlite::Connection::open(folder.join("users.db")).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    file.close().unwrap();
}

/// Opens the folder, in its next life, and looks for everything.
async fn has_everything(folder: &Path, version: u32) {
    // The first knew no last record before a checkpoint, and the first two no logins.
    let (last_is_known, logins) = (version >= 2, version >= 3);
    let data = DataFolder::open_existing(folder).unwrap();
    let store = EmbeddedEvents::open(&data).unwrap();
    assert_eq!(store.epoch(), 3, "the third life");
    let mut found = store.entities(Copies::Enough, None, ALL).await.unwrap();
    let mut entities = ENTITIES.map(content::entity);
    found.sort();
    entities.sort();
    assert_eq!(found, entities);
    for expected in content::whole() {
        let entity = expected.entity;
        let events = store.read_events(entity, Seq(0), ReadOrder::Forward, ALL, usize::MAX).await.unwrap();
        assert_eq!(events, expected.events, "{entity}");
        let rows = store.state_rows(entity, None, ALL).await.unwrap();
        assert_eq!(rows, expected.rows, "{entity}");
    }
    let mut owed = store.owed_effects().await.unwrap();
    owed.sort_by_key(|owed| owed.source_seq);
    assert_eq!(owed, content::owed());
    for (shard, checkpoint) in content::checkpoints(last_is_known) {
        assert_eq!(store.checkpoint(ShardId(shard)).await.unwrap(), Some(checkpoint));
    }
    store.close().await.unwrap();
    let users = SqliteUsers::open(&folder.join("users.db"), NOW).unwrap();
    let found = users.scan_users(None, ALL).await.unwrap();
    assert_eq!(found, content::users());
    assert_eq!(users.api_keys().await.unwrap(), content::api_keys());
    assert_eq!(users.signing_keys().await.unwrap(), content::signing_keys());
    content::has_logins(&users, logins).await;
}

fn copy(folder: &Path, to: &Path) {
    for (name, bytes) in files(folder) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_data_folder_of_every_version_has_everything() {
    for version in 1..=NEWEST {
        let before = files(&sample(version));
        let has = |name: &str| before.keys().any(|path| path.to_string_lossy().contains(name));
        for name in ["version", "events/index", "events/journal-", "users.db"] {
            assert!(has(name), "{name} is in the sample");
        }
        let place = tempfile::tempdir().unwrap();
        copy(&sample(version), place.path());
        has_everything(place.path(), version).await;
        assert!(files(&sample(version)) == before, "the sample is as it was");
    }
}

/// What the samples are compared with is what is written today.
#[tokio::test]
async fn a_data_folder_of_today_has_everything() {
    let place = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("PANDA_SAMPLE_WRITE").map_or_else(|| place.path().join("data"), PathBuf::from);
    write(&folder).await;
    let today = place.path().join("copy");
    copy(&folder, &today);
    has_everything(&today, NEWEST).await;
}
