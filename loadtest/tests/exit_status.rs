//! What scripts rely on: the exit status, and a sentence that says what to do.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn loadtest(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_panda-loadtest")).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// An address on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn key_file(folder: &Path) -> String {
    let path = folder.join("admin.key");
    std::fs::write(&path, "panda_key\n").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_target_that_is_not_there_is_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said) = loadtest(&[
        "idle",
        "--sessions",
        "1",
        "--duration",
        "1s",
        "--target",
        &nobody(),
        "--api-key-file",
        &key_file(folder.path()),
    ]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
}

#[test]
fn what_cannot_be_asked_for_is_status_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path());
    let steady = ["steady", "--chats", "1", "--rate", "1", "--duration", "1s", "--api-key-file", key.as_str()];
    let cases: &[(&[&str], &str)] = &[
        (&["steady", "--sessions", "0"], "--sessions"),
        (&["idle", "--sessions", "1", "--duration", "1s", "--api-key-file", "/nowhere/admin.key"], "--api-key-file"),
        (&["replay", "/nowhere/transcript.jsonl", "--api-key-file", &key], "transcript cannot be read"),
        (&[&steady[..], &["--sessions", "20000"]].concat(), "take more chats"),
        (&[&steady[..], &["--sessions", "1", "--active", "2"]].concat(), "more than --chats 1"),
        (&["chaos", "--cluster-command", "/nowhere/cluster"], "cannot be run"),
        (&["chaos", "--cluster-command", "false"], "status --name dev' failed"),
        (&["chaos", "--rate", "1"], "--rate"),
        (&["reads", "--count", "0"], "--count"),
        (&["members", "--sessions", "3", "--chats", "2", "--duration", "1s"], "2 chats need at least 4 sessions"),
        (&["chaos", "--table", "t.md", "--faults", "3"], "--table"),
    ];
    for (arguments, sentence) in cases {
        let (status, said) = loadtest(arguments);
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
