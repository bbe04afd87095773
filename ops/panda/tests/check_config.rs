//! `panda check-config`: it tells what a start would refuse, with the key and where it is set, and nothing is started.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether the configuration is good, and what was printed or complained of.
fn checked(arguments: &[&str], config: &Path) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_panda"))
        .arg("check-config")
        .args(arguments)
        .env("PANDA_CONFIG", config)
        .output()
        .unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("panda.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_variable_that_is_set_to_nothing_names_no_file_and_a_flag_wins_over_it() {
    let (good, said) = checked(&[], Path::new(""));
    assert!(good && said.contains("[http]"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let other = file(folder.path(), "[edge]\nworkers = 7\n");
    let (good, said) = checked(&["--config", other.to_str().unwrap()], Path::new("/nowhere/panda.toml"));
    assert!(good && said.contains("workers = 7"), "{said}");
    let (good, said) = checked(&[], Path::new("/nowhere/panda.toml"));
    assert!(!good && said.contains("cannot read the configuration /nowhere/panda.toml"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_key_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "[http]\ncertificate = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n");
    for arguments in [&[][..], &["--role", "serve"], &["--role", "edge"], &["--role", "api"]] {
        let (good, said) = checked(arguments, &config);
        assert!(!good, "{said}");
        let line = "panda.toml:2: `http.certificate` is a file that cannot be read, /nowhere/cert.pem: ";
        assert!(said.contains(line) && said.contains("panda.toml:3: `http.key` is a file"), "{said}");
    }
    let (_, said) = checked(&["--role", "router"], &config);
    assert!(!said.contains("http.key"), "a router does not read it: {said}");
}

#[test]
fn a_role_tells_what_it_refuses_and_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "[commands]\nbrokers = [\"broker:9092\"]\n");
    let told = |role: &str| {
        let (good, said) = checked(&["--role", role], &config);
        assert!(!good, "{said}");
        said
    };
    assert!(checked(&[], &config).0);
    assert!(told("serve").contains("panda.toml:2: `commands.brokers` is of a cluster"), "{}", told("serve"));
    for (role, lacks) in [
        ("edge", &["fleet_secret", "users.url", "cache.url"][..]),
        ("api", &["fleet_secret", "users.url", "cache.url"]),
        ("router", &["fleet_secret", "events.nodes"]),
    ] {
        let said = told(role);
        let keys: Vec<&str> = said.lines().skip(1).filter_map(|line| line.split('`').nth(1)).collect();
        assert_eq!(keys, lacks, "{role}: {said}");
    }
}
