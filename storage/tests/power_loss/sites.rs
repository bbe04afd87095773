//! Every sync is there for a reason: without any one of them a cut loses something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use panda_storage::embedded::disk::SyncSite;
use parking_lot::Mutex;

use crate::disk::CutDisk;
use crate::{run, shape};

/// Histories that may pass without noticing. Most syncs are missed in one of the first.
const SEEDS: u64 = 2_000;
/// Sites that are tried at the same time.
const THREADS: usize = 4;

/// The first cut at which something is lost without the sync: its seed and step, and what was lost.
fn first_loss(site: SyncSite) -> Option<(u64, usize, String)> {
    for seed in 0..SEEDS {
        for steps in 0.. {
            match run(seed, shape(seed), steps, &mut CutDisk::new(Some(site))) {
                Ok(true) => {}
                Ok(false) => break,
                Err(loss) => return Some((seed, steps, loss)),
            }
        }
    }
    None
}

#[test]
fn without_any_one_sync_something_is_lost() {
    let sites = Mutex::new(SyncSite::ALL.iter());
    let losses = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(site) = sites.lock().next() else { return };
                    losses.lock().insert(*site, first_loss(*site));
                }
            });
        }
    });
    for (site, loss) in losses.into_inner() {
        let (seed, steps, loss) = loss.unwrap_or_else(|| panic!("nobody missed the sync of {site:?}"));
        println!("without {site:?}: {loss}");
        run(seed, shape(seed), steps, &mut CutDisk::new(None)).expect("nothing is lost with it");
    }
}

/// The text of every file of the embedded store, but for the users', which SQLite keeps.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap().to_str().unwrap() {
            "users" => {}
            _ if path.is_dir() => sources(&path, found),
            name => found.push((name.into(), fs::read_to_string(&path).unwrap())),
        }
    }
}

#[test]
fn every_sync_in_the_code_names_a_site_of_its_own() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/embedded"), &mut files);
    let mut named = BTreeSet::new();
    for (file, text) in &files {
        // The system is asked in one file only, and the index asks for its syncs by this name.
        let calls_system = text.contains("sync_all(") || text.replace("fn sync_data(", "").contains("sync_data(");
        assert_eq!(calls_system, file == "system.rs", "{file}");
        if file != "site.rs" {
            for site in text.split("SyncSite::").skip(1) {
                let name: String = site.chars().take_while(|letter| letter.is_alphanumeric()).collect();
                assert!(named.insert(name.clone()), "{name} is named at two places");
            }
        }
    }
    assert_eq!(named, SyncSite::ALL.map(|site| format!("{site:?}")).into());
}

#[test]
fn the_note_names_every_sync() {
    let note = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ENGINE.md")).unwrap();
    for site in SyncSite::ALL {
        assert!(note.contains(&format!("| `{site:?}` |")), "{site:?}");
    }
}
